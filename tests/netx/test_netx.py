"""The simulation of NetX files from other tools.

It is compared with the recordings in lava-dl's wheel, with Lava itself, with an oracle, and with
literal steps.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lmht_deploy import netx
from lmht_deploy.backends import lava, open_backend
from lmht_deploy.backends.lava import environment, stock
from lmht_deploy.errors import BackendError, DataError, StorageError
from lmht_deploy.exporters import netx as exporter
from lmht_deploy.formats.windows import load_windows
from tests.support import netx_oracle as oracle
from tests.support.networks import SPECIAL
from tests.support.netx_files import FILES, File, convolutions, random_network, sigma_delta
from tests.support.recordings import data

TUTORIALS = "reports/11_netx_beginning_with_dense"
needs_lava = pytest.mark.skipif(lava.unavailable() is not None, reason=str(lava.unavailable()))


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The NetX files and recordings in the wheel of lava-dl."""
    if reason := lava.unavailable():
        pytest.skip(reason)
    python = environment.python_of()
    assert python is not None
    return next(python.parent.parent.glob("lib/python*/site-packages/tests/lava/lib/dl/netx"))


def chw(array: np.ndarray) -> np.ndarray:
    """(W, H, C, steps) or (N, steps) as (steps, C, H, W) or (steps, N)."""
    return array.T


# ---------------------------------------------------------------------------- recordings of lava-dl


def test_pilotnet(wheel: Path) -> None:
    """u, v and spikes of all layers and steps, as recorded on Loihi; a reset every 17 steps."""
    recorded = wheel / "gts/pilotnet_lif"
    net = netx.load_netx(recorded / "network.net")
    image = np.load(recorded / "image.npy").T[None]
    found = netx.Simulator(net).run(image, 24, states=True, reset_interval=17)
    np.testing.assert_array_equal(found[0].spikes[0], chw(np.load(recorded / "input.npy")))
    # The last layer's recording contradicts the recorded spikes that enter it; it is left out.
    for name, layer in zip(
        [f"conv-{i}" for i in range(5)] + [f"fc-{i}" for i in range(3)], found[1:], strict=False
    ):
        assert layer.u is not None and layer.v is not None
        np.testing.assert_array_equal(
            layer.spikes[0], chw(np.load(recorded / f"{name}.npy")), err_msg=name
        )
        np.testing.assert_array_equal(
            layer.u[0], chw(np.load(recorded / f"{name}-u.npy")), err_msg=name
        )
        v = np.where(
            layer.spikes[0], 0, chw(np.load(recorded / f"{name}-v.npy"))
        )  # the chip keeps a counter there after a spike
        np.testing.assert_array_equal(layer.v[0], v, err_msg=name)
    assert len(found) == 10


def test_tinynet(wheel: Path) -> None:
    bias = np.load(wheel / "gts/tinynet/input_bias.npy").astype(int).T[None]
    expected = np.load(wheel / "gts/tinynet/output.npy")[0]
    found = netx.Simulator(netx.load_netx(wheel / "tiny.net")).run(bias, 17, reset_interval=17)
    np.testing.assert_array_equal(found[-1].spikes[0, 2:], np.moveaxis(expected[..., 1:], -1, 0))
    assert expected.sum() > 50


def test_delays_of_ntidigits(wheel: Path) -> None:
    net = netx.load_netx(wheel / "gts/ntidigits/ntidigits.net", layers=5)
    inputs = np.load(wheel / "gts/ntidigits/input.npy").astype(int).T[None, :1000]
    found = netx.Simulator(net).run(inputs)
    expected = chw(np.load(wheel / "gts/ntidigits/output.npy"))[
        1:1001
    ]  # recorded behind one more step
    np.testing.assert_array_equal(found[-1].spikes[0], expected)
    assert expected.sum() > 1000


def test_mnist(wheel: Path) -> None:
    net = netx.load_netx(wheel / "mnist.net")
    assert [layer.shape for layer in net.spiking] == [(784,), (512,), (512,), (10,)]
    assert net.spiking[-1].neurons == netx.CUBA(
        current_decay=0, voltage_decay=4096, threshold=1 << 17
    )
    assert net.layers[0] == netx.NetXInput((784,), netx.CUBA(4096, 123, 80), weight=76, bias=64)


