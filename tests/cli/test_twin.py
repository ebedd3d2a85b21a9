"""Accuracy of the dense twin: a number, or its training run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lmht_deploy.analysis.twin import Twin
from lmht_deploy.cli._twin import read_twin
from lmht_deploy.errors import DataError
from lmht_deploy.training.recipe import dumps, load_recipe
from lmht_deploy.training.run_folder import METRICS, RECIPE


def run(folder: Path, *overrides: str) -> Path:
    """The files of a run that say what was trained, and how well."""
    folder.mkdir()
    (folder / RECIPE).write_text(dumps(load_recipe("digits", overrides)))
    epochs = [{"test_accuracy": accuracy, "density": {}} for accuracy in (0.5, 0.975)]
    (folder / METRICS).write_text("\n".join(map(json.dumps, epochs)))
    return folder


def test_a_number() -> None:
    assert read_twin("0.5") == Twin(0.5, "stated by the user")
    for text in ("1.01", "-1", "nan", "inf"):
        with pytest.raises(DataError, match="a number from 0 to 1"):
            read_twin(text)


def test_a_run(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    twin = read_twin(
        str(run(tmp_path / "relu", "network.neuron=relu", "network.steps=1", "data.steps=1"))
    )
    assert twin.accuracy == 0.975
    assert twin.source == "float accuracy of the run relu, before int8 quantization"


def test_what_is_no_twin(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is neither an accuracy from 0 to 1 nor the folder"):
        read_twin(str(tmp_path))
    with pytest.raises(DataError, match="its neurons are 'lmht', not 'relu'"):
        read_twin(str(run(tmp_path / "lmht")))
