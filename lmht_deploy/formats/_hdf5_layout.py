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

import numpy as np

from lmht_deploy.errors import StorageError

__all__ = ["Item", "LayoutWalk", "Type", "check_layout", "require"]

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
MAX_BLOCK = 2**26
"""Bytes of the largest block other than data."""
CHUNK_FANOUT = 64
"""Children of a node of a B-tree of chunks; version 0 of the superblock does not state it."""

NIL, DATASPACE, DATATYPE, OLD_FILL, FILL, EXTERNAL, LAYOUT = 0, 1, 3, 4, 5, 7, 8
FILTERS, ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, MODIFIED = 11, 12, 16, 17, 18
KNOWN = {DATASPACE, DATATYPE, OLD_FILL, FILL, LAYOUT, FILTERS, ATTRIBUTE, SYMBOL_TABLE, MODIFIED}
"""Types of messages that an object header may hold."""
NEW_GROUP = {2, 6, 10}
"""Types of messages of the groups that hold links to other files."""
DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3


def check_layout(path: str | Path) -> bool:
    """Require that an HDF5 file has the layout that h5py writes by default.

    Args:
        path: The file.

    Returns:
        Whether all bytes that belong to no block are 0, as in a file that was written in one go.

    Raises:
        OSError: The file is not an HDF5 file, or is truncated.
        StorageError: It holds links, or refers to other files, or declares more than it holds.
        ValueError: Its structure is damaged.
    """
    with open(path, "rb") as file:
        walk = LayoutWalk(path, file)
        walk.check()
        return walk.is_zero_between_blocks()


class Item(NamedTuple):
    """An object header that is to be checked.

    Attributes:
        place: Path of the object in the file.
        address: Where its header is.
        cached: Addresses of the B-tree and of the heap of a group as its parent states them.
    """

    place: str
    address: int
    cached: tuple[int, int] | None


class Type(NamedTuple):
    """A datatype: its size in bytes, and whether its values lie in a global heap."""

    size: int
    variable: bool


