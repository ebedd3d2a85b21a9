"""Stock-exact NetX files: unmodified LIF neurons give the reference model's spikes and logits.

They run in the simulation and in stock lava-dl.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmht_deploy import backends, netx, reference
from lmht_deploy.analysis.scores import saturations
from lmht_deploy.backends import lava
from lmht_deploy.errors import DataError, ExportError, NetworkError, StorageError
from lmht_deploy.exporters.netx_exact import export_netx_exact
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.ir import Network, Neurons, Readout, leak_integer
from lmht_deploy.result import Result
from tests.cli.test_cli import lmht, refused
from tests.support.exact_networks import NETWORKS, Small, levels, mixing, shortcuts
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
@pytest.mark.parametrize("name", ["mixing", "shortcuts"])
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


def changed(net: Network, **fields: object) -> Network:
    """`net` with other fields in its first layer of neurons."""
    first = dataclasses.replace(net.neurons[0], **fields)  # type: ignore[arg-type]
    return Network(tuple(first if layer is net.neurons[0] else layer for layer in net.layers))


def shortcut_from_the_input() -> Network:
    b = Small(2, shape=(4,), steps=2)
    a = b.neurons("a", b.linear("input", 4), steps=2)
    return b.finish(b.neurons("c", b.linear(a, 4), b.linear("input", 4), steps=2))


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
    "max pooling": (SPECIAL["pooled"], "layer 'c' reads the max pooling 'a-max'"),
    "size": (SPECIAL["wide"], "layer 'a' unrolls into 197,400,000 weights"),
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
    export_netx_exact(shortcuts(), tmp_path / "net.net")
    net = shortcuts()
    with h5py.File(tmp_path / "net.net") as file:
        groups = [file[f"layer/{i}"] for i in range(len(file["layer"]))]
        assert [group["type"][0] for group in groups] == [b"input", *[b"dense_rec"] * 4, b"dense"]
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
