"""NIR files: read back exactly, and run by other readers as far as they are plain."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import lmht_deploy as lmht
from lmht_deploy import backends, reference
from lmht_deploy.errors import ExportError, LoweringError, StorageError
from lmht_deploy.exporters import export
from lmht_deploy.formats.nir import read_nir
from lmht_deploy.ir import Network
from tests.cli.test_cli import lmht as command
from tests.cli.test_cli import refused
from tests.support.hdf5 import seal
from tests.support.networks import SPECIAL, Builder, float_network, networks, windows_for
from tests.support.results import assert_equal


@pytest.mark.parametrize("name", SPECIAL)
def test_round_trip(name: str, tmp_path: Path) -> None:
    net = SPECIAL[name]()
    export(net, tmp_path / "net.nir")
    assert lmht.load(tmp_path / "net.nir") == net


def test_layers_of_any_name(tmp_path: Path) -> None:
    b = Builder(0)
    net = b.finish(b.neurons("größe 神経 <&>", b.conv("input", 3)))
    export(net, tmp_path / "net.nir")
    assert lmht.load(tmp_path / "net.nir") == net
    assert {"größe 神経 <&>", "flatten"} < set(nir.read(tmp_path / "net.nir").nodes)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks())
def test_random_graphs(net: Network, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.nir"
    export(net, path)
    assert lmht.load(path) == net


@pytest.mark.parametrize("backend", ["event", "reference", "torch"])
def test_every_backend_of_networks_runs_the_file(backend: str, tmp_path: Path) -> None:
    net = SPECIAL["max-pooled"]()
    export(net, tmp_path / "net.nir")
    windows = windows_for(net)
    found = backends.open_backend(backend, tmp_path / "net.nir").run(windows, trace=True)
    assert_equal(found, reference.run(net, windows, trace=True))


# ------------------------------------------------------------------------------------- plain files


def if_network(seed: int = 0, *, still: bool = False, shortcut: bool = True) -> Network:
    """IF neurons over convolutions, a residual sum, sum pooling and a dense layer."""
    b = Builder(seed, shape=(2, 6, 6), steps=1 if still else 4, max_value=3)
    plain: dict[str, Any] = {"levels": 1, "v0": (0, 1), "threshold": (200, 900)}
    first = (
        [[4]] * 4 if still else (4 * np.eye(4, dtype=int)).tolist()
    )  # D = 4: the threshold is θ/4
    a = b.neurons("a", b.conv("input", 3), **plain | {"omega": first, "threshold": (801, 3000)})
    c = b.neurons("c", b.conv(a, 3, exponent=2), *[b.scale(a)] * shortcut, **plain)
    return b.finish(b.neurons("d", b.conv(b.sum_pool(c), 4, groups=1), **plain))


@pytest.mark.parametrize("still", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_plain_file_without_its_metadata(seed: int, still: bool, tmp_path: Path) -> None:
    """The import of a foreign file, which knows the nodes only, gives the same integers."""
    net, path = if_network(seed, still=still), tmp_path / "net.nir"
    assert export(net, path, plain=True).warnings == ()
    graph = dataclasses.replace(read_nir(path), metadata={})
    read = lmht.from_nir(graph, steps=4, dt=1.0, reset="subtract", still=still, max_value=3)
    windows = windows_for(net, 4, seed)
    expected = reference.run(net, windows, trace=True)
    found = reference.run(read, windows, trace=True)
    for layer in net.neurons:
        assert expected.traces[layer.name].any()
        np.testing.assert_array_equal(found.traces[layer.name], expected.traces[layer.name])
    np.testing.assert_array_equal(found.logits, expected.logits)


def test_sinabs_runs_a_plain_file(tmp_path: Path) -> None:
    """sinabs fires several spikes and limits the potential, where it is not told otherwise."""
    nir, torch = pytest.importorskip("nir"), pytest.importorskip("torch")
    exchange = pytest.importorskip("sinabs.nir")
    import sinabs.layers as sl
    from sinabs import activation

    net, path = if_network(shortcut=False), tmp_path / "net.nir"
    export(net, path, plain=True)
    model = exchange.from_nir(nir.read(path), batch_size=1)
    layers = [layer for layer in model.modules() if isinstance(layer, sl.IAFSqueeze)]
    found: list[np.ndarray] = []
    for layer in layers:
        layer.min_v_mem, layer.spike_fn = None, activation.SingleSpike
        layer.register_forward_hook(lambda _m, _i, out: found.append(out.detach().numpy()))
    windows = windows_for(net, 1)
    expected = reference.run(net, windows, trace=True)
    with torch.no_grad():
        logits = model(torch.tensor(windows[0], dtype=torch.float32))
    logits = logits[0] if isinstance(logits, tuple) else logits
    for layer, spikes in zip(net.neurons, found, strict=True):
        np.testing.assert_array_equal(spikes, expected.traces[layer.name][0])
    np.testing.assert_array_equal(logits.sum(0).numpy(), expected.logits[0])


@pytest.mark.parametrize("name", SPECIAL)
def test_the_reference_of_nir_reads_every_file(name: str, tmp_path: Path) -> None:
    nir = pytest.importorskip("nir")
    export(SPECIAL[name](), tmp_path / "net.nir")
    graph = nir.read(tmp_path / "net.nir")
    assert set(graph.nodes) == set(read_nir(tmp_path / "net.nir").nodes)
    nir.write(tmp_path / "again.nir", graph)  # which keeps the metadata
    assert lmht.load(tmp_path / "again.nir") == SPECIAL[name]()


def changed(**fields: Any) -> Network:
    """The network of IF neurons with other fields in its layer "c"."""
    net = if_network()
    layers = [
        dataclasses.replace(layer, **fields) if layer.name == "c" else layer for layer in net.layers
    ]
    return Network(tuple(layers))


NOT_PLAIN: dict[str, tuple[Callable[[], Network], str]] = {
    "levels": (lambda: changed(levels=2), "layer 'c': fires up to 2 spikes"),
    "sub-steps": (lambda: lmht.reparameterize(SPECIAL["m-ht"]()), "has 3 sub-steps"),
    "leak": (lambda: changed(leak=4000), "its leak truncates"),
    "v0": (lambda: changed(v0=np.full(3, 5)), "its potential does not begin at 0"),
    "T-GIM": (lambda: changed(omega=np.tri(4, dtype=int)), "its T-GIM mixes"),
    "third": (lambda: changed(omega=3 * np.eye(4, dtype=int)), "its T-GIM mixes"),
    "reset": (lambda: changed(reset="zero"), "its reset is 'zero'"),
    "floor": (lambda: changed(floor=np.full(3, -9)), "its potential has a floor"),
    "max pooling": (SPECIAL["max-pooled"], "NIR has no max pooling"),
    "range": (lambda: changed(bias=np.full(3, 2**24)), "float32 is exact up to 16777216"),
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_other_readers_get_wrong(name: str, tmp_path: Path) -> None:
    make, message = NOT_PLAIN[name]
    with pytest.raises(ExportError, match=message):
        export(make(), tmp_path / "net.nir", plain=True)
    assert not (tmp_path / "net.nir").exists()
    assert any(message in text for text in export(make(), tmp_path / "net.nir").warnings)


def test_float_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="quantize it first"):
        export(float_network(), tmp_path / "net.nir")


# ----------------------------------------------------------------------------------------- reading

CONSTANTS = "node/metadata/nodes"


def scale_the_weights(file: h5py.File) -> None:
    file["node/nodes/a:0/weight"][...] *= 3.0


def raise_the_threshold(file: h5py.File) -> None:
    file[f"{CONSTANTS}/a/threshold"][0] += 1


def lower_the_visible_threshold(file: h5py.File) -> None:
    file["node/nodes/a/v_threshold"][0] -= 1


def cut_an_edge(file: h5py.File) -> None:
    edges = file["node/edges"][:-1]
    del file["node/edges"]
    file["node"].create_dataset("edges", data=edges, dtype=h5py.string_dtype())


def drop_a_constant(file: h5py.File) -> None:
    del file[f"{CONSTANTS}/c/omega"]


def drop_a_node(file: h5py.File) -> None:
    del file[f"{CONSTANTS}/c"]


def of_the_future(file: h5py.File) -> None:
    file["node/metadata/version"][...] = 9


def with_text(file: h5py.File) -> None:
    del file[f"{CONSTANTS}/a/layer"]
    file[f"{CONSTANTS}/a"].create_dataset("layer", data="first", dtype=h5py.string_dtype())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (scale_the_weights, "weight"),
        (raise_the_threshold, "a: v_threshold as NIR states it is not that of the metadata"),
        (lower_the_visible_threshold, "v_threshold as NIR states it is not that of the metadata"),
        (cut_an_edge, "forged.nir: "),
        (drop_a_constant, "c lacks the key 'omega'"),
        (drop_a_node, "c has no metadata"),
        (of_the_future, "has format version 9; this release reads version 1"),
        (with_text, "a: layer must be an integer"),
    ],
)
def test_damaged_files(change: Callable[[h5py.File], None], message: str, tmp_path: Path) -> None:
    """Also with a right checksum, and with a wrong one."""
    path = tmp_path / "net.nir"
    export(if_network(), path)
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(StorageError, match="the checksum does not match"):
        lmht.load(path)
    forged = tmp_path / "forged.nir"
    seal(path, forged)
    with pytest.raises(StorageError, match=message) as error:
        lmht.load(forged)
    assert str(error.value).startswith(str(forged)) and "\n" not in str(error.value)


def test_files_of_other_tools_hold_no_network() -> None:
    golden = Path(__file__).parents[1] / "importers/golden"
    with pytest.raises(StorageError, match="import it: lmht import"):
        lmht.load(golden / "sinabs.nir")


def test_hdf5_of_another_kind_is_no_nir_file(tmp_path: Path) -> None:
    other = tmp_path / "other.nir"
    lmht.save(if_network(), tmp_path / "net.lmht")
    (tmp_path / "net.lmht").rename(other)
    with pytest.raises(StorageError, match=r"other\.nir: is not a \.nir file: it has no version"):
        lmht.load(other)


def test_the_import_refuses_files_of_its_own(tmp_path: Path) -> None:
    export(if_network(), tmp_path / "net.nir")
    with pytest.raises(LoweringError, match="run the file as it is"):
        lmht.from_nir(tmp_path / "net.nir", steps=4)


@pytest.mark.parametrize("name", ["if", "max-pooled", "resets-mixed"])
def test_the_verb_import_reads_a_file_back(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = if_network() if name == "if" else SPECIAL[name]()
    export(net, tmp_path / "net.nir")
    assert command("import", tmp_path / "net.nir", "-o", tmp_path / "back.lmht") == 0
    assert "every integer is that of" in capsys.readouterr().out
    assert lmht.load(tmp_path / "back.lmht") == net
    lmht.save(net, tmp_path / "net.lmht")
    assert (tmp_path / "back.lmht").read_bytes() == (tmp_path / "net.lmht").read_bytes()
    arguments = ("import", tmp_path / "net.nir", "-o", tmp_path / "back.lmht")
    for option in (("--steps", "4"), ("--still",), ("--dt", "1")):
        assert "give no option but --out" in refused(capsys, *arguments, *option)


def test_the_verb_import_needs_steps_for_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = Path(__file__).parents[1] / "importers/golden/sinabs.nir"
    assert "give --steps T" in refused(capsys, "import", golden, "-o", tmp_path / "net.lmht")


def test_equal_networks_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        export(SPECIAL["residual"](), tmp_path / f"{name}.nir")
    assert (tmp_path / "one.nir").read_bytes() == (tmp_path / "two.nir").read_bytes()


def test_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, path = tmp_path / "net.lmht", tmp_path / "net.nir"
    lmht.save(if_network(), source)
    assert command("export", source, "--out", path, "--plain") == 0
    assert "runs this file exactly" in capsys.readouterr().err
    np.savez(tmp_path / "windows.npz", windows=windows_for(if_network(), 3).astype(np.uint8))
    assert command("run", path, "--data", tmp_path / "windows.npz") == 0
    assert "net.nir on event, 3 windows" in capsys.readouterr().out
    assert command("inspect", path) == 0
    lmht.save(SPECIAL["max-pooled"](), source)
    assert command("export", source, "--out", path) == 0
    assert "an approximation with 11 differences" in capsys.readouterr().err
    assert "NIR has no max pooling" in refused(capsys, "export", source, "-o", path, "--plain")