class LayoutWalk:
    """One pass over all blocks of the file of a network.

    A subclass may allow more.
    """

    def __init__(self, path: str | Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._size = os.fstat(file.fileno()).st_size
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._data: list[np.ndarray] = []
        self._heaps: dict[int, dict[int, int]] = {}
        self._leaf_entries = self._node_fanout = self._expanded = 0

    def check(self) -> None:
        """Check every object, beginning with the root group."""
        try:
            pending = [self._superblock()]
            while pending:
                pending += self._object(pending.pop())
        except (struct.error, IndexError, UnicodeDecodeError):
            raise ValueError("a block is shorter than what it should hold") from None
        self._check_data()

    def is_zero_between_blocks(self) -> bool:
        """Return whether all bytes that belong to no block are 0."""
        starts, ends = self._blocks()
        gaps = zip((0, *ends.tolist()), (*starts.tolist(), self._size), strict=True)
        for start, end in gaps:
            self._file.seek(start)
            if any(self._file.read(end - start)):
                return False
        return True

    def _superblock(self) -> Item:
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
        require(head[9:16] == bytes((0, 0, 0, 0, 8, 8, 0)), "the superblock")
        require(base == 0 and {free, driver} == {UNDEFINED}, "the superblock")
        require(1 <= leaf <= 1024 and 1 <= node <= 1024, "the superblock")
        self._leaf_entries, self._node_fanout = 2 * leaf, 2 * node
        root = self._entry("", head[56:96])
        require(root is not None, "the superblock")
        assert root is not None
        return root

    def _entry(self, place: str, entry: bytes) -> Item | None:
        """Return the object of one entry of a symbol table; None for a link that may be there."""
        _, address, cache, _, *scratch = struct.unpack("<QQIIQQ", entry)
        if cache == 2:
            self._link(place)
            return None
        require(cache in (0, 1), f"the entry of {place}")
        return Item(place, address, (scratch[0], scratch[1]) if cache else None)

    def _link(self, place: str) -> None:
        """Allow a link by its path, or refuse it."""
        raise StorageError(f"{self._path}: {place} is a link, which is not allowed")

    # ---------------------------------------------------------------------------------- objects

    def _object(self, item: Item) -> list[Item]:
        """Check one object; return the members of a group."""
        place = item.place or "/"
        messages = list(self._messages(item))
        for kind, data in messages:
            if kind == ATTRIBUTE:
                self._attribute(place, data)
        members = self._members(item, messages)
        if members is not None:
            return members
        kinds = [kind for kind, _ in messages]
        found = dict(messages)
        single = (DATASPACE, DATATYPE, LAYOUT, FILTERS, FILL, OLD_FILL)
        require(all(kinds.count(kind) <= 1 for kind in single), f"the header of {place}")
        require({DATASPACE, DATATYPE, LAYOUT} <= found.keys(), f"the header of {place}")
        self._data_set(place, found)
        return []

    def _members(self, item: Item, messages: list[tuple[int, bytes]]) -> list[Item] | None:
        """Return the members of a group; None for a data set."""
        found = dict(messages)
        if SYMBOL_TABLE not in found:
            return None
        place = item.place or "/"
        require(not {DATASPACE, DATATYPE, LAYOUT} & found.keys(), f"the group {place}")
        return self._group(item, found[SYMBOL_TABLE])

    def _messages(self, item: Item) -> Iterator[tuple[int, bytes]]:
        """Yield the messages of an object header, by type."""
        place = item.place or "/"
        version, _, _, references, size = struct.unpack("<BBHII4x", self._bytes(item.address, 16))
        require(version == 1, f"the header of {place}")
        if references != 1:
            self._refuse_second(place)
        self._require_first(item)
        self._claim(item.address, 16)
        blocks = [(item.address + 16, size)]
        while blocks:
            block, at = self._block(*blocks.pop(0)), 0
            while at < len(block):
                kind, length, flags = struct.unpack_from("<HHB", block, at)
                data = block[at + 8 : at + 8 + length]
                require(len(data) == length and not flags & 2, f"the header of {place}")
                at += 8 + length
                if kind == CONTINUATION:
                    blocks.append(struct.unpack_from("<QQ", data))
                elif kind != NIL:
                    self._check_kind(place, kind)
                    yield kind, data

    def _require_first(self, item: Item) -> None:
        """Require that no other path leads to an object."""
        if self._claimed(item.address):
            self._refuse_second(item.place or "/")

    def _refuse_second(self, place: str) -> None:
        raise StorageError(f"{self._path}: {place} is stored in two places, which is not allowed")

    def _refuse_outside(self, place: str) -> None:
        raise StorageError(f"{self._path}: {place} is stored in another file, which is not allowed")

    def _check_kind(self, place: str, kind: int) -> None:
        if kind == EXTERNAL:
            self._refuse_outside(place)
        if kind in NEW_GROUP:
            raise StorageError(
                f"{self._path}: {place} holds a link to another file, an order of its members, or "
                "a name outside of ASCII, which is not allowed"
            )
        require(kind in KNOWN, f"the header of {place}")

    def _attribute(self, place: str, data: bytes) -> None:
        version, flags, name, kind, space = struct.unpack_from("<BBHHH", data)
        require(version == 1 or (version in (2, 3) and flags == 0), f"an attribute of {place}")
        at, parts = 9 if version == 3 else 8, []
        for length in (name, kind, space):
            parts.append(data[at : at + length])
            at += -(-length // 8) * 8 if version == 1 else length
        what = f"the attribute {parts[0].rstrip(bytes(1)).decode()!r} of {place}"
        shape, kind_of = self._shape(what, parts[2]), self._datatype(what, parts[1])
        values = data[at : at + prod(shape) * kind_of.size]
        require(len(values) == prod(shape) * kind_of.size, what)
        if kind_of.variable:
            self._references(what, values)

    # ----------------------------------------------------------------------------------- groups

    def _group(self, item: Item, message: bytes) -> list[Item]:
        """Return the members of a group."""
        place = item.place or "/"
        tree, heap = struct.unpack_from("<QQ", message)
        require(item.cached in (None, (tree, heap)), f"the entry of {place}")
        require(item.place.count("/") < MAX_DEPTH, f"the depth of {place}")
        names, found, last = self._local_heap(place, heap), [], b""
        for address in self._children(place, tree):
            node = self._block(address, 8 + 40 * self._leaf_entries)
            signature, version, _, count = struct.unpack_from("<4sBBH", node)
            require(signature == b"SNOD" and version == 1, f"the members of {place}")
            require(count <= self._leaf_entries, f"the members of {place}")
            for at in range(8, 8 + 40 * count, 40):
                name = _name(place, names, struct.unpack_from("<Q", node, at)[0])
                require(name > last, f"the order of the members of {place}")
                member = self._entry(f"{item.place}/{name.decode()}", node[at : at + 40])
                found += [] if member is None else [member]
                last = name
        return found

    def _children(self, place: str, tree: int) -> Iterator[int]:
        """Yield the addresses of the nodes that hold the members of a group."""
        for entries in self._leaves(place, tree, 0, 8, self._node_fanout):
            yield from (address for _, address in struct.iter_unpack("<QQ", entries))

    def _local_heap(self, place: str, address: int) -> bytes:
        """Return the names of a group; the list of free space is checked, too."""
        what = f"the names of {place}"
        head = self._block(address, 32)
        signature, version, size, free, data = struct.unpack_from("<4sB3xQQQ", head)
        require(signature == b"HEAP" and version == 0, what)
        block, seen = self._block(data, size), set[int]()
        while free != 1:  # the end of the list
            require(free not in seen and free + 16 <= size, what)
            seen.add(free)
            following, length = struct.unpack_from("<QQ", block, free)
            require(16 <= length <= size - free, what)
            free = following
        return block

    def _leaves(
        self, place: str, address: int, kind: int, key_size: int, fanout: int
    ) -> Iterator[bytes]:
        """Yield the entries of every lowest node of a B-tree: the key and address of each child."""
        what, level, nodes = f"the B-tree of {place}", None, [address]
        while nodes:
            children: list[bytes] = []
            for index, node in enumerate(nodes):
                block = self._block(node, 24 + (fanout + 1) * key_size + fanout * 8)
                signature, *found, left, right = struct.unpack_from("<4sBBHQQ", block)
                level = found[1] if level is None else level
                require(signature == b"TREE" and found[:2] == [kind, level], what)
                require(found[2] <= fanout, what)
                require(left == (nodes[index - 1] if index else UNDEFINED), what)
                require(right == (*nodes, UNDEFINED)[index + 1], what)
                children.append(block[24 : 24 + found[2] * (key_size + 8)])
            if not level:
                yield from children
                return
            entry = struct.Struct(f"<{key_size}xQ")
            nodes = [child for node in children for (child,) in entry.iter_unpack(node)]
            level -= 1

    # -------------------------------------------------------------------------------- data sets

    def _data_set(self, place: str, messages: dict[int, bytes]) -> None:
        shape = self._shape(place, messages[DATASPACE])
        kind, layout = self._datatype(place, messages[DATATYPE]), messages[LAYOUT]
        self._check_fill(place, messages, kind)
        if layout[1] > 2:
            self._refuse_outside(place)
        self._check_layout_version(place, layout[0])
        if layout[1] == 2:
            require(not kind.variable, f"the layout of {place}")
            stored = self._chunks(place, shape, kind, layout, messages.get(FILTERS))
        elif layout[1] == 1:
            stored = self._contiguous(place, kind, layout)
        else:
            stored = struct.unpack_from("<H", layout, 2)[0]
            require(stored <= len(layout) - 4 and not kind.variable, f"the layout of {place}")
        self._check_size(place, prod(shape) * kind.size, stored)

    def _check_layout_version(self, place: str, version: int) -> None:
        require(version == 3, f"the layout of {place}")

    def _check_size(self, place: str, declared: int, stored: int) -> None:
        if declared > stored:
            raise StorageError(f"{self._path}: {place} is declared larger than what is stored")

    def _contiguous(self, place: str, kind: Type, layout: bytes) -> int:
        """Return the number of bytes that are stored in one block."""
        address, size = struct.unpack_from("<QQ", layout, 2)
        if address == UNDEFINED or not size:
            return 0
        self._claim(address, size)
        if kind.variable:
            self._references(place, self._bytes(address, size))
        return int(size)

    def _chunks(
        self, place: str, shape: tuple[int, ...], kind: Type, layout: bytes, filters: bytes | None
    ) -> int:
        """Return the number of bytes that the stored chunks hold, decompressed."""
        rank, address = struct.unpack_from("<BQ", layout, 2)
        sizes = struct.unpack_from(f"<{rank}I", layout, 11)
        require(rank == len(shape) + 1 and sizes[-1] == kind.size, f"the chunks of {place}")
        expansion = 1 if filters is None else self._expansion(place, filters)
        if address == UNDEFINED:
            return 0
        total = 0
        record = np.dtype([("stored", "<u4"), ("key", "<u4", 1 + 2 * rank), ("address", "<u8")])
        for entries in self._leaves(place, address, 1, 8 + 8 * rank, CHUNK_FANOUT):
            chunks = np.frombuffer(entries, record)
            self._claim_data(chunks["address"], chunks["stored"])
            least = int(chunks["stored"].min(initial=2**32 - 1))
            require(prod(sizes) <= expansion * least, f"the size of a chunk of {place}")
            total += len(chunks) * prod(sizes)
        self._check_expanded(place, total)
        return total

    def _check_expanded(self, place: str, size: int) -> None:
        self._expanded += size
        if self._expanded > max(MAX_EXPANDED, LIKELY_EXPANSION * self._size):
            raise StorageError(f"{self._path}: {place} is compressed more than a network can be")

    # ----------------------------------------------------------------------------- global heaps

    def _references(self, what: str, values: bytes) -> None:
        """Check texts of variable length, each of which refers to one object of a global heap."""
        for length, address, index in struct.iter_unpack("<IQI", values):
            if length:
                if address not in self._heaps:
                    self._heaps[address] = self._global_heap(what, address)
                require(length <= self._heaps[address].pop(index, -1), what)

    def _global_heap(self, what: str, address: int) -> dict[int, int]:
        """Return the sizes of the objects of a global heap, by index."""
        head = self._bytes(address, 16)
        signature, version, size = struct.unpack("<4sB3xQ", head)
        require(signature == b"GCOL" and version == 1, f"the heap of {what}")
        block, at, found = self._block(address, size), 16, dict[int, int]()
        while size - at >= 16:
            index, _, length = struct.unpack_from("<HH4xQ", block, at)
            if not index:  # the free space, which ends the heap
                require(length == size - at, f"the heap of {what}")
                break
            require(index not in found and length <= size - at - 16, f"the heap of {what}")
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
        require(end <= self._size, f"the block at {address} of {size} bytes")
        if size:
            index = bisect.bisect_left(self._starts, end)
            require(
                not index or self._ends[index - 1] <= address,
                f"the block at {address}, which overlaps another one",
            )
            self._starts.insert(index, address)
            self._ends.insert(index, end)

    def _claim_data(self, addresses: np.ndarray, sizes: np.ndarray) -> None:
        """Require that blocks of data lie within the file; at the end they must not overlap."""
        sizes, limit = sizes.astype(np.uint64), np.uint64(self._size)
        within = (addresses <= limit) & (sizes <= limit - np.minimum(addresses, limit))
        require(bool(within.all()), "a block of data")
        self._data.append(np.stack((addresses, addresses + sizes)))

    def _blocks(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the starts and the ends of all blocks, in order."""
        blocks = np.array((self._starts, self._ends), np.uint64)
        starts, ends = np.concatenate((blocks, *self._data), axis=1)
        order = np.argsort(starts[starts < ends])
        return starts[starts < ends][order], ends[starts < ends][order]

    def _check_data(self) -> None:
        starts, ends = self._blocks()
        require(bool((ends[:-1] <= starts[1:]).all()), "a block, which overlaps another one,")

    def _claimed(self, address: int) -> bool:
        """Return whether a block begins at `address`."""
        index = bisect.bisect_left(self._starts, address)
        return index < len(self._starts) and self._starts[index] == address

    def _bytes(self, address: int, size: int) -> bytes:
        require(address + size <= self._size, f"the block at {address} of {size} bytes")
        require(size <= MAX_BLOCK, f"the block at {address} of {size} bytes")
        self._file.seek(address)
        return self._file.read(size)

    # ------------------------------------------------------------------------------- descriptions

    def _shape(self, what: str, message: bytes) -> tuple[int, ...]:
        """Return the shape that a dataspace message describes."""
        version, rank, flags = struct.unpack_from("<BBB", message)
        require(version in (1, 2) and rank <= MAX_RANK and flags <= 1, f"the shape of {what}")
        if version == 2:
            require(message[3] == (1 if rank else 0), f"the shape of {what}")
        return struct.unpack_from(f"<{rank}Q", message, 8 if version == 1 else 4)

    def _datatype(self, what: str, message: bytes) -> Type:
        """Return the datatype of a message: numbers, booleans, and texts of both kinds."""
        kind, version = message[0] & 15, message[0] >> 4
        (size,) = struct.unpack_from("<I", message, 4)
        require(version in (1, 2, 3), f"the type of {what}")
        match kind:
            case 0 | 1:  # integers and floating-point numbers
                require(size in (1, 2, 4, 8, 16), f"the type of {what}")
            case 3:  # texts of fixed length
                require(1 <= size < 2**16, f"the type of {what}")
            case 8:  # enumerations: h5py stores booleans in this way
                require(size == self._datatype(what, message[8:]).size == 1, f"the type of {what}")
            case 9:  # texts of variable length
                require(size == 16, f"the type of {what}")
                require(self._datatype(what, message[8:]) == Type(1, False), f"the type of {what}")
            case _:
                require(False, f"the type of {what}")
        return Type(size, kind == 9)

    def _check_fill(self, place: str, messages: dict[int, bytes], kind: Type) -> None:
        """Require that a fill value is at most one value of a type that is stored in place."""
        if FILL in messages:
            version, _, _, defined = struct.unpack_from("<4B", messages[FILL])
            require(version in (1, 2), f"the fill value of {place}")
            size = struct.unpack_from("<I", messages[FILL], 4)[0] if version == 1 or defined else 0
            require(size in (0, 2**32 - 1) or (size == kind.size and not kind.variable), place)
        if OLD_FILL in messages:
            (size,) = struct.unpack_from("<I", messages[OLD_FILL])
            require(size in (0, kind.size), f"the fill value of {place}")

    def _expansion(self, place: str, message: bytes) -> int:
        """Return by what factor the filters of a data set can expand it."""
        version, count = struct.unpack_from("<BB", message)
        require(version == 1 and count <= 3, f"the filters of {place}")
        found, at = [], 8
        for _ in range(count):
            number, name, _, values = struct.unpack_from("<4H", message, at)
            found.append(number)
            at += 8 + name + 4 * (values + values % 2)
        require(len({*found} | {DEFLATE, SHUFFLE, FLETCHER32}) == 3, f"the filters of {place}")
        require(len({*found}) == count, f"the filters of {place}")
        return MAX_EXPANSION if DEFLATE in found else 1


def require(fulfilled: bool, what: str) -> None:
    if not fulfilled:
        raise ValueError(f"{what} is not as h5py writes it")


def _name(place: str, names: bytes, offset: int) -> bytes:
    end = names.find(0, offset)
    require(offset < end, f"a name in {place}")
    return names[offset:end]
