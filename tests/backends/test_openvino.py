"""The backend of OpenVINO: exact in float32, and refused where that is not proved."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy import backends, reference
from lmht_deploy.backends.openvino import OpenVinoBackend
from lmht_deploy.errors import BackendError, StorageError
from lmht_deploy.exporters.onnx import export_onnx
from lmht_deploy.ir import Conv, Flatten, Input, Linear, Network, Neurons, Readout, Scale
from tests.support.networks import SPECIAL, Builder, chain, windows_for
from tests.support.results import assert_equal

pytest.importorskip("onnx")
pytest.importorskip("openvino")


def leaking(leak: int, v0: np.ndarray) -> Network:
    """One time-step of neurons that leak from v0, and whose spike counts show every bit of v."""
    width = len(v0)
    first = Neurons(
        name="a",
        synapses=(Scale(source="input", weight=np.ones(width, int)),),
        bias=np.full(width, 2**20),
        threshold=np.ones(width, int),
        omega=np.eye(1, dtype=int),
        leak=leak,
        v0=v0,
        levels=2**21,
    )
    end = Readout(
        name="logits", synapses=(Linear(source="a", weight=np.zeros((1, width), int)),), bias=[0]
    )
    return Network((Input(name="input", shape=(width,), steps=1), first, end))


@pytest.mark.parametrize("leak", [0, 1, 2335, 4095, 4097, 3 * 4096 + 1, 16383])
def test_leaks_are_exact_in_float32(leak: int, tmp_path: Path) -> None:
    """The product v·λq takes up to 34 bits, and float32 has 24."""
    v0 = np.random.default_rng(leak).integers(-(2**18), 2**18, 5000)
    v0[:3] = [-19757, 22930, 28678]  # wrong in float32 for a leak of 2335
    net, path = leaking(leak, v0), tmp_path / "net.onnx"
    export_onnx(net, path, trace=True, portable=True, logits_only=False)
    windows = np.zeros((1, *net.window_shape), int)
    found = backends.open_backend("onnx", path).run(windows, trace=True)
    expected = reference.run(net, windows, trace=True)
    assert_equal(found, expected)
    assert found.traces is not None
    with pytest.raises(BackendError, match="exact below 16777216"):  # the sum over 5000 channels
        backends.open_backend("openvino", path)
    small = leaking(leak, v0[:7])
    export_onnx(small, path, trace=True, portable=True)
    assert_equal(
        backends.open_backend("openvino", path).run(windows[..., :7], trace=True),
        reference.run(small, windows[..., :7], trace=True),
    )


def test_what_is_refused(tmp_path: Path) -> None:
    """Files with functions, and those of too large integers, whose layer is named."""
    net, path = leaking(2335, np.array([2**20])), tmp_path / "net.onnx"
    export_onnx(net, path)
    with pytest.raises(BackendError, match="`lmht export --openvino`") as error:
        backends.open_backend("openvino", path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    export_onnx(leaking(4096, np.array([2**25])), path, portable=True)
    with pytest.raises(BackendError, match="integers of layer 'a' can reach") as error:
        backends.open_backend("openvino", path)
    assert "--openvino" not in str(error.value) and str(path) in str(error.value)


def test_counts_that_float32_rounds_are_refused(tmp_path: Path) -> None:
    """22,950,000 spikes cross one synapse each; float32 counts to 2^24."""
    conv = Conv(source="input", weight=np.zeros((1, 1, 1, 1), int))
    one = np.ones(1, int)
    first = Neurons(
        name="a", synapses=(conv,), bias=0 * one, threshold=one, omega=[[1]], leak=4096,
        v0=0 * one, levels=1,
    )  # fmt: skip
    end = Readout(
        name="logits", synapses=(Linear(source="f", weight=np.zeros((1, 90_000), int)),), bias=[0]
    )
    entry = Input(name="input", shape=(1, 300, 300), steps=1)
    net, path = Network((entry, first, Flatten(name="f", source="a"), end)), tmp_path / "net.onnx"
    export_onnx(net, path, portable=True)
    runner = backends.open_backend("openvino", path)
    windows = np.full((1, 1, 1, 300, 300), 100)
    assert_equal(runner.run(windows), reference.run(net, windows), frozenset({"events"}))
    with pytest.raises(BackendError, match="sops/a exceeds what OpenVINO counts exactly"):
        runner.run(np.full_like(windows, 255))


def test_files_before_version_3_are_refused() -> None:
    golden = Path(__file__).parents[1] / "formats" / "golden" / "onnx-2.onnx"
    with pytest.raises(BackendError, match="2147483647"):
        backends.open_backend("openvino", golden)


def assert_exact(backend: str, path: Path, net: Network) -> None:
    windows = windows_for(net, 3)
    found = backends.open_backend(backend, path).run(windows, trace=True)
    assert_equal(found, reference.run(net, windows, trace=True))


@pytest.mark.parametrize("name", ["lm-ht", "uniform", "residual", "leak-below-one", "wide"])
def test_portable_files(name: str, tmp_path: Path) -> None:
    net, path = SPECIAL[name](), tmp_path / "net.onnx"
    export_onnx(net, path, trace=True, portable=True)
    assert_exact("openvino", path, net)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("form", ["portable", "openvino"])
def test_a_stride_of_a_padded_kernel_of_one_pixel(form: str, groups: int, tmp_path: Path) -> None:
    """OpenVINO computes such a convolution without its padding; files pad before it."""
    b = Builder(3, shape=(2, 5, 4), steps=2, max_value=9)
    a = b.neurons("a", b.conv("input", 4, 1, (2, 1), 1, groups=groups), steps=2)
    net, path = b.finish(b.neurons("c", b.conv(a, 4, 1, 2, (0, 2)), steps=2)), tmp_path / "net.onnx"
    assert net.shapes["a"] == (4, 4, 6) and net.shapes["c"] == (4, 2, 5)
    export_onnx(net, path, trace=True, **{form: True})  # type: ignore[arg-type]
    assert_exact("openvino", path, net)
    assert_exact("onnx", path, net)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("form", ["portable", "openvino"])
def test_one_channel_and_one_column(form: str, groups: int, tmp_path: Path) -> None:
    """OpenVINO's convolution reads other memory for such shapes; files gather rows for them."""
    b = Builder(3, shape=(groups, 7, 3), steps=5, max_value=3)
    conv = b.conv("input", 4 * groups, (1, 2), (1, 2), 0, groups=groups)
    net, path = b.finish(b.neurons("a", conv, steps=5)), tmp_path / "net.onnx"
    assert net.shapes["a"] == (4 * groups, 7, 1)
    slow = export_onnx(net, path, trace=True, **{form: True})  # type: ignore[arg-type]
    assert slow == (("a/Conv0",) if form == "openvino" else ())
    for _ in range(3):  # what it reads differs from one compilation to the next
        assert_exact("openvino", path, net)
    assert_exact("onnx", path, net)


