"""The first difference with its place, and McNemar's test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.analysis import agreement
from lmht_deploy.analysis.agreement import McNemar, mcnemar
from lmht_deploy.analysis.compare import compare, compare_artifacts
from lmht_deploy.analysis.observation import digests, observe
from lmht_deploy.backends import open_network
from lmht_deploy.backends import torch as torch_backend
from lmht_deploy.errors import DataError
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.reparameterize import reparameterize
from tests.support.networks import SPECIAL, windows_for

NET = SPECIAL["residual"]()


@pytest.fixture
def artifacts(tmp_path: Path) -> dict[str, Path]:
    path = tmp_path / "net.lmht"
    save_network(NET, path)
    return {"reference": path, "torch": path}


def falsify(monkeypatch: pytest.MonkeyPatch, change) -> None:
    right = torch_backend._fire

    def wrong(layer, current):
        k = right(layer, current)
        if layer.name == "d":
            change(k)
        return k

    monkeypatch.setattr(torch_backend, "_fire", wrong)


def test_a_difference_names_step_and_neuron(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(k) -> None:
        k[2, 1, 4, 5, 6] += 1

    falsify(monkeypatch, change)
    windows = windows_for(NET, 4)
    found = compare_artifacts(artifacts, windows).rows[1].difference
    assert found is not None
    traces = reference.run(NET, windows, trace=True).traces
    assert traces is not None
    expected = int(traces["d"][2, 1, 4, 5, 6])
    assert (found.kind, found.layer, found.window, found.step) == ("spikes", "d", 2, 1)
    assert (found.neuron, found.found, found.expected) == ((4, 5, 6), expected + 1, expected)
    assert (found.differing, found.windows) == (1, 4)
    assert str(found) == (
        f"spikes of layer 'd' differ: window 2 has {expected + 1}, expected {expected} at step 1, "
        "neuron (4, 5, 6) (1 of 4 windows differ)"
    )


def test_spikes_that_are_swapped_are_found(
    artifacts: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spikes that move to the mirrored neuron change no sum of spikes and no SOP, but logits."""
    net = SPECIAL["dense"]()
    save_network(net, artifacts["torch"])
    right = torch_backend._fire

    def wrong(layer, current):
        k = right(layer, current)
        return k.flip(2) if layer.name == "c" else k

    monkeypatch.setattr(torch_backend, "_fire", wrong)
    net_windows = windows_for(net, 4)
    row = compare_artifacts(artifacts, net_windows).rows[1]
    assert row.difference is not None and row.difference.layer == "c"
    assert row.difference.kind == "spikes" and row.difference.step is not None
    assert row.energy is None


def test_equal_sums_do_not_hide_other_spikes() -> None:
    """The check of every spike alone, for a backend that would pass every sum."""
    net = SPECIAL["dense"]()
    windows = windows_for(net, 4)
    lead, other = open_network("reference", net), open_network("torch", net)
    expected = dict(observe(net, lead, windows).digests)
    every = np.arange(4)
    assert agreement.check_spikes(other, lead, windows, every, expected) is None
    traces = reference.run(net, windows, trace=True).traces
    assert traces is not None
    changed = traces["c"].copy()
    changed[3] = changed[3, :, ::-1]

    class Swapped:
        chunk = None

        def run(self, windows: np.ndarray, *, trace: bool = False):
            import dataclasses

            result = reference.run(net, windows, trace=True)
            return dataclasses.replace(result, traces={**traces, "c": changed})

    found = agreement.check_spikes(Swapped(), lead, windows, every, expected)  # type: ignore[arg-type]
    assert found is not None and (found.layer, found.window) == ("c", 3)
    assert (found.differing, found.windows) == (1, 4)


def test_backends_are_compared_spike_for_spike() -> None:
    windows = windows_for(NET, 5)
    found = compare(NET, windows, backends=["event", "torch", "onnx"])
    assert found.equal
    assert [(row.label, row.spike_windows) for row in found.rows] == [
        ("reference", 0),
        ("event", 5),
        ("torch", 5),
        ("onnx", 5),
    ]
    assert {row.energy for row in found.rows} == {found.rows[0].energy}


def test_the_single_threshold_form_is_compared_spike_for_spike(
    tmp_path: Path, artifacts: dict[str, Path]
) -> None:
    save_network(reparameterize(NET), tmp_path / "single.lmht")
    files = {"reference": artifacts["reference"], "event/single": tmp_path / "single.lmht"}
    (_, row) = compare_artifacts(files, windows_for(NET, 4)).rows
    assert row.difference is None and row.spike_windows == 4


def test_digests_do_not_depend_on_the_type() -> None:
    k = np.arange(24).reshape(2, 3, 4)
    a, b = (digests({"a": k.astype(kind)})["a"] for kind in (np.uint8, np.int64))
    assert a.tolist() == b.tolist() and a[0] != a[1]


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [
        (0, 0, 1),
        (1, 0, 1),
        (5, 0, 2 / 32),
        (8, 2, 2 * (1 + 10 + 45) / 1024),
        (3, 3, 1),
        (2000, 0, 0),
    ],
)
def test_mcnemar_is_the_exact_binomial(only_first: int, only_second: int, p_value: float) -> None:
    assert McNemar(7, only_first, only_second, 3).p_value == pytest.approx(p_value)


def test_mcnemar_equals_a_binomial_test() -> None:
    stats = pytest.importorskip("scipy.stats")
    for first, second in [(60, 40), (311, 250), (1, 19)]:
        expected = stats.binomtest(first, first + second).pvalue
        assert McNemar(0, first, second, 0).p_value == pytest.approx(expected)


def test_mcnemar_counts_windows() -> None:
    labels = np.array([0, 1, 2, 0])
    found = mcnemar(np.array([0, 1, 0, 1]), np.array([0, 0, 2, 1]), labels)
    assert found == McNemar(1, 1, 1, 1)
    with pytest.raises(DataError, match="4 answers cannot be compared with 3 answers"):
        mcnemar(labels, labels[:3], labels)
