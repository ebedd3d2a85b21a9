"""The layout of HDF5 files is checked before the HDF5 library reads them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from lmht_deploy.errors import StorageError
from lmht_deploy.formats._hdf5_layout import check_layout
from lmht_deploy.formats.hdf5 import reading_hdf5, writing_hdf5

GOLDEN = Path(__file__).parent / "golden"
pytestmark = pytest.mark.timeout(20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with texts, many members, and arrays of every storage."""
    path = tmp_path / "file.h5"
    with writing_hdf5(path) as file:
        file.attrs["text"] = "a text of variable length"
        file["fixed"] = np.array([b"dense"], "S10")
        file["flag"], file["text"] = True, "CUBA"
        file.create_dataset("packed", data=np.arange(5000), compression="gzip", shuffle=True)
        for index in range(60):
            group = file.create_group(f"layer/{index}")
            group["weight"] = np.ones((3, 2), np.float32)
            for name in range(9):
                group.attrs[f"attribute {name}"] = name
    return path


def refused(path: Path) -> str:
    """The message with which `path` is refused."""
    with pytest.raises(StorageError) as caught, reading_hdf5(path, "a test file"):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_accepts_what_h5py_writes(path: Path) -> None:
    check_layout(path)
    for golden in (*GOLDEN.glob("*.lmht"), *GOLDEN.glob("*.net")):
        check_layout(golden)


def _patch(signature: bytes, offset: int, value: int) -> Callable[[bytearray], None]:
    """An edit of the first structure with `signature`."""

    def edit(content: bytearray) -> None:
        struct.pack_into("<Q", content, content.index(signature) + offset, value)

    return edit


def _empty_heap_object(content: bytearray) -> None:
    """The object of free space in a global heap has no size, at which the library loops."""
    at = content.index(b"GCOL") + 16
    while struct.unpack_from("<H", content, at)[0]:
        at += 16 + -(-struct.unpack_from("<Q", content, at + 8)[0] // 8) * 8
    struct.pack_into("<Q", content, at + 8, 0)


def _node_that_holds_itself(content: bytearray) -> None:
    at = content.index(b"TREE")
    content[at + 5] = 1
    struct.pack_into("<Q", content, at + 32, at)


def _endless_free_list(content: bytearray) -> None:
    heap = content.index(b"HEAP")
    size, _, data = struct.unpack_from("<QQQ", content, heap + 8)
    struct.pack_into("<Q", content, heap + 16, size - 16)
    struct.pack_into("<QQ", content, data + size - 16, size - 16, 16)


def _continuation_of_itself(content: bytearray) -> None:
    """The first continuation of an object header refers to its own block."""
    header = struct.unpack_from("<Q", content, 64)[0]
    while struct.unpack_from("<HH", content, header + 16)[0] != 16:
        header += 8
    struct.pack_into("<QQ", content, header + 24, header + 16, 24)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_empty_heap_object, "the heap of the attribute"),
        (_node_that_holds_itself, "is damaged"),
        (_endless_free_list, "the names of /"),
        (_continuation_of_itself, "overlaps another one"),
        (_patch(b"GCOL", 8, 2**62), "is damaged"),
        (_patch(b"HEAP", 8, 2**62), "is damaged"),
        (_patch(b"HEAP", 24, 0), "is damaged"),
        (_patch(b"TREE", 6, 2**16 - 1), "the B-tree of /"),
        (_patch(b"TREE", 16, 96), "the B-tree of /"),
        (_patch(b"\x89HDF", 24, 8), "the superblock"),
        (_patch(b"\x89HDF", 40, 2**40), "is not a test file, or is truncated"),
        (_patch(b"\x89HDF", 64, 2**63), "is damaged"),
        (_patch(b"\x89HDF", 0, 0), "is not a test file, or is truncated"),
    ],
)
def test_hostile_structures(path: Path, edit: Callable[[bytearray], None], message: str) -> None:
    content = bytearray(path.read_bytes())
    edit(content)
    path.write_bytes(content)
    assert message in refused(path)


def test_files_in_another_layout_say_what_is_read(path: Path) -> None:
    with h5py.File(path, "w", libver="latest") as file:
        file["a"] = 1
    assert "only version 0 is read, which h5py writes by default" in refused(path)


@pytest.mark.parametrize("size", [0, 1, 95, 96, 500])
def test_truncated_files(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])
    assert "is not a test file, or is truncated" in refused(path)


def test_deep_groups(path: Path) -> None:
    with writing_hdf5(path) as file:
        file.create_group("a/" * 200)
    assert "the depth of /a/a" in refused(path)


@pytest.mark.timeout(120)  # a large file, on a slow machine
def test_compression_bombs(path: Path) -> None:
    with writing_hdf5(path) as file:
        file.create_dataset("a", (2**28,), "int8", chunks=(2**22,), compression="gzip")
        file["a"][...] = 0
    assert "/a is compressed more than a network can be" in refused(path)


@pytest.mark.parametrize(
    ("dtype", "value"), [("S5", b"x"), (np.float16, 1), (np.uint64, 2), (bool, True)]
)
def test_types_of_networks(path: Path, dtype: object, value: object) -> None:
    with writing_hdf5(path) as file:
        file["a"] = np.full((2, 1), value, dtype)
        file.attrs["a"] = np.full((2, 1), value, dtype)
    check_layout(path)


@pytest.mark.parametrize(
    "dtype",
    [
        np.dtype([("x", np.int8)]),
        h5py.vlen_dtype(np.int32),
        h5py.ref_dtype,
        np.dtype((np.int8, (3,))),
        np.dtype("V7"),
        np.complex128,
    ],
)
def test_types_that_no_network_holds(path: Path, dtype: np.dtype) -> None:
    with writing_hdf5(path) as file:
        file.create_dataset("a", (1,), dtype)
    assert "the type of /a" in refused(path)


def test_a_name_that_is_not_printable_is_escaped_in_the_message(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "net.lmht", "w", libver="earliest") as file:
        file["z\n\x1b[2J"] = file.create_group("layers")
    with pytest.raises(StorageError, match=r"\\x1b\[2J is stored in two places") as error:
        check_layout(tmp_path / "net.lmht")
    assert str(error.value).isprintable()


def test_bytes_outside_of_the_data_are_refused(path: Path) -> None:
    """A checksum covers names and values; what follows them, and freed blocks, must be 0."""
    content = path.read_bytes()
    path.write_bytes(content + bytes(8))
    with reading_hdf5(path, "a test file"):
        pass
    path.write_bytes(content + b"x")
    assert "holds bytes outside of its data" in refused(path)
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        del file["layer/7/weight"]
        file.attrs["checksum"] = "forged"
    assert "holds bytes outside of its data" in refused(path)


@pytest.mark.timeout(120)  # a thousand files, on a slow machine
def test_a_short_block_is_described_in_our_words(path: Path) -> None:
    """Not in those of the module that unpacks it."""
    content = bytearray(path.read_bytes())
    for at in range(0, len(content), 97):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        try:
            check_layout(path)
        except (StorageError, OSError):
            continue
        except ValueError as error:
            assert "unpack" not in str(error) and "range" not in str(error)
