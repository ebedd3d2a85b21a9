"""The names that `lmht_deploy.training` offers, and what importing them loads."""

from __future__ import annotations

import subprocess
import sys

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
