"""The backend of OpenVINO: exact in float32, and refused where that is not proved."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy import backends, reference
from lmht_deploy.errors import BackendError, StorageError
from lmht_deploy.exporters.onnx import export_onnx
from lmht_deploy.ir import Conv, Flatten, Input, Linear, Network, Neurons, Readout, Scale
from tests.support.networks import SPECIAL, chain, windows_for
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
    with pytest.raises(BackendError, match="`lmht export --portable`") as error:
        backends.open_backend("openvino", path)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    export_onnx(leaking(4096, np.array([2**25])), path, portable=True)
    with pytest.raises(BackendError, match="integers of layer 'a' can reach") as error:
        backends.open_backend("openvino", path)
    assert "--portable" not in str(error.value) and str(path) in str(error.value)


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


def test_compare_leaves_out_what_is_not_proved() -> None:
    net = SPECIAL["image-at-every-step"]()
    windows = windows_for(net, 2)
    found = lmht.compare(net, windows)
    assert found.equal and "exact below" in found.omitted["openvino"]
    with pytest.raises(BackendError, match="exact below"):
        lmht.compare(net, windows, backends=["openvino"])


@pytest.mark.parametrize("threads", [1, 2])
def test_compare_runs_portable_files(threads: int) -> None:
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
