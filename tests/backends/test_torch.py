"""The torch backend: float32 where bounds prove it exact, and the same integers everywhere."""

from __future__ import annotations

import numpy as np
import pytest

from lmht_deploy import backends, reference
from lmht_deploy.ir import LEAK_ONE, Input, Linear, Network, Neurons, Readout
from tests.support.networks import SPECIAL, windows_for
from tests.support.results import assert_equal

torch = pytest.importorskip("torch")


def edge(threshold: int, weight: int, leak: int = LEAK_ONE) -> Network:
    """One input of 0..127 with an exponent of 8 -> one neuron -> logits."""
    first = Neurons(
        name="a",
        synapses=(Linear(source="input", weight=[[weight]], exponent=8),),
        bias=[-1],
        threshold=[threshold],
        omega=np.eye(3, dtype=int),
        leak=leak,
        v0=[0],
        levels=5,
    )
    end = Readout(name="logits", synapses=(Linear(source="a", weight=[[1]]),), bias=[0])
    return Network((Input(name="input", shape=(1,), steps=3, max_value=127), first, end))


def dtypes_of(net: Network, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The types in which neurons of `net` receive their currents."""
    from lmht_deploy.backends import torch as backend

    right, found = backend._fire, []

    def fire(layer: Neurons, current: object) -> object:
        found.append(current.dtype)  # type: ignore[attr-defined]
        return right(layer, current)  # type: ignore[arg-type]

    monkeypatch.setattr(backend, "_fire", fire)
    backends.open_network("torch", net).run(windows_for(net, 2))
    return found


@pytest.mark.parametrize("leak", [LEAK_ONE, 3001])
@pytest.mark.parametrize("weight", [1, 127])
@pytest.mark.parametrize("threshold", [1, 255, 256, 32_511, 32_512, 2**24 - 1, 2**24 + 1])
def test_potentials_beside_multiples_of_the_threshold(
    threshold: int, weight: int, leak: int
) -> None:
    net = edge(threshold, weight, leak)
    windows = np.random.default_rng(0).integers(0, 128, (64, 3, 1))
    found = backends.open_network("torch", net).run(windows, trace=True)
    assert_equal(found, reference.run(net, windows, trace=True))


@pytest.mark.parametrize("name", SPECIAL)
def test_special_networks(name: str) -> None:
    net = SPECIAL[name]()
    windows = windows_for(net, 3)
    found = backends.open_network("torch", net).run(windows, trace=True)
    assert_equal(found, reference.run(net, windows, trace=True))


def test_float32_is_used_below_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dtypes_of(edge(256, 127), monkeypatch) == [torch.float32]


def test_a_program_that_lets_pytorch_round_gets_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    assert dtypes_of(edge(256, 127), monkeypatch) == [torch.float64]


@pytest.mark.parametrize("name", SPECIAL)
def test_counts_without_traces(name: str) -> None:
    """Without traces PyTorch adds up the spikes before they are counted."""
    net = SPECIAL[name]()
    windows = windows_for(net, 3)
    found = backends.open_network("torch", net).run(windows)
    assert_equal(found, reference.run(net, windows), frozenset({"events"}))
