"""Check the layout of an HDF5 file before the HDF5 library reads it.

The library follows addresses, sizes and counts in a file without limits: a file that was made for
it can make it loop for ever, crash, or allocate any amount of memory. This module walks through the
file first and accepts one layout only, the one that h5py writes by default: version 0 of the
superblock, version 1 of the object headers, groups with symbol tables. Every block must lie within
the file, and no two blocks may overlap, so that a file cannot describe more than it holds.

The names follow the HDF5 File Format Specification, https://support.hdfgroup.org/documentation/.
"""

from __future__ import annotations

import bisect
import os
import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import BinaryIO, NamedTuple

from lmht_deploy.errors import StorageError

__all__ = ["check_layout"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"
UNDEFINED = 2**64 - 1
"""Address of what is not stored."""
MAX_DEPTH = 32
"""Largest number of nested groups."""
MAX_RANK = 32
"""Largest number of dimensions of a data set."""
MAX_EXPANSION = 1032
"""Largest ratio that deflate, the compression of gzip, can reach."""
LIKELY_EXPANSION = 100
"""Largest ratio at which weights are compressed in practice."""
MAX_EXPANDED = 2**26
"""Bytes to which a file may be decompressed at any ratio."""
CHUNK_FANOUT = 64
"""Children of a node of a B-tree of chunks; version 0 of the superblock does not state it."""

NIL, DATASPACE, DATATYPE, OLD_FILL, FILL, EXTERNAL, LAYOUT = 0, 1, 3, 4, 5, 7, 8
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, MODIFIED = 11, 12, 16, 17, 18
KNOWN = {DATASPACE, DATATYPE, OLD_FILL, FILL, LAYOUT, FILTERS, ATTRIBUTE, SYMBOL_TABLE, MODIFIED}
"""Types of messages that an object header may hold."""
NEW_GROUP = {2, 6, 10}
"""Types of messages of the groups that hold links to other files."""
DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3


def check_layout(path: str | Path) -> None:
    """Require that an HDF5 file has the layout that h5py writes by default.

    Args:
        path: The file.

    Raises:
        OSError: The file is not an HDF5 file, or is truncated.
        StorageError: It holds links, or refers to other files, or declares more than it holds.
        ValueError: Its structure is damaged.
    """
    with open(path, "rb") as file:
        _Walk(path, file).check()


class _Item(NamedTuple):
    """An object header that is to be checked.

    Attributes:
        place: Path of the object in the file.
        address: Where its header is.
        cached: Addresses of the B-tree and of the heap of a group as its parent states them.
    """

    place: str
    address: int
    cached: tuple[int, int] | None


class _Type(NamedTuple):
    """A datatype: its size in bytes, and whether its values lie in a global heap."""

    size: int
    variable: bool


class _Walk:
    """One pass over all blocks of a file."""

    def __init__(self, path: str | Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._size = os.fstat(file.fileno()).st_size
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._heaps: dict[int, dict[int, int]] = {}
        self._leaf_entries = self._node_fanout = self._expanded = 0

    def check(self) -> None:
        """Check every object, beginning with the root group."""
        pending = [self._superblock()]
        while pending:
            pending += self._object(pending.pop())

    def _superblock(self) -> _Item:
        """Check the superblock, and return the root group."""
        if self._size < 96 or (head := self._block(0, 96))[:8] != SIGNATURE:
            raise OSError("no HDF5 file")
        if head[8] != 0:
            raise StorageError(
                f"{self._path}: has version {head[8]} of the layout of HDF5 files; only version 0 "
                "is read, which h5py writes by default"
            )
        leaf, node, _flags, base, free, end, driver = struct.unpack_from("<HHI4Q", head, 16)
        if end > self._size:
            raise OSError("truncated")
        _require(head[9:16] == bytes((0, 0, 0, 0, 8, 8, 0)), "the superblock")
        _require(base == 0 and {free, driver} == {UNDEFINED}, "the superblock")
        _require(1 <= leaf <= 1024 and 1 <= node <= 1024, "the superblock")
        self._leaf_entries, self._node_fanout = 2 * leaf, 2 * node
        return self._entry("", head[56:96])

    def _entry(self, place: str, entry: bytes) -> _Item:
        """Return the object of one entry of a symbol table."""
        _, address, cache, _, *scratch = struct.unpack("<QQIIQQ", entry)
        if cache == 2:
            raise StorageError(f"{self._path}: {place} is a link, which is not allowed")
        _require(cache in (0, 1), f"the entry of {place}")
        return _Item(place, address, (scratch[0], scratch[1]) if cache else None)

    # ---------------------------------------------------------------------------------- objects

    def _object(self, item: _Item) -> list[_Item]:
        """Check one object; return the members of a group."""
        place = item.place or "/"
        messages = list(self._messages(item))
        for kind, data in messages:
            if kind == ATTRIBUTE:
                self._attribute(place, data)
        kinds = [kind for kind, _ in messages]
        found = dict(messages)
        if SYMBOL_TABLE in found:
            _require(not {DATASPACE, DATATYPE, LAYOUT} & found.keys(), f"the group {place}")
            return self._group(item, found[SYMBOL_TABLE])
        single = (DATASPACE, DATATYPE, LAYOUT, FILTERS, FILL, OLD_FILL)
        _require(all(kinds.count(kind) <= 1 for kind in single), f"the header of {place}")
        _require({DATASPACE, DATATYPE, LAYOUT} <= found.keys(), f"the header of {place}")
        self._data_set(place, found)
        return []

    def _messages(self, item: _Item) -> Iterator[tuple[int, bytes]]:
        """Yield the messages of an object header, by type."""
        place = item.place or "/"
        version, _, _, references, size = struct.unpack("<BBHII4x", self._bytes(item.address, 16))
        _require(version == 1, f"the header of {place}")
        if references != 1 or self._claimed(item.address):
            raise StorageError(
                f"{self._path}: {place} is stored in two places, which is not allowed"
            )
        self._claim(item.address, 16)
        blocks = [(item.address + 16, size)]
        while blocks:
            block, at = self._block(*blocks.pop(0)), 0
            while at < len(block):
                kind, length, flags = struct.unpack_from("<HHB", block, at)
                data = block[at + 8 : at + 8 + length]
                _require(len(data) == length and not flags & 2, f"the header of {place}")
                at += 8 + length
                if kind == CONTINUATION:
                    blocks.append(struct.unpack_from("<QQ", data))
                elif kind != NIL:
                    self._check_kind(place, kind)
                    yield kind, data

    def _check_kind(self, place: str, kind: int) -> None:
        if kind == EXTERNAL:
            raise StorageError(
                f"{self._path}: {place} is stored in another file, which is not allowed"
            )
        if kind in NEW_GROUP:
            raise StorageError(
                f"{self._path}: {place} holds a link to another file or an order of its members, "
                "which is not allowed"
            )
        _require(kind in KNOWN, f"the header of {place}")

    def _attribute(self, place: str, data: bytes) -> None:
        version, flags, name, kind, space = struct.unpack_from("<BBHHH", data)
        _require(version == 1 or (version in (2, 3) and flags == 0), f"an attribute of {place}")
        at, parts = 9 if version == 3 else 8, []
        for length in (name, kind, space):
            parts.append(data[at : at + length])
            at += -(-length // 8) * 8 if version == 1 else length
        what = f"the attribute {parts[0].rstrip(bytes(1)).decode()!r} of {place}"
        shape, kind_of = _shape(what, parts[2]), _datatype(what, parts[1])
        values = data[at : at + prod(shape) * kind_of.size]
        _require(len(values) == prod(shape) * kind_of.size, what)
        if kind_of.variable:
            self._references(what, values)

    # ----------------------------------------------------------------------------------- groups

    def _group(self, item: _Item, message: bytes) -> list[_Item]:
        """Return the members of a group."""
        place = item.place or "/"
        tree, heap = struct.unpack_from("<QQ", message)
        _require(item.cached in (None, (tree, heap)), f"the entry of {place}")
        _require(item.place.count("/") < MAX_DEPTH, f"the depth of {place}")
        names, found, last = self._local_heap(place, heap), [], b""
        for _, address in self._leaves(place, tree, 0, 8, self._node_fanout):
            node = self._block(address, 8 + 40 * self._leaf_entries)
            signature, version, _, count = struct.unpack_from("<4sBBH", node)
            _require(signature == b"SNOD" and version == 1, f"the members of {place}")
            _require(count <= self._leaf_entries, f"the members of {place}")
            for at in range(8, 8 + 40 * count, 40):
                name = _name(place, names, struct.unpack_from("<Q", node, at)[0])
                _require(name > last, f"the order of the members of {place}")
                found.append(self._entry(f"{item.place}/{name.decode()}", node[at : at + 40]))
                last = name
        return found

    def _local_heap(self, place: str, address: int) -> bytes:
        """Return the names of a group; the list of free space is checked, too."""
        what = f"the names of {place}"
        head = self._block(address, 32)
        signature, version, size, free, data = struct.unpack_from("<4sB3xQQQ", head)
        _require(signature == b"HEAP" and version == 0, what)
        block, seen = self._block(data, size), set[int]()
        while free != 1:  # the end of the list
            _require(free not in seen and free + 16 <= size, what)
            seen.add(free)
            following, length = struct.unpack_from("<QQ", block, free)
            _require(16 <= length <= size - free, what)
            free = following
        return block

    def _leaves(
        self, place: str, address: int, kind: int, key_size: int, fanout: int
    ) -> Iterator[tuple[bytes, int]]:
        """Yield the key and the address of every child of the lowest nodes of a B-tree."""
        what, level, nodes = f"the B-tree of {place}", None, [address]
        while nodes:
            children = []
            for index, node in enumerate(nodes):
                block = self._block(node, 24 + (fanout + 1) * key_size + fanout * 8)
                signature, *found, left, right = struct.unpack_from("<4sBBHQQ", block)
                level = found[1] if level is None else level
                _require(signature == b"TREE" and found[:2] == [kind, level], what)
                _require(found[2] <= fanout, what)
                _require(left == (nodes[index - 1] if index else UNDEFINED), what)
                _require(right == (*nodes, UNDEFINED)[index + 1], what)
                for at in range(24, 24 + found[2] * (key_size + 8), key_size + 8):
                    key = block[at : at + key_size]
                    children.append((key, struct.unpack_from("<Q", block, at + key_size)[0]))
            if not level:
                yield from children
                return
            nodes, level = [child for _, child in children], level - 1

    # -------------------------------------------------------------------------------- data sets

    def _data_set(self, place: str, messages: dict[int, bytes]) -> None:
        shape, kind = _shape(place, messages[DATASPACE]), _datatype(place, messages[DATATYPE])
        layout = messages[LAYOUT]
        size = prod(shape) * kind.size
        _check_fill(place, messages, kind)
        if layout[1] > 2:
            raise StorageError(
                f"{self._path}: {place} is stored in another file, which is not allowed"
            )
        _require(layout[0] == 3, f"the layout of {place}")
        if layout[1] == 2:
            _require(not kind.variable, f"the layout of {place}")
            stored = self._chunks(place, shape, kind, layout, messages.get(FILTERS))
        elif layout[1] == 1:
            stored = self._contiguous(place, kind, layout)
        else:
            stored = struct.unpack_from("<H", layout, 2)[0]
            _require(stored <= len(layout) - 4 and not kind.variable, f"the layout of {place}")
        if size > stored:
            raise StorageError(f"{self._path}: {place} is declared larger than what is stored")

    def _contiguous(self, place: str, kind: _Type, layout: bytes) -> int:
        """Return the number of bytes that are stored in one block."""
        address, size = struct.unpack_from("<QQ", layout, 2)
        if address == UNDEFINED or not size:
            return 0
        self._claim(address, size)
        if kind.variable:
            self._references(place, self._bytes(address, size))
        return int(size)

    def _chunks(
        self, place: str, shape: tuple[int, ...], kind: _Type, layout: bytes, filters: bytes | None
    ) -> int:
        """Return the number of bytes that the stored chunks hold, decompressed."""
        rank, address = struct.unpack_from("<BQ", layout, 2)
        sizes = struct.unpack_from(f"<{rank}I", layout, 11)
        _require(rank == len(shape) + 1 and sizes[-1] == kind.size, f"the chunks of {place}")
        expansion = 1 if filters is None else _expansion(place, filters)
        if address == UNDEFINED:
            return 0
        total = 0
        for key, chunk in self._leaves(place, address, 1, 8 + 8 * rank, CHUNK_FANOUT):
            stored, _mask = struct.unpack_from("<II", key)
            self._claim(chunk, stored)
            _require(prod(sizes) <= expansion * stored, f"the size of a chunk of {place}")
            total += prod(sizes)
        self._expanded += total
        if self._expanded > max(MAX_EXPANDED, LIKELY_EXPANSION * self._size):
            raise StorageError(f"{self._path}: {place} is compressed more than a network can be")
        return total

    # ----------------------------------------------------------------------------- global heaps

    def _references(self, what: str, values: bytes) -> None:
        """Check texts of variable length, each of which refers to one object of a global heap."""
        for length, address, index in struct.iter_unpack("<IQI", values):
            if length:
                if address not in self._heaps:
                    self._heaps[address] = self._global_heap(what, address)
                _require(length <= self._heaps[address].pop(index, -1), what)

    def _global_heap(self, what: str, address: int) -> dict[int, int]:
        """Return the sizes of the objects of a global heap, by index."""
        head = self._bytes(address, 16)
        signature, version, size = struct.unpack("<4sB3xQ", head)
        _require(signature == b"GCOL" and version == 1, f"the heap of {what}")
        block, at, found = self._block(address, size), 16, dict[int, int]()
        while size - at >= 16:
            index, _, length = struct.unpack_from("<HH4xQ", block, at)
            if not index:  # the free space, which ends the heap
                _require(length == size - at, f"the heap of {what}")
                break
            _require(index not in found and length <= size - at - 16, f"the heap of {what}")
            found[index] = length
            at += 16 + -(-length // 8) * 8
        return found

    # ----------------------------------------------------------------------------------- blocks

    def _block(self, address: int, size: int) -> bytes:
        """Read a block that belongs to one owner."""
        self._claim(address, size)
        return self._bytes(address, size)

    def _claim(self, address: int, size: int) -> None:
        """Require that a block lies within the file and overlaps no other block."""
        end = address + size
        _require(end <= self._size, f"the block at {address} of {size} bytes")
        if size:
            index = bisect.bisect_left(self._starts, end)
            _require(
                not index or self._ends[index - 1] <= address,
                f"the block at {address}, which overlaps another one",
            )
            self._starts.insert(index, address)
            self._ends.insert(index, end)

    def _claimed(self, address: int) -> bool:
        """Return whether a block begins at `address`."""
        index = bisect.bisect_left(self._starts, address)
        return index < len(self._starts) and self._starts[index] == address

    def _bytes(self, address: int, size: int) -> bytes:
        _require(address + size <= self._size, f"the block at {address} of {size} bytes")
        self._file.seek(address)
        return self._file.read(size)


def _require(fulfilled: bool, what: str) -> None:
    if not fulfilled:
        raise ValueError(f"{what} is not as h5py writes it")


def _name(place: str, names: bytes, offset: int) -> bytes:
    end = names.find(0, offset)
    _require(offset < end, f"a name in {place}")
    return names[offset:end]


def _shape(what: str, message: bytes) -> tuple[int, ...]:
    """Return the shape that a dataspace message describes."""
    version, rank, flags = struct.unpack_from("<BBB", message)
    _require(version in (1, 2) and rank <= MAX_RANK and flags <= 1, f"the shape of {what}")
    if version == 2:
        _require(message[3] == (1 if rank else 0), f"the shape of {what}")
    return struct.unpack_from(f"<{rank}Q", message, 8 if version == 1 else 4)


def _datatype(what: str, message: bytes) -> _Type:
    """Return the datatype of a message: numbers, booleans, and texts of both kinds."""
    kind, version = message[0] & 15, message[0] >> 4
    (size,) = struct.unpack_from("<I", message, 4)
    _require(version in (1, 2, 3), f"the type of {what}")
    match kind:
        case 0 | 1:  # integers and floating-point numbers
            _require(size in (1, 2, 4, 8, 16), f"the type of {what}")
        case 3:  # texts of fixed length
            _require(1 <= size < 2**16, f"the type of {what}")
        case 8:  # enumerations: h5py stores booleans in this way
            _require(size == _datatype(what, message[8:]).size == 1, f"the type of {what}")
        case 9:  # texts of variable length
            _require(size == 16, f"the type of {what}")
            _require(_datatype(what, message[8:]) == _Type(1, False), f"the type of {what}")
        case _:
            _require(False, f"the type of {what}")
    return _Type(size, kind == 9)


def _check_fill(place: str, messages: dict[int, bytes], kind: _Type) -> None:
    """Require that a fill value is at most one value of a type that is stored in place."""
    if FILL in messages:
        version, _, _, defined = struct.unpack_from("<4B", messages[FILL])
        _require(version in (1, 2), f"the fill value of {place}")
        size = struct.unpack_from("<I", messages[FILL], 4)[0] if version == 1 or defined else 0
        _require(size in (0, 2**32 - 1) or (size == kind.size and not kind.variable), place)
    if OLD_FILL in messages:
        (size,) = struct.unpack_from("<I", messages[OLD_FILL])
        _require(size in (0, kind.size), f"the fill value of {place}")


def _expansion(place: str, message: bytes) -> int:
    """Return by what factor the filters of a data set can expand it."""
    version, count = struct.unpack_from("<BB", message)
    _require(version == 1 and count <= 3, f"the filters of {place}")
    found, at = [], 8
    for _ in range(count):
        number, name, _, values = struct.unpack_from("<4H", message, at)
        found.append(number)
        at += 8 + name + 4 * (values + values % 2)
    _require(len({*found} | {DEFLATE, SHUFFLE, FLETCHER32}) == 3, f"the filters of {place}")
    _require(len({*found}) == count, f"the filters of {place}")
    return MAX_EXPANSION if DEFLATE in found else 1
