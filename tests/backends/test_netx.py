"""The backend of NetX files from other tools: counts of the simulation's spikes, and read-outs."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import lmht_deploy
from lmht_deploy import backends, netx
from lmht_deploy.errors import BackendError, DataError, StorageError
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.windows import save_windows
from tests.cli.test_cli import lmht, refused
from tests.support.exact_networks import mixing
from tests.support.networks import SPECIAL, windows_for
from tests.support.netx_files import File, convolutions, recurrent

RNG = np.random.default_rng(0)


def crossings(net: netx.NetX, layer: netx.NetXConv, spikes: np.ndarray) -> int:
    """Synapses that `spikes` [steps, C, H, W] cross, one output and one tap at a time."""
    total = 0
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = (
        layer.weight.shape[2:],
        layer.stride,
        layer.padding,
        layer.dilation,
    )
    for y, x, i, j in np.ndindex(*layer.shape[1:], kh, kw):
        row, column = y * sh + i * dh - ph, x * sw + j * dw - pw
        if 0 <= row < spikes.shape[2] and 0 <= column < spikes.shape[3]:
            total += int(spikes[:, :, row, column].sum()) * len(layer.weight) // layer.groups
    return total


def test_counts_spikes_and_operations(tmp_path: Path) -> None:
    convolutions(tmp_path / "a.net")
    net = netx.load_netx(tmp_path / "a.net")
    windows = (RNG.random((2, 12, 2, 9, 7)) < 0.4).astype(int)
    found = backends.open_backend("netx", tmp_path / "a.net").run(windows, trace=True)
    expected = netx.Simulator(net).run(windows)
    assert list(found.spikes) == ["layer 1", "layer 2", "layer 4"]
    assert found.traces is not None
    for name, recording in zip(found.spikes, expected, strict=True):
        np.testing.assert_array_equal(found.traces[name], recording.spikes)
        assert (
            found.spikes[name].tolist()
            == recording.counts.sum(tuple(range(1, recording.counts.ndim))).tolist()
        )
    assert found.sops["layer 1"][1] == crossings(net, net.layers[1], windows[1])  # type: ignore[arg-type]
    assert found.sops["layer 2"][1] == crossings(net, net.layers[2], expected[0].spikes[1])  # type: ignore[arg-type]
    assert found.sops["layer 4"].tolist() == (found.spikes["layer 2"] * 7).tolist()
    assert found.logits.tolist() == expected[-1].counts.tolist()
    assert all(counts.any() for counts in found.spikes.values())


def test_dense_layers_of_several_sizes(tmp_path: Path) -> None:
    f = File(tmp_path / "d.net", 8, (12,))
    for units in (16, 9, 5):
        f.dense(units, -60, 100)
    f.file.close()
    found = backends.open_backend("netx", tmp_path / "d.net").run(
        (RNG.random((3, 20, 12)) < 0.4).astype(int)
    )
    assert list(found.spikes) == ["layer 1", "layer 2", "layer 3"]
    assert found.sops["layer 3"].tolist() == (found.spikes["layer 2"] * 5).tolist()
    assert found.spikes["layer 2"].any()


def test_recurrent_synapses_count_too(tmp_path: Path) -> None:
    recurrent(tmp_path / "r.net")
    windows = (RNG.random((3, 20, 12)) < 0.4).astype(int)
    found = backends.open_backend("netx", tmp_path / "r.net").run(windows)
    assert (
        found.sops["layer 1"].tolist()
        == (windows.sum((1, 2)) * 16 + found.spikes["layer 1"] * 16).tolist()
    )
    assert found.spikes["layer 1"].any()


def test_run_finds_out_whose_file_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recurrent(tmp_path / "r.net")
    save_windows((RNG.random((3, 20, 12)) < 0.4).astype(np.uint8), tmp_path / "w.npz")
    assert (
        lmht(
            "run", tmp_path / "r.net", "--data", tmp_path / "w.npz", "--json", tmp_path / "run.json"
        )
        == 0
    )
    assert json.loads((tmp_path / "run.json").read_text())["backend"] == "netx"
    capsys.readouterr()
    save_windows(np.zeros((3, 20, 11), np.uint8), tmp_path / "w.npz")
    assert "spikes [batch, steps, (12,)]" in refused(
        capsys, "run", tmp_path / "r.net", "--data", tmp_path / "w.npz"
    )
    save_network(SPECIAL["if"](), tmp_path / "n.lmht")
    assert "runs files of other tools" in refused(
        capsys, "compare", tmp_path / "n.lmht", "--data", tmp_path / "w.npz", "--backends", "netx"
    )
    (tmp_path / "r.net").write_bytes((tmp_path / "r.net").read_bytes()[:2000])
    assert "truncated" in refused(capsys, "run", tmp_path / "r.net", "--data", tmp_path / "w.npz")


@pytest.mark.parametrize("stock_exact", [True, False])
def test_a_file_of_stock_neurons_holds_no_network(
    stock_exact: bool, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Where a network is needed, the message says what the file is and what runs it."""
    path, windows = tmp_path / "stock.net", tmp_path / "w.npz"
    if stock_exact:
        lmht_deploy.export(mixing(), path, stock_exact=True)
    else:
        recurrent(path)
    message = "holds stock neurons of lava-dl, and no LM-HT network; run it on the backend 'netx'"
    with pytest.raises(StorageError, match=message):
        lmht_deploy.load(path)
    with pytest.raises(StorageError, match=message):
        lmht_deploy.run(path, np.zeros((1, 3, 9), int))
    save_windows(np.zeros((1, 3, 9), int), windows)
    assert "holds stock neurons of lava-dl and no LM-HT network, and cannot be compared" in refused(
        capsys, "compare", path, "--data", windows
    )