def test_sigma_delta_pilotnet(wheel: Path) -> None:
    """The output as recorded: one frame is held, and reaches the last layer at the last step."""
    recorded = wheel / "gts/pilotnet_sdnn"
    net = netx.load_netx(recorded / "network.net")
    frame = np.load(recorded / "input.npy").astype(int)
    steps = len(net.spiking)
    values = np.broadcast_to(chw(frame), (steps, *net.input_shape))[None]
    found = netx.Simulator(net).run(values)
    expected = chw(np.load(recorded / "output.npy"))
    assert found[-1].spikes is not None
    np.testing.assert_array_equal(found[-1].spikes[0], expected)
    assert expected[-1].any()
    result = open_backend("netx", recorded / "network.net").run(values, trace=True)
    assert result.logits.ravel().tolist() == expected[-1].tolist()


def change(path: Path, key: str, value: object) -> None:
    with h5py.File(path, "r+") as file:
        if key in file:
            del file[key]
        file[key] = value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("layer/1/neuron/activation", "tanh", "layer 1 has .* activation 'tanh'.* runs relu only"),
        ("layer/1/neuron/vThMant", -1, "layer 1 has the threshold -1"),
        ("layer/6/bias", np.zeros(4), "layer 6 has a sigma output with a bias"),
        ("layer/2/neuron/messageBits", 16, "layer 2 has graded spikes"),
    ],
)
def test_sigma_delta_files_that_lava_does_not_run(
    key: str, value: object, message: str, tmp_path: Path
) -> None:
    sigma_delta(tmp_path / "net.net", 0)
    change(tmp_path / "net.net", key, value)
    assert re.search(message, refused(tmp_path / "net.net"))


def test_an_average_must_fit_and_come_last(tmp_path: Path) -> None:
    for groups, then, message in ((4, False, "does not fit"), (3, True, "not the last layer")):
        f = File(tmp_path / "net.net", 1, (6,))
        f.dense(9, -50, 90)
        f.layer("average", (groups, 1, 1))
        if then:
            f.dense(2, -50, 90)
        f.file.close()
        assert message in refused(tmp_path / "net.net")


def test_average_of_ntidigits(wheel: Path) -> None:
    """11 groups of 22 neurons: the logits are their counts, the scale is 1/22."""
    path = wheel / "gts/ntidigits/ntidigits.net"
    inputs = np.load(wheel / "gts/ntidigits/input.npy").astype(int).T[None, :1000]
    found = open_backend("netx", path).run(inputs)
    expected = chw(np.load(wheel / "gts/ntidigits/output.npy"))[1:1001]
    assert found.logits.tolist() == [expected.sum(0).reshape(11, 22).sum(1).astype(int).tolist()]
    assert found.scale == 1 / 22


@pytest.mark.parametrize(
    ("file", "windows", "spikes"),
    [("oxford", "w_ox", [1, 0]), ("netx_mnist", "w_mn", [717, 683, 67])],
)
def test_tutorials_of_lava_dl_begin_with_a_dense_layer(
    file: str, windows: str, spikes: list[int]
) -> None:
    backend = open_backend("netx", data(f"{TUTORIALS}/{file}.net"))
    found = backend.run(load_windows(data(f"{TUTORIALS}/{windows}.npz"))[0][:1])
    assert [int(k[0]) for k in found.spikes.values()] == spikes


@pytest.mark.parametrize("flatten", [False, True])
def test_a_first_dense_layer_says_what_enters(flatten: bool, tmp_path: Path) -> None:
    f = File(tmp_path / "net.net", 1, (6,), entry=False)
    if flatten:
        f.layer("flatten", (1, 1, 6))
    f.dense(4, -50, 90)
    f.file.close()
    net = netx.load_netx(tmp_path / "net.net")
    assert net.input_shape == (6,)
    assert [layer.shape for layer in net.spiking] == [(4,)]


def test_a_first_convolution_needs_an_input_layer(tmp_path: Path) -> None:
    f = File(tmp_path / "net.net", 1, (2, 9, 7), entry=False)
    f.conv(4)
    f.file.close()
    with pytest.raises(StorageError, match="begins neither with an input layer nor with a dense"):
        netx.load_netx(tmp_path / "net.net")


