"""NetX files read back as networks, without Lava."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import lmht_deploy as lmht
from lmht_deploy import backends, reference
from lmht_deploy.analysis.runner import default_backend
from lmht_deploy.errors import BackendError, ExportError, StorageError
from lmht_deploy.exporters import export
from lmht_deploy.formats.hdf5 import hdf5_checksum
from lmht_deploy.ir import Network
from tests.support.exact_networks import shortcuts
from tests.support.hdf5 import seal
from tests.support.networks import SPECIAL, networks, windows_for
from tests.support.results import assert_equal


@pytest.mark.parametrize("name", SPECIAL)
@pytest.mark.parametrize("graded", [False, True])
def test_round_trip(name: str, graded: bool, tmp_path: Path) -> None:
    net = SPECIAL[name]()
    try:
        export(net, tmp_path / "net.net", graded=graded)
    except ExportError as error:
        plain = all(layer.plain_reset for layer in net.neurons)
        assert name in ("pooled", "single-threshold-uniform") or not plain, error
        return
    assert lmht.load(tmp_path / "net.net") == net


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks(plain=True), graded=st.booleans())
def test_round_trip_of_random_graphs(
    net: Network, graded: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "round-trip.net"
    try:
        export(net, path, graded=graded)
    except ExportError:
        assume(False)
    assert lmht.load(path) == net
    windows = windows_for(net, 2)
    found = backends.open_backend("event", path).run(windows, trace=True)
    assert_equal(found, reference.run(net, windows, trace=True))


IGNORED = {
    *("inChannels", "outChannels", "kernelSize", "inFeatures", "outFeatures"),
    *("bias", "iDecay", "vDecay", "vThMant", "refDelay"),
}
"""Sizes that no reader uses, and constants of the neurons that only stock lava-dl sees."""


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=st.sampled_from(["m-ht", "max-pooled", "residual"]), data=st.data())
def test_no_number_can_be_changed(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One more or one less anywhere, with a right checksum, and the file is refused."""
    path = tmp_path_factory.getbasetemp() / "one-number.net"
    export(SPECIAL[name](), path)
    with h5py.File(path, "r+") as file:
        found: list[str] = []

        def visit(key: str, item: h5py.Group | h5py.Dataset) -> None:
            number = isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and item.size
            own = "/lmht/" in key or key.rpartition("/")[2] not in IGNORED
            flatten = b"flatten" in np.asarray(item.parent.get("type", b""))
            if number and key.startswith("layer/") and own and not flatten:
                found.append(key)

        file.visititems(visit)
        item = file[data.draw(st.sampled_from(found))]
        values = np.array(item[()])
        place = data.draw(st.integers(0, values.size - 1))
        values.reshape(-1)[place] += data.draw(st.sampled_from([-1, 1]))
        item[...] = values
    seal(path, path)
    with pytest.raises(StorageError):
        lmht.load(path)


@pytest.mark.parametrize("backend", ["event", "reference", "torch"])
def test_every_backend_of_networks_runs_the_file(backend: str, tmp_path: Path) -> None:
    """Logits, spikes, SOPs and traces are those of the network."""
    if reason := backends.unavailable(backend):
        pytest.skip(reason)
    net = SPECIAL["max-pooled"]()
    export(net, tmp_path / "net.net")
    windows = windows_for(net)
    found = backends.open_backend(backend, tmp_path / "net.net").run(windows, trace=True)
    assert_equal(found, reference.run(net, windows, trace=True))


def test_the_engine_runs_the_file_by_default(tmp_path: Path) -> None:
    export(SPECIAL["if"](), tmp_path / "net.net")
    assert default_backend(tmp_path / "net.net") == "event"


def halve_the_weights(file: h5py.File) -> None:
    file["layer/1/weight"][...] //= 2


def raise_the_threshold(file: h5py.File) -> None:
    file["layer/1/neuron/lmht/theta"][0] += 1


def lower_the_fan_out(file: h5py.File) -> None:
    file["layer/1/lmht_fanOut"][...] -= 1


def swap_the_sources(file: h5py.File) -> None:
    file["layer/3"].attrs["lmht_from"] = 1


def rename(file: h5py.File) -> None:
    file["layer/1"].attrs["lmht_name"] = "another"


def widen_the_input(file: h5py.File) -> None:
    file["layer/0"].attrs["lmht_max_value"] = 7


def scale_the_logits(file: h5py.File) -> None:
    last = file[f"layer/{len(file['layer']) - 1}"]
    last["lmht_readout"].attrs["scale"] = 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (halve_the_weights, "as Lava reads it is not that of the network"),
        (raise_the_threshold, "as Lava reads it is not that of the network"),
        (lower_the_fan_out, "as Lava reads it is not that of the network"),
        (swap_the_sources, "as Lava reads it is not that of the network"),
        (scale_the_logits, "as Lava reads it is not that of the network"),
        (rename, "its layers are not those of the network"),
        (widen_the_input, "its input is not that of the network"),
    ],
)
def test_what_lava_reads_must_be_the_network(
    change: Callable[[h5py.File], None], message: str, tmp_path: Path
) -> None:
    """A file whose two readers would differ is refused, even with a right checksum."""
    path = tmp_path / "net.net"
    export(SPECIAL["residual"](), path)
    with h5py.File(path, "r+") as file:
        change(file)
        file.attrs["checksum"] = hdf5_checksum(file)
    with pytest.raises(StorageError, match=message):
        lmht.load(path)


@pytest.mark.parametrize(
    ("version", "reset", "message"),
    [
        (2, "zero", "as Lava reads it is not that of the network"),
        (2, "half", "layer 1 is damaged: it has the unknown reset 'half'"),
        (1, "zero", "layer 1 is damaged: version 1 has no reset and no floor"),
        (1, "subtract", "layer 1 is damaged: version 1 has no reset and no floor"),
    ],
)
def test_a_reset_must_be_that_of_the_network(
    version: int, reset: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.net"
    export(SPECIAL["late" if version == 2 else "if"](), path)
    with h5py.File(path, "r+") as file:
        assert file.attrs["version"] == version
        file["layer/1/neuron/lmht"].attrs["reset"] = reset
        file.attrs["checksum"] = hdf5_checksum(file)
    with pytest.raises(StorageError, match=message):
        lmht.load(path)


def test_files_without_a_network(tmp_path: Path) -> None:
    export(shortcuts(), tmp_path / "net.net", stock_exact=True)
    with pytest.raises(StorageError, match="stock neurons of lava-dl, and no LM-HT network"):
        lmht.load(tmp_path / "net.net")
    with pytest.raises(BackendError, match=r"runs \.onnx files"):
        backends.open_backend("onnx", tmp_path / "net.net")


def test_max_pooling_without_lava(tmp_path: Path) -> None:
    net = SPECIAL["max-pooled"]()
    report = export(net, tmp_path / "net.net")
    assert any("max pooling before it is dropped" in warning for warning in report.warnings)
    windows = windows_for(net)
    found = backends.open_backend("event", tmp_path / "net.net").run(windows, trace=True)
    assert_equal(found, reference.run(net, windows, trace=True))
