"""`.lmhtf` files: networks come back; damaged, foreign and edited files are refused."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import lmht_deploy
from lmht_deploy import reference
from lmht_deploy.errors import ExportError, StorageError
from lmht_deploy.exporters import export
from lmht_deploy.formats import flat
from lmht_deploy.formats.flat import load_flat, network_to_bytes
from lmht_deploy.formats.lmht import load_network
from lmht_deploy.formats.windows import load_windows
from lmht_deploy.ir import Network
from tests.formats.make_golden import GOLDEN, NETWORKS, every_kind, expected
from tests.fuzz._mutation import sealed_flat
from tests.support import tiny
from tests.support.networks import SPECIAL, float_network, networks

FILES = sorted(GOLDEN.glob("*.lmhtf"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "net.lmhtf"
    export(Network(SPECIAL["residual"]().layers, {"recipe": "test", "data": "ü"}), path)
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks())
def test_comes_back(tmp_path_factory: pytest.TempPathFactory, net: Network) -> None:
    path = tmp_path_factory.mktemp("net") / "net.lmhtf"
    export(net, path)
    assert load_flat(path) == net == lmht_deploy.load(path)


@pytest.mark.parametrize("name", SPECIAL)
def test_special_networks_come_back(name: str, tmp_path: Path) -> None:
    net = SPECIAL[name]()
    assert export(net, tmp_path / "net.lmhtf").format == "flat"
    assert load_flat(tmp_path / "net.lmhtf") == net


# ------------------------------------------------------------------------------- golden files


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path) -> None:
    """Each file of a published version gives the same network and integers for ever."""
    name = path.name.partition(".")[0]
    net = load_flat(path)
    assert [net] == [load_network(found) for found in GOLDEN.glob(f"{name}.v?.lmht")]
    windows, _, _ = load_windows(GOLDEN / f"{name}.v1.npz")
    (stored,) = (json.loads(found.read_text()) for found in GOLDEN.glob(f"{name}.v?.json"))
    assert expected(reference.run(net, windows)) == stored
    assert network_to_bytes(net) == path.read_bytes()


def test_every_version_has_its_files() -> None:
    names = [name for name, make in NETWORKS.items() if make().integer]
    assert {path.name for path in FILES} == {
        f"{name}.v{version}.lmhtf"
        for name in names
        for version in range(1, flat.SCHEMA.version + 1)
    }


def test_the_layout_by_hand() -> None:
    """What the description of the format says, read without its reader."""
    net = tiny.network(tiny.neurons())
    content = network_to_bytes(net)
    magic, version, checksum, size, words = struct.unpack_from("<8sIIQQ", content)
    assert (magic, version, size) == (b"LMHTFLAT", 1, len(content))
    assert checksum == zlib.crc32(content[16:])
    records = struct.unpack_from(f"<{words}q", content, 32)
    start, length, by, window_length, hop, _, classes, layers = records[:8]
    assert start % 64 == 0 and content[start : start + length] == b"{}"
    assert (by, window_length, hop, classes, layers) == (0, 0, 0, 0, len(net.layers))
    kind, start, length, *rest = records[8:18]
    assert kind == 0 and content[start : start + length].decode() == net.input.name
    assert start % 64 == 0
    shape = net.input.shape if len(net.input.shape) == 3 else (*net.input.shape, 0, 0)
    assert rest[:6] == [*shape, net.input.steps, net.input.min_value, net.input.max_value]
    assert records[17] == ("events", "image").index(net.input.kind)


def test_arrays_are_aligned_and_can_be_read_in_place(path: Path) -> None:
    net, content = load_flat(path), path.read_bytes()
    weight = net.neurons[0].synapses[0].weight
    places = [at for at in range(0, len(content), 64) if content[at:].startswith(weight.tobytes())]
    assert len(places) == 1
    assert places[0] in struct.unpack_from(f"<{len(content) // 8}q", content)


# ----------------------------------------------------------------------------------- metadata


def with_metadata(**metadata: str) -> Network:
    return Network(every_kind().layers, metadata)


def rule(**fields: object) -> str:
    return json.dumps({"steps": 3, "by": "time", "length": 300, "hop": 3} | fields)


@pytest.mark.parametrize(
    "metadata",
    [
        {"window": rule()},
        {"window": rule(by="events", hop=1)},
        {"window": rule(by="recording", length=0)},
        {"min_margin": "0.25"},
        {"classes": '["a\\u0000b", "\\ud800", "c"]'},
        {"any": "\0\ud800\n"},
    ],
)
def test_metadata_comes_back(metadata: dict[str, str], tmp_path: Path) -> None:
    net = with_metadata(**metadata)
    export(net, tmp_path / "net.lmhtf")
    assert load_flat(tmp_path / "net.lmhtf") == net


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"window": "no rule"}, "not one of its 3 time-steps"),
        ({"window": rule(steps=4)}, "not one of its 3 time-steps"),
        ({"window": rule(length=301)}, "not one of its 3 time-steps"),
        ({"window": rule(hop=4)}, "not one of its 3 time-steps"),
        ({"window": rule(by="none")}, "not one of its 3 time-steps"),
        ({"min_margin": "nan"}, "not a number >= 0"),
        ({"min_margin": "x"}, "not a number >= 0"),
    ],
)
def test_metadata_that_no_reader_could_use(
    metadata: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=message):
        export(with_metadata(**metadata), tmp_path / "net.lmhtf")
    assert not list(tmp_path.iterdir())


def test_float_networks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="quantize it first"):
        export(float_network(), tmp_path / "net.lmhtf")


# ------------------------------------------------------------------------------ hostile files


def refused(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(StorageError) as error:
        load_flat(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_missing(tmp_path: Path) -> None:
    for path, message in ((tmp_path / "none.lmhtf", "no such file"), (tmp_path, "is a folder")):
        with pytest.raises(StorageError, match=message):
            load_flat(path)


def test_truncated_and_foreign(path: Path) -> None:
    content = path.read_bytes()
    assert "truncated" in refused(path, content[:-1])
    assert "is not a .lmhtf file" in refused(path, content[:20])
    assert "is not a .lmhtf file" in refused(path, b"")
    assert "is not a .lmhtf file" in refused(path, b"\x89HDF" + content)


def test_no_flipped_bit_goes_unseen(path: Path) -> None:
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for at in [*range(32), *rng.integers(0, len(content), 300)]:
        changed = bytearray(content)
        changed[at] ^= 1 << rng.integers(8)
        refused(path, bytes(changed))


def test_another_version(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8] = 9
    assert "has format version 9; this release reads version 1" in refused(path, bytes(content))


def _with_word(content: bytes, index: int, value: int) -> bytes:
    at = 32 + 8 * index
    return content[:at] + struct.pack("<q", value) + content[at + 8 :]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c + b"\0", "is not laid out"),
        (lambda c: c[:24] + struct.pack("<Q", 2**60) + c[32:], "larger than the file"),
        (lambda c: c[:24] + struct.pack("<Q", 3) + c[32:], "end too early"),
        (lambda c: _with_word(c, 0, -1), "lies outside"),
        (lambda c: _with_word(c, 0, 2**62), "lies outside"),
        (lambda c: _with_word(c, 1, 2**62), "lies outside"),
        (lambda c: _with_word(c, 2, 9), "'window' has the unknown number 9"),
        (lambda c: _with_word(c, 2, 1), "are not of its metadata"),
        (lambda c: _with_word(c, 6, 2**40), "fewer than"),
        (lambda c: _with_word(c, 7, 2**62), "fewer than"),
        (lambda c: _with_word(c, 7, 1), "starts with its Input"),
        (lambda c: _with_word(c, 8, 77), "'type' has the unknown number 77"),
    ],
)
def test_sealed_files_are_not_believed(
    path: Path, edit: Callable[[bytes], bytes], message: str
) -> None:
    assert message in refused(path, sealed_flat(edit(path.read_bytes())))


def test_bytes_between_arrays_are_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    (start, length) = struct.unpack_from("<qq", content, 32)
    content[start + length] = 1  # behind the metadata
    assert "is not laid out" in refused(path, sealed_flat(bytes(content)))


def test_bounds_are_proved_again(path: Path) -> None:
    net = load_flat(path)
    layer = net.neurons[0]
    content = network_to_bytes(net)
    bias = layer.bias.astype("<i4").tobytes()
    assert content.count(bias) == 1
    huge = np.full_like(layer.bias, 2**31 - 1).astype("<i4").tobytes()
    message = refused(path, sealed_flat(content.replace(bias, huge)))
    assert f"layer {layer.name!r}" in message and "beyond 32 bits" in message


def test_equal_networks_give_equal_bytes() -> None:
    net = every_kind()
    assert network_to_bytes(net) == network_to_bytes(replace(net))
