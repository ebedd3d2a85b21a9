"""Golden files: every file of every published version is read, and gives the same integers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmht_deploy import backends, reference
from lmht_deploy.backends import lava
from lmht_deploy.formats.netx import load_netx_network, read_network
from lmht_deploy.formats.nir import read_nir
from lmht_deploy.formats.nir_network import load_nir_network
from lmht_deploy.importers import from_nir
from lmht_deploy.ir import Conv, Neurons
from lmht_deploy.result import Result
from tests.formats.golden.write import FILES, FOLDER, plain, resets, small

GOLDEN = sorted(path for path in FOLDER.iterdir() if path.suffix in (".net", ".nir", ".onnx"))
NETWORK_FILES = sorted({*FOLDER.glob("netx-*.net")} - {*FOLDER.glob("netx-exact-*")})


NETX_NETWORKS = {"1": small, "2": resets}
"""By version of the format."""


def expected(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return content


def assert_golden(found: Result, path: Path, *kinds: str) -> None:
    content = expected(path)
    assert found.logits.tolist() == content["logits"] and found.scale == content["scale"]
    for kind in kinds:
        counts = {name: values.tolist() for name, values in getattr(found, kind).items()}
        assert counts == content[kind]


def test_every_format_of_this_version_has_its_file() -> None:
    assert {f"{name}{suffix}" for name, (_, suffix, _) in FILES.items()} <= {
        path.name for path in GOLDEN
    }


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.onnx")), ids=lambda path: path.stem)
def test_onnx(path: Path) -> None:
    if reason := backends.unavailable("onnx"):
        pytest.skip(reason)
    found = backends.open_backend("onnx", path).run(np.array(expected(path)["windows"]), trace=True)
    assert_golden(found, path, "spikes", "sops")
    assert found.traces is not None
    assert {name: int(k.sum()) for name, k in found.traces.items()} == {
        name: sum(counts) for name, counts in expected(path)["spikes"].items()
    }


@pytest.mark.parametrize(
    "path", sorted(FOLDER.glob("netx-exact-*.net")), ids=lambda path: path.stem
)
def test_stock_exact(path: Path) -> None:
    found = backends.open_backend("netx", path).run(np.array(expected(path)["windows"]))
    assert_golden(found, path, "spikes")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.nir")), ids=lambda path: path.stem)
def test_nir(path: Path) -> None:
    """Every integer is read back, and any backend gives the recorded ones."""
    kind = path.stem.rpartition("-")[0]
    assert load_nir_network(path) == {"nir-exact": small, "nir-plain": plain}[kind]()
    found = backends.open_backend("event", path).run(np.array(expected(path)["windows"]))
    assert_golden(found, path, "spikes", "sops")


def test_a_plain_nir_file_is_exact_without_its_metadata() -> None:
    """As the import of another tool's file sees it: IF neurons that subtract their threshold."""
    for path in FOLDER.glob("nir-plain-*.nir"):
        graph = dataclasses.replace(read_nir(path), metadata={})
        net = from_nir(graph, steps=4, dt=1.0, reset="subtract", max_value=3)
        found = reference.run(net, np.array(expected(path)["windows"]))
        assert found.logits.tolist() == expected(path)["logits"]
        spikes = {name: counts.tolist() for name, counts in found.spikes.items()}
        assert spikes == expected(path)["spikes"]


@pytest.mark.parametrize("path", NETWORK_FILES, ids=lambda path: path.stem)
def test_netx_in_lava(path: Path) -> None:
    if reason := lava.unavailable():
        pytest.skip(reason)
    found = lava.open_artifact(path).run(np.array(expected(path)["windows"]))
    assert_golden(found, path, "spikes", "sops")


@pytest.mark.parametrize("path", NETWORK_FILES, ids=lambda path: path.stem)
def test_netx_holds_the_network(path: Path) -> None:
    """Without Lava: the LM-HT neurons and the first weights are those of the network."""
    net, network = NETX_NETWORKS[path.stem[-1]](), read_network(path)
    assert network.graded == ("graded" in path.stem)
    assert (network.steps, network.substeps) == (3, 1 if network.graded else 3)
    assert network.window_shape == net.window_shape
    assert network.readout.bias.tolist() == net.readout.bias.tolist()
    records = {layer.name: layer for layer in network.layers if layer.neurons}
    assert list(records) == [layer.name for layer in net.neurons]
    for layer in net.neurons:
        neurons = records[layer.name].neurons
        assert neurons is not None
        assert (neurons.levels, neurons.substeps, neurons.leak) == (layer.levels, 1, layer.leak)
        for mine, theirs in (
            (neurons.omega, layer.omega),
            (neurons.theta, layer.threshold),
            (neurons.bias, layer.bias),
            (neurons.v0, layer.v0),
        ):
            assert mine.tolist() == theirs.tolist()
        assert (neurons.reset or "subtract") == layer.reset
        assert (neurons.floor is None) == (layer.floor is None)
        assert neurons.floor is None or neurons.floor.tolist() == layer.floor.tolist()  # type: ignore[union-attr]
    assert load_netx_network(path) == net
    first = net["a"]
    assert isinstance(first, Neurons) and isinstance(first.synapses[0], Conv)
    assert records["a"].synapses[0].weight.tolist() == first.synapses[0].weight.tolist()
