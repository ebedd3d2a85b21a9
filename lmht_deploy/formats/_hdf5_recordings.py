"""Check the layout of an HDF5 recording before the HDF5 library reads it.

Recordings come from many tools. Beside the layout of networks, this module accepts the layout that
HDF5 writes since version 1.8: versions 2 and 3 of the superblock, version 2 of the object headers,
and groups that hold their links themselves. It accepts all types of values and all filters, and
links are passed over, as nobody follows them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import NoReturn

from lmht_deploy.errors import DataError

from ._hdf5_layout import (
    CONTINUATION,
    DATASPACE,
    DATATYPE,
    FILL,
    KNOWN,
    MAX_DEPTH,
    MAX_RANK,
    NEW_GROUP,
    NIL,
    OLD_FILL,
    SIGNATURE,
    UNDEFINED,
    Item,
    LayoutWalk,
    Type,
    require,
)

__all__ = ["check_recording_layout"]

LINK_INFO, LINK, GROUP_INFO = 2, 6, 10
COMMENT, OLD_MODIFIED, ATTRIBUTE_INFO, REFERENCES = 13, 14, 21, 22
RECORDED = {*KNOWN, LINK_INFO, LINK, GROUP_INFO, COMMENT, OLD_MODIFIED, ATTRIBUTE_INFO}
"""Types of messages that an object header of a recording may hold."""
TIMES, LIMITS, ORDER = 0x20, 0x10, 0x04
"""Flags of a new object header: it states times, limits of attributes, the order of messages."""
HARD, SOFT = 0, 1
"""Types of links that HDF5 defines itself."""
ANY_EXPANSION = 2**32
"""What a filter may expand to; the size of a chunk is limited where it is read."""
MAX_NESTING = 8
"""Largest number of nested datatypes."""
MAX_VALUE = 2**24
"""Bytes of the largest value."""


def check_recording_layout(path: str | Path) -> None:
    """Require that an HDF5 recording holds its data itself, and each part once.

    Args:
        path: The file.

    Raises:
        DataError: It refers to other files, stores an object twice, or has a layout that is not
            read; the message does not name the file.
        OSError: The file is not an HDF5 file, or is truncated.
        ValueError: Its structure is damaged.
    """
    with open(path, "rb") as file:
        _RecordingWalk(path, file).check()


class _RecordingWalk(LayoutWalk):
    """One pass over all blocks of a recording."""

    def _superblock(self) -> Item:
        if self._size < 96 or (head := self._bytes(0, 48))[:8] != SIGNATURE or head[8] < 2:
            return super()._superblock()
        _require_known(head[8] <= 3 and head[9:11] == bytes((8, 8)), "its superblock")
        base, extension, end, root = struct.unpack_from("<4Q", head, 12)
        if end > self._size:
            raise OSError("truncated")
        require(base == 0, "the superblock")
        _require_known(extension == UNDEFINED, "an extension of its superblock")
        self._claim(0, 48)
        return Item("", root, None)

    def _link(self, place: str) -> None:
        """Pass over a link: it is not followed."""

    def _refuse_second(self, place: str) -> NoReturn:
        raise DataError(f"stores {place} in two places, which is not read")

    def _refuse_outside(self, place: str) -> NoReturn:
        raise DataError(f"stores {place} in another file, which is not read")

    # ---------------------------------------------------------------------------------- objects

    def _messages(self, item: Item) -> Iterator[tuple[int, bytes]]:
        if self._bytes(item.address, 4) != b"OHDR":
            yield from super()._messages(item)
            return
        place = item.place or "/"
        self._require_first(item)
        blocks, order = self._new_header(place, item.address)
        head = 6 if order else 4
        while blocks:
            address, size, skipped = blocks.pop(0)
            block, at = self._block(address, size)[skipped:-4], 0  # a checksum ends it
            while at + head <= len(block):
                kind, length, flags = struct.unpack_from("<BHB", block, at)
                data = block[at + head : at + head + length]
                require(len(data) == length and not flags & 2, f"the header of {place}")
                at += head + length
                if kind == CONTINUATION:
                    start, count = struct.unpack_from("<QQ", data)
                    require(self._bytes(start, 4) == b"OCHK", f"the header of {place}")
                    blocks.append((start, count, 4))
                elif kind != NIL:
                    self._check_kind(place, kind)
                    yield kind, data

    def _new_header(self, place: str, address: int) -> tuple[list[tuple[int, int, int]], bool]:
        """Return the first block of a new object header, and whether messages state an order.

        A block is its address, its size, and the bytes before the first message.
        """
        version, flags = self._bytes(address + 4, 2)
        require(version == 2 and flags < 64, f"the header of {place}")
        width = 1 << (flags & 3)
        start = 6 + (16 if flags & TIMES else 0) + (4 if flags & LIMITS else 0)
        size = int.from_bytes(self._bytes(address + start, width), "little")
        return [(address, start + width + size + 4, start + width)], bool(flags & ORDER)

    def _check_kind(self, place: str, kind: int) -> None:
        if kind == REFERENCES:  # stated only where it is not 1
            self._refuse_second(place)
        if kind not in RECORDED:
            super()._check_kind(place, kind)

    def _members(self, item: Item, messages: list[tuple[int, bytes]]) -> list[Item] | None:
        found = dict(messages)
        for kind, what in ((LINK_INFO, "members"), (ATTRIBUTE_INFO, "attributes")):
            _require_known(not _dense(kind, found.get(kind)), f"the many {what} of {item.place}/")
        if not NEW_GROUP & found.keys():
            named_type = DATATYPE in found and DATASPACE not in found
            return [] if named_type else super()._members(item, messages)
        require(DATASPACE not in found, f"the group {item.place}/")
        require(item.place.count("/") < MAX_DEPTH, f"the depth of {item.place}/")
        links = (_link(item.place, data) for kind, data in messages if kind == LINK)
        return [link for link in links if link is not None]

    # -------------------------------------------------------------------------------- data sets

    def _check_layout_version(self, place: str, version: int) -> None:
        _require_known(version == 3, f"version {version} of the layout of {place}")

    def _check_size(self, place: str, declared: int, stored: int) -> None:
        """Allow any: what is not stored is refused where events are read."""

    def _check_expanded(self, place: str, size: int) -> None:
        """Allow any, likewise."""

    def _expansion(self, place: str, message: bytes) -> int:
        require(message[0] in (1, 2) and message[1] <= MAX_RANK, f"the filters of {place}")
        return ANY_EXPANSION

    def _check_fill(self, place: str, messages: dict[int, bytes], kind: Type) -> None:
        """Require that a fill value lies within its message."""
        if (fill := messages.get(FILL)) is not None:
            at = 2 if fill[0] == 3 else 4
            stated = fill[1] & 0x20 if fill[0] == 3 else fill[0] == 1 or fill[3]
            size = struct.unpack_from("<I", fill, at)[0] if stated else 0
            fits = size in (0, 2**32 - 1) or (size == kind.size and size <= len(fill) - at - 4)
            require(fill[0] in (1, 2, 3) and fits, f"the fill value of {place}")
        if (old := messages.get(OLD_FILL)) is not None:
            (size,) = struct.unpack_from("<I", old)
            require(size in (0, kind.size) and size <= len(old) - 4, f"the fill value of {place}")

    # ------------------------------------------------------------------------------- descriptions

    def _shape(self, what: str, message: bytes) -> tuple[int, ...]:
        if message[:2] == b"\2\0" and message[3] == 2:  # no value at all
            return (0,)
        return super()._shape(what, message)

    def _datatype(self, what: str, message: bytes) -> Type:
        size, end = _type(what, message, 0, 0)
        require(end <= len(message), f"the type of {what}")
        return Type(size, False)


def _require_known(known: bool, what: str) -> None:
    if not known:
        raise DataError(
            f"has a layout of HDF5 that is not read ({what}); copy its arrays to a new file that "
            "is written with libver='earliest' (h5py)"
        )


def _dense(kind: int, message: bytes | None) -> bool:
    """Return whether links or attributes are so many that they are kept elsewhere."""
    if message is None:
        return False
    version, flags = message[:2]
    require(version == 0 and flags < 4, "the header of a group")
    width = (8 if kind == LINK_INFO else 2) if flags & 1 else 0  # the order of the last one
    return bool(struct.unpack_from("<Q", message, 2 + width)[0] != UNDEFINED)


def _link(parent: str, data: bytes) -> Item | None:
    """Return the object of a link message; None for links to a name, which are passed over."""
    version, flags = data[:2]
    require(version == 1 and flags < 32, f"a link in {parent}/")
    at, kind = 2, HARD
    if flags & 8:
        kind, at = data[at], at + 1
    at += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    length = int.from_bytes(data[at : at + width], "little")
    name = data[at + width : at + width + length]
    require(len(name) == length > 0, f"a link in {parent}/")
    if kind != HARD:
        return None
    (address,) = struct.unpack_from("<Q", data, at + width + length)
    return Item(f"{parent}/{name.decode()}", address, None)


# ------------------------------------------------------------------------------------- datatypes

PROPERTIES = {0: 4, 1: 12, 2: 2, 3: 0, 4: 4, 7: 0}
"""Bytes of the properties of a plain datatype, by its class."""


def _type(what: str, data: bytes, at: int, depth: int) -> tuple[int, int]:
    """Return the size of the values of the datatype at `at`, and where its description ends."""
    kind, version, count = data[at] & 15, data[at] >> 4, struct.unpack_from("<H", data, at + 1)[0]
    (size,) = struct.unpack_from("<I", data, at + 4)
    _require_known(version <= 3, f"version {version} of the type of {what}")
    require(version >= 1 and 1 <= size <= MAX_VALUE, f"the type of {what}")
    require(depth < MAX_NESTING, f"the type of {what}")
    at += 8
    match kind:
        case _ if kind in PROPERTIES:
            return size, at + PROPERTIES[kind]
        case 5:  # opaque bytes, with a tag
            return size, at + (count & 255)
        case 6:  # compounds
            return size, _fields(what, data, at, depth, (version, count, size))
        case 8:  # enumerations
            base, at = _type(what, data, at, depth + 1)
            require(base == size, f"the type of {what}")
            for _ in range(count):
                at = _after_name(what, data, at, padded=version < 3)
            return size, at + count * size
        case 9:  # values of variable length
            return size, _type(what, data, at, depth + 1)[1]
        case 10:  # arrays
            rank = data[at]
            require(1 <= rank <= MAX_RANK and version >= 2, f"the type of {what}")
            at += 4 if version == 2 else 1
            shape = struct.unpack_from(f"<{rank}I", data, at)
            base, at = _type(what, data, at + 4 * rank * (2 if version == 2 else 1), depth + 1)
            require(base * prod(shape) == size, f"the type of {what}")
            return size, at
    raise ValueError(f"the type of {what} is not as h5py writes it")


def _fields(what: str, data: bytes, at: int, depth: int, compound: tuple[int, int, int]) -> int:
    """Check the fields of a compound (version, number of fields, size); return where they end."""
    version, count, size = compound
    width = 4 if version < 3 else (size.bit_length() + 7) // 8
    for _ in range(count):
        at = _after_name(what, data, at, padded=version < 3)
        offset = int.from_bytes(data[at : at + width], "little")
        elements = 1
        at += width
        if version == 1:
            rank = data[at]
            require(rank <= 4, f"the type of {what}")
            elements = prod(struct.unpack_from(f"<{rank}I", data, at + 12))
            at += 28
        field, at = _type(what, data, at, depth + 1)
        require(offset + field * elements <= size, f"the type of {what}")
    return at


def _after_name(what: str, data: bytes, at: int, *, padded: bool) -> int:
    end = data.find(0, at) + 1
    require(end > 0, f"the type of {what}")
    return at + -(-(end - at) // 8) * 8 if padded else end