@pytest.mark.parametrize("name", ["stride", "padding", "dilation", "groups"])
@pytest.mark.parametrize("value", [128, 2**31, 2**62])
def test_a_geometry_beyond_8_bits_is_refused(name: str, value: int, tmp_path: Path) -> None:
    """lava-nc wraps it: 128 groups give no spikes, 200 an error."""
    f = File(tmp_path / "net.net", 1, (1, 4, 4))
    f.conv(2)
    group = f.file["layer/1"]
    for key, content in (("weight", np.ones((2, 1, 1, 1))), ("padding", 0), (name, value)):
        del group[key]
        group[key] = content
    f.file.close()
    with pytest.raises(StorageError, match=f"layer 1 has a .* of {value}; lava-nc 0.10 keeps them"):
        netx.load_netx(tmp_path / "net.net")


@pytest.mark.parametrize("name", ["weight", "bias", "weight_rec", "delay"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -(2.0**31), 2.0**63])
def test_values_that_are_no_numbers_of_32_bits_are_refused(
    name: str, value: float, tmp_path: Path
) -> None:
    f = File(tmp_path / "net.net", 1, (6,))
    f.dense(4, -50, 90, **({"weight_rec": np.ones((4, 4))} if name == "weight_rec" else {}))
    data = np.ones({"weight": (4, 6), "weight_rec": (4, 4)}.get(name, (4,)))
    data.flat[1] = value
    f.file["layer/1"].pop(name, None)
    f.file[f"layer/1/{name}"] = data
    f.file.close()
    with pytest.raises(StorageError, match=f"layer 1: '{name}' holds what is not a number of at"):
        netx.load_netx(tmp_path / "net.net")


# -------------------------------------------------------------------------------------- Lava itself


@needs_lava
def test_equal_to_lava(tmp_path: Path) -> None:
    """u, v and spikes of every layer at every step are equal.

    The files are random or exported, the inputs graded or boolean, with and without reset.
    """
    runs, rng = [], np.random.default_rng(0)

    def add(name: str, steps: int = 40, **options: Any) -> None:
        net = netx.load_netx(tmp_path / name)
        inputs = rng.integers(
            -2 if options.get("graded") else 0,
            4 if options.get("graded") else 2,
            (1, steps, *net.input_shape),
        )
        runs.append(stock.Run(tmp_path / name, inputs, states=True, **options))

    for name, make in FILES.items():
        make(tmp_path / f"{name}.net")
        add(
            f"{name}.net",
            graded=name == "wrapping",
            reset_interval=13 if name in ("recurrent", "convolutions") else None,
        )
    for name in ("averaged", "geometry", "dense"):
        exporter.export_netx(SPECIAL[name](), tmp_path / f"{name}.net")
        add(f"{name}.net", graded=True)
    for seed in range(10):
        random_network(seed, tmp_path / f"{seed}.net")
        add(
            f"{seed}.net",
            20,
            graded=bool(seed % 2),
            reset_interval=5 if seed % 3 == 0 else None,
            reset_offset=seed % 5,
        )
    for one, expected in zip(runs, in_lava(runs), strict=True):
        found = in_core(one)
        assert_equal(found, expected, one.path.name)
        assert_equal(
            found,
            oracle.run(one.path, one.inputs, **options_of(one)),
            one.path.name,
        )
        if one.path.stem in FILES:
            idle = [
                i
                for i, layer in enumerate(found[:-1])
                if not layer.spikes.any() or layer.spikes.all()
            ]  # type: ignore[union-attr]
            assert not idle, f"layers of {one.path.stem} that test nothing"


@needs_lava
def test_sigma_delta_equals_lava(tmp_path: Path) -> None:
    """Messages, sums and activations of every layer at every step; currents wrap now and then."""
    runs, rng = [], np.random.default_rng(0)
    for seed in range(8):
        sigma_delta(tmp_path / f"{seed}.net", seed)
        net = netx.load_netx(tmp_path / f"{seed}.net")
        values = rng.integers(-60, 90, (1, 14, *net.input_shape))
        values[:, 5:9] = values[:, 4:5]
        runs.append(stock.Run(tmp_path / f"{seed}.net", values, states=True))
    for one, expected in zip(runs, in_lava(runs), strict=True):
        for isa in netx.isas():
            for found, other in zip(in_core(one, isa=isa), expected, strict=True):
                for name in ("spikes", "u", "v"):
                    np.testing.assert_array_equal(
                        getattr(found, name), getattr(other, name), err_msg=f"{name}, {one.path}"
                    )
                np.testing.assert_array_equal(found.counts, other.counts)


