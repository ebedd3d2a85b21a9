"""The names that `lmht_deploy.training` offers, and what importing them loads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import lmht_deploy.training
from lmht_deploy.errors import LmhtError

WITHOUT_TORCH = """
import sys
import lmht_deploy.training as training

training.available_recipes(), training.recipe_keys(), training.load_recipe("digits")
training.Recipe, training.ARCHITECTURES, training.Data
print(sorted({"torch", "onnx", "tonic", "datasets"} & sys.modules.keys()))
training.LMHT
print("torch" in sys.modules)
"""


def test_every_name_can_be_imported() -> None:
    for name in lmht_deploy.training.__all__:
        assert getattr(lmht_deploy.training, name).__doc__
    assert dir(lmht_deploy.training) == sorted(lmht_deploy.training.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'fly'"):
        lmht_deploy.training.fly  # noqa: B018


def test_recipes_do_not_load_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["[]", "True"]


def test_missing_torch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LmhtError, match=r"'torch'.*lmht-deploy\[train\]"):
        lmht_deploy.training.LMHT  # noqa: B018
    assert lmht_deploy.training.load_recipe("digits").data.name == "digits"


WRONG_CALLS: list[Callable[[Any], object]] = [
    lambda training: training.load_recipe(None),
    lambda training: training.load_recipe("digits", 3),
    lambda training: training.load_recipe("digits", "training.epochs=1"),
    lambda training: training.load_recipe("digits", [None]),
    lambda training: training.load_run(None),
    lambda training: training.load_run("missing"),
    lambda training: training.LMHT(levels="2", steps=4),
    lambda training: training.LMHT(levels=2, steps=None),
    lambda training: training.QCFS(None),
    lambda training: training.SpikingModel(None, steps_in=4),
    lambda training: training.SpikingModel(training.LMHT(2, 4), steps_in=None),
]


@pytest.mark.parametrize("call", WRONG_CALLS)
def test_wrong_types_are_lmht_errors(call: Callable[[Any], object]) -> None:
    with pytest.raises(LmhtError):
        call(lmht_deploy.training)