@pytest.mark.parametrize("form", ["portable", "openvino"])
@pytest.mark.parametrize(
    ("shape", "options", "misread"),
    [
        ((5, 5, 5), {"kernel": (1, 3), "stride": (1, 2), "padding": 0, "dilation": 2}, True),
        ((3, 12, 3), {"kernel": 3, "stride": 2, "padding": (0, 1), "dilation": (1, 2)}, True),
        ((16, 12, 3), {"kernel": 2, "stride": 2, "padding": 0}, True),
        ((4, 12, 3), {"kernel": 2, "stride": 2, "padding": 0, "groups": 2}, True),
        ((8, 3, 3), {"kernel": 3, "stride": 2, "padding": 0}, False),
    ],
)
def test_several_channels_and_one_column(
    shape: tuple[int, ...], options: dict[str, Any], misread: bool, form: str, tmp_path: Path
) -> None:
    """The same for several rows of output pixels; a single pixel is read correctly."""
    b = Builder(3, shape=shape, max_value=1)
    net = b.finish(b.neurons("a", b.conv("input", 4, **options)))
    path = tmp_path / "net.onnx"
    assert net.shapes["a"][2] == 1 and misread == (net.shapes["a"][1] > 1)
    slow = export_onnx(net, path, trace=True, **{form: True})  # type: ignore[arg-type]
    assert slow == (("a/Conv0",) if misread and form == "openvino" else ())
    assert_exact("openvino", path, net)


def test_the_dilation_of_a_single_column(tmp_path: Path) -> None:
    """OpenVINO ends the process for this convolution, if it is told the dilation."""
    b = Builder(3, shape=(8, 7, 1), max_value=1)
    net = b.finish(b.neurons("a", b.conv("input", 16, (2, 1), (2, 3), (1, 2), dilation=2)))
    export_onnx(net, tmp_path / "net.onnx", trace=True, openvino=True)
    assert_exact("openvino", tmp_path / "net.onnx", net)