@needs_lava
def test_biases_drive_lava_too(tmp_path: Path) -> None:
    """Two samples with progress, and Lava's convolutions by matrix products."""
    path = tmp_path / "net.net"
    driven(path)
    one = stock.Run(
        path,
        np.random.default_rng(0).integers(0, 50, (2, 2, 5, 4)),
        30,
        states=True,
        reset_interval=9,
    )
    reported: list[int] = []
    assert_equal(
        in_core(one), in_lava([one], fast_conv=True, progress=reported.append)[0], "driven"
    )
    assert {1, 2} == {*reported} and reported == sorted(reported)


CONVOLUTIONS = """
import sys
sys.path.append(sys.argv[1])
from worker import shims
shims.newer_python(); shims.without_torch()
import numpy as np
from lava.proc.conv import utils
from worker.stock import convolve
rng = np.random.default_rng(0)
def never(*_): raise AssertionError
for case in range(200):
    groups = int(rng.choice([1, 2])); channels, outputs = 2 * rng.integers(1, 4, 2)
    limits = ((1, 5), (1, 3), (0, 3), (1, 3))
    kernel, stride, padding, dilation = (rng.integers(*ends, 2) for ends in limits)
    graded = rng.integers(-300, 300, (*rng.integers(9, 14, 2), channels))
    spikes = graded if case % 2 else rng.random((11, 12, channels)) < 0.3
    weight = rng.integers(-128, 128, (outputs, *kernel, channels // groups)).astype(np.int32)
    geometry = (kernel, stride, padding, dilation, groups)
    expected = utils.conv(spikes, weight, *geometry)
    found = convolve(never, spikes, weight, *geometry)
    assert found.dtype == expected.dtype and np.array_equal(found, expected), case
huge = np.full((1, 1, 1, 1), 2**30, np.int64)
spikes, one, none = np.full((1, 1, 1), 2**23), [1, 1], [0, 0]
assert convolve(lambda *_: "slowly", spikes, huge, one, one, none, one, 1) == "slowly"
print("equal")
"""


@needs_lava
def test_fast_convolutions() -> None:
    """Equal to Lava's own in 200 random cases; beyond 2^53 Lava's own is called."""
    command = [
        str(environment.python_of()),
        "-I",
        "-c",
        CONVOLUTIONS,
        str(Path(lava.__file__).parent),
    ]
    assert subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120
    ).stdout.endswith("equal\n")


def driven(path: Path) -> None:
    f = File(path, 6, (2, 5, 4))
    for name, value in {"type": "CUBA", "iDecay": 4096, "vDecay": 200, "vThMant": 100}.items():
        f.file[f"layer/0/neuron/{name}"] = value
    f.conv(5)
    f.dense(6, -60, 60)
    f.file.close()


def in_lava(runs: list[stock.Run], **options: Any) -> list[list[netx.Recording]]:
    python = environment.python_of()
    assert python is not None
    return stock.run(python, runs, seconds=300, **options)[0]


def in_core(one: stock.Run, **options: Any) -> list[netx.Recording]:
    return netx.Simulator(netx.load_netx(one.path), **options).run(one.inputs, **options_of(one))


def options_of(one: stock.Run) -> dict[str, Any]:
    return {
        name: getattr(one, name)
        for name in ("steps", "graded", "states", "reset_interval", "reset_offset")
    }


def assert_equal(found: Sequence[Any], expected: Sequence[Any], what: str) -> None:
    assert len(found) == len(expected)
    for index, (a, b) in enumerate(zip(found, expected, strict=True)):
        for name in ("spikes", "u", "v", "wrapped", "clipped"):
            np.testing.assert_array_equal(
                getattr(a, name), getattr(b, name), err_msg=f"{name} of layer {index} of {what}"
            )


