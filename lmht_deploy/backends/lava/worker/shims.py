"""Shims that make lava-nc 0.10 and lava-dl 0.6, the last releases, importable."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import os
import sys
import types
from typing import Any


def newer_python() -> None:
    """Make dataclasses hashable.

    lava-nc has dataclasses whose defaults are dataclass instances. Python 3.11 and later refuses
    those that are not hashable.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 (Lava has a Python of its own)
        return
    original = dataclasses.dataclass

    def hashable(cls: type, **options: Any) -> type:
        cls = original(cls, **options)
        if cls.__hash__ is None:
            cls.__hash__ = object.__hash__
        return cls

    @functools.wraps(original)
    def dataclass(cls: type | None = None, **options: Any) -> Any:
        return functools.partial(hashable, **options) if cls is None else hashable(cls, **options)

    dataclasses.dataclass = dataclass


def without_torch() -> None:
    """Replace the modules of lava-dl that import PyTorch.

    NetX needs PyTorch only for the parameters of resonate-and-fire neurons and a helper module.
    """
    if importlib.util.find_spec("torch"):
        return
    package = next(iter(importlib.import_module("lava.lib.dl").__path__))
    for name in ("slayer", "slayer.neuron", "slayer.neuron.rf", "netx.sequential_modules"):
        module = types.ModuleType(f"lava.lib.dl.{name}")
        module.__path__ = []
        # Lava asks each module beside a process for its file
        module.__file__ = os.path.join(package, "netx", name.rpartition(".")[2] + ".py")
        module.__dict__["neuron_params"] = _no_resonators
        sys.modules[module.__name__] = module


def _no_resonators(*_: Any) -> None:
    raise NotImplementedError("resonate-and-fire neurons need the full lava-dl with PyTorch")
