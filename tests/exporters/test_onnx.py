"""The `.onnx` file: exact where encodings switch and near 2^31, on two runtimes.

It is standard and deterministic, and damaged or foreign files are refused.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import lmht_deploy.exporters.onnx
from lmht_deploy import backends, reference
from lmht_deploy.errors import BackendError, DataError, ExportError, NetworkError, StorageError
from lmht_deploy.exporters.onnx import _graph
from lmht_deploy.exporters.onnx._streams import max_calls
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.onnx import read_network, sealed
from lmht_deploy.ir import (
    INT32_MAX,
    LEAK_ONE,
    Conv,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Readout,
    Scale,
    SumPool,
)
from lmht_deploy.reparameterize import reparameterize
from lmht_deploy.result import Result, add_steps
from tests.support.networks import SPECIAL, Builder, chain, windows_for
from tests.support.onnx_graphs import inlined
from tests.support.results import assert_equal

onnx = pytest.importorskip("onnx")
onnx_reference = pytest.importorskip("onnx.reference")
onnxruntime = pytest.importorskip("onnxruntime")

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorials" / "onnx.md"


def neurons(name: str, *synapses: object, **fields: object) -> Neurons:
    """Neurons with θ = 1, Ω = I over 2 steps, no leak, bias and v0 zero, unless in `fields`."""
    channels = len(synapses[0].weight)  # type: ignore[attr-defined]
    zeros, ones = np.zeros(channels, int), np.ones(channels, int)
    default = {
        "bias": zeros,
        "threshold": ones,
        "omega": np.eye(2, dtype=int),
        "leak": LEAK_ONE,
        "v0": zeros,
        "levels": 2,
    }
    return Neurons(name=name, synapses=synapses, **default | fields)  # type: ignore[arg-type]


def readout(source: str, width: int, weight: int = 1) -> Readout:
    return Readout(
        name="logits",
        synapses=(Linear(source=source, weight=np.full((3, width), weight)),),
        bias=np.array([-7, 0, 7]),
    )


def flat(levels: int, *, max_value: int = 4096, threshold: int = 1, **fields: object) -> Network:
    """8 inputs -> 8 neurons of `levels` -> dense layer of extreme weights -> logits."""
    rng = np.random.default_rng(levels)
    extreme = rng.choice([-128, 127], (6, 8))
    extreme[:2] = [[-128], [127]]
    first = neurons(
        "a",
        Scale(source="input", weight=np.ones(8, int)),
        levels=levels,
        threshold=np.full(8, threshold),
        **fields,
    )
    second = neurons(
        "c", Linear(source="a", weight=extreme), levels=3, threshold=rng.integers(1, 9000, 6)
    )
    return Network(
        (
            Input(name="input", shape=(8,), steps=2, max_value=max_value),
            first,
            second,
            readout("c", 6),
        )
    )


def product_type(path: Path, layer: str) -> str:
    """The type of the weights with which the synapses of `layer` multiply."""
    graph = inlined(path)
    constants = {tensor.name: tensor.data_type for tensor in graph.initializer}
    casts = {node.output[0]: node.attribute[0].i for node in graph.node if node.op_type == "Cast"}
    types = constants | casts
    product = next(
        node for node in graph.node if re.match(f"{layer}/[A-Z][a-z]*0/MatMul", node.name)
    )
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(types[product.input[1]])).name


def assert_exact(net: Network, windows: np.ndarray, folder: Path, *, threads: int = 1) -> Path:
    path = folder / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(net, path, trace=True)
    runner = backends.open_backend("onnx", path, threads=threads)
    assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))
    runner.close()
    return path


# ---------------------------------------------------------------------------------------- exactness


@pytest.mark.parametrize(
    ("levels", "dtype"),
    [
        (1, "int8"),
        (64, "int8"),  # N up to 128
        (65, "uint8"),
        (127, "uint8"),  # N up to 254
        (128, "int8"),  # k
        (129, "uint8"),
        (255, "uint8"),
        (256, "float32"),
        (16_383, "float32"),
        (16_512, "float64"),
    ],
)
def test_graded_spikes_around_the_limits_of_an_encoding(
    levels: int, dtype: str, tmp_path: Path
) -> None:
    net = flat(levels, max_value=2**15)
    windows = windows_for(net, 6, density=0.7)
    path = assert_exact(net, windows, tmp_path)
    assert reference.run(net, windows, trace=True).traces["a"].max() == levels  # type: ignore[index]
    assert product_type(path, "c") == dtype
    assert product_type(path, "logits") == "int8"


@pytest.mark.parametrize(("levels", "dtype"), [(64, "int8"), (65, "uint8"), (129, "uint8")])
def test_substeps_summed_around_the_limit(levels: int, dtype: str, tmp_path: Path) -> None:
    net = reparameterize(flat(levels))
    path = assert_exact(net, windows_for(net, 4, density=0.7), tmp_path)
    assert product_type(path, "c") == dtype


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 128, np.uint8),
        (0, 129, np.uint8),
        (0, 255, np.uint8),
        (3, 256, np.uint16),
        (-128, 127, np.int8),
        (-1, 255, np.int16),
        (-1, 32768, np.int32),
        (-32768, 32768, np.int32),
    ],
)
def test_windows_of_every_range(low: int, high: int, dtype: type, tmp_path: Path) -> None:
    b = Builder(
        0,
        shape=(3, 6, 5),
        steps=2,
        min_value=low,
        max_value=high,
        kind="image" if low < 0 else "events",
    )
    a = b.neurons(
        "a",
        b.conv("input", 4, exponent=1),
        b.conv(b.sum_pool("input", 3, 1, 1), 4),
        steps=2,
        threshold=(100 * high, 900 * high),
    )
    c = b.neurons(
        "c",
        b.conv(a, 4),
        b.conv(b.max_pool("input", 3, 1, 1), 4),
        steps=2,
        threshold=(100 * high, 900 * high),
    )
    net = b.finish(c)
    windows = np.random.default_rng(high).integers(low, high + 1, (4, *net.window_shape))
    windows[:2] = [[[[[low]]]], [[[[high]]]]]
    (entrance,) = onnx.load(assert_exact(net, windows, tmp_path)).graph.input
    assert onnx.helper.tensor_dtype_to_np_dtype(entrance.type.tensor_type.elem_type) == dtype


def test_currents_near_the_bound(tmp_path: Path) -> None:
    weight = np.array([[127, 0], [-128, 0], [127, 1], [0, -127]])
    source = Input(name="input", shape=(2,), steps=1, max_value=255)
    synapse = Linear(source="input", weight=weight, exponent=16)
    first = neurons(
        "a",
        synapse,
        threshold=np.array([2**31 - 1, 1, 2**30, 7]),
        bias=np.array([0, 0, 0, 2**24]),
        omega=[[1]],
        levels=300_000_000,
    )
    net = Network((source, first, readout("a", 4, weight=0)))
    assert net.bounds["a"].current > 0.99 * INT32_MAX
    assert_exact(
        net, np.array([[[0, 0]], [[255, 255]], [[255, 0]], [[0, 255]], [[129, 3]]]), tmp_path
    )


@pytest.mark.parametrize(
    "leak", [LEAK_ONE, 0, 1, LEAK_ONE - 1, LEAK_ONE + 1, 3 * LEAK_ONE, 4 * LEAK_ONE]
)
def test_neurons_of_random_magnitudes(leak: int, tmp_path: Path) -> None:
    """Thresholds, potentials, levels and T-GIMs of every magnitude that 32 bits allow."""
    rng = np.random.default_rng(leak)
    accepted = 0
    for _ in range(60):
        magnitude = 2.0 ** rng.uniform(0, 31, 5)
        fields = {
            "threshold": np.maximum(1, rng.random(8) * magnitude[0]).astype(int),
            "v0": (rng.uniform(-1, 1, 8) * magnitude[1]).astype(int),
            "bias": (rng.uniform(-1, 1, 8) * magnitude[2]).astype(int),
            "omega": (rng.uniform(-1, 1, (3, 2)) * min(magnitude[3], 2**16)).astype(int),
            "levels": int(magnitude[4]),
            "leak": leak,
        }
        synapse = Scale(
            source="input", weight=rng.integers(-128, 128, 8), exponent=int(rng.integers(0, 12))
        )
        try:
            net = Network(
                (
                    Input(name="input", shape=(8,), steps=2),
                    neurons("a", synapse, **fields),
                    readout("a", 8, weight=0),
                )
            )
        except NetworkError:
            continue
        accepted += 1
        assert_exact(net, windows_for(net, 5, density=0.8), tmp_path)
    assert accepted >= 5


def test_leaked_potential_near_the_bound(tmp_path: Path) -> None:
    v0, bias = np.array([-(2**29) + 1, -(2**29) + 2**20]), np.full(2, 3 * 2**29)
    first = neurons(
        "a", Scale(source="input", weight=[127, -128]), v0=v0, bias=bias, leak=4 * LEAK_ONE
    )
    net = Network((Input(name="input", shape=(2,), steps=2, max_value=9), first, readout("a", 2)))
    assert net.bounds["a"].potential > 0.99 * INT32_MAX
    assert_exact(net, np.array([[[0, 9], [9, 0]], [[9, 0], [0, 9]], [[0, 0], [9, 9]]]), tmp_path)


def test_counts_beyond_32_bits(tmp_path: Path) -> None:
    """The largest possible spikes, summed by a pooling, are counted exactly."""
    first = neurons(
        "a", Conv(source="input", weight=np.full((1, 1, 1, 1), 127), exponent=16), levels=2**31 - 1
    )
    pooled = (
        SumPool(name="sum", source="a", kernel=2, stride=1, padding=1),
        MaxPool(name="max", source="sum", kernel=2, stride=1),
    )
    end = (Flatten(name="flatten", source="max"), readout("flatten", 4, weight=0))
    net = Network((Input(name="input", shape=(1, 2, 2), steps=2), first, *pooled, *end))
    windows = np.full((2, 2, 1, 2, 2), 255)
    windows[1, 0] = 1
    assert reference.run(net, windows).sops["logits"].max() > 2**32
    assert_exact(net, windows, tmp_path)


def test_spikes_of_one_place_beyond_32_bits(tmp_path: Path) -> None:
    width = 2**31 // 255 + 2
    net = Network(
        (
            Input(name="input", shape=(width,), steps=1),
            Readout(
                name="logits",
                synapses=(Linear(source="input", weight=np.zeros((1, width), int)),),
                bias=[3],
            ),
        )
    )
    windows = np.full((1, 1, width), 255, np.uint8)
    assert reference.run(net, windows).sops["logits"][0] > 2**31
    assert_exact(net, windows, tmp_path)


def test_network_without_neurons(tmp_path: Path) -> None:
    net = Network((Input(name="input", shape=(4,), steps=3), readout("input", 4, weight=-128)))
    assert_exact(net, windows_for(net, 3), tmp_path)


def test_layer_names_that_look_like_the_graphs_own(tmp_path: Path) -> None:
    names = iter(["windows", "spikes", "ReduceSum", "k", "constant", "Identity"])
    b = Builder(0, shape=(4,))
    last = "input"
    for name in names:
        last = b.neurons(name, b.linear(last, 4))
    assert_exact(b.finish(last), windows_for(b.finish(last)), tmp_path)


# ----------------------------------------------------------------------------------------- runtimes


@pytest.mark.parametrize(
    "name", ["dense", "pooled", "geometry", "image", "leak-above-one", "single-threshold-uniform"]
)
def test_reference_evaluator_gives_the_same_integers(name: str, tmp_path: Path) -> None:
    net = SPECIAL[name]()
    lmht_deploy.exporters.onnx.export_onnx(net, tmp_path / "net.onnx", trace=True)
    evaluator = onnx_reference.ReferenceEvaluator(onnx.load(tmp_path / "net.onnx"))
    windows = windows_for(net, 2)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(evaluator.input_types[0].tensor_type.elem_type)
    found = dict(
        zip(
            evaluator.output_names,
            evaluator.run(None, {"windows": windows.astype(dtype)}),
            strict=True,
        )
    )
    expected = reference.run(net, windows, trace=True)
    assert expected.traces is not None
    np.testing.assert_array_equal(found.pop("logits"), expected.logits)
    kinds = {"k": expected.traces} | {
        kind: getattr(expected, kind) for kind in ("spikes", "sops", "events", "event_sops")
    }
    assert found.keys() == {f"{kind}/{layer}" for kind, counts in kinds.items() for layer in counts}
    for output, values in found.items():
        kind, layer = output.split("/")
        np.testing.assert_array_equal(values, kinds[kind][layer], err_msg=output)


@pytest.mark.parametrize("name", ["residual", "geometry", "image", "single-threshold-residual"])
def test_neither_optimisation_nor_threads_change_an_integer(name: str, tmp_path: Path) -> None:
    net = SPECIAL[name]()
    path = tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(net, path, trace=True)
    windows = windows_for(net, 5)
    logits = reference.run(net, windows).logits
    found = []
    for level, threads in itertools.product(
        ("DISABLE_ALL", "ENABLE_BASIC", "ENABLE_EXTENDED", "ENABLE_ALL"), (1, 2)
    ):
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(
            onnxruntime.GraphOptimizationLevel, f"ORT_{level}"
        )
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (entrance,) = session.get_inputs()
        names = [output.name for output in session.get_outputs()]
        windows = windows.astype(entrance.type[len("tensor(") : -1])
        found.append(dict(zip(names, session.run(names, {"windows": windows}), strict=True)))
        np.testing.assert_array_equal(found[-1]["logits"], logits)
        for output, values in found[-1].items():
            np.testing.assert_array_equal(
                values, found[0][output], err_msg=f"{output}, {level}, {threads} threads"
            )


@pytest.mark.parametrize("name", SPECIAL)
def test_portable_graphs_use_what_old_runtimes_implement(name: str, tmp_path: Path) -> None:
    net, path = SPECIAL[name](), tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(net, path, trace=True, portable=True)
    windows = windows_for(net, 3)
    found = backends.open_backend("onnx", path).run(windows, trace=True)
    assert_equal(found, reference.run(net, windows, trace=True))
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    for node in model.graph.node:
        if node.op_type in ("Add", "Sub", "Min", "Max", "Mul"):
            assert types[node.output[0]] != onnx.TensorProto.UINT8, node.name


def test_only_logits(tmp_path: Path) -> None:
    net, path = SPECIAL["residual"](), tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(net, path, logits_only=True)
    assert [output.name for output in onnx.load(path).graph.output] == ["logits"]
    windows = windows_for(net, 3)
    found = backends.open_backend("onnx", path).run(windows)
    np.testing.assert_array_equal(found.logits, reference.run(net, windows).logits)
    assert found.spikes == {} and found.sops == {}


def test_backend_with_two_threads(tmp_path: Path) -> None:
    net = SPECIAL["wide"]()
    path = assert_exact(net, windows_for(net, 4), tmp_path, threads=2)
    for threads in (1, 2):
        assert (
            backends.open_backend("onnx", path, threads=threads)
            ._session.get_session_options()
            .intra_op_num_threads
            == threads
        )  # type: ignore[attr-defined]


def test_plain_onnx_runtime_as_in_the_tutorial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tutorial's code for a machine without lmht-deploy gives the reference's integers."""
    net = SPECIAL["residual"]()
    windows = windows_for(net, 4)
    expected = reference.run(net, windows)
    lmht_deploy.exporters.onnx.export_onnx(net, tmp_path / "net.onnx")
    np.savez(tmp_path / "input.npz", windows=windows, labels=expected.predictions)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")  # which the tutorial sets, too
    blocks = re.findall(r"```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
    standalone = [block for block in blocks if "lmht" not in block.replace("net.lmht", "")]
    found: dict[str, object] = {}
    for block in standalone:
        exec(block, found)
    np.testing.assert_array_equal(found["logits"], expected.logits)
    for name, sops in zip(found["sops"], found["counts"], strict=True):  # type: ignore[call-overload]
        np.testing.assert_array_equal(sops, expected.sops[name.removeprefix("sops/")])
    assert "accuracy: 100.0%" in capsys.readouterr().out


# ----------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("name", SPECIAL)
def test_graph_is_standard(name: str, portable: bool, tmp_path: Path) -> None:
    net, path = SPECIAL[name](), tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(net, path, trace=True, portable=portable)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    domains = [("", 17), *([] if portable else [("lmht", 1)])]
    assert [(opset.domain, opset.version) for opset in model.opset_import] == domains
    assert model.ir_version == 8
    assert bool(model.functions) == (not portable)
    layers = {layer.name: type(layer).__name__ for layer in net.layers}
    nodes = inlined(path).node
    assert len({node.name for node in nodes}) == len(nodes)
    for node in nodes:
        layer, part, operator = node.name.split("/")
        assert node.domain == ""
        assert part in (layers[layer], "Counts") or re.fullmatch(r"(Conv|Linear|Scale)\d", part)
        assert re.fullmatch(rf"{node.op_type}(_\d+)?", operator)


def test_every_part_of_a_layer_is_a_function(tmp_path: Path) -> None:
    """One box for each synapse and layer; what they exchange has a shape."""
    b = Builder(3, shape=(2, 6, 6), steps=3)
    a = b.neurons("a", b.conv("input", 4), steps=2)
    c = b.neurons("c", b.conv(a, 4), b.scale(a, 1), steps=2)
    net, path = b.finish(b.max_pool(c)), tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(net, path, logits_only=True)
    model = onnx.load(path)
    expected = [
        "input/Input", "a/Conv0", "a/Neurons", "c/Conv0", "c/Scale1", "c/Neurons", "c-max/MaxPool",
        "flatten/Flatten", "logits/Linear0", "logits/Readout",
    ]  # fmt: skip
    calls = [(node.domain, node.op_type) for node in model.graph.node]
    assert sorted(calls) == sorted(("lmht", name) for name in expected)
    assert sorted((f.domain, f.name) for f in model.functions) == sorted(calls)
    convolution = next(node for node in model.graph.node if node.op_type == "a/Conv0")
    assert list(convolution.input)[1:] == ["a/taps:", "a/weight0:"]
    shapes = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    assert shapes == {output for node in model.graph.node for output in node.output}


@pytest.mark.parametrize("name", SPECIAL)
def test_functions_are_the_graph_without_them(name: str, tmp_path: Path) -> None:
    """ONNX's own inliner gives a graph with the same integers in ONNX Runtime."""
    inliner = pytest.importorskip("onnx.inliner")
    net, path = SPECIAL[name](), tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(net, path)
    model = inliner.inline_local_functions(onnx.load(path))
    assert not model.functions
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (entry,), windows = session.get_inputs(), windows_for(net, 3)
    windows = windows.astype(entry.type[len("tensor(") : -1])
    expected = backends.open_backend("onnx", path).run(windows)
    found = dict(
        zip(
            [output.name for output in session.get_outputs()],
            session.run(None, {"windows": windows}),
            strict=True,
        )
    )
    np.testing.assert_array_equal(found["logits"], expected.logits)
    for layer, sops in expected.sops.items():
        np.testing.assert_array_equal(found[f"sops/{layer}"], sops)


def test_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("residual", "pooled"):
        for path in ("first.onnx", "second.onnx"):
            lmht_deploy.exporters.onnx.export_onnx(
                dataclasses.replace(SPECIAL[name](), metadata={"b": "1", "a": "2"}), tmp_path / path
            )
        assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()
    lmht_deploy.exporters.onnx.export_onnx(
        dataclasses.replace(SPECIAL["pooled"](), metadata={"a": "2", "b": "1"}),
        tmp_path / "second.onnx",
    )
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


def test_metadata(tmp_path: Path) -> None:
    net = dataclasses.replace(SPECIAL["image"](), metadata={"recipe": "test"})
    lmht_deploy.exporters.onnx.export_onnx(net, tmp_path / "net.onnx")
    content = (tmp_path / "net.onnx").read_bytes()
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    assert len(json.loads(metadata.pop("network"))) == len(net.layers)
    save_network(net, tmp_path / "net.lmht")
    with h5py.File(tmp_path / "net.lmht") as file:
        assert metadata.pop("sha256") == file.attrs["checksum"]
    assert metadata == {
        "checksum": hashlib.sha256(content[:-78]).hexdigest(),
        "format": "lmht-deploy onnx",
        "version": "4",
        "magnitude": "1186739",
        "magnitude_layer": "a",
        "max_calls": "0",
        "data_sha256": "",
        "input": '{"kind": "image", "min_value": -128, "max_value": 127}',
        "scale": "0.01",
        # 22 taps along each axis of 8 (3·8, less 2 beyond the border), 3 -> 6 channels
        "macs": '{"a": 8712}',
        "metadata": '{"recipe": "test"}',
    }


def test_every_convolution_is_stored_once(tmp_path: Path) -> None:
    net = SPECIAL["wide"]()
    lmht_deploy.exporters.onnx.export_onnx(net, tmp_path / "net.onnx")
    weights = sum(
        synapse.weight.size for layer in net.layers for synapse in getattr(layer, "synapses", ())
    )
    assert weights < (tmp_path / "net.onnx").stat().st_size < weights + 60_000


@pytest.mark.parametrize("name", [*SPECIAL, "large counts"])
def test_a_file_is_read_back_as_its_network(name: str, tmp_path: Path) -> None:
    """The network that a file holds is the one written, and gives the same file again."""
    net = flat(100) if name == "large counts" else SPECIAL[name]()
    net = dataclasses.replace(net, metadata={"recipe": "test"})
    path, again = tmp_path / "net.onnx", tmp_path / "again.onnx"
    lmht_deploy.exporters.onnx.export_onnx(net, path)
    assert read_network(path) == net
    lmht_deploy.exporters.onnx.export_onnx(read_network(path), again)
    assert again.read_bytes() == path.read_bytes()


def test_a_network_that_was_edited_is_not_read_back(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(chain(), path)
    model = onnx.load(path)
    del model.metadata_props[-1]  # the checksum
    weight = _tensor(model)
    weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]
    path.write_bytes(sealed(model.SerializeToString()))
    with pytest.raises(StorageError) as error:
        read_network(path)
    one_line(error, str(path), "sha256")


def test_constants_are_named_by_layer_and_role(tmp_path: Path) -> None:
    net = SPECIAL["residual"]()
    lmht_deploy.exporters.onnx.export_onnx(net, tmp_path / "net.onnx")
    names = {tensor.name for tensor in onnx.load(tmp_path / "net.onnx").graph.initializer}
    layers = {layer.name for layer in net.layers}
    assert {name.split("/")[0] for name in names} <= layers
    for layer in net.layers:
        for index in range(len(getattr(layer, "synapses", ()))):
            assert f"{layer.name}/weight{index}:" in names
    roles = {re.sub(r"[\d_]*:$", "", name.split("/")[1]) for name in names}
    assert {"weight", "taps", "slope", "offset", "fan_out"} <= roles


# ----------------------------------------------------------------------------------------- streams


def repeated(net: Network, times: int) -> Network:
    """The network of windows that are `times` as long, without a reset between them."""

    def longer(layer: Layer) -> Layer:
        if isinstance(layer, Input):
            return dataclasses.replace(layer, steps=layer.steps * times)
        if isinstance(layer, Neurons):
            omega = np.kron(np.eye(times, dtype=int), layer.omega)
            return dataclasses.replace(layer, omega=omega)
        return layer

    return Network(tuple(map(longer, net.layers)))


def parts_of(net: Network, path: Path, windows: np.ndarray, size: int) -> Result:
    """Run a stream in parts of `size` steps, and add up what they give."""
    stream = backends.open_backend("onnx", path).stream(len(windows))  # type: ignore[attr-defined]
    parts = [
        stream.advance(windows[:, at : at + size], trace=True)
        for at in range(0, windows.shape[1], size)
    ]
    return functools.reduce(add_steps, parts)


STREAMED = [
    "if", "lm-ht", "uniform", "leak-below-one", "leak-above-one", "qcfs", "residual", "max-pooled",
    "averaged", "geometry", "image", "single-threshold", "single-threshold-uniform",
]  # fmt: skip


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("name", STREAMED)
def test_a_stream_of_windows(name: str, portable: bool, tmp_path: Path) -> None:
    """Three windows whose potentials are carried over are one window of three times the length."""
    net, path = SPECIAL[name](), tmp_path / "net.onnx"
    long = repeated(net, 3)
    windows = windows_for(long, 2)
    lmht_deploy.exporters.onnx.export_onnx(
        net, path, trace=True, stream="window", portable=portable
    )
    expected = reference.run(long, windows, trace=True)
    assert_equal(parts_of(net, path, windows, net.input.steps), expected)
    windows = windows[:, : net.input.steps]  # a window alone begins at v0
    found = backends.open_backend("onnx", path).run(windows, trace=True)
    assert_equal(found, reference.run(net, windows, trace=True))
    assert read_network(path) == dataclasses.replace(net)


@pytest.mark.parametrize("substeps", [False, True])
@pytest.mark.parametrize(
    "name", ["if", "m-ht", "leak-below-one", "leak-zero", "negative-v0", "geometry", "silent"]
)
def test_a_stream_of_steps(name: str, substeps: bool, tmp_path: Path) -> None:
    net, path = SPECIAL[name](), tmp_path / "net.onnx"
    net = reparameterize(net) if substeps else net
    lmht_deploy.exporters.onnx.export_onnx(net, path, trace=True, stream="step")
    windows = windows_for(net, 3)
    expected = reference.run(net, windows, trace=True)
    assert_equal(backends.open_backend("onnx", path).run(windows, trace=True), expected)
    assert_equal(parts_of(net, path, windows, 1), expected)
    assert read_network(path) == net
    long = repeated(net, 3)
    windows = windows_for(long, 1)
    expected = reference.run(long, windows, trace=True)
    assert_equal(parts_of(net, path, windows, 1), expected)


@pytest.mark.parametrize("reset", ["subtract-late", "zero", "floor"])
@pytest.mark.parametrize("leak", [1000, 3000, LEAK_ONE])
def test_streams_of_other_resets(reset: str, leak: int, tmp_path: Path) -> None:
    """What a reset subtracts at the next step follows from the potential that is carried over."""
    b = Builder(7, shape=(2, 6, 6), steps=3)
    a = b.neurons("a", b.conv("input", 4), steps=3, levels=3, leak=leak)
    net = b.finish(a)
    changed = {"floor": -net["a"].threshold} if reset == "floor" else {"reset": reset}
    layers = [dataclasses.replace(x, **changed) if x.name == "a" else x for x in net.layers]
    net = Network(tuple(layers))
    long, path = repeated(net, 3), tmp_path / "net.onnx"
    windows = windows_for(long, 2)
    expected = reference.run(long, windows, trace=True)
    for unit, size in (("window", 3), ("step", 1)):
        lmht_deploy.exporters.onnx.export_onnx(net, path, trace=True, stream=unit)
        assert_equal(parts_of(net, path, windows, size), expected)


def test_streams_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(ExportError, match=r"layer 'a': its T-GIM .* \(--stream window\)"):
        lmht_deploy.exporters.onnx.export_onnx(SPECIAL["lm-ht"](), path, stream="step")
    with pytest.raises(ExportError, match=r"layer 'a': its T-GIM .* \(--stream window\)"):
        lmht_deploy.exporters.onnx.export_onnx(chain(steps=2), path, stream="step")  # T_in = 4
    with pytest.raises(ExportError, match="'window' or 'step'"):
        lmht_deploy.export(SPECIAL["if"](), path, stream="frame")  # type: ignore[arg-type]
    with pytest.raises(ExportError, match=r"for \.onnx files"):
        lmht_deploy.export(SPECIAL["if"](), tmp_path / "net.net", stream="step")
    alone = Network((Input(name="input", shape=(4,), steps=3), readout("input", 4)))
    with pytest.raises(ExportError, match="without neurons"):
        lmht_deploy.exporters.onnx.export_onnx(alone, path, stream="step")
    lmht_deploy.exporters.onnx.export_onnx(SPECIAL["if"](), path)
    with pytest.raises(BackendError, match="keeps no potentials; write it with"):
        backends.open_backend("onnx", path).stream()  # type: ignore[attr-defined]


def test_a_stream_ends_where_32_bits_are_no_longer_proved(tmp_path: Path) -> None:
    """Currents of -2^29: the potential leaves 32 bits at the fifth; a sum is added beside it."""
    weight = np.full((1, 1), -128)
    synapse = Linear(source="input", weight=weight, exponent=14)
    first = neurons("a", synapse, omega=[[1]], levels=1)
    entry = Input(name="input", shape=(1,), steps=1, max_value=255)
    net, path = Network((entry, first, readout("a", 1))), tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(net, path, stream="window")
    stream = backends.open_backend("onnx", path).stream()  # type: ignore[attr-defined]
    part = np.full((1, 1, 1), 255)
    for _ in range(3):
        stream.advance(part)
    with pytest.raises(BackendError, match=r"proved for 3 calls of one stream; call reset\(\)"):
        stream.advance(part)
    stream.reset()
    stream.advance(part)


@pytest.mark.parametrize("leak", [0, 1000, LEAK_ONE - 1, LEAK_ONE, LEAK_ONE + 1, 2 * LEAK_ONE])
@pytest.mark.parametrize("v0", [0, -(2**20), 2**30])
def test_the_number_of_calls_is_proved(leak: int, v0: int) -> None:
    """No call within the number takes a potential, which falls as fast as it can, beyond int32."""
    fields = {"leak": leak, "v0": np.array([v0]), "threshold": np.array([2**31 - 1])}
    synapse = Scale(source="input", weight=[-128], exponent=12)
    try:
        first = neurons("a", synapse, **fields)
        net = Network((Input(name="input", shape=(1,), steps=2), first, readout("a", 1)))
    except NetworkError:
        return
    calls, v = max_calls(net), v0
    for _ in range(min(calls, 1000)):
        for _ in range(2):
            v = int(v * leak / LEAK_ONE) - net.bounds["a"].drive
            assert abs(v) <= INT32_MAX and abs(v - v0) <= INT32_MAX


def test_the_scale_of_the_logits_as_an_output(tmp_path: Path) -> None:
    net, path = SPECIAL["residual"](), tmp_path / "net.onnx"
    lmht_deploy.export(net, path, logits_scale=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    windows = windows_for(net, 2)
    scale, logits = session.run(["logits_scale", "logits"], {"windows": windows.astype(np.uint8)})
    expected = reference.run(net, windows)
    assert scale == expected.scale and scale.shape == () and scale.dtype == np.float64
    np.testing.assert_array_equal(logits, expected.logits)
    assert_equal(backends.open_backend("onnx", path).run(windows), expected, frozenset({"events"}))


# ----------------------------------------------------------------------------------- large networks


def test_weights_in_a_file_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 2 GB the weights lie beside the model; both are checked, and read back."""
    monkeypatch.setattr(_graph, "MAX_BYTES", 1000)
    net, path, beside = SPECIAL["wide"](), tmp_path / "net.onnx", tmp_path / "net.onnx.data"
    windows = windows_for(net, 2)
    for _ in range(2):  # the second replaces the first
        lmht_deploy.exporters.onnx.export_onnx(net, path, trace=True)
        assert sorted(tmp_path.iterdir()) == [path, beside]
        expected = reference.run(net, windows, trace=True)
        found = backends.open_backend("onnx", path).run(windows, trace=True)
        assert_equal(found, expected)
        assert read_network(path) == net
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"windows": windows.astype(np.uint8)})
    np.testing.assert_array_equal(logits, expected.logits)
    onnx.checker.check_model(str(path), full_check=True)
    if not backends.unavailable("openvino"):
        lmht_deploy.exporters.onnx.export_onnx(net, path, trace=True, portable=True)
        found = backends.open_backend("openvino", path).run(windows, trace=True)
        assert_equal(found, expected)
    content = beside.read_bytes()
    beside.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(StorageError, match="does not hold the weights of"):
        backends.open_backend("onnx", path)
    beside.unlink()
    with pytest.raises(StorageError, match=r"net\.onnx\.data"):
        backends.open_backend("onnx", path)


def test_a_foreign_file_in_the_place_of_the_weights_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, beside = tmp_path / "net.onnx", tmp_path / "net.onnx.data"
    lmht_deploy.exporters.onnx.export_onnx(SPECIAL["wide"](), path)
    beside.write_bytes(b"mine")
    monkeypatch.setattr(_graph, "MAX_BYTES", 1000)
    with pytest.raises(ExportError, match="is where the weights belong"):
        lmht_deploy.exporters.onnx.export_onnx(SPECIAL["wide"](), path)
    assert beside.read_bytes() == b"mine"


@pytest.mark.parametrize("location", ["../net.onnx.data", "/etc/passwd", "7", ""])
def test_weights_in_any_other_file_are_refused(
    location: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_graph, "MAX_BYTES", 1000)
    path = tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(SPECIAL["wide"](), path)
    model = onnx.load(path, load_external_data=False)
    del model.metadata_props[-1]  # the checksum
    outside = next(tensor for tensor in model.graph.initializer if tensor.external_data)
    next(entry for entry in outside.external_data if entry.key == "location").value = location
    path.write_bytes(sealed(model.SerializeToString()))
    with pytest.raises(StorageError, match="refers to the file"):
        backends.open_backend("onnx", path)


@pytest.mark.parametrize("kernel", [4, 5, (7, 3), (1, 17)])
@pytest.mark.parametrize("stride", [1, 3])
def test_large_poolings(kernel: int | tuple[int, int], stride: int, tmp_path: Path) -> None:
    b = Builder(5, shape=(2, 17, 18), steps=2)
    padding = (kernel // 2,) * 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel)
    a = b.neurons("a", b.conv("input", 3), steps=2, levels=3)
    pooled = b.sum_pool(a, kernel, stride, padding), b.max_pool(a, kernel, stride, padding)
    c = b.neurons("c", *(b.conv(source, 4, 1, 1, 0) for source in pooled), steps=2)
    net = b.finish(c)
    assert_exact(net, windows_for(net, 2), tmp_path)


@pytest.mark.parametrize("kind", ["depthwise", "dense", "sum", "max"])
def test_large_kernels_take_little_memory(kind: str, tmp_path: Path) -> None:
    """15x15 on 48x128x128, 4 steps: all rows at once would take 708 MB, or 2.8 GB as int32."""
    b = Builder(0, shape=(48, 128, 128), steps=4, max_value=1)
    pools = {"sum": b.sum_pool, "max": b.max_pool}
    if kind in pools:
        a = b.neurons("a", b.conv(pools[kind]("input", 15, 1, 7), 4, 1, 1, 0))
    else:
        groups = 48 if kind == "depthwise" else 1
        a = b.neurons("a", b.conv("input", 48, 15, 1, 7, groups=groups))
    path = tmp_path / "net.onnx"
    net = b.finish(b.sum_pool(a, 32, 32, 0))
    lmht_deploy.exporters.onnx.export_onnx(net, path, portable=True)  # all tensors have a shape
    sizes = {
        value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).itemsize
        * np.prod([size.dim_value or 1 for size in value.type.tensor_type.shape.dim])
        for value in onnx.load(path).graph.value_info
    }
    name, largest = max(sizes.items(), key=lambda item: item[1])
    assert largest < 2**28, name


@pytest.mark.parametrize("portable", [False, True])
@pytest.mark.parametrize("name", SPECIAL)
def test_every_tensor_has_its_shape(name: str, portable: bool, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(SPECIAL[name](), path, trace=True, portable=portable)
    graph = onnx.load(path).graph
    shapes = {value.name: value.type.tensor_type for value in (*graph.value_info, *graph.output)}
    for node in graph.node:
        for output in node.output:
            assert shapes[output].elem_type and shapes[output].HasField("shape"), output
            sizes = [size.dim_value or size.dim_param for size in shapes[output].shape.dim]
            assert all(sizes), (output, sizes)


# ----------------------------------------------------------------------------------------- refusals


def one_line(error: pytest.ExceptionInfo[Exception], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_float_network_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    layer = Neurons(
        name="a",
        synapses=(Linear(source="input", weight=[[0.5]]),),
        bias=[0.0],
        threshold=[1.0],
        omega=[[1.0]],
        leak=1.0,
        v0=[0.0],
        levels=1,
    )
    end = Readout(name="logits", synapses=(Linear(source="a", weight=[[1.0]]),), bias=[0.0])
    with pytest.raises(ExportError) as error:
        lmht_deploy.exporters.onnx.export_onnx(
            Network((Input(name="input", shape=(1,), steps=1), layer, end)), tmp_path / "net.onnx"
        )
    one_line(error, "floats", "quantize")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_fails_leaves_the_file_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(SPECIAL["dense"](), path)
    before = path.read_bytes()

    def full(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        lmht_deploy.exporters.onnx.export_onnx(SPECIAL["residual"](), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        lmht_deploy.exporters.onnx.export_onnx(
            SPECIAL["dense"](), tmp_path / "nowhere" / "net.onnx"
        )


def test_packages_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExportError, match="pip install"):
        lmht_deploy.exporters.onnx.export_onnx(SPECIAL["dense"](), tmp_path / "net.onnx")
    with pytest.raises(BackendError, match="pip install"):
        backends.open_backend("onnx", tmp_path / "net.onnx")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as error:
        backends.open_backend("onnx", tmp_path / "net.onnx")
    one_line(error, "net.onnx", "no such file")


def test_truncated_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(
        dataclasses.replace(chain(), metadata={"recipe": "test"}), path
    )
    content = path.read_bytes()
    for length in [0, 1, 2, 100, len(content) // 2, *range(len(content) - 300, len(content))]:
        path.write_bytes(content[:length])
        with pytest.raises(StorageError) as error:
            backends.open_backend("onnx", path)
        one_line(error, str(path))
    assert capfd.readouterr() == ("", "")


def test_strange_files(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(chain(), path)
    model = onnx.load(path)
    del model.metadata_props[-1]  # the checksum
    values = {entry.key: entry for entry in model.metadata_props}

    def refuse(*parts: str) -> None:
        content = model.SerializeToString()
        path.write_bytes(sealed(content))
        with pytest.raises(StorageError) as error:
            backends.open_backend("onnx", path)
        one_line(error, str(path), *parts)

    values["version"].value = "5"
    refuse("version 5", "versions 1 to 4")
    values["version"].value = "4"
    values["macs"].value = "{"
    refuse("damaged")
    values["macs"].value = "{}"
    values["input"].value = "{}"
    refuse("input lacks the keys", "min_value")
    values["format"].value = "somebody else's"
    refuse("not a .onnx file of lmht-deploy")
    del model.metadata_props[:]
    refuse("not a .onnx file of lmht-deploy")
    path.write_bytes(b"neither protocol buffer nor network" * 99)
    with pytest.raises(StorageError) as error:
        backends.open_backend("onnx", path)
    one_line(error, str(path))


def _tensor(model: onnx.ModelProto) -> onnx.TensorProto:
    return next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8)


def _node(model: onnx.ModelProto) -> onnx.NodeProto:
    """The first node within a function that is no constant."""
    nodes = (node for function in model.functions for node in function.node)
    return next(node for node in nodes if node.op_type != "Constant")


def _outside(tensor: onnx.TensorProto) -> None:
    """Store the values of `tensor` in another file."""
    onnx.external_data_helper.set_external_data(tensor, "side.bin")
    tensor.ClearField("raw_data")


def _loop(model: onnx.ModelProto) -> None:
    body = onnx.helper.make_graph([], "body", [], [])
    model.graph.node.append(onnx.helper.make_node("Loop", ["", ""], ["x"], body=body))


def _subgraph(model: onnx.ModelProto) -> None:
    graph = onnx.helper.make_graph([], "body", [], [])
    _node(model).attribute.append(onnx.helper.make_attribute("body", graph))


def _nested(model: onnx.ModelProto) -> None:
    """A function that calls a function."""
    model.functions[1].node.append(model.graph.node.pop(0))


def _called_twice(model: onnx.ModelProto) -> None:
    """Functions that are called often make a small file a large graph."""
    model.graph.node.append(model.graph.node[1])


def _foreign_function(model: onnx.ModelProto) -> None:
    model.functions[0].domain = model.graph.node[0].domain = "com.example"


def _without_logits(model: onnx.ModelProto) -> None:
    outputs = [output for output in model.graph.output if output.name != "logits"]
    del model.graph.output[:]
    model.graph.output.extend(outputs)


def _constant_outside(model: onnx.ModelProto) -> None:
    tensor = onnx.numpy_helper.from_array(np.zeros(4))
    node = onnx.helper.make_node("ConstantOfShape", [], ["x"], value=tensor)
    _outside(node.attribute[0].t)
    model.graph.node.append(node)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: _outside(_tensor(m)), "holds weights in another file"),
        (_constant_outside, "holds weights in another file"),
        (_loop, "the unknown operator 'Loop'"),
        (lambda m: m.graph.sparse_initializer.add(), "holds the unknown field 7.15"),
        (lambda m: m.functions.add(), "the unknown function '.'"),
        (lambda m: m.functions[0].attribute.append("x"), "holds the unknown field 25.6"),
        (_nested, "holds the unknown field 25.7.7"),
        (_called_twice, "does not call each of its functions once"),
        (_foreign_function, "the unknown function 'com.example.input/Input'"),
        (lambda m: m.training_info.add(), "holds the unknown field 20"),
        (lambda m: setattr(m.graph.node[0], "domain", "com.example"), "the unknown function"),
        (lambda m: setattr(m.graph.node[0], "op_type", "Erf"), "the unknown function 'lmht.Erf'"),
        (lambda m: setattr(_node(m), "op_type", "Erf"), "the unknown operator 'Erf'"),
        (
            lambda m: setattr(m.opset_import[0], "domain", "com.microsoft"),
            "the unknown domain 'com.microsoft'",
        ),
        (lambda m: setattr(_node(m), "op_type", "Add"), "ONNX Runtime"),
        (_subgraph, "holds the unknown field 25.7.5.6"),
        (_without_logits, "no output logits"),
    ],
)
def test_what_no_exported_file_holds(tmp_path: Path, edit, message: str) -> None:
    """Files that are edited and have the right checksum are refused before they are loaded."""
    path = tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(chain(), path)
    model = onnx.load(path)
    del model.metadata_props[-1]  # the checksum
    edit(model)
    path.write_bytes(sealed(model.SerializeToString()))
    with pytest.raises(StorageError) as error:
        backends.open_backend("onnx", path)
    one_line(error, str(path), message)


def test_errors_of_a_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A graph that fails while it runs, and one whose outputs have other shapes."""
    path, net = tmp_path / "net.onnx", chain()

    def run() -> str:
        path.write_bytes(sealed(model.SerializeToString()))
        with pytest.raises(BackendError) as error:
            backends.open_backend("onnx", path).run(windows_for(net, 2))
        one_line(error, str(path))
        return str(error.value)

    lmht_deploy.exporters.onnx.export_onnx(net, path)
    model = onnx.load(path)
    del model.metadata_props[-1]
    gather = next(node for node in inlined(path).node if node.op_type == "Gather")
    position = next(t for t in model.graph.initializer if t.name == gather.input[1])
    values = onnx.numpy_helper.to_array(position).copy()
    values[0] = 2**20
    position.raw_data = values.tobytes()
    assert "ONNX Runtime does not run it" in run()
    lmht_deploy.exporters.onnx.export_onnx(net, path)
    model = onnx.load(path)
    del model.metadata_props[-1]
    last = next(node for f in model.functions for node in f.node if node.output[0] == "logits")
    last.op_type, last.input[0] = "Identity", "logits/Linear0/MatMulInteger:0"
    del last.input[1:]
    next(o for o in model.graph.output if o.name == "logits").ClearField("type")
    assert "gives 'logits' as" in run()
    assert capfd.readouterr() == ("", "")


def test_times_of_the_layers(tmp_path: Path) -> None:
    net, path = SPECIAL["residual"](), tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(net, path)
    runner = backends.open_backend("onnx", path)
    found = runner.profile(windows_for(net, 3))  # type: ignore[attr-defined]
    layers = {layer.name for layer in net.layers}
    assert set(found) - {"other"} <= layers
    assert {layer.name for layer in net.neurons} | {"logits"} <= found.keys()
    assert all(seconds >= 0 for seconds in found.values())
    assert list(tmp_path.iterdir()) == [path]


def test_no_telemetry(tmp_path: Path) -> None:
    """ONNX Runtime writes nothing into the home folder, unless the user wants it to."""
    lmht_deploy.exporters.onnx.export_onnx(chain(), tmp_path / "net.onnx")
    home = tmp_path / "home"
    home.mkdir()
    program = (
        "import os, sys; from lmht_deploy.backends import open_backend; from pathlib import Path;"
        "open_backend('onnx', Path(sys.argv[1])); print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    for given, expected in (({}, "1"), ({"ORT_DISABLE_TELEMETRY": "true"}, "true")):
        environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
        found = subprocess.run(
            [sys.executable, "-c", program, tmp_path / "net.onnx"],
            env=environment | given | {"HOME": str(home)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert found.stdout.strip() == expected
        assert list(home.iterdir()) == []


def test_edited_file(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    lmht_deploy.exporters.onnx.export_onnx(chain(), path)
    model = onnx.load(path)
    weight = next(
        tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.INT8
    )
    weight.raw_data = bytes([weight.raw_data[0] ^ 1]) + weight.raw_data[1:]
    onnx.save(model, path)
    with pytest.raises(StorageError) as error:
        backends.open_backend("onnx", path)
    one_line(error, str(path), "checksum")


def test_trace_of_a_file_without_traces(tmp_path: Path) -> None:
    net = SPECIAL["dense"]()
    lmht_deploy.exporters.onnx.export_onnx(net, tmp_path / "net.onnx")
    runner = backends.open_backend("onnx", tmp_path / "net.onnx")
    with pytest.raises(BackendError) as error:
        runner.run(windows_for(net), trace=True)
    one_line(error, "net.onnx", "trace=True")
    found = runner.run(windows_for(net))
    assert found.traces is None
    np.testing.assert_array_equal(found.logits, reference.run(net, windows_for(net)).logits)


def test_windows_that_do_not_fit(tmp_path: Path) -> None:
    net = SPECIAL["dense"]()
    lmht_deploy.exporters.onnx.export_onnx(net, tmp_path / "net.onnx")
    runner = backends.open_backend("onnx", tmp_path / "net.onnx")
    for windows, message in [
        (np.zeros((1, 3, 36), int), "shape"),
        (np.full((1, 3, 37), 4), "within 0..3"),
        (np.full((1, 3, 37), 256), "within 0..3"),
        (np.zeros((1, 3, 37)), "integers"),
        (np.zeros((0, 3, 37), int), "no window"),
    ]:
        with pytest.raises(DataError, match=message):
            runner.run(windows)
