"""What a network needs beside what is known of chips."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import netx
from lmht_deploy.analysis.chips import TARGETS, Demand, Finding, Limit, check, demands, of_exported
from lmht_deploy.errors import NetworkError, StorageError
from lmht_deploy.exporters import netx as exporter
from lmht_deploy.ir import Input, Layer, Linear, Network, Readout
from tests.cli.test_cli import lmht, refused
from tests.support.networks import SPECIAL, Builder, chain, float_network, residual
from tests.support.netx_files import File, sigma_delta


def found(net: Network, target: str, what: str, layer: str | None = None) -> Finding:
    return next(
        finding
        for finding in check(net, target)
        if finding.layer == layer and finding.what.startswith(what)
    )


def test_size_of_a_network() -> None:
    net = chain()  # (2, 8, 8) -> 3x3 -> (6, 8, 8) -> 3x3, stride 2 -> (7, 4, 4) -> 5
    assert found(net, "loihi1", "neurons").found == 6 * 64 + 7 * 16 + 5
    taps = 3 * 8 - 2  # along one axis of 8 places, borders left out; with stride 2: 3 * 4 - 1
    assert (
        found(net, "loihi2", "synapses").found
        == 2 * 6 * taps**2 + 6 * 7 * (3 * 4 - 1) ** 2 + 7 * 16 * 5
    )


def test_estimate_of_cores() -> None:
    """By neurons, or, where that takes more, by weights at each place."""
    net = SPECIAL["wide"]()
    for target, neurons, bits in (("loihi1", 1024, 2**20), ("loihi2", 8192, 3 * 2**19)):
        expected = [
            max(-(-d.neurons // neurons), -(-d.synapses * d.weight_bits // bits))
            for d in demands(net)
        ]
        assert [found(net, target, "cores", d.layer).found for d in demands(net)] == expected
        assert found(net, target, "cores").found == sum(expected) > len(expected)
    assert found(chain(), "loihi1", "cores").found == 3


def test_fans() -> None:
    net = residual()
    assert (
        found(net, "loihi1", "sources of one neuron", "d").found == 6 * 9 + 1
    )  # a 3x3 convolution and an identity
    assert (
        found(net, "loihi1", "synapses that one spike", "e").found == 8 * 4
    )  # 3x3 taps, every other place
    assert found(Network(wide_dense()), "loihi1", "sources of one neuron", "logits").kept is False


def wide_dense() -> tuple[Layer, ...]:
    weight = np.ones((2, 5000), int)
    return (
        Input(name="input", shape=(5000,), steps=1),
        Readout(
            name="logits", synapses=(Linear(source="input", weight=weight),), bias=np.zeros(2, int)
        ),
    )


def test_what_is_unknown_is_said_to_be() -> None:
    finding = found(chain(), "loihi2", "sources of one neuron", "a")
    assert finding.kept is None
    assert (
        str(finding) == "layer 'a': sources of one neuron, each an input axon, 18, limit unknown, "
        "input axons per core (no public source found)"
    )


def test_soft_reset() -> None:
    assert found(chain(), "loihi1", "layers of neurons").kept is False
    assert not [finding for finding in check(chain(), "loihi2") if "soft reset" in finding.what]
    assert found(chain(reset="zero"), "loihi1", "layers of neurons").kept


def test_shortcuts_wait_by_windows() -> None:
    net = residual()  # a -> c -> d (+ a) -> e -> f (+ d, + a), windows of 4 steps of 2 levels
    assert [found(net, "loihi2", "steps for which", name).found for name in "acdef"] == [
        0,
        0,
        8,
        0,
        24,
    ]


def layer(**fields: object) -> Network:
    net = chain()
    changed = dataclasses.replace(
        net.neurons[0],
        **{
            name: np.full(6, value) if isinstance(value, int) else value
            for name, value in fields.items()
        },
    )
    return Network(tuple(changed if part.name == "a" else part for part in net.layers))


@pytest.mark.parametrize(
    ("bias", "bits"),
    [(0, 1), (1, 2), (-1, 1), (4095, 13), (4096, 2 + 5), (-4096, 6), (4097, 14), (2**20, 15)],
)
def test_bits_of_a_bias(bias: int, bits: int) -> None:
    finding = found(layer(bias=bias), "loihi2", "bits of a bias", "a")
    assert finding.found == bits and finding.kept is (bits <= 13)


def test_bits_of_a_threshold_and_a_potential() -> None:
    net = layer(threshold=2**17)
    assert found(net, "loihi1", "bits of a threshold", "a").kept is False
    assert (
        found(net, "loihi1", "bits of a potential", "a").found
        == net.bounds["a"].potential.bit_length() + 1
    )
    assert found(layer(threshold=2**17 - 1), "loihi1", "bits of a threshold", "a").kept is True


def test_graded_spikes() -> None:
    assert found(chain(levels=3), "loihi1", "largest spike", "a").kept is False
    assert found(chain(levels=3), "loihi2", "largest spike", "a").kept is True
    assert found(chain(levels=1), "loihi1", "largest spike", "a").kept is True


def test_every_limit_names_its_source() -> None:
    for chip in TARGETS.values():
        limits = [value for value in vars(chip).values() if isinstance(value, Limit)]
        assert len(limits) == 13
        assert all(
            (limit.value is None) == (limit.source == "no public source found") for limit in limits
        )


def test_refusals() -> None:
    with pytest.raises(NetworkError, match="unknown target 'loihi3'; did you mean 'loihi2'"):
        check(chain(), "loihi3")
    with pytest.raises(NetworkError, match="float"):
        check(float_network(), "loihi1")


# --------------------------------------------------------------------------------------- NetX files


def test_foreign_netx_file(tmp_path: Path) -> None:
    f = File(tmp_path / "net.net", 0, (2, 8, 6))
    f.conv(4, weights=300, bias=9, threshold=2**17)
    f.dense(10, -100, 100, delay=np.int64(7), bias=9)
    f.dense(3, -5, 5, weight_rec=np.full((3, 3), 9), bias=9)
    for layer, bias in (("1", 4096), ("3", -4096), ("4", 31)):
        f.file[f"layer/{layer}/bias"][0] = bias
    f.file.close()
    net = netx.load_netx(tmp_path / "net.net")
    assert [
        (d.layer, d.neurons, d.fan_in, d.delay, d.weight_bits, d.threshold_bits, d.bias_bits)
        for d in demands(net)
    ] == [
        ("layer 1", 4 * 8 * 5, 12, 0, 10, 18, 14),
        ("layer 3", 10, 160, 7, 8, 7, 13),
        ("layer 4", 3, 13, 0, 5, 7, 6),
    ]
    assert [d.synapses for d in demands(net)] == [(3 * 8 - 2) * (2 * 5) * 2 * 4, 1600, 30 + 9]
    verdicts = {(one.layer, one.what): one.kept for one in check(net, "loihi1")}
    assert (
        verdicts["layer 1", "bits of a weight"]
        is verdicts["layer 1", "bits of a threshold"]
        is verdicts["layer 1", "bits of a bias, its trailing zeros left out,"]
        is False
    )
    assert (
        verdicts["layer 3", "steps for which a spike waits"]
        is verdicts[None, "layers of neurons with a soft reset"]
        is True
    )


def test_sigma_delta_and_average_layers(tmp_path: Path) -> None:
    sigma_delta(tmp_path / "sdnn.net", 2)
    messages = demands(netx.load_netx(tmp_path / "sdnn.net"))
    assert {demand.spike for demand in messages} == {1, 2**15 - 1}  # one layer is CUBA
    f = File(tmp_path / "net.net", 1, (6,))
    f.dense(9, -50, 90)
    f.layer("average", (3, 1, 1))
    f.file.close()
    assert [d.neurons for d in demands(netx.load_netx(tmp_path / "net.net"))] == [9]


def test_max_pooling_in_an_exported_file(tmp_path: Path) -> None:
    """Synapses are counted behind the pooling: 4 outputs x 9 taps, less at the border."""
    b = Builder(0, shape=(1, 8, 8))
    a = b.neurons("a", b.conv("input", 2))
    c = b.neurons("c", b.conv(b.max_pool(a), 4))
    exporter.export_netx(b.finish(c), tmp_path / "net.net")
    (found,) = (d for d in of_exported(tmp_path / "net.net") if d.layer == "c")
    assert found.synapses == 2 * 4 * (3 * 4 - 2) ** 2 and found.fan_out == 36


def test_exported_netx_file(tmp_path: Path) -> None:
    """It needs what its network needs, except for potentials (no proof) and single spikes."""
    net = residual()
    exporter.export_netx(net, tmp_path / "net.net")
    exporter.export_netx(net, tmp_path / "graded.net", graded=True)
    expected = [dataclasses.replace(d, potential_bits=None) for d in demands(net)]
    assert [without_exponents(d) for d in of_exported(tmp_path / "graded.net")] == [
        without_exponents(dataclasses.replace(d, delay=d.delay // 2)) for d in expected
    ]
    single = [dataclasses.replace(d, spike=None if d.spike is None else 1) for d in expected]
    assert [without_exponents(d) for d in of_exported(tmp_path / "net.net")] == [
        without_exponents(d) for d in single
    ]
    File(tmp_path / "other.net", 0, (2,)).file.close()
    with pytest.raises(StorageError, match=r"is not a \.net file of lmht-deploy"):
        of_exported(tmp_path / "other.net")


def without_exponents(demand: Demand) -> Demand:
    """The file's weights have the exponents shifted in, and take more bits."""
    return dataclasses.replace(demand, weight_bits=0)


def test_inspect_shows_netx_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.net"
    exporter.export_netx(residual(), path)
    assert lmht("inspect", path, "--target", "loihi2", "--json", tmp_path / "it.json") == 0
    assert "published limits of Loihi 2" in capsys.readouterr().out
    content = json.loads((tmp_path / "it.json").read_text())
    assert [row["layer"] for row in content["layers"]] == ["a", "c", "d", "e", "f", "logits"]
    assert content["limits"][0]["found"] == sum(row["neurons"] for row in content["layers"])
    assert "unknown target 'loihi3'" in refused(capsys, "inspect", path, "--target", "loihi3")
    assert "--run needs a network" in refused(capsys, "inspect", path, "--run", path)
    path.write_bytes(b"no")
    assert "is not a NetX file" in refused(capsys, "inspect", path)
