"""The run folder: what is written is read, and damage is reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lmht_deploy.errors import RecipeError, StorageError
from lmht_deploy.training import run_folder, runs
from tests.support.training import copied


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (run_folder.MODEL, None, "model.safetensors: there is no such file"),
        (run_folder.MODEL, b"", "model.safetensors: is damaged"),
        (run_folder.MODEL, b"PK" * 99, "model.safetensors: is damaged"),
        (run_folder.METRICS, b"{", "metrics.jsonl: is missing or damaged"),
        (run_folder.METRICS, None, "metrics.jsonl: is missing or damaged"),
        (
            run_folder.METRICS,
            b'{"epoch": 1}',
            "metrics.jsonl: is missing or damaged \\(line 1 does not describe an epoch\\)",
        ),
        (
            run_folder.METRICS,
            b"3",
            "metrics.jsonl: is missing or damaged \\(line 1 does not describe an epoch\\)",
        ),
        *(
            (
                run_folder.METRICS,
                content,
                "metrics.jsonl: is missing or damaged \\(line 1 does not describe an epoch\\)",
            )
            for content in (
                b'{"test_accuracy": "1", "density": {}}',
                b'{"test_accuracy": 1, "density": []}',
                b'{"test_accuracy": NaN, "density": {}}',
                b'{"test_accuracy": 1, "density": {"a": null}}',
            )
        ),
        (run_folder.METRICS, b"[" * 100_000, "metrics.jsonl: is missing or damaged"),
        (run_folder.METRICS, b"9" * 5000, "metrics.jsonl: is missing or damaged"),
        (run_folder.METRICS, b"", "metrics.jsonl: is damaged \\(there is a model, but no epoch\\)"),
        (run_folder.RECIPE, b"[x]", "unknown section 'x'"),
    ],
)
def test_damaged_folder(
    finished: Path, tmp_path: Path, file: str, content: bytes | None, message: str
) -> None:
    folder = copied(finished, tmp_path / "run")
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises((StorageError, RecipeError), match=message):
        runs.load_run(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("classes"),
        lambda header: header["input"].update(shape=[3, 8, 8]),
        lambda header: header["input"].update(shape=[2, 10**6, 10**6]),
        lambda header: header["input"].update(shape=[2**31 - 1] * 3),
        lambda header: header["input"].update(steps=10**400),
        lambda header: header["input"].update(steps=2**24),
        lambda header: header.update(input=3),
        lambda header: header.update(input=[]),
        lambda header: header.update(classes={"a": 1}),
        lambda header: header.update(classes=[1, 2]),
        lambda header: header.update(classes=3),
        lambda header: header.update(classes=["x"] * 10**6),
        lambda header: header.update(classes=["a", "b"]),
    ],
)
def test_edited_model(finished: Path, tmp_path: Path, change: Callable[[Any], object]) -> None:
    folder = copied(finished, tmp_path / "run")
    weights, header = runs.read(folder / run_folder.MODEL)
    change(header)
    runs.write(folder / run_folder.MODEL, weights, header)
    with pytest.raises(
        StorageError, match=r"model\.safetensors: does not match recipe\.toml, or was edited"
    ):
        runs.load_run(folder)


def test_a_model_of_an_older_layout(finished: Path, tmp_path: Path) -> None:
    folder = copied(finished, tmp_path / "run")
    weights, header = runs.read(folder / run_folder.MODEL)
    header["input"]["high"] = header["input"].pop("max_value")
    runs.write(folder / run_folder.MODEL, weights, header)
    with pytest.raises(
        StorageError,
        match=r"safetensors: the input lacks the key 'max_value' and has the unknown key 'high'; "
        ".* write the file again: lmht train RECIPE --out RUN",
    ):
        runs.load_run(folder)


@pytest.mark.parametrize("change", [torch.Tensor.double, lambda x: x[None], lambda x: x[..., :0]])
def test_weights_of_another_kind(finished: Path, tmp_path: Path, change: Any) -> None:
    folder = copied(finished, tmp_path / "run")
    weights, header = runs.read(folder / run_folder.MODEL)
    name = max(weights, key=lambda name: weights[name].ndim)
    runs.write(folder / run_folder.MODEL, weights | {name: change(weights[name])}, header)
    with pytest.raises(StorageError, match=rf"was edited \({name} is torch\.float"):
        runs.load_run(folder)


@pytest.mark.parametrize("header", ["[]", "3", "[" * 100_000, "9" * 5000, '{"input": '])
def test_headers_that_are_no_object(finished: Path, tmp_path: Path, header: str) -> None:
    from safetensors.torch import save_file

    folder = copied(finished, tmp_path / "run")
    weights, _ = runs.read(folder / run_folder.MODEL)
    save_file(weights, folder / run_folder.MODEL, {"lmht": header})
    with pytest.raises(StorageError, match=r"model\.safetensors: is damaged"):
        runs.load_run(folder)


def test_a_safetensors_file_of_others(finished: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = copied(finished, tmp_path / "run")
    save_file({"x": torch.zeros(1)}, folder / run_folder.MODEL)
    with pytest.raises(StorageError, match=r"was not written by a training run"):
        runs.load_run(folder)


def test_full_disk_keeps_the_last_good_state(finished: Path, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    folder = copied(finished, tmp_path / "run")
    before = (folder / run_folder.STATE).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # bytes of a file
        with pytest.raises(
            StorageError, match=r"state\.safetensors: cannot be written \(.*File too large"
        ):
            runs.write(folder / run_folder.STATE, runs.read(folder / run_folder.STATE)[0], {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / run_folder.STATE).read_bytes() == before and not list(folder.glob(".*"))


def test_metrics_are_plain_json(finished: Path) -> None:
    for line in (finished / run_folder.METRICS).read_text().splitlines():
        assert set(json.loads(line)) == {
            "epoch",
            "step",
            "loss",
            "accuracy",
            "test_loss",
            "test_accuracy",
            "learning_rate",
            "seconds",
            "windows_per_second",
            "density",
        }