# --------------------------------------------------------------------------------------- the oracle


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    graded=st.booleans(),
    steps=st.integers(1, 25),
    interval=st.sampled_from([None, 1, 4]),
    activity=st.sampled_from([0.02, 0.3, 1.0]),
)
# A sum of dense synapses leaves 24 bits, and u stays within them.
@example(seed=211, graded=True, steps=15, interval=4, activity=1.0)
# A current equals what u loses in its step, so that nothing changes; u decays at the next one.
@example(seed=17, graded=False, steps=24, interval=None, activity=0.02)
def test_equal_to_the_oracle(
    seed: int,
    graded: bool,
    steps: int,
    interval: int | None,
    activity: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """u, v and spikes of random networks, on every instruction set, at all activities."""
    path = tmp_path_factory.getbasetemp() / "oracle.net"
    random_network(seed, path)
    net, rng = netx.load_netx(path), np.random.default_rng(seed)
    inputs = np.where(
        rng.random((3, steps, *net.input_shape)) < activity,
        rng.integers(-3000, 3000, (3, steps, *net.input_shape)) if graded else 1,
        0,
    )
    one = stock.Run(path, inputs, graded=graded, states=True, reset_interval=interval)
    expected = oracle.run(path, inputs, **options_of(one))
    for isa in netx.isas():
        found = in_core(one, isa=isa, threads=2)
        assert_equal(found, expected, f"{seed} on {isa}")
        for layer in found:
            assert layer.spikes is not None and layer.v is not None
            np.testing.assert_array_equal(layer.counts, layer.spikes.sum(1))
            np.testing.assert_array_equal(layer.potential, layer.v[:, -1])


@pytest.mark.parametrize("isa", ["avx512", "avx2", "generic"])
def test_currents_at_the_end_of_16_bits(isa: str, tmp_path: Path) -> None:
    """Sums of weights of ±32767, which 16 bits hold, and of ±32768, which they do not.

    The neurons fire so often that counts exceed one byte.
    """
    if isa not in netx.isas():
        pytest.skip(f"tier {isa} is not available on this CPU")
    for channels, last in ((3, 0), (3, 1), (5, 0), (5, 1)):  # by patterns of bits, and without
        path = tmp_path / "net.net"
        f = File(path, 8, (channels, 4, 9))
        weight = np.zeros((4, channels, 1, 2))
        weight[0, :2, 0] = [[16_000, 16_000], [767, last]]
        weight[1] = -weight[0]
        group = f.layer(
            "conv",
            (4, 4, 5),
            weight=weight,
            stride=np.array([1, 2]),
            padding=np.array([0, 1]),
            dilation=1,
            groups=1,
        )
        f.neurons(group, 20_000, (4096, 300), 0)
        f.file.close()
        net = netx.load_netx(path)
        inputs = np.ones((1, 300, channels, 4, 9), int)
        found = netx.Simulator(net, isa=isa).run(inputs, states=True)
        assert_equal(found, oracle.run(path, inputs, states=True), isa)
        np.testing.assert_array_equal(found[0].counts, found[0].spikes.sum(1))  # type: ignore[union-attr]
        assert found[0].counts.max() == 299
        assert (
            found[0].u is not None and found[0].u.max() == 64 * (32_767 + last) == -found[0].u.min()
        )


def test_an_instruction_set_is_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = one_neuron(tmp_path / "net.net")
    assert netx.Simulator(net).isa == netx.isas()[0]
    monkeypatch.setenv("LMHT_ISA", "generic")
    assert netx.Simulator(net).isa == "generic"
    monkeypatch.setenv("LMHT_ISA", "mmx")
    with pytest.raises(BackendError, match=r"'mmx' is not available; this CPU runs: .*generic"):
        netx.Simulator(net)


def test_layers_at_rest_wake_up(tmp_path: Path) -> None:
    """A neuron whose potential is clipped rests; a current or a reset wakes it up."""
    net = one_neuron(tmp_path / "net.net", bias=-30_000, vThMant=131_071)
    inputs = np.zeros((1, 400, 1), int)
    inputs[0, 350] = 9
    for interval in (None, 300):
        found = netx.Simulator(net).run(inputs, graded=True, states=True, reset_interval=interval)
        expected = oracle.run(
            tmp_path / "net.net", inputs, graded=True, states=True, reset_interval=interval
        )
        assert_equal(found, expected, "rest")
    assert found[0].v[0, 290, 0] == 1 - 2**23 < found[0].v[0, 301, 0]  # type: ignore[index]


# --------------------------------------------------------------------------------------- saturation


def saturations(net: netx.NetX, *spikes: int, isa: str | None = None) -> tuple[int, int]:
    """How often u wraps, and how often v is clipped."""
    (found,) = netx.Simulator(net, isa=isa).run(np.array(spikes)[None, :, None], graded=True)
    return found.wrapped.item(), found.clipped.item()


def test_saturation_is_counted(tmp_path: Path) -> None:
    """u holds 64 * 131,072 and not one unit more; v holds 2^23 - 1, at rest, too."""
    path = tmp_path / "net.net"
    for isa in netx.isas():
        net = one_neuron(path, weight=128, iDecay=0, vDecay=4096, vThMant=131_071)
        assert saturations(net, 1023, 0, 0, isa=isa) == (0, 0)
        assert saturations(net, 1024, 0, 0, isa=isa) == (0, 2)  # v: twice 2^23
        assert saturations(net, 1025, 0, 0, isa=isa) == (1, 0)
        assert saturations(net, -1023, 0, 0, isa=isa) == (0, 0)
        assert saturations(net, -1024, 0, 0, isa=isa) == (1, 2)  # wraps to 2^23
        assert saturations(net, 32_767, 0, isa=isa) == (1, 1)  # wraps once, to more than 24 bits
        net = one_neuron(path, bias=-30_000, vThMant=131_071)  # -1,920,000 per step: 5 steps
        assert saturations(net, *[0] * 100, isa=isa) == (0, 96)
        assert saturations(net, *[0] * 4, isa=isa) == (0, 0)


def test_a_convolution_that_saturates_is_counted(tmp_path: Path) -> None:
    """The sum of a convolution wraps: at 2^23 it becomes -2^23, for which u has no room either."""
    for value, wrapped in ((1023, 4), (1024, 8)):
        f = File(tmp_path / "net.net", 0, (1, 2, 2))
        geometry = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        group = f.layer("conv", (1, 2, 2), weight=np.full((1, 1, 1, 1), 8192), **geometry)
        f.neurons(group, 9, (4096, 4096), 0)
        f.file.close()
        net, inputs = netx.load_netx(f.path), np.zeros((1, 3, 1, 2, 2), int)
        inputs[0, 0] = value
        for isa in netx.isas():
            (found,) = netx.Simulator(net, isa=isa).run(inputs, graded=True)
            assert (found.wrapped.tolist(), found.clipped.tolist()) == ([wrapped], [4])


# ------------------------------------------------------------------------------------ literal steps


def one_neuron(
    path: Path, weight: int = 1, delay: int | None = None, bias: int = 0, **neuron: int
) -> netx.NetX:
    f = File(path, 0, (1,))
    group = f.layer(
        "dense",
        (1,),
        weight=np.array([[weight]]),
        **({} if delay is None else {"delay": delay}),
        bias=np.array([bias]),
    )
    group["neuron/type"] = "CUBA"
    for name, value in ({"iDecay": 4096, "vDecay": 0, "vThMant": 2} | neuron).items():
        group[f"neuron/{name}"] = value
    f.file.close()
    return netx.load_netx(path)


def steps(net: netx.NetX, *spikes: int) -> tuple[list[int], list[int], list[int]]:
    """Spikes, u and v of its neuron after each step."""
    (found,) = netx.Simulator(net).run(np.array(spikes)[None, :, None], graded=True, states=True)
    assert found.u is not None and found.v is not None
    return (
        found.spikes[0, :, 0].astype(int).tolist(),
        found.u[0, :, 0].tolist(),
        found.v[0, :, 0].tolist(),
    )


def test_spike_above_the_threshold_and_hard_reset(tmp_path: Path) -> None:
    net = one_neuron(tmp_path / "net.net")
    assert steps(net, 1, 1, 1, 0, 7, 0, 0) == (
        [0, 0, 0, 1, 0, 1, 0],
        [0, 64, 64, 64, 0, 448, 0],
        [0, 64, 128, 0, 0, 0, 0],
    )


def test_decays_truncate_towards_zero(tmp_path: Path) -> None:
    net = one_neuron(tmp_path / "net.net", iDecay=2048, vDecay=1024)
    assert steps(net, -1, 0, 0, 0, 0) == ([0] * 5, [0, -64, -32, -16, -8], [0, -64, -80, -76, -65])


def test_bias_acts_at_every_step(tmp_path: Path) -> None:
    assert steps(one_neuron(tmp_path / "net.net", bias=1), 0, 0, 0, 0)[::2] == (
        [0, 0, 1, 0],
        [64, 128, 0, 64],
    )


def test_delay(tmp_path: Path) -> None:
    assert steps(one_neuron(tmp_path / "net.net", delay=2), 1, 0, 2, 0, 0, 0)[1] == [
        0,
        0,
        0,
        64,
        0,
        128,
    ]


def test_negative_weight_of_one_is_lost_as_in_lava(tmp_path: Path) -> None:
    assert steps(one_neuron(tmp_path / "net.net", weight=-1), 1, 1)[1] == [0, 0]


# --------------------------------------------------------------------------------- files and inputs


def refused(path: Path) -> str:
    with pytest.raises(StorageError) as error:
        netx.load_netx(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "net.net"
    assert "there is no such file" in refused(path)
    path.write_text("text")
    assert "is not a NetX file, or is truncated" in refused(path)
    with h5py.File(path, "w") as file:
        file["other"] = 1
    assert "damaged" in refused(path)


def change_neuron(path: Path, **values: object) -> None:
    with h5py.File(path, "r+") as file:
        for name, value in values.items():
            if name in file["layer/1/neuron"]:
                del file["layer/1/neuron"][name]
            file["layer/1/neuron"][name] = value


def test_what_the_file_may_not_hold(tmp_path: Path) -> None:
    path = tmp_path / "net.net"
    one_neuron(path)
    change_neuron(path, messageBits=8)
    assert "layer 1 has graded spikes" in refused(path)
    change_neuron(path, type="RF_PHASE")
    assert "layer 1 has resonate-and-fire neurons (RF_PHASE)" in refused(path)
    one_neuron(path)
    change_neuron(path, vDecay=5000)
    assert "layer 1 has decays 4096 and 5000" in refused(path)
    one_neuron(path)
    with h5py.File(path, "r+") as file:
        file["layer/1/weight_rec"], file["layer/1/delay"] = np.ones((1, 1)), 1
        file["layer/1/type"][0] = b"dense_rec"
    assert "layer 1 is recurrent and has delays" in refused(path)
    one_neuron(path)
    with h5py.File(path, "r+") as file:
        file["layer/1/weight_rec"] = np.ones((1, 2))
        file["layer/1/type"][0] = b"dense_rec"
    assert "layer 1: its recurrent weight has the shape [1, 2], not [1, 1]" in refused(path)
    one_neuron(path)
    with h5py.File(path, "r+") as file:
        file["layer/0/shape"][0] = 2
    assert "layer 1 does not fit the shape (2,) before it" in refused(path)
    one_neuron(path)
    with h5py.File(path, "r+") as file:
        file["layer/0/shape"][0] = 0
    assert "layer 0 has the shape (0,), which is empty" in refused(path)


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.net"
    one_neuron(path)
    with h5py.File(path, "r+") as file:
        del file["layer/1/weight"]
        file["layer/1/weight"] = h5py.ExternalLink("other.h5", "/weight")
    assert "holds a link to another file" in refused(path)


def test_weights_that_are_all_zero(tmp_path: Path) -> None:
    one_neuron(tmp_path / "net.net", weight=2)
    with h5py.File(tmp_path / "net.net", "r+") as file:
        file["layer/1/weight"][...] = 0
    assert "layer 1 has weights that are all zero" in refused(tmp_path / "net.net")


@pytest.mark.parametrize(
    ("name", "value"),
    [("stride", 0), ("groups", 0), ("groups", 4), ("padding", -1), ("dilation", [1, 0])],
)
def test_impossible_convolutions(tmp_path: Path, name: str, value: object) -> None:
    convolutions(tmp_path / "net.net")
    with h5py.File(tmp_path / "net.net", "r+") as file:
        del file[f"layer/1/{name}"]
        file[f"layer/1/{name}"] = value
    assert "layer 1 does not fit the shape (2, 9, 7) before it" in refused(tmp_path / "net.net")


@needs_lava
def test_stock_lava_is_not_asked_for_what_does_not_fit(tmp_path: Path) -> None:
    one_neuron(tmp_path / "net.net")
    with pytest.raises(DataError, match="inputs have shape"):
        in_lava([stock.Run(tmp_path / "net.net", np.zeros((1, 4, 2), int))])


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((1, 4, 2), int),
        np.zeros((4, 1), int),
        np.zeros((1, 4, 1)),
        np.full((1, 4, 1), 2**15),
    ],
)
def test_inputs_that_do_not_fit(tmp_path: Path, inputs: np.ndarray) -> None:
    with pytest.raises(DataError):
        netx.Simulator(one_neuron(tmp_path / "net.net")).run(inputs, graded=True)
