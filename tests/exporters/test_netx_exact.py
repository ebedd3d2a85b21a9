"""Stock-exact NetX files: unmodified LIF neurons give the reference model's spikes and logits.

They run in the simulation and in stock lava-dl.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmht_deploy import backends, netx, reference
from lmht_deploy.analysis.scores import saturations
from lmht_deploy.backends import lava
from lmht_deploy.backends.lava import environment, stock
from lmht_deploy.errors import DataError, ExportError, NetworkError, StorageError
from lmht_deploy.exporters.netx_exact import export_netx_exact
from lmht_deploy.exporters.netx_exact._convolutions import convolved
from lmht_deploy.exporters.netx_exact._dense import unrolled
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.netx.exact import ExactFile, write_exact
from lmht_deploy.ir import Network, Neurons, Readout, leak_integer
from lmht_deploy.result import Result
from tests.cli.test_cli import lmht, refused
from tests.support.exact_networks import NETWORKS, Small, levels, mixing, planes
from tests.support.networks import SPECIAL, windows_for
from tests.support.netx_files import File

needs_lava = pytest.mark.skipif(lava.unavailable() is not None, reason=str(lava.unavailable()))


def assert_exact(found: Result, net: Network, windows: np.ndarray) -> None:
    expected = reference.run(net, windows)
    np.testing.assert_array_equal(found.logits, expected.logits)
    assert found.spikes.keys() == expected.spikes.keys() and found.scale == expected.scale
    for name, counts in expected.spikes.items():
        np.testing.assert_array_equal(found.spikes[name], counts, err_msg=name)
    assert {*expected.spikes} < {*found.wrapped} == {*found.clipped}
    assert saturations(found) == []


@pytest.mark.parametrize("name", NETWORKS)
def test_exact_in_the_simulation(name: str, tmp_path: Path) -> None:
    net = NETWORKS[name]()
    export_netx_exact(net, tmp_path / "net.net")
    windows = windows_for(net, 20)
    assert_exact(backends.open_backend("netx", tmp_path / "net.net").run(windows), net, windows)
    assert all((counts > 0).any() for counts in reference.run(net, windows).spikes.values())


@needs_lava
@pytest.mark.parametrize("name", ["mixing", "shortcuts", "planes"])
def test_exact_in_stock_lava(name: str, tmp_path: Path) -> None:
    net = NETWORKS[name]()
    export_netx_exact(net, tmp_path / "net.net")
    windows = windows_for(net, 2)
    assert_exact(backends.open_backend("lava", tmp_path / "net.net").run(windows), net, windows)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_networks(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "exact.net"
    b = Small(
        data.draw(st.integers(0, 999)),
        shape=(data.draw(st.integers(1, 9)),),
        steps=data.draw(st.integers(1, 3)),
    )
    names = ["input"]
    for name in "acd"[: data.draw(st.integers(1, 3))]:
        synapses = [b.linear(names[-1], data.draw(st.integers(1, 6)))]
        older = [other for other in names[1:-1] if data.draw(st.booleans())]
        synapses += [
            b.linear(other, len(synapses[0].weight))
            for other in older
            if b.steps[other] == b.steps[names[-1]]
        ]
        steps, levels, omega = (
            data.draw(st.integers(1, 3)),
            data.draw(st.integers(1, 3)),
            data.draw(st.sampled_from(["identity", "uniform", "random"])),
        )
        names.append(
            b.neurons(
                name,
                *synapses,
                steps=steps,
                levels=levels,
                omega=omega,
                threshold=(20, data.draw(st.sampled_from([100, 900]))),
            )
        )
    try:
        net = b.finish(names[-1], classes=data.draw(st.integers(1, 4)))
        export_netx_exact(net, path)
    except NetworkError:
        return
    except ExportError as error:
        assert "weights that lava-dl 0.6 does not keep" in str(error)  # a read-out of one sign
        return
    windows = windows_for(net, 4)
    assert_exact(backends.open_backend("netx", path).run(windows), net, windows)


def with_readout(net: Network, weight: int, bias: int) -> Network:
    """Return `net` with a read-out of one weight and one bias.

    One weight is -1, because lava-dl changes weights of one sign.
    """
    (synapse,) = net.readout.synapses
    weights = np.full_like(synapse.weight, weight)
    weights[0, 0] = -1
    readout = dataclasses.replace(
        net.readout,
        synapses=(dataclasses.replace(synapse, weight=weights),),
        bias=np.full_like(net.readout.bias, bias),
    )
    return Network((*net.layers[:-1], readout))


def test_a_bias_does_not_hide_a_current_that_would_wrap(tmp_path: Path) -> None:
    """The sum u of the read-out has 24 bits, too, where v = u + bias would fit."""
    b = Small(0, shape=(4,), steps=1, max_value=3)
    always = {"steps": 3, "levels": 2, "omega": "uniform", "threshold": (1, 2)}
    net = b.finish(b.neurons("a", b.linear("input", 200), bias=(400, 500), **always))
    with pytest.raises(ExportError, match="'logits' has potentials of up to 152,400"):
        export_netx_exact(with_readout(net, 127, -10_000), tmp_path / "net.net")
    assert not (tmp_path / "net.net").exists()
    net = with_readout(net, 100, -10_000)
    export_netx_exact(net, tmp_path / "net.net")
    windows = windows_for(net, 2)
    assert_exact(backends.open_backend("netx", tmp_path / "net.net").run(windows), net, windows)


def test_a_convolution_counts_all_levels_of_what_it_reads(tmp_path: Path) -> None:
    """256 neurons that fire 6 spikes: 6 digits each, and 6·256 weights reach the read-out."""
    b = Small(0, shape=(1, 8, 8), steps=1, max_value=3)
    always = {"steps": 1, "levels": 6, "threshold": (1, 2)}
    net = b.finish(b.neurons("a", b.conv("input", 4), bias=(9_000, 9_001), **always))
    most = with_readout(net, 127, 0)
    with pytest.raises(ExportError, match="'logits' has potentials of up to 195,072"):
        export_netx_exact(most, tmp_path / "net.net")
    net = with_readout(net, 85, 0)
    export_netx_exact(net, tmp_path / "net.net")
    windows = windows_for(net, 2)
    found = backends.open_backend("netx", tmp_path / "net.net").run(windows)
    assert_exact(found, net, windows)
    assert found.logits.max() == 256 * 6 * 85


def test_neurons_of_very_different_biases(tmp_path: Path) -> None:
    """Each is held below its own threshold, so no potential leaves its 24 bits."""
    b = Small(1, shape=(4,), steps=1)
    net = b.finish(
        b.neurons(
            "a", b.linear("input", 8), steps=3, levels=2, omega="uniform", bias=(-27_000, 27_000)
        )
    )
    export_netx_exact(net, tmp_path / "net.net")
    windows = windows_for(net, 2)
    assert_exact(backends.open_backend("netx", tmp_path / "net.net").run(windows), net, windows)


# ------------------------------------------------------------------------------- convolutions


@given(data=st.data())
def test_spikes_by_thresholds(data: st.DataObject) -> None:
    """What convolutions of neurons that keep nothing compute, from the sums S[t] alone."""
    steps, levels = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    theta, v0 = data.draw(st.integers(1, 9)), data.draw(st.integers(-9, 9))
    currents = data.draw(st.lists(st.integers(-40, 40), min_size=steps, max_size=steps))
    v, expected = v0, []
    for current in currents:
        v += current
        expected.append(min(max(v // theta, 0), levels))
        v -= expected[-1] * theta
    found: list[int] = []
    for t, sum_ in enumerate(np.cumsum(currents) + v0, 1):
        digits = sum(sum_ >= n * theta for n in range(1, t * levels + 1))
        found.append(sum(digits - sum(found) >= level for level in range(1, levels + 1)))
    assert found == expected


def random_planes(data: st.DataObject) -> Network:
    """A chain of convolutions and pooling, with shortcuts, over planes of several sizes."""
    draw = data.draw
    sizes = st.integers(3, 7)
    b = Small(
        draw(st.integers(0, 999)),
        shape=(2, draw(sizes), draw(sizes)),
        steps=draw(st.integers(1, 3)),
        min_value=draw(st.sampled_from([0, -3])),
    )
    readable = ["input"]
    for name in "acd"[: draw(st.integers(1, 3))]:
        source, height, width = readable[-1], *b.shapes[readable[-1]][1:]
        kernel = draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width)))
        geometry: dict[str, int] = {
            "padding": draw(st.integers(0, 1)),
            "stride": draw(st.integers(1, 2)),
            "groups": draw(st.integers(1, 2)),
        }
        main = b.conv(source, 2, kernel, **geometry)
        shape = main.output_shape(b.shapes[source])
        synapses: list[Any] = [main]
        for older in readable[1:-1]:
            stride = draw(st.sampled_from([1, 2, 4]))
            skip = b.conv(older, 2, 1, stride, 0)
            fits = skip.output_shape(b.shapes[older]) == shape
            if fits and b.steps[older] == b.steps[source]:
                synapses.append(skip)
        neurons: dict[str, Any] = {
            "steps": draw(st.integers(1, 3)),
            "levels": draw(st.integers(1, 3)),
            "omega": draw(st.sampled_from(["identity", "uniform", "random"])),
            "threshold": (20, draw(st.sampled_from([100, 900]))),
            "v0": (-50, 100),
        }
        readable.append(b.neurons(name, *synapses, **neurons))
        if min(shape[1:]) >= 2 and draw(st.booleans()):
            readable.append(draw(st.sampled_from([b.sum_pool, b.max_pool]))(name))
    return b.finish(readable[-1], classes=draw(st.integers(1, 4)))


FORM_REFUSALS = ("pads more than half", "reads planes of several", "fewer pixels", "leaves out")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_convolutions(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "planes.net"
    try:
        net = random_planes(data)
        content = convolved(net)
    except (NetworkError, ExportError) as error:
        assert isinstance(error, NetworkError) or any(what in str(error) for what in FORM_REFUSALS)
        return
    write_exact(content, path)
    windows = windows_for(net, 4)
    assert_exact(backends.open_backend("netx", path).run(windows), net, windows)


def test_convolutions_stay_convolutions(tmp_path: Path) -> None:
    """They keep nothing, and no neuron fires without a sample."""
    export_netx_exact(planes(), tmp_path / "net.net")
    with h5py.File(tmp_path / "net.net") as file:
        groups = [file[f"layer/{i}"] for i in range(len(file["layer"]))]
        assert [group["type"][0] for group in groups] == [b"input", *[b"conv"] * 9]
        assert [group.attrs.get("lmht_name") for group in groups] == [
            *("input", None, "a", "a-max", None, "c", None, None, "d", "logits")
        ]
        for group in groups[1:]:
            assert (group["neuron/iDecay"][()], group["neuron/vDecay"][()]) == (4096, 4096)
            assert group["neuron/vThMant"][()] == (131_071 if group is groups[-1] else 0)
            assert group is groups[-1] or group["bias"][()].max() <= 0
    net = netx.load_netx(tmp_path / "net.net")
    silent = netx.Simulator(net).run(np.zeros((1, 12, *net.input_shape), int), graded=True)
    assert not any(layer.counts.any() for layer in silent)


def size(content: ExactFile) -> tuple[int, int]:
    """Neurons and weights of a file."""
    arrays = (array for x in content.layers for array in (x.weight, x.recurrent))
    weights = sum(array.size for array in arrays if array is not None)
    return sum(int(np.prod(x.shape)) for x in content.layers[1:]), weights


@pytest.mark.parametrize(
    ("steps", "levels", "channels", "side", "expected", "dense"),
    [
        (2, 1, 4, 8, (2250, 5473), (1988, 3_697_832)),
        (2, 2, 4, 8, (4490, 15_422), (2118, 4_027_008)),
        (4, 1, 4, 8, (13_450, 25_923), None),
        (4, 2, 8, 16, (199_690, 321_960), None),
    ],
)
def test_sizes(
    steps: int, levels: int, channels: int, side: int, expected: object, dense: object
) -> None:
    """What docs/how-to/stock-lava.md states of two convolutions and a read-out."""
    b = Small(0, shape=(2, side, side), steps=steps)
    a = b.neurons("a", b.conv("input", channels), steps=steps, levels=levels)
    second = b.conv(a, 2 * channels, stride=2)
    net = b.finish(b.neurons("c", second, steps=steps, levels=levels, omega="random"), 10)
    net = with_readout(net, 10, 0)  # potentials of the largest network fit 24 bits
    assert size(convolved(net)) == expected
    assert dense is None or size(unrolled(net)) == dense


def test_many_channels_share_groups(tmp_path: Path) -> None:
    """lava-nc has at most 127 groups."""
    b = Small(6, shape=(1, 2, 2), steps=2)
    net = b.finish(b.neurons("a", b.conv("input", 130), steps=2, levels=1))
    export_netx_exact(net, tmp_path / "net.net")
    windows = windows_for(net, 4)
    found = backends.open_backend("netx", tmp_path / "net.net").run(windows)
    assert_exact(found, net, windows)
    with h5py.File(tmp_path / "net.net") as file:
        assert file["layer/2/groups"][()] == 65  # of two channels each


def test_what_convolutions_refuse_becomes_dense(tmp_path: Path) -> None:
    """A kernel of 1x1 with a border: an output may read no pixel."""
    b = Small(7, shape=(1, 3, 3), steps=2)
    a = b.neurons("a", b.conv("input", 2, 1, 1, 1), steps=2, v0=(300, 301))
    net = b.finish(a)
    with pytest.raises(ExportError, match="layer 'a' pads more than half of its kernel"):
        convolved(net)
    export_netx_exact(net, tmp_path / "net.net")
    windows = windows_for(net, 4)
    assert_exact(backends.open_backend("netx", tmp_path / "net.net").run(windows), net, windows)


def changed(net: Network, **fields: object) -> Network:
    """`net` with other fields in its first layer of neurons."""
    first = dataclasses.replace(net.neurons[0], **fields)  # type: ignore[arg-type]
    return Network(tuple(first if layer is net.neurons[0] else layer for layer in net.layers))


def shortcut_from_the_input() -> Network:
    b = Small(2, shape=(4,), steps=2)
    a = b.neurons("a", b.linear("input", 4), steps=2)
    return b.finish(b.neurons("c", b.linear(a, 4), b.linear("input", 4), steps=2))


def maximum_of_sums() -> Network:
    b = Small(8, shape=(1, 8, 8), steps=2)
    a = b.neurons("a", b.conv("input", 30), steps=2)
    return b.finish(b.neurons("c", b.conv(b.max_pool(b.sum_pool(a)), 2), steps=2))


def many_channels() -> Network:
    b = Small(9, shape=(1, 4, 4), steps=2)
    a = b.neurons("a", b.conv("input", 700), steps=2, levels=2)
    return b.finish(b.neurons("c", b.conv(a, 700, groups=700), steps=2, levels=2))


def zero_readout() -> Network:
    net = mixing()
    zero = dataclasses.replace(
        net.readout,
        synapses=(dataclasses.replace(net.readout.synapses[0], weight=np.zeros((5, 7), int)),),
    )
    return Network(tuple(zero if isinstance(layer, Readout) else layer for layer in net.layers))


REFUSED: dict[str, tuple[Callable[[], Network], str]] = {
    "leak": (lambda: changed(mixing(), leak=3000), "layer 'a' has a leak over 2 time-steps"),
    "leak and size": (
        lambda: changed(SPECIAL["wide"](), leak=3000),
        "layer 'a' has a leak over",
    ),
    "max pooling": (SPECIAL["max-pooled"], "layer 'input-max' is a maximum of the input"),
    "maximum of sums": (maximum_of_sums, "layer 'a-sum-max' is a maximum of sums"),
    "size": (many_channels, "layer 'c' unrolls into 106,445,664 weights"),
    "both": (
        lambda: changed(mixing(), substeps=2),
        "layer 'a' has 2 levels and 2 sub-steps at once",
    ),
    "uniform": (
        lambda: changed(mixing(), levels=1, substeps=2, injection="uniform"),
        "layer 'a' spreads its current",
    ),
    "input": (shortcut_from_the_input, "layer 'a' is not the only one that reads the input"),
    "range": (
        lambda: changed(mixing(), bias=np.full(8, 2**17)),
        "layer 'a' has potentials of up to",
    ),
    "read-out": (zero_readout, "layer 'logits' has weights that lava-dl 0.6 does not keep"),
}


def test_the_decay_of_lif_neurons_is_not_the_leak(tmp_path: Path) -> None:
    """Half of -1 is 0 in integers, and -32/64 in a LIF neuron: with 1 more, one fires."""
    f = File(tmp_path / "net.net", 0, (1,))
    group = f.layer("dense", (1,), weight=np.array([[1]]), bias=np.array([0]))
    for name, value in {"type": "CUBA", "iDecay": 2048, "vDecay": 4096, "vThMant": 0}.items():
        group[f"neuron/{name}"] = value
    f.file.close()
    inputs = np.array([-1, 1, 0])[None, :, None]
    (found,) = netx.Simulator(netx.load_netx(f.path)).run(inputs, graded=True, states=True)
    assert found.u is not None and found.u[0, :, 0].tolist() == [0, -64, 32]  # 32/64 < 1
    current = np.array([-1, 1])
    v = int(leak_integer(current[:1], 2048)[0]) + int(current[1])
    assert v == 1


@given(v=st.integers(-(2**17) + 1, 2**17 - 1), leak=st.integers(0, 16384))
def test_threshold_neurons_can_compute_a_leak_by_digits(v: int, leak: int) -> None:
    """What docs/how-to/stock-lava.md states: digits of v, a weight each, and counted carries."""
    rest, whole, remainders = abs(v), 0, 0
    for i in reversed(range(17)):  # a neuron that fires at 2^i, and inhibits the lower digits
        digit = int(rest >= 2**i)
        rest -= digit * 2**i
        whole += digit * (2**i * leak // 4096)
        remainders += digit * (2**i * leak % 4096)
    carries = sum(remainders >= 4096 * n for n in range(1, 17))
    assert rest == 0 and remainders <= 17 * 4095 < 2**17
    magnitude = whole + carries
    assert int(leak_integer(np.array([v]), leak)[0]) == (magnitude if v > 0 else -magnitude)


def leak_circuit(path: Path, weight: np.ndarray, leak: int) -> None:
    """Stock neurons that compute trunc(λ·v) of v = weight·spikes; the last spike is always 1.

    A layer per binary digit of v and of -v, then their carries, then the read-out.
    """
    f, inputs = File(path, 0, (len(weight), 1, 1)), len(weight)

    def layer(matrix: np.ndarray, threshold: int) -> None:
        geometry = {name: np.array([1, 1]) for name in ("stride", "dilation")}
        geometry["padding"] = np.zeros(2, int)
        group = f.layer("conv", (len(matrix), 1, 1), weight=matrix[..., None, None], groups=1)
        for name, value in geometry.items():
            group[name] = value
        group["bias"] = np.zeros(len(matrix), int)
        neurons = {"type": "CUBA", "iDecay": 4096, "vDecay": 4096, "vThMant": threshold}
        for name, value in neurons.items():
            group[f"neuron/{name}"] = value

    digits: list[tuple[int, int]] = []  # sign and exponent of what follows the repeated spikes
    for exponent in reversed(range(17)):
        repeated = 2**exponent * np.eye(inputs + len(digits), dtype=int)
        rows = [
            [*(sign * weight), *(-(2**other) * (sign == own) for own, other in digits)]
            for sign in (1, -1)
        ]
        layer(np.vstack((repeated, rows)), 2**exponent - 1)
        digits += [(1, exponent), (-1, exponent)]
    token = np.arange(inputs + len(digits)) == inputs - 1
    rests = [
        [0] * inputs + [2**e * leak % 4096 * (s == sign) for s, e in digits] for sign in (1, -1)
    ]
    carries = [np.array(rest) - 4096 * n * token for rest in rests for n in range(16)]
    layer(np.vstack((4096 * np.eye(inputs + len(digits), dtype=int), carries)), 4095)
    wholes = [s * (2**e * leak // 4096) for s, e in digits]
    layer(np.array([[0] * inputs + wholes + [1] * 16 + [-1] * 16]), 2**17 - 1)
    f.file.close()


@pytest.mark.parametrize("leak", [0, 1, 2048, 3000, 4095, 5000, 6143])
def test_stock_neurons_compute_a_leak(leak: int, tmp_path: Path) -> None:
    """All 256 sums of 8 weights, up to 65,536, of both signs: 66 neurons and 19 steps."""
    rng = np.random.default_rng(leak)
    weight = np.append(rng.integers(-16_000, 16_000, 8), 0)
    leak_circuit(tmp_path / "net.net", weight, leak)
    bits = np.arange(256)[:, None] >> np.arange(8) & 1
    spikes = np.zeros((256, 20, 9, 1, 1), int)
    spikes[:, 0, :, 0, 0] = np.hstack((bits, np.ones((256, 1), int)))
    net = netx.load_netx(tmp_path / "net.net")
    found = netx.Simulator(net).run(spikes, graded=True)[-1].potential.ravel() // 64
    v = spikes[:, 0, :, 0, 0] @ weight
    assert v.min() < 0 < v.max()
    np.testing.assert_array_equal(found, leak_integer(v, leak))
    neurons = sum(layer.shape[0] for layer in net.spiking[-2:-1]) - len(weight)
    assert neurons == 66 and len(net.spiking) == 19


@needs_lava
def test_stock_lava_computes_a_leak(tmp_path: Path) -> None:
    weight = np.array([9000, -16_001, 17, 0])
    leak_circuit(tmp_path / "net.net", weight, 3000)
    spikes = np.zeros((2, 20, 4, 1, 1), int)
    spikes[:, 0, :, 0, 0] = [[1, 0, 1, 1], [1, 1, 0, 1]]
    python = environment.python_of()
    assert python is not None
    run = stock.Run(tmp_path / "net.net", spikes, graded=True, states=True)
    ((*_, last),), _ = stock.run(python, [run])
    np.testing.assert_array_equal(
        last.potential.ravel() // 64, leak_integer(np.array([9017, -7001]), 3000)
    )


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name: str, tmp_path: Path) -> None:
    make, what = REFUSED[name]
    with pytest.raises(ExportError) as error:
        export_netx_exact(make(), tmp_path / "net.net")
    assert str(error.value).startswith(what) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_netx_exact(levels(), tmp_path / f"{name}.net")
    assert (tmp_path / "one.net").read_bytes() == (tmp_path / "two.net").read_bytes()


def test_the_reader_checks(tmp_path: Path) -> None:
    path = tmp_path / "net.net"
    export_netx_exact(levels(), path)
    backend = backends.open_backend("netx", path)
    assert backend.window_shape == (1, 2, 4, 4) and backend.max_value == 3
    with pytest.raises(DataError, match="must have shape"):
        backend.run(np.zeros((1, 2, 4), int))
    with pytest.raises(DataError, match="no traces"):
        backend.run(np.zeros((1, 1, 2, 4, 4), int), trace=True)
    with h5py.File(path, "r+") as file:
        file["layer/1/bias"][0] += 1
    with pytest.raises(StorageError, match="checksum"):
        backends.open_backend("netx", path)


def test_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_network(levels(), tmp_path / "net.lmht")
    assert (
        lmht("export", tmp_path / "net.lmht", "--out", tmp_path / "net.net", "--stock-exact") == 0
    )
    assert "a 24-bit current or potential of Lava wrap or clip: proved" in capsys.readouterr().out
    np.savez(tmp_path / "windows.npz", windows=windows_for(levels(), 3).astype(np.uint8))
    assert lmht("run", tmp_path / "net.net", "--data", tmp_path / "windows.npz") == 0
    assert "net.net on netx, 3 windows" in capsys.readouterr().out
    assert "'stock_exact' is for .net files" in refused(
        capsys, "export", tmp_path / "net.lmht", "--out", tmp_path / "net.onnx", "--stock-exact"
    )
    assert "for backend 'lava', not 'netx'" in refused(
        capsys, "run", tmp_path / "net.net", "--data", tmp_path / "windows.npz", "--fast-conv"
    )


def test_neurons_are_stock(tmp_path: Path) -> None:
    """The file holds only LIF neurons in dense layers; their current is kept, the potential not."""
    export_netx_exact(mixing(), tmp_path / "net.net")
    net = mixing()
    with h5py.File(tmp_path / "net.net") as file:
        groups = [file[f"layer/{i}"] for i in range(len(file["layer"]))]
        assert [group["type"][0] for group in groups] == [b"input", *[b"dense_rec"] * 3, b"dense"]
        assert [group.attrs["lmht_name"] for group in groups] == [
            layer.name
            for layer in net.layers
            if layer.name == "input" or isinstance(layer, Neurons | Readout)
        ]
        for group in groups[1:-1]:
            assert {
                key: int(group[f"neuron/{key}"][()]) for key in ("iDecay", "vDecay", "vThMant")
            } == {"iDecay": 0, "vDecay": 4096, "vThMant": 0}
            assert (
                np.abs(group["weight"][()]).max() <= 254
                and np.abs(group["weight_rec"][()]).max() <= 254
            )
