"""The comparison finds the first integer that differs from the reference model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import backends, reference
from lmht_deploy.analysis import energy
from lmht_deploy.analysis.agreement import difference
from lmht_deploy.analysis.compare import compare_artifacts
from lmht_deploy.analysis.counts import of_result
from lmht_deploy.analysis.scores import accuracy
from lmht_deploy.backends import torch as torch_backend
from lmht_deploy.data import balanced_sample
from lmht_deploy.errors import BackendError, DataError, LmhtError, StorageError
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.result import Result
from tests.support.networks import SPECIAL, windows_for


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Path]:
    path = tmp_path / "net.lmht"
    save_network(SPECIAL["residual"](), path)
    return {"torch": path, "reference": path}


def test_equal_backends(artifacts: dict[str, Path]) -> None:
    windows = windows_for(SPECIAL["residual"](), 40)
    expected = reference.run(SPECIAL["residual"](), windows)
    told: list[tuple[str, int, int]] = []
    comparison = compare_artifacts(
        artifacts,
        windows,
        expected.predictions,
        limits={"torch": 33},
        progress=lambda *what: told.append(what),
    )
    assert comparison.equal
    assert [(row.label, row.windows, row.accuracy) for row in comparison.rows] == [
        ("reference", 40, 1.0),
        ("torch", 33, 1.0),
    ]
    assert comparison.rows[0].sops == sum(c.sum() for c in expected.sops.values()) / 40
    assert comparison.rows[0].energy == pytest.approx(comparison.rows[0].sops * 0.9e-12)
    assert told == [
        ("reference", 0, 40),
        ("reference", 32, 40),
        ("reference", 40, 40),
        ("torch", 0, 33),
        ("torch", 32, 33),
        ("torch", 33, 33),
    ]


def test_a_slow_backend_runs_all_classes(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first windows of sorted data are of one class; windows keep their numbers."""
    windows = windows_for(SPECIAL["residual"](), 40)
    labels = np.repeat([0, 1, 2, 3], 10)
    limits = {"torch": 4}
    comparison = compare_artifacts(artifacts, windows, labels, limits=limits)
    chosen = balanced_sample(labels, 4, 40)
    right = reference.run(SPECIAL["residual"](), windows).predictions == labels
    assert labels[chosen].tolist() == [0, 1, 2, 3] and comparison.equal
    assert [row.accuracy for row in comparison.rows] == [right.mean(), right[chosen].mean()]
    fire = torch_backend._fire
    monkeypatch.setattr(torch_backend, "_fire", lambda layer, current: fire(layer, current) + 1)
    comparison = compare_artifacts(artifacts, windows, labels, limits=limits)
    assert f"differ: window {chosen[0]} has" in str(comparison.rows[1].difference)


def test_finds_a_backend_that_is_wrong(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = torch_backend._fire

    def wrong(layer, current):
        k = right(layer, current)
        if layer.name == "d":
            k[2, 0, 0] += 1
        return k

    monkeypatch.setattr(torch_backend, "_fire", wrong)
    comparison = compare_artifacts(artifacts, windows_for(SPECIAL["residual"](), 4))
    assert not comparison.equal
    assert "spikes of layer 'd' differ: window 2 has" in str(comparison.rows[1].difference)
    assert comparison.rows[1].accuracy is None


def test_every_kind_of_difference() -> None:
    net = SPECIAL["image"]()
    result = reference.run(net, windows_for(net))
    assert difference(result, result) is None
    sops = {name: counts + 1 for name, counts in result.sops.items()}
    assert "sops of layer 'a' differ: window 0 has 1, expected 0 (3 of 3 windows differ)" in str(
        difference(dataclasses.replace(result, sops=sops), result)
    )
    assert "logits differ" in str(
        difference(dataclasses.replace(result, logits=result.logits - 1), result)
    )
    assert "MACs differ" in str(difference(dataclasses.replace(result, macs={}), result))
    assert "are missing" in str(difference(dataclasses.replace(result, spikes={}), result))


def test_energy_models() -> None:
    net = SPECIAL["image"]()
    result = reference.run(net, windows_for(net))
    sops = sum(result.sops.values())
    np.testing.assert_allclose(
        energy.estimate(of_result(result), energy.energy_model("45nm")).joules,
        sops * 0.9e-12 + result.macs["a"] * 4.6e-12,
    )
    with pytest.raises(
        LmhtError, match="unknown energy model 'x'; the energy models are 45nm, 45nm-sops,"
    ):
        energy.energy_model("x")


def test_refuses_unknown_backends_and_artifacts(artifacts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        BackendError,
        match="unknown backend 'gpu'; the backends are reference, event, torch, onnx, openvino",
    ):
        backends.open_backend("gpu", artifacts["torch"])
    with pytest.raises(
        BackendError,
        match=r"backend 'torch' runs \.lmht, \.net, \.nir, or \.lmhtf files, not 'net.onnx'",
    ):
        backends.open_backend("torch", tmp_path / "net.onnx")
    with pytest.raises(StorageError, match="no such file"):
        backends.open_backend("torch", tmp_path / "none.lmht")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 3], "label 3 of window 1 is not a class of the network, which has the classes 0..2"),
        ([-1, 0], "label -1 of window 0"),
        ([0], "there are 1 labels for 2 windows"),
    ],
)
def test_labels_that_the_network_does_not_know(labels: list[int], message: str) -> None:
    result = Result(backend="x", logits=np.zeros((2, 3), np.int64), scale=1.0, spikes={}, sops={})
    with pytest.raises(DataError, match=message):
        accuracy(result, np.array(labels))