def test_networks_driven_by_their_bias(tmp_path: Path) -> None:
    recurrent(tmp_path / "r.net")
    with h5py.File(tmp_path / "r.net", "r+") as file:
        for name, value in {"type": "CUBA", "iDecay": 4096, "vDecay": 100, "vThMant": 50}.items():
            file[f"layer/0/neuron/{name}"] = value
    windows = RNG.integers(0, 30, (2, 1, 12))
    with pytest.raises(DataError, match="tSample"):
        backends.open_backend("netx", tmp_path / "r.net").run(windows)
    with h5py.File(tmp_path / "r.net", "r+") as file:
        file["simulation/tSample"] = 25
    found = backends.open_backend("netx", tmp_path / "r.net").run(windows, trace=True)
    assert found.traces is not None
    np.testing.assert_array_equal(
        found.traces["layer 0"],
        netx.Simulator(netx.load_netx(tmp_path / "r.net")).run(windows[:, 0], 25)[0].spikes,
    )
    assert list(found.sops) == ["layer 1", "layer 2"]
    assert (
        found.sops["layer 1"][0]
        == found.spikes["layer 0"][0] * 16 + found.spikes["layer 1"][0] * 16
    )


def test_refuses(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no such file"):
        backends.open_backend("netx", tmp_path / "none.net")
    with pytest.raises(BackendError, match=r"runs \.net files"):
        backends.open_backend("netx", tmp_path / "net.lmht")


def test_exported_file_as_stock_lava_dl_reads_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Step j enters at the first step of block j; the logits are read after the last spike."""
    net = SPECIAL["m-ht"]()  # T = 4, L = 3: 12 steps, and one for each of three layers
    save_network(net, tmp_path / "net.lmht")
    assert lmht("export", tmp_path / "net.lmht", "--out", tmp_path / "net.net") == 0
    assert "--backend netx" in capsys.readouterr().err
    windows = windows_for(net, 5)
    backend = backends.open_backend("netx", tmp_path / "net.net")
    assert backend.window_shape == windows.shape[1:]
    found = backend.run(windows)
    inputs = np.zeros((5, 15, *windows.shape[2:]), int)
    inputs[:, 0:12:3] = windows
    expected = netx.Simulator(netx.load_netx(tmp_path / "net.net")).run(inputs, graded=True)
    assert found.logits.tolist() == (expected[-1].potential // 64).tolist()
    assert found.spikes["layer 1"].tolist() == expected[0].counts.sum((1, 2, 3)).tolist()
    assert found.spikes["layer 2"].any() and found.scale == net.readout.scale
    with pytest.raises(DataError, match="must have shape"):
        backend.run(windows[:, :2])


def test_saturation_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """40 inputs of weight 254 for 13 steps in a current that does not decay: 13 * 10,160 > 2^17."""
    f = File(tmp_path / "s.net", 0, (40,))
    group = f.layer("dense", (2,), weight=np.full((2, 40), 254) * np.array([[1], [-1]]))
    f.neurons(group, 131_071, (0, 4096), 0)
    f.file.close()
    windows = np.ones((3, 13, 40), np.uint8)
    save_windows(windows, tmp_path / "w.npz")
    arguments = ("run", f.path, "--data", tmp_path / "w.npz", "--json", tmp_path / "run.json")
    assert lmht(*arguments) == 0
    assert "24 bits" not in capsys.readouterr().err
    windows = np.ones((3, 14, 40), np.uint8)  # the last of 14 steps sees 13 inputs
    windows[2, 5] = 0
    save_windows(windows, tmp_path / "w.npz")
    assert lmht(*arguments) == 0
    assert (
        "layer 'layer 1' left its 24 bits: currents wrapped 4 times and potentials were clipped 0 "
        "times in 3 windows"
    ) in " ".join(capsys.readouterr().err.split())
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["wrapped"] == {"layer 1": [2, 2, 0]}
    assert content["clipped"] == {"layer 1": [0, 0, 0]}