@pytest.mark.parametrize("inputs", [32, 64, 128])
def test_the_input_of_a_dense_layer_is_not_rounded(inputs: int, tmp_path: Path) -> None:
    """By default, OpenVINO rounds it to 8 bits where no other node of a graph is quantized."""
    b = Builder(5, shape=(inputs,), max_value=3)
    net = b.finish(b.neurons("a", b.linear("input", 64), levels=300, threshold=(300, 3000)))
    export_onnx(net, tmp_path / "net.onnx", trace=True, openvino=True)
    assert_exact("openvino", tmp_path / "net.onnx", net)


def test_a_graph_whose_shapes_openvino_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that names OpenVINO, not the file, and no traceback."""
    net, path = SPECIAL["if"](), tmp_path / "net.onnx"
    export_onnx(net, path, openvino=True)
    runner = backends.open_backend("openvino", path)
    compiled = OpenVinoBackend._compiled

    class Fewer:
        def __init__(self, request: Any) -> None:
            self.infer = lambda inputs: {k: v[:0] for k, v in request.infer(inputs).items()}

    monkeypatch.setattr(OpenVinoBackend, "_compiled", lambda *_: Fewer(compiled(*_)))
    with pytest.raises(BackendError, match=r"OpenVINO gives '.*' of the shape \[0.*\] for 3 win"):
        runner.run(windows_for(net, 3))


@pytest.mark.parametrize("name", SPECIAL)
def test_files_for_openvino_in_onnx_runtime(name: str, tmp_path: Path) -> None:
    net, path = SPECIAL[name](), tmp_path / "net.onnx"
    export_onnx(net, path, trace=True, openvino=True)
    assert_exact("onnx", path, net)


def products(path: Path) -> dict[str, str]:
    """Return the implementation of every product of counts and weights, by its part of a layer."""
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = {}
    for node in compiled.get_runtime_model().get_ops():
        name, info = node.get_friendly_name(), node.get_rt_info()
        if name.endswith(("/Conv", "/MatMul")) and "/Counts/" not in name:
            found[name.rpartition("/")[0]] = info["primitiveType"].astype(str)
    return found


def one_layer(kernel: np.ndarray, largest: int) -> Network:
    """A convolution of counts up to `largest` whose neurons show their potential in 256 levels."""
    width = len(kernel)
    sums = kernel.reshape(width, -1).sum(1) * largest
    first = Neurons(
        name="a", synapses=(Conv(source="input", weight=kernel, padding=(1, 1)),),
        bias=np.maximum(0, -sums), threshold=np.full(width, 5000), omega=[[1]], leak=4096,
        v0=np.zeros(width, int), levels=255,
    )  # fmt: skip
    weight = np.arange(3 * width * 63).reshape(3, -1) % 3
    end = Readout(name="logits", synapses=(Linear(source="f", weight=weight),), bias=[0, 0, 0])
    entry = Input(name="input", shape=(kernel.shape[1], 9, 7), steps=1, max_value=largest)
    return Network((entry, first, Flatten(name="f", source="a"), end))


@pytest.mark.parametrize("largest, weight, integers", [
    (128, -128, True), (129, -128, False), (129, 127, True), (130, 127, False),
    (255, -64, True), (255, -65, False), (255, 64, True), (255, 65, False),
])  # fmt: skip
def test_pairs_of_products_do_not_saturate(
    largest: int, weight: int, integers: bool, tmp_path: Path
) -> None:
    """Processors without VNNI add two products in 16 bits; layers that exceed them take float32."""
    random = np.random.default_rng(largest + weight)
    kernel = random.choice([weight, weight // 2, -(weight // 3)], (16, 8, 3, 3))
    net, path = one_layer(kernel, largest), tmp_path / "net.onnx"
    in_float32 = export_onnx(net, path, trace=True, openvino=True)
    assert ("a/Conv0" in in_float32) == (not integers)
    assert products(path)["a/Conv0"].endswith("I8") == integers
    windows = random.choice([0, largest, largest - 1], (2, *net.window_shape), p=[0.2, 0.6, 0.2])
    windows[1] = largest
    expected = reference.run(net, windows, trace=True)
    assert expected.traces and 10 < expected.traces["a"].mean() < 245
    assert_equal(backends.open_backend("openvino", path).run(windows, trace=True), expected)


def canceling(seed: int) -> Network:
    """Sums whose terms reach 2^23 and cancel, divided by small thresholds."""
    random = np.random.default_rng(seed)
    width, unit = 64, np.eye(64, dtype=int)[..., None, None]
    synapses = (
        Conv(source="input", weight=-127 * unit, exponent=8),
        Scale(source="input", weight=np.full(width, 126), exponent=8),
        Scale(source="input", weight=np.ones(width, int), exponent=8),
        Conv(source="input", weight=random.integers(-1, 2, (width, width, 1, 1))),
    )
    theta = random.choice([5, 7, 9, 11, 13], width)
    first = Neurons(
        name="a", synapses=synapses, bias=random.integers(-10, 10, width), threshold=theta,
        omega=[[1]], leak=4096, v0=theta // 2, levels=60,
    )  # fmt: skip
    end = Readout(
        name="logits", synapses=(Linear(source="f", weight=np.ones((1, 36 * width), int)),),
        bias=[0],
    )  # fmt: skip
    entry = Input(name="input", shape=(width, 6, 6), steps=1, max_value=250)
    return Network((entry, first, Flatten(name="f", source="a"), end))


@pytest.mark.parametrize("form", ["portable", "openvino"])
def test_openvino_does_not_distribute_factors_over_sums(form: str, tmp_path: Path) -> None:
    """It would multiply each term by 1/θ, or divide terms by weights, and round the products."""
    for seed in range(3):
        net, path = canceling(seed), tmp_path / f"{seed}.onnx"
        export_onnx(net, path, trace=True, **{form: True})
        windows = np.random.default_rng(seed).integers(150, 251, (3, *net.window_shape))
        assert_equal(
            backends.open_backend("openvino", path).run(windows, trace=True),
            reference.run(net, windows, trace=True),
        )


def test_products_are_those_of_integers(tmp_path: Path) -> None:
    """Conv, with and without groups, strides and dilation, and Linear."""
    random = np.random.default_rng(0)
    entry = Input(name="input", shape=(8, 9, 7), steps=3, max_value=9)

    def neurons(name: str, *synapses: Conv | Linear | Scale) -> Neurons:
        width = len(synapses[0].weight)
        return Neurons(
            name=name, synapses=synapses, bias=random.integers(-99, 99, width),
            threshold=random.integers(100, 900, width), omega=np.eye(3, dtype=int), leak=4096,
            v0=np.zeros(width, int), levels=4,
        )  # fmt: skip

    def weight(*shape: int) -> np.ndarray:
        return random.integers(-128, 128, shape)

    layers = (
        neurons("a", Conv(source="input", weight=weight(16, 8, 3, 3), padding=(1, 1))),
        neurons("b", Conv(source="a", weight=weight(16, 1, 3, 3), padding=(1, 1), groups=16)),
        neurons(
            "c",
            Conv(source="b", weight=weight(16, 16, 1, 1)),
            Scale(source="a", weight=weight(16)),
            Conv(source="a", weight=weight(16, 8, 3, 3), padding=(2, 2), dilation=(2, 2), groups=2,
                 exponent=1),
        ),
        neurons("d", Conv(source="c", weight=weight(24, 16, 3, 2), stride=(2, 2))),
        Flatten(name="f", source="d"),
        neurons("e", Linear(source="f", weight=weight(40, 24 * 4 * 3))),
    )  # fmt: skip
    end = Readout(
        name="logits", synapses=(Linear(source="e", weight=weight(10, 40)),), bias=np.arange(10)
    )
    net, path = Network((entry, *layers, end)), tmp_path / "net.onnx"
    assert export_onnx(net, path, trace=True, openvino=True) == ()
    windows = windows_for(net, 5)
    expected = reference.run(net, windows, trace=True)
    assert all(0 < k.mean() < 3.9 for k in (expected.traces or {}).values())
    assert_equal(backends.open_backend("openvino", path).run(windows, trace=True), expected)
    found = products(path)
    assert set(found) >= {"a/Conv0", "b/Conv0", "c/Conv0", "c/Conv2", "d/Conv0", "e/Linear0"}
    assert all(kind.endswith("I8") for kind in found.values()), found


def test_compare_leaves_out_what_is_not_proved() -> None:
    net = SPECIAL["image-at-every-step"]()
    windows = windows_for(net, 2)
    found = lmht.compare(net, windows)
    assert found.equal and "exact below" in found.omitted["openvino"]
    with pytest.raises(BackendError, match="exact below"):
        lmht.compare(net, windows, backends=["openvino"])


@pytest.mark.parametrize("threads", [1, 2])
def test_compare_exports_for_openvino(threads: int) -> None:
    net = SPECIAL["leak-below-one"]()
    found = lmht.compare(net, windows_for(net, 3), backends=["onnx", "openvino"], threads=threads)
    assert found.equal and [row.label for row in found.rows] == ["reference", "onnx", "openvino"]
    assert [row.spike_windows for row in found.rows[1:]] == [3, 3]


def test_openvino_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_onnx(chain(), tmp_path / "net.onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"pip install 'lmht-deploy\[openvino\]'") as error:
        backends.open_backend("openvino", tmp_path / "net.onnx")
    assert "\n" not in str(error.value)


def test_damaged_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    export_onnx(chain(), path, portable=True)
    runner = backends.open_backend("openvino", path)
    runner.close()
    with pytest.raises(BackendError, match="closed"):
        runner.run(windows_for(chain(), 1))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StorageError, match=r"net\.onnx"):
        backends.open_backend("openvino", path)


def test_nothing_is_written_into_the_home_folder(tmp_path: Path) -> None:
    net, home = chain(), tmp_path / "home"
    export_onnx(net, tmp_path / "net.onnx", portable=True)
    np.save(tmp_path / "windows.npy", windows_for(net, 1))
    home.mkdir()
    program = (
        "import sys, numpy; from lmht_deploy.backends import open_backend;"
        "open_backend('openvino', sys.argv[1]).run(numpy.load(sys.argv[2]));"
        "import openvino_telemetry"
    )
    arguments = [sys.executable, "-c", program, tmp_path / "net.onnx", tmp_path / "windows.npy"]
    environment = os.environ | {"HOME": str(home)}
    done = subprocess.run(arguments, env=environment, capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr, list(home.iterdir())) == (b"", b"", [])


THRESHOLD = 123


def quantized_layer(weight: np.ndarray, bias: np.ndarray) -> bytes:
    """A layer as other exporters write it: an int8 convolution x, then floor((x + b) / θ)."""
    from onnx import numpy_helper, parser

    model = parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        layer (float[1,{weight.shape[1]},12,12] counts) => (float[1,K,H,W] spikes)
        <float one = {{1}}, int8 signed = {{0}}, uint8 unsigned = {{0}},
         float theta = {{{THRESHOLD}}}>
        {{
            kernel = DequantizeLinear(weight, one, signed)
            quantized = QuantizeLinear(counts, one, unsigned)
            inputs = DequantizeLinear(quantized, one, unsigned)
            x = Conv(inputs, kernel)
            current = Add(x, bias)
            quotient = Div(current, theta)
            spikes = Floor(quotient)
        }}""")
    constants = {"weight": weight, "bias": bias}
    model.graph.initializer.extend(
        numpy_helper.from_array(constants[key], key) for key in constants
    )
    content: bytes = model.SerializeToString()
    return content


def test_a_quotient_loses_spikes_of_multiples_of_the_threshold_alone() -> None:
    """docs/explanation/onnx.md: int8 convolutions are exact, floors of quotients are not."""
    import openvino

    random = np.random.default_rng(0)
    weight = random.integers(-127, 128, (64, 64, 3, 3)).astype(np.int8)
    bias = random.integers(-500, 500, (1, 64, 1, 1)).astype(np.float32)
    counts = random.integers(0, 3, (1, 64, 12, 12))
    core, hint = openvino.Core(), {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(quantized_layer(weight, bias)), "CPU", hint)
    (spikes,) = compiled([counts.astype(np.float32)]).values()
    views = np.lib.stride_tricks.sliding_window_view(counts[0], (3, 3), axis=(1, 2))
    sums = np.einsum("kcyx,chwyx->khw", weight.astype(int), views).astype(np.float32)[None]
    current = sums + bias
    lost = np.floor_divide(current, THRESHOLD) - spikes
    assert np.isin(lost, (0, 1)).all()  # which are lost depends on the instructions
    assert not (current[lost == 1] % THRESHOLD).any()
