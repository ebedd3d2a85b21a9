"""Golden files of every version of a format: each is read, and gives the same integers for ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from lmht_deploy import ir, reference
from lmht_deploy.formats import lmht
from lmht_deploy.formats.lmht import load_network
from lmht_deploy.formats.windows import load_windows
from tests.formats.make_golden import GOLDEN, NETWORKS, expected

FILES = sorted(GOLDEN.glob("*.lmht"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_gives_the_same_integers(path: Path) -> None:
    net = load_network(path)
    windows, labels, _ = load_windows(path.with_name(f"{path.name.split('.')[0]}.v1.npz"))
    assert labels is not None and labels.tolist() == [2, 0, 1]
    found, stored = (
        expected(reference.run(net, windows)),
        json.loads(path.with_suffix(".json").read_text()),
    )
    if not net.integer:
        np.testing.assert_allclose(found.pop("logits"), stored.pop("logits"), rtol=1e-12)
    assert found == stored


def test_every_version_has_its_files() -> None:
    versions = {name: lmht.version_of(make()) for name, make in NETWORKS.items()}
    assert {f"{name}.v{version}.lmht" for name, version in versions.items()} == {
        path.name for path in FILES
    }
    assert set(versions.values()) == set(range(1, lmht.SCHEMA.version + 1))


def test_every_kind_of_layer_and_synapse_is_there() -> None:
    nets = [load_network(path) for path in FILES]
    layers = [layer for net in nets for layer in net.layers]
    synapses = [s for layer in layers for s in getattr(layer, "synapses", ())]
    assert {type(layer) for layer in layers} == set(lmht.LAYERS)
    assert {type(synapse) for synapse in synapses} == set(lmht.SYNAPSE_TYPES)
    assert {net.input.kind for net in nets} == {"events", "image"}
    assert {n.injection for net in nets for n in net.neurons} == {"block-start", "uniform"}
    assert {n.reset for net in nets for n in net.neurons} == set(get_args(ir.Reset))
    assert any(n.floor is not None for net in nets for n in net.neurons)


def test_version_1_means_subtraction_and_no_floor() -> None:
    for path in GOLDEN.glob("*.v1.lmht"):
        assert all(layer.plain_reset for layer in load_network(path).neurons)


def test_fields_are_read_as_they_were_written() -> None:
    net = load_network(GOLDEN / "every-kind.v1.lmht")
    assert net.metadata == {"classes": '["ä", "b", "c"]', "recipe": "golden"}
    assert net.layers[0] == ir.Input(
        name="input", shape=(2, 9, 8), steps=3, min_value=0, max_value=2, kind="events"
    )
    a, c = net["a"], net["c"]
    assert isinstance(a, ir.Neurons) and isinstance(c, ir.Neurons)
    (conv,) = a.synapses
    assert isinstance(conv, ir.Conv) and conv.weight.dtype == np.int8
    assert (conv.source, conv.stride, conv.padding, conv.groups) == ("input", (2, 1), (1, 0), 2)
    assert (a.levels, a.leak, a.substeps) == (3, 3500, 1)
    assert [(type(s).__name__, s.exponent) for s in c.synapses] == [("Conv", 1), ("Scale", 0)]
    assert (a.bias.dtype, a.omega.dtype) == (np.int32, np.int32)
    assert (net.readout.scale, net.classes) == (0.01, 3)
