"""What a network needs beside what is known of chips."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lmht_deploy.errors import NetworkError
from lmht_deploy.limits import TARGETS, Finding, Limit, check
from lmht_deploy.network import Network

from .conformance.networks import SPECIAL, chain, residual
from .test_quantize import float_network


def found(net: Network, target: str, what: str, layer: str | None = None) -> Finding:
    return next(finding for finding in check(net, target) if finding.layer == layer and finding.what.startswith(what))


def test_size_of_a_network() -> None:
    net = chain()  # (2, 8, 8) -> 3x3 -> (6, 8, 8) -> 3x3, stride 2 -> (7, 4, 4) -> 5
    assert found(net, "loihi1", "neurons").found == 6 * 64 + 7 * 16 + 5
    taps = 3 * 8 - 2  # along one axis of 8 places, borders left out; with stride 2: 3 * 4 - 1
    assert found(net, "loihi2", "synapses").found == 2 * 6 * taps**2 + 6 * 7 * (3 * 4 - 1) ** 2 + 7 * 16 * 5
    assert found(net, "loihi1", "cores").found == 3
    assert found(SPECIAL["wide"](), "loihi1", "cores").found == 2 + 4 + 1  # 1750 and 3225 neurons of 1024 a core


def test_what_is_unknown_is_said_to_be() -> None:
    finding = found(chain(), "loihi2", "neurons of the largest layer")
    assert finding.kept is None
    assert str(finding) == "the network: neurons of the largest layer, to be spread over cores, 384, limit unknown, neurons (no public source found)"


def test_soft_reset() -> None:
    assert found(chain(), "loihi1", "layers of neurons").kept is False
    assert not [finding for finding in check(chain(), "loihi2") if "soft reset" in finding.what]


def test_shortcuts_wait_by_windows() -> None:
    net = residual()  # a -> c -> d (+ a) -> e -> f (+ d, + a), windows of 4 steps of 2 levels
    assert [found(net, "loihi2", "steps for which", name).found for name in "acdef"] == [0, 0, 8, 0, 24]


def layer(**fields: object) -> Network:
    net = chain()
    changed = dataclasses.replace(net.neurons[0], **{name: np.full(6, value) if isinstance(value, int) else value for name, value in fields.items()})
    return Network(tuple(changed if part.name == "a" else part for part in net.layers))


@pytest.mark.parametrize(("bias", "bits"), [(0, 1), (1, 2), (-1, 1), (4095, 13), (4096, 2 + 5), (-4096, 6), (4097, 14), (2**20, 15)])
def test_bits_of_a_bias(bias: int, bits: int) -> None:
    finding = found(layer(bias=bias), "loihi2", "bits of a bias", "a")
    assert finding.found == bits and finding.kept is (bits <= 13)


def test_bits_of_a_threshold_and_a_potential() -> None:
    net = layer(threshold=2**17)
    assert found(net, "loihi1", "bits of a threshold", "a").kept is False
    assert found(net, "loihi1", "bits of a potential", "a").found == net.bounds["a"].potential.bit_length() + 1
    assert found(layer(threshold=2**17 - 1), "loihi1", "bits of a threshold", "a").kept is True


def test_graded_spikes() -> None:
    assert found(chain(levels=3), "loihi1", "largest spike", "a").kept is False
    assert found(chain(levels=3), "loihi2", "largest spike", "a").kept is True
    assert found(chain(levels=1), "loihi1", "largest spike", "a").kept is True


def test_every_limit_names_its_source() -> None:
    for chip in TARGETS.values():
        limits = [value for value in vars(chip).values() if isinstance(value, Limit)]
        assert len(limits) == 10
        assert all((limit.value is None) == (limit.source == "no public source found") for limit in limits)


def test_refusals() -> None:
    with pytest.raises(NetworkError, match="unknown target 'loihi3'; there are loihi1, loihi2"):
        check(chain(), "loihi3")
    with pytest.raises(NetworkError, match="float"):
        check(float_network(), "loihi1")
