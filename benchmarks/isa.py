"""Keeps the engine and its rivals to the instructions of one tier.

The libraries read environment variables when they are loaded, so the benchmark runs in a child
process that has them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

from lmht_deploy import engine
from lmht_deploy.errors import LmhtError

__all__ = ["ALL", "NOT_LIMITED", "in_force", "is_kept_to", "limits", "run_kept_to", "tiers_of"]

ALL = "all"

RIVALS = {
    "generic": ("SSE41", "default", "SSE4_2"),
    "avx2": ("AVX2", "avx2", "AVX2"),
    "avxvnni": ("AVX2_VNNI", "avx2", "AVX2"),
    "avx512vnni": ("AVX512_CORE_VNNI", "avx512", "AVX512"),
    "amx": ("AVX512_CORE_AMX", "avx512", "AVX512"),
}
"""Values of `VARIABLES` by tier of the engine."""

VARIABLES = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS")
"""Upper limits of oneDNN (OpenVINO and PyTorch), of PyTorch's own kernels, and of its MKL."""

NOT_LIMITED = ("ONNX Runtime",)
"""Rivals without such a limit: they use the best instructions of the CPU."""


def tiers_of(name: str) -> list[str]:
    """Return the tiers that `name` means.

    Args:
        name: A tier of the engine that this CPU runs, or "all".

    Raises:
        LmhtError: If this CPU has no such tier.
    """
    available = engine.isas()
    if name != ALL and name not in available:
        names = ", ".join([*available, ALL])
        raise LmhtError(f"--isa {name}: not available on this CPU; choose from {names}")
    return available if name == ALL else [name]


def limits(isa: str) -> dict[str, str]:
    """Return the environment variables that keep the engine and its rivals to the tier `isa`."""
    return {"LMHT_ISA": isa, **dict(zip(VARIABLES, RIVALS.get(isa, ()), strict=False))}


def in_force(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the limits of rivals that an environment sets, by variable."""
    return {name: environment[name] for name in VARIABLES if name in environment}


def is_kept_to(isa: str) -> bool:
    """Return whether this process has the limits of the tier `isa`."""
    return limits(isa).items() <= os.environ.items()


def run_kept_to(isa: str, command: Sequence[str], *, quiet: bool = False) -> int:
    """Run a Python command in a child process that is kept to the tier `isa`.

    Args:
        isa: Tier of the engine.
        command: Arguments of the interpreter.
        quiet: Whether to discard what the command prints on stdout.

    Returns:
        The exit status of the command.
    """
    return subprocess.run(
        [sys.executable, *command],
        check=False,
        env=os.environ | limits(isa),
        stdout=subprocess.DEVNULL if quiet else None,
    ).returncode
