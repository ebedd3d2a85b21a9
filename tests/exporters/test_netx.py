"""The `.net` file: content, refusals and warnings, and that stock lava-dl loads it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from lmht_deploy import reference
from lmht_deploy.backends import lava
from lmht_deploy.backends.lava import environment
from lmht_deploy.errors import ExportError, NetworkError, StorageError
from lmht_deploy.exporters import netx
from lmht_deploy.formats.netx import load_netx_network
from lmht_deploy.formats.netx.fold import fold
from lmht_deploy.ir import (
    LEAK_ONE,
    Conv,
    Flatten,
    Input,
    Linear,
    Network,
    Neurons,
    Readout,
    SumPool,
)
from tests.support.networks import SPECIAL, Builder, residual

needs_lava = pytest.mark.skipif(lava.unavailable() is not None, reason=str(lava.unavailable()))


def neurons(name: str, *synapses: object, **fields: object) -> Neurons:
    """Neurons with θ = 8, Ω = I over 2 steps, no leak, bias and v0 zero, unless in `fields`."""
    channels = len(synapses[0].weight)  # type: ignore[attr-defined]
    zeros = np.zeros(channels, int)
    default = {
        "bias": zeros,
        "threshold": zeros + 8,
        "omega": np.eye(2, dtype=int),
        "leak": LEAK_ONE,
        "v0": zeros,
        "levels": 2,
    }
    return Neurons(name=name, synapses=synapses, **default | fields)  # type: ignore[arg-type]


def small(**fields: object) -> Network:
    """2x2 pixels in one channel -> 1x1 convolution of two channels -> three logits."""
    first = neurons(
        "first",
        Conv(source="input", weight=np.array([3, -2]).reshape(2, 1, 1, 1), exponent=2),
        **fields,
    )
    readout = Readout(
        name="logits",
        synapses=(Linear(source="flat", weight=np.arange(24).reshape(3, 8)),),
        bias=np.array([1, -2, 3]),
        scale=0.5,
    )
    layers = (
        Input(name="input", shape=(1, 2, 2), steps=2, max_value=3),
        first,
        Flatten(name="flat", source="first"),
        readout,
    )
    return Network(layers, {"accuracy": "0.97"})


def tree(path: Path) -> dict[str, object]:
    """Every data set of a file, by name, as plain Python."""
    found: dict[str, object] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.__setitem__(name, item[()].tolist() if item.shape else item[()])
                if isinstance(item, h5py.Dataset)
                else None
            )
        )
    return found


# ------------------------------------------------------------------------------------------ content


def test_content(tmp_path: Path) -> None:
    net = small(
        bias=np.array([9, -4]),
        threshold=np.array([8, 12]),
        omega=np.array([[1, 2], [0, 1]]),
        v0=np.array([5, 6]),
        leak=3000,
    )
    netx.export_netx(net, tmp_path / "net.net")
    content = tree(tmp_path / "net.net")
    content = {key: value for key, value in content.items() if not key.startswith("lmht_network")}
    assert content == {
        "simulation/Ts": 1,
        "simulation/tSample": 4,  # two time-steps of two sub-steps
        "layer/0/type": [b"input"],
        "layer/0/shape": [1, 2, 2],
        "layer/1/type": [b"conv"],
        "layer/1/shape": [2, 2, 2],
        "layer/1/weight": [[[[12]]], [[[-8]]]],  # 3 and -2 with exponent 2
        "layer/1/lmht_fanOut": [[[2, 2], [2, 2]]],
        "layer/1/inChannels": 1,
        "layer/1/outChannels": 2,
        "layer/1/kernelSize": [1, 1],
        "layer/1/stride": [1, 1],
        "layer/1/padding": [0, 0],
        "layer/1/dilation": [1, 1],
        "layer/1/groups": 1,
        "layer/1/bias": [4, -2],  # for each of 4 sub-steps: half of the bias of a time-step
        "layer/1/neuron/type": b"CUBA",
        "layer/1/neuron/iDecay": 4096,
        "layer/1/neuron/vDecay": 0,
        # the median threshold 10 over the gain 2 of the T-GIM, with > instead of >=
        "layer/1/neuron/vThMant": 4,
        "layer/1/neuron/refDelay": 1,
        "layer/1/neuron/gradedSpike": False,
        "layer/1/neuron/lmht/levels": 2,
        "layer/1/neuron/lmht/substeps": 1,
        "layer/1/neuron/lmht/steps": 2,
        "layer/1/neuron/lmht/leak": 3000,
        "layer/1/neuron/lmht/leakBits": 12,
        "layer/1/neuron/lmht/omega": [[1, 2], [0, 1]],
        "layer/1/neuron/lmht/theta": [8, 12],
        "layer/1/neuron/lmht/bias": [9, -4],
        "layer/1/neuron/lmht/vInit": [5, 6],
        "layer/2/type": [b"flatten"],
        "layer/2/shape": [1, 1, 8],
        "layer/3/type": [b"dense"],
        "layer/3/shape": [3],
        "layer/3/weight": np.arange(24).reshape(3, 8).tolist(),
        "layer/3/lmht_fanOut": [[[3, 3], [3, 3]]] * 2,
        "layer/3/outFeatures": 3,
        "layer/3/inFeatures": 8,
        "layer/3/bias": [2, -4, 6],  # once, for both time-steps
        "layer/3/lmht_readout/steps": 2,
        "layer/3/lmht_readout/bias": [1, -2, 3],
    }
    with h5py.File(tmp_path / "net.net") as file:
        assert {
            name: file["layer/0"].attrs[f"lmht_{name}"]
            for name in ("name", "steps", "min_value", "max_value", "kind")
        } == {
            "name": "input",
            "steps": 2,
            "min_value": 0,
            "max_value": 3,
            "kind": "events",
        }
        assert json.loads(file.attrs["metadata"]) == {"accuracy": "0.97"}
        assert file["layer/3/lmht_readout"].attrs["scale"] == 0.5
        assert file["layer/3"].attrs["lmht_from"] == 1


def test_residual_sums(tmp_path: Path) -> None:
    netx.export_netx(residual(), tmp_path / "net.net")
    with h5py.File(tmp_path / "net.net") as file:
        names = [file[f"layer/{i}"].attrs.get("lmht_name") for i in range(len(file["layer"]))]
        assert names == ["input", "a", "c", "d", "e", "f", None, "logits"]
        skip = file["layer/3/lmht_skip/0"]  # identity from a to d: one weight a channel
        assert (skip.attrs["lmht_from"], skip["weight"].shape, skip["groups"][()]) == (
            1,
            (6, 1, 1, 1),
            6,
        )
        sources = [file[f"layer/5/lmht_skip/{i}"].attrs["lmht_from"] for i in range(2)]
        assert sources == [3, 1]


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    netx.export_netx(residual(), tmp_path / "one.net")
    time.sleep(1.1)  # HDF5 keeps times in seconds, where it is let
    netx.export_netx(residual(), tmp_path / "two.net")
    assert (tmp_path / "one.net").read_bytes() == (tmp_path / "two.net").read_bytes()


# ------------------------------------------------------------------------------------------ folding


@given(data=st.data())
def test_folded_pooling_equals_pooling(data: st.DataObject) -> None:
    """Two sum poolings and the one synapse that they fold into give equal currents and SOPs."""
    b = Builder(
        data.draw(st.integers(0, 99)),
        shape=(2, data.draw(st.integers(4, 11)), data.draw(st.integers(4, 11))),
        steps=1,
        min_value=-5,
        max_value=5,
        kind="image",
    )
    last = "input"
    for number in range(data.draw(st.integers(1, 2))):
        kernel = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
        stride = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        try:
            last = b.add(
                SumPool(
                    name=f"pool-{number}",
                    source=last,
                    kernel=kernel,
                    stride=stride,
                    padding=padding,
                )
            )  # type: ignore[arg-type]
        except NetworkError:
            reject()
    geometry = {
        "kernel": data.draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "stride": data.draw(st.tuples(st.integers(1, 2), st.integers(1, 2))),
        "padding": data.draw(st.tuples(st.integers(0, 2), st.integers(0, 2))),
        "dilation": data.draw(st.integers(1, 2)),
        "groups": data.draw(st.sampled_from([1, 2])),
    }
    kind = data.draw(st.sampled_from(["conv", "linear", "scale"]))
    if kind == "conv":
        synapse = b.conv(last, 4, **geometry)
    elif kind == "scale":
        synapse = b.scale(last, 1)
    else:
        synapse = b.linear(b.add(Flatten(name="flat", source=last)), 3)
    try:
        b.neurons("a", synapse, steps=1)
        net = b.finish("a")
    except NetworkError:
        reject()
    try:
        folded = fold(net, "a", synapse)
    except ExportError:
        assert any(geometry["padding"]) or any(
            any(layer.padding) for layer in net.layers if isinstance(layer, SumPool)
        )
        return
    k = b.rng.integers(-5, 6, (1, 1, *net.input.shape)).astype(float)
    outputs = {"input": k}
    for layer in net.layers[1:-1]:
        outputs[layer.name] = reference.apply_layer(net, layer, outputs, k)
    pooled = outputs[synapse.source]
    expected = reference.apply_synapse(synapse, pooled) * 2**synapse.exponent
    if folded.weight.ndim == 2:
        found = k.reshape(1, 1, -1) @ folded.weight.T
    else:
        seen = np.zeros_like(k)
        seen[..., : folded.extent[0], : folded.extent[1]] = k[
            ..., : folded.extent[0], : folded.extent[1]
        ]
        weight = folded.weight.astype(float)
        conv = Conv(
            source="input",
            weight=weight,
            stride=folded.stride,
            padding=folded.padding,
            dilation=folded.dilation,
            groups=folded.groups,
        )
        found = reference.convolve(seen, weight, conv)
    np.testing.assert_array_equal(found, expected)
    assert (k * folded.fan_out).sum() == (
        pooled * synapse.fan_out(net.shapes[synapse.source])
    ).sum()


# ---------------------------------------------------------------------------- refusals and warnings


def refusal(net: Network, folder: Path) -> str:
    with pytest.raises(ExportError) as error:
        netx.export_netx(net, folder / "net.net")
    assert list(folder.iterdir()) == []
    return str(error.value)


def test_what_the_suite_leaves_out(tmp_path: Path) -> None:
    """NetX cannot carry these special cases of the conformance suite, for this reason."""
    refused = set()
    for name, make in SPECIAL.items():
        net = make()
        try:
            netx.export_netx(net, tmp_path / "net.net")
        except ExportError as error:
            if not all(layer.plain_reset for layer in net.neurons):  # see test_resets
                continue
            assert "layer 'd' convolves, with padding, the overlapping sum pooling" in str(error)
            refused.add(name)
    assert refused == {"pooled", "single-threshold-uniform"}


def test_float_network(tmp_path: Path) -> None:
    net = Network(
        (
            Input(name="input", shape=(2,), steps=1),
            Readout(
                name="logits",
                synapses=(Linear(source="input", weight=np.ones((3, 2)) / 2),),
                bias=np.zeros(3),
            ),
        )
    )
    assert "quantize it first" in refusal(net, tmp_path)


def test_overlapping_pooling_under_padding(tmp_path: Path) -> None:
    b = Builder(0)
    a = b.neurons("a", b.conv("input", 3))
    c = b.neurons("c", b.conv(b.sum_pool(a, 3, 1, 1), 3))
    assert "layer 'c' convolves, with padding, the overlapping sum pooling 'a-sum'" in refusal(
        b.finish(c), tmp_path
    )


def test_max_pooling_over_sum_pooling_of_levels(tmp_path: Path) -> None:
    """Σ_l max(s_l) differs from max(Σ_l s_l) for sums s of single spikes; counts are exact."""
    b = Builder(1, shape=(2, 8, 8))
    a = b.neurons("a", b.conv("input", 3), levels=3)
    net = b.finish(b.max_pool(b.sum_pool(a)))
    assert "max pooling over sum pooling of 'a', which has 3 levels" in refusal(net, tmp_path)
    netx.export_netx(net, tmp_path / "net.net", graded=True)
    assert load_netx_network(tmp_path / "net.net") == net


def test_levels_and_substeps(tmp_path: Path) -> None:
    assert "layer 'first' has 3 levels and 2 sub-steps" in refusal(
        small(levels=3, substeps=2), tmp_path
    )


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        netx.export_netx(small(), tmp_path / "none" / "net.net")


def test_no_warning_where_stock_has_nothing_to_miss(tmp_path: Path) -> None:
    assert netx.export_netx(small(), tmp_path / "net.net") == ()


def wide_bias() -> Network:
    return small(bias=np.array([2**20, 0]))


def disconnected() -> Network:
    """The layers a and c both read the input; d reads a."""
    b = Builder(0)
    a, c = b.neurons("a", b.conv("input", 3)), b.neurons("c", b.conv("input", 3))
    d = b.neurons("d", b.conv(a, 3))
    e = b.neurons("e", b.conv(d, 3), b.conv(c, 3))
    return b.finish(e)


def zero_readout() -> Network:
    net = small()
    return Network(
        (
            *net.layers[:-1],
            dataclasses.replace(
                net.readout, synapses=(Linear(source="flat", weight=np.zeros((3, 8), int)),)
            ),
        )
    )


def odd_pooling() -> Network:
    b = Builder(0, shape=(1, 5, 5))
    return b.finish(b.neurons("a", b.conv(b.sum_pool("input"), 2), threshold=(5, 6)))


def test_graded_spikes_warn_of_stock(tmp_path: Path) -> None:
    assert netx.export_netx(small(), tmp_path / "net.net", graded=True) == (
        "layer 'first' in stock lava-dl: "
        "it fires at most once where its graded spikes count up to 2",
    )


def many_groups() -> Network:
    b = Builder(0, shape=(1, 2, 2))
    a = b.neurons("a", b.conv("input", 128))
    return b.finish(b.neurons("c", b.conv(a, 128, groups=128)))


WARNINGS = {
    "skip": (residual, "layer 'd' in stock lava-dl: 1 of its 2 synapses are dropped"),
    "order": (disconnected, "layer 'c' in stock lava-dl: it is fed by 'a', not by 'input'"),
    "bias": (
        wide_bias,
        "layer 'first' in stock lava-dl: its bias of up to 524288 per step does not fit 16 bits",
    ),
    "groups": (many_groups, "layer 'c' in stock lava-dl: it does not run: it has a kernel size"),
    "zero": (zero_readout, "layer 'logits' in stock lava-dl: the file does not load"),
    "pooling": (
        odd_pooling,
        "layer 'a' in stock lava-dl: it also reads rows or columns beyond (4, 4)",
    ),
    "weights": (
        lambda: _exponent_in_readout(3),
        "layer 'logits' in stock lava-dl: its dense weights 0..368 are clipped",
    ),
    "thresholds": (
        lambda: small(threshold=np.array([8, 80])),
        "layer 'first' in stock lava-dl: its thresholds 8..80 are replaced by their median",
    ),
    "leak": (lambda: small(leak=3000), "layer 'first' in stock lava-dl: its leak of 3000/4096"),
    "floor": (
        lambda: small(floor=np.array([-9, 0])),
        "layer 'first' in stock lava-dl: the lower bound of its potentials is left out",
    ),
    "T-GIM": (
        lambda: small(omega=-np.eye(2, dtype=int)),
        "layer 'first' in stock lava-dl: its T-GIM sums to -1",
    ),
    "threshold": (
        lambda: small(threshold=np.array([2**20, 2**20])),
        "layer 'first' in stock lava-dl: its threshold of 1048576 is beyond",
    ),
}


def _exponent_in_readout(exponent: int) -> Network:
    net = small()
    weight = np.arange(24).reshape(3, 8) * np.array([1, 1, 2])[:, None]
    return Network(
        (
            *net.layers[:-1],
            dataclasses.replace(
                net.readout, synapses=(Linear(source="flat", weight=weight, exponent=exponent),)
            ),
        )
    )


@pytest.mark.parametrize("name", WARNINGS)
def test_warnings(name: str, tmp_path: Path) -> None:
    make, expected = WARNINGS[name]
    warnings = netx.export_netx(make(), tmp_path / "net.net")
    assert any(warning.startswith(expected) for warning in warnings), warnings


# ------------------------------------------------------------------------------------ stock lava-dl

STOCK = """
import json, sys, warnings
sys.path.append(sys.argv[1])
from worker import shims
shims.newer_python(); shims.without_torch()
from lava.lib.dl.netx import hdf5
net = hdf5.Network(sys.argv[2], input_message_bits=16)
layers = [
    [type(layer).__name__, type(layer.neuron).__name__, [int(n) for n in layer.shape]]
    for layer in net.layers
]
json.dump(layers, open(sys.argv[3], "w"))
"""


def stock_layers(path: Path) -> list[list[object]]:
    """Block, neuron and shape (WHC) of each layer that stock lava-dl 0.6 makes of the file."""
    out = path.with_suffix(".json")
    worker = Path(lava.__file__).parent
    subprocess.run(
        [str(environment.python_of()), "-I", "-c", STOCK, str(worker), str(path), str(out)],
        check=True,
        timeout=120,
        stdout=subprocess.DEVNULL,
    )
    return json.loads(out.read_text())


@needs_lava
def test_stock_lava_dl_loads_the_file(tmp_path: Path) -> None:
    netx.export_netx(residual(), tmp_path / "net.net")
    assert stock_layers(tmp_path / "net.net") == [
        ["Conv", "LIF", [8, 8, 6]],
        ["Conv", "LIF", [8, 8, 6]],
        ["Conv", "LIF", [8, 8, 6]],
        ["Conv", "LIF", [4, 4, 8]],
        ["Conv", "LIF", [4, 4, 8]],
        ["Dense", "LIF", [5]],
    ]


@needs_lava
@pytest.mark.parametrize("name", ["averaged", "geometry", "dense", "image", "single-threshold"])
def test_stock_lava_dl_loads_chains_with(name: str, tmp_path: Path) -> None:
    net = SPECIAL[name]()
    netx.export_netx(net, tmp_path / "net.net")
    shapes = [
        list(net.shapes[layer.name])[::-1]
        for layer in net.layers
        if isinstance(layer, Neurons | Readout)
    ]
    assert [shape for _, _, shape in stock_layers(tmp_path / "net.net")] == shapes
