"""`.lmht` files: networks are restored; damaged, foreign and edited files are refused."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from lmht_deploy.errors import StorageError
from lmht_deploy.formats import hdf5, lmht
from lmht_deploy.formats.hdf5 import hdf5_checksum
from lmht_deploy.formats.lmht import load_network, save_network
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, float_network, networks


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.lmht"
    save_network(Network(SPECIAL["residual"]().layers, {"recipe": "test", "data": "ü"}), path)
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks())
def test_comes_back(tmp_path_factory: pytest.TempPathFactory, net: Network) -> None:
    path = tmp_path_factory.mktemp("net") / "net.lmht"
    save_network(net, path)
    assert load_network(path) == net


def test_float_networks_and_metadata_come_back(path: Path) -> None:
    assert load_network(path).metadata == {"recipe": "test", "data": "ü"}
    save_network(float_network(), path)
    assert load_network(path) == float_network()


def test_bytes_are_deterministic(path: Path) -> None:
    first = path.read_bytes()
    save_network(load_network(path), path)
    assert path.read_bytes() == first


def refused(path: Path) -> str:
    with pytest.raises(StorageError) as error:
        load_network(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_missing(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.lmht")
    assert "is a folder; expected a file" in refused(tmp_path)


@pytest.mark.parametrize("share", [0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path)


def test_no_flipped_byte_goes_unseen(path: Path) -> None:
    """A changed byte is refused, or it is padding of the container and changes nothing."""
    content, net = path.read_bytes(), load_network(path)
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(content), 300):
        path.write_bytes(
            content[:at] + bytes([content[at] ^ (1 << rng.integers(8))]) + content[at + 1 :]
        )
        try:
            assert load_network(path) == net
        except StorageError as error:
            assert "\n" not in str(error)


def test_foreign(path: Path) -> None:
    path.write_text("not HDF5 at all")
    assert "is not a .lmht file" in refused(path)
    with h5py.File(path, "w") as file:
        file["weights"] = np.zeros(3)
    assert "is not a .lmht file of lmht-deploy: its 'format' is None" in refused(path)


def _edit_weight(file: h5py.File) -> None:
    file["layers/1/bias"][0] += 1


def _edit_version(file: h5py.File) -> None:
    file.attrs["version"] = 9


def _edit_metadata(file: h5py.File) -> None:
    file.attrs["metadata"] = "{}"


@pytest.mark.parametrize(
    ("edit", "message"),
    [(_edit_weight, "checksum"), (_edit_metadata, "checksum"), (_edit_version, "format version 9")],
)
def test_edited(path: Path, edit, message: str) -> None:
    with h5py.File(path, "r+") as file:
        edit(file)
    assert message in refused(path)


def _move_outside(file: h5py.File, name: str, link: object) -> None:
    del file[name]
    file[name] = link


def _external_data(file: h5py.File) -> None:
    del file["layers/1/bias"]
    file["layers/1"].create_dataset(
        "bias", (6,), "int32", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    )


def _virtual_data(file: h5py.File) -> None:
    del file["layers/1/bias"]
    layout = h5py.VirtualLayout((6,), "int32")
    layout[:] = h5py.VirtualSource("other.h5", "bias", (6,))
    file["layers/1"].create_virtual_dataset("bias", layout)


def _never_stored(file: h5py.File, **storage: object) -> None:
    del file["layers/1/bias"]
    file["layers/1"].create_dataset("bias", (10**10,), "int32", **storage)


def _nested(file: h5py.File) -> None:
    """Each group holds the next one twice: 2^40 paths."""
    group = file["layers"]
    for _ in range(40):
        group = group.create_group("a")
        group.parent["b"] = group


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: _move_outside(f, "layers/1/bias", h5py.SoftLink("/layers/2/bias")), "a link"),
        (lambda f: _move_outside(f, "layers", h5py.ExternalLink("x.h5", "/layers")), "a link"),
        (lambda f: f["layers/1"].__setitem__("again", f["layers"]), "stored in two places"),
        (_external_data, "layers/1/bias is stored in another file"),
        (_virtual_data, "layers/1/bias is stored in another file"),
        (_never_stored, "layers/1/bias is declared larger than what is stored"),
        (
            lambda f: _never_stored(f, chunks=(10**6,), compression="gzip"),
            "layers/1/bias is declared larger than what is stored",
        ),
        (_nested, "stored in two places"),
    ],
)
def test_nothing_outside_of_the_file_is_read(path: Path, edit, message: str) -> None:
    with h5py.File(path, "r+") as file:
        edit(file)
    assert message in refused(path)


def _forge(file: h5py.File, edit) -> None:
    edit(file)
    file.attrs["checksum"] = hdf5_checksum(file)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda f: f["layers/1"].attrs.modify("leak", 10**6), "layer 'a': integer leak"),
        (lambda f: f["layers/1"].attrs.modify("type", "Softmax"), "unknown type 'Softmax'"),
        (
            lambda f: f["layers/1"].attrs.create("color", "red"),
            "(Neurons) has the unknown key 'color'",
        ),
        (lambda f: f["layers/1"].__delitem__("omega"), "/layers/1 (Neurons) lacks the key 'omega'"),
        (lambda f: f.__delitem__("layers"), "/ lacks the key 'layers'"),
        (
            lambda f: f["layers"].__delitem__("2"),
            "/layers lacks the key '2' and has the unknown key",
        ),
        (lambda f: f["layers/1/threshold"].__setitem__(0, 0), "every threshold must be at least 1"),
        (lambda f: f.attrs.modify("metadata", "{"), "damaged"),
        (lambda f: f.attrs.modify("metadata", "[1]"), "metadata must be texts by key"),
        (lambda f: f.attrs.create("version", [1, 1]), "has format version (1, 1)"),
        (lambda f: f.attrs.create("more", 1), "/ has the unknown key 'more'"),
        (lambda f: f["layers/1"].attrs.create("levels", 2.0), "levels must be an integer"),
        (lambda f: f["layers/1"].attrs.create("levels", [2, 2]), "levels must be an integer"),
        (lambda f: f["layers/1"].attrs.modify("type", "Conv"), "unknown type 'Conv'"),
        (lambda f: f["layers/1"].attrs.__delitem__("type"), "unknown type None"),
    ],
)
def test_edited_with_a_forged_checksum(path: Path, edit, message: str) -> None:
    with h5py.File(path, "r+") as file:
        _forge(file, edit)
    assert message in refused(path)


def test_a_file_of_an_older_layout(path: Path) -> None:
    """It has the same version, since no version was published."""
    with h5py.File(path, "r+") as file:
        _forge(file, _with_older_names)
    said = refused(path)
    assert "/layers/0 (Input) lacks the keys 'max_value', 'min_value' and has the unknown" in said
    assert "'high', 'low'; an older development version of lmht-deploy, or another" in said
    assert said.endswith(
        "write the file again: lmht convert RUN --out FILE, with the folder of the training run"
    )


def _with_older_names(file: h5py.File) -> None:
    attributes = file["layers/0"].attrs
    for old, name in (("low", "min_value"), ("high", "max_value")):
        attributes[old] = attributes.pop(name)


def test_a_failed_write_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(hdf5, "hdf5_checksum", lambda file: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_network(SPECIAL["pooled"](), path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_says_where_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        save_network(SPECIAL["if"](), tmp_path / "no folder" / "net.lmht")


def test_metadata_of_any_text(tmp_path: Path) -> None:
    net = Network(SPECIAL["if"]().layers, {"": "\x1b[2J\n\ud800", "classes": "ü" * 9000})
    save_network(net, tmp_path / "net.lmht")
    assert load_network(tmp_path / "net.lmht") == net


def test_too_much_metadata(tmp_path: Path) -> None:
    net = Network(SPECIAL["if"]().layers, {"log": "x" * 70000})
    with pytest.raises(StorageError, match=r"metadata of 70011 bytes; a \.lmht file holds up to"):
        save_network(net, tmp_path / "net.lmht")


def test_the_schema_has_every_field() -> None:
    for record, group in [*lmht.LAYERS.items(), *lmht.SYNAPSE_TYPES.items()]:
        assert [field.name for field in group.fields] == [f.name for f in fields(record)]
        assert group.path == record.__name__
