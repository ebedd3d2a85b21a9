"""`.lmhtf` files: an integer network as one flat block of bytes, for readers without HDF5.

`SCHEMA` describes the format; the writer and the reader follow it. `liblmht` and the WebAssembly
build read these files. Reading is strict: there is exactly one file for a network, and any other
file is refused. Nothing in a file is ever executed.
"""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import zlib
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from lmht_deploy import ir
from lmht_deploy.errors import ExportError, StorageError, show
from lmht_deploy.formats import lmht
from lmht_deploy.formats.files import as_path, reading
from lmht_deploy.formats.schema import Field, Group, Schema
from lmht_deploy.ir import Network, first_bins, require_network, window_steps
from lmht_deploy.ir.layers import Injection, InputKind, Reset

__all__ = ["SCHEMA", "load_flat", "network_to_bytes"]

MAGIC = b"LMHTFLAT"
HEADER = struct.Struct("<8sIIQQ")
"""Magic, version, checksum, bytes of the file, words of the records."""
CHECKED = 16
"""Offset of the first byte that the checksum covers."""
ALIGNMENT = 64
"""Texts and arrays begin at multiples of this number of bytes."""
WORD = 8

MAX_LENGTH = 2**60
"""Largest length of a window, in us or events."""
WINDOW_RULES = ("none", "recording", "time", "events")
CHOICES: Mapping[str, tuple[str, ...]] = {
    "kind": get_args(InputKind),
    "injection": get_args(Injection),
    "reset": get_args(Reset),
    "window": WINDOW_RULES,
}
"""Texts that are stored as a number, their position, by key."""

_OWN_FIELDS = {
    "name": Field("name", "UTF-8", "Name of the layer.", kind="text"),
    "source": Field("source", "int64", "Number of the layer that is read.", kind="layer"),
    "shape": Field("shape", "int64 [3]", "(C, H, W); (N, 0, 0) for a flat input.", kind="shape"),
    "leak": Field("leak", "int64", "λq = λ·4096.", kind="word"),
    "exponent": Field("exponent", "int64", "Weight exponent e.", kind="word"),
    "scale": Field("scale", "float64", "Real value of one unit of a logit.", kind="number"),
    "floor": Field("floor", "int32 [C]", "Lower bound of the potential, or none.", kind="optional"),
    "synapses": Field("synapses", "records", "Synapses that are summed.", kind="records"),
}
"""Fields that differ from those of a `.lmht` file in more than the type of a value."""


_MEANINGS = {
    "kind": "What the integers are",
    "injection": "Where the current enters the sub-steps",
    "reset": "What spikes do to the potential",
}


def _as_flat(field: Field) -> Field:
    """Return a field of a `.lmht` file as a flat file has it, for integer networks."""
    if field.name in _OWN_FIELDS:
        return _OWN_FIELDS[field.name]
    if field.name in CHOICES:
        texts = ", ".join(f"{i} `{text}`" for i, text in enumerate(CHOICES[field.name]))
        return Field(field.name, "int64", f"{_MEANINGS[field.name]}: {texts}.", "choice")
    kind = "array" if field.kind == "data set" else "pair" if "[2]" in field.dtype else "word"
    return dataclasses.replace(field, dtype=field.dtype.replace(" or float64", ""), kind=kind)


def _group(path: str, group: Group) -> Group:
    return Group(path, group.meaning, tuple(map(_as_flat, group.fields)))


LAYERS: Mapping[type, Group] = {
    kind: _group(f"{group.path} (type {number})", group)
    for number, (kind, group) in enumerate(lmht.LAYERS.items())
}
"""Fields of each type of layer, whose number is its position."""
SYNAPSE_TYPES: Mapping[type, Group] = {
    kind: _group(f"{group.path} (type {number})", group)
    for number, (kind, group) in enumerate(lmht.SYNAPSE_TYPES.items())
}
"""Fields of each type of synapse, whose number is its position."""

NETWORK = Group(
    "Network",
    "The first record.",
    (
        Field("metadata", "UTF-8", "JSON object of texts: provenance of the network.", "text"),
        Field(
            "window",
            "int64",
            "How a recording is cut into windows, as `metadata` states it: "
            + ", ".join(f"{i} `{text}`" for i, text in enumerate(WINDOW_RULES))
            + ".",
            "choice",
        ),
        Field("length", "int64", "Length of a window in us or events; 0 otherwise.", "word"),
        Field("hop", "int64", "Time-steps between the starts of two windows, or 0.", "word"),
        Field(
            "min_margin",
            "float64",
            "Smallest margin of an answer that is a class, as `metadata` states it; 0 otherwise.",
            "number",
        ),
        Field("classes", "UTF-8", "Names of the classes, or none, as in `metadata`.", "texts"),
        Field("layers", "records", "Layers in topological order.", "records"),
    ),
)

SCHEMA = Schema(
    title="Flat network files (`.lmhtf`)",
    suffix=".lmhtf",
    format=MAGIC.decode(),
    version=1,
    summary="""
One integer network as one block of bytes, for readers without HDF5: `liblmht` and WebAssembly. The
symbols are those of the semantics page. All numbers are little-endian. A file has three parts: a
header of 32 bytes, the records, and the texts and arrays.

The records are words of 8 bytes: first the network, then what it holds. A record holds its fields
in the order of the table. The kind of a field states its words:

| kind | words |
| --- | --- |
| word | an int64 |
| number | a float64 |
| choice | an int64, the number of a text in the table |
| layer | an int64, the number of an earlier layer; the first layer has the number 0 |
| pair | two int64, vertical and horizontal |
| shape | three int64 |
| text | the offset of the text in the file, and its bytes |
| texts | the number of texts, then the two words of each text |
| array | the offset of the values in the file, then the size of each axis |
| optional | an array, or zeros for none |
| records | the number of records, then each record: the number of its type, and its fields |

Texts and arrays lie behind the records, in the order of the records, without gaps except for zeros:
each begins at the next multiple of 64 bytes, and the file ends with the last one, or with the
records if there is none. The values of an array are in C order. A file can be mapped into memory
and its arrays read in place.""",
    groups=(
        Group(
            "Header",
            "The first 32 bytes.",
            (
                Field("magic", "8 bytes", "`LMHTFLAT`.", "bytes 0-7"),
                Field("version", "uint32", "Version of the format.", "bytes 8-11"),
                Field("checksum", "uint32", "CRC-32 of the bytes from 16 on.", "bytes 12-15"),
                Field("size", "uint64", "Bytes of the file.", "bytes 16-23"),
                Field("words", "uint64", "Words of the records.", "bytes 24-31"),
            ),
        ),
        NETWORK,
        *LAYERS.values(),
        *SYNAPSE_TYPES.values(),
    ),
    checksum="""
CRC-32 as in gzip and PNG (polynomial 0xEDB88320, reflected), over all bytes of the file from byte
16 on.""",
)
"""Description of the format."""


class _Record(NamedTuple):
    """The network as a record: what is not a layer is derived from the metadata."""

    metadata: str
    window: str
    length: int
    hop: int
    min_margin: float
    classes: tuple[str, ...]
    layers: tuple[ir.Layer, ...]


def network_to_bytes(net: Network) -> bytes:
    """Return the content of the `.lmhtf` file of a network.

    Args:
        net: An integer network.

    Raises:
        ExportError: If the network holds floats, or its metadata holds a window rule or a margin
            that is not valid.
    """
    if not require_network(net).integer:
        raise ExportError(
            "a flat file holds integers, and this is a float network; quantize it first"
        )
    writer = _Writer({layer.name: number for number, layer in enumerate(net.layers)})
    writer.fields(_network_record(net), NETWORK)
    return writer.content()


def _network_from_bytes(content: bytes, path: str | Path) -> Network:
    """Build the network of a file with `content`; errors of any kind where it is damaged."""
    words = _check_header(content, path)
    reader = _Reader(content, words, path)
    fields = reader.fields(NETWORK)
    metadata = json.loads(fields["metadata"])
    net = Network(layers=fields["layers"], metadata=metadata)
    if _Record(**fields) != _network_record(net):
        raise StorageError(f"{path}: its window rule, margin or classes are not of its metadata")
    if network_to_bytes(net) != content:
        raise StorageError(
            f"{path}: is not laid out as the format states, or another program wrote it; "
            "write the file again: lmht export NETWORK --out FILE"
        )
    return net


def load_flat(path: str | Path) -> Network:
    """Read a network from a `.lmhtf` file.

    Args:
        path: File to read.

    Returns:
        The network, checked, with its bounds proved.

    Raises:
        StorageError: If the file is missing, damaged, of another kind or of another version.
    """
    path = as_path(path)
    with reading(path, "a .lmhtf file"):
        return _network_from_bytes(path.read_bytes(), path)


def _check_header(content: bytes, path: str | Path) -> int:
    """Check the header and the checksum; return the number of words of the records."""
    if len(content) < HEADER.size or not content.startswith(MAGIC):
        raise StorageError(f"{path}: is not a .lmhtf file")
    _, version, checksum, size, words = HEADER.unpack_from(content)
    SCHEMA.check(path, SCHEMA.format, version)
    if size != len(content):
        raise StorageError(
            f"{path}: has {len(content)} bytes, and should have {size}; it is truncated or damaged"
        )
    if checksum != zlib.crc32(content[CHECKED:]):
        raise StorageError(
            f"{path}: the checksum does not match the content; the file is damaged or was edited"
        )
    if words > (size - HEADER.size) // WORD:
        raise StorageError(f"{path}: is damaged, its records are larger than the file")
    return int(words)


def _network_record(net: Network) -> _Record:
    return _Record(
        json.dumps(dict(net.metadata), sort_keys=True),
        *_window_rule(net),
        _min_margin(net),
        tuple(map(_printable, net.class_names)),
        net.layers,
    )


def _window_rule(net: Network) -> tuple[str, int, int]:
    """Return the kind, the length and the hop of the window rule in the metadata."""
    text = net.metadata.get("window")
    if text is None:
        return "none", 0, 0
    steps = window_steps(net.metadata, net.input.steps)
    try:
        rule = json.loads(text)
        found = rule["by"], rule["length"], rule["hop"]
        valid = steps is not None and rule["steps"] == steps and _is_rule(*found, steps)
    except (ValueError, TypeError, KeyError, RecursionError):
        valid = False
    if not valid or steps is None:
        raise ExportError(
            "the metadata of the network holds the window rule "
            f"{show(text)}, which is not one of its {net.input.steps} time-steps"
        )
    by, length, hop = found
    if steps == net.input.steps:
        return by, length, hop
    if by == "recording":  # the first bins of a recording are no rule
        return "none", 0, 0
    return by, *first_bins(steps, net.input.steps, length, hop)


def _is_rule(by: object, length: object, hop: object, steps: int) -> bool:
    if by not in WINDOW_RULES[1:] or type(length) is not int or type(hop) is not int:
        return False
    if by == "recording":
        return length == 0 and hop in (0, steps)
    return 0 <= hop <= steps and 1 <= length <= MAX_LENGTH and length % steps == 0


def _min_margin(net: Network) -> float:
    text = net.metadata.get("min_margin", "0")
    try:
        margin = float(text)
    except ValueError:
        margin = math.nan
    if not 0 <= margin < math.inf:
        raise ExportError(
            f"the metadata of the network holds the smallest margin {show(text)}, which is not a "
            "number >= 0"
        )
    return margin


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


class _Writer:
    """Collects the words of the records, and what lies behind them."""

    def __init__(self, numbers: Mapping[str, int]) -> None:
        self._numbers = numbers
        self._words: list[int | float | bytes] = []

    def fields(self, record: Any, group: Group) -> None:
        for field in group.fields:
            self._field(field, getattr(record, field.name))

    def _field(self, field: Field, value: Any) -> None:
        match field.kind:
            case "layer":
                self._words.append(self._numbers[value])
            case "choice":
                self._words.append(CHOICES[field.name].index(value))
            case "shape":
                self._words += value if len(value) == 3 else (value[0], 0, 0)
            case "pair":
                self._words += value
            case "text":
                self._text(value)
            case "texts":
                self._words.append(len(value))
                for text in value:
                    self._text(text)
            case "optional" if value is None:
                self._words += (0, 0)
            case "array" | "optional":
                self._words.append(value.astype(value.dtype.newbyteorder("<")).tobytes())
                self._words += value.shape
            case "records":
                self._records(value)
            case _:
                self._words.append(value)

    def _text(self, text: str) -> None:
        encoded = text.encode()
        self._words += (encoded, len(encoded))

    def _records(self, records: tuple[Any, ...]) -> None:
        self._words.append(len(records))
        for record in records:
            types = LAYERS if type(record) in LAYERS else SYNAPSE_TYPES
            self._words.append(list(types).index(type(record)))
            self.fields(record, types[type(record)])

    def content(self) -> bytes:
        """Return the file: the place of each text and array is known now."""
        end = HEADER.size + WORD * len(self._words)
        records, data = bytearray(), bytearray()
        for word in self._words:
            if isinstance(word, bytes):
                data += bytes(-(end + len(data)) % ALIGNMENT)
                records += struct.pack("<q", end + len(data))
                data += word
            else:
                records += struct.pack("<d" if isinstance(word, float) else "<q", word)
        size = end + len(data)
        rest = struct.pack("<QQ", size, len(self._words)) + records + data
        return HEADER.pack(MAGIC, SCHEMA.version, zlib.crc32(rest), 0, 0)[:CHECKED] + rest


class _Reader:
    """Reads the words of the records one after another; offsets and sizes are not believed."""

    def __init__(self, content: bytes, words: int, path: str | Path) -> None:
        self._content, self._path = content, path
        self._at, self._end = HEADER.size, HEADER.size + WORD * words
        self._names: list[str] = []

    def fields(self, group: Group) -> dict[str, Any]:
        found = {field.name: self._field(field) for field in group.fields}
        if "name" in found:
            self._names.append(found["name"])
        return found

    def _field(self, field: Field) -> Any:
        match field.kind:
            case "number":
                return self._unpack("<d")
            case "layer":
                return self._choice(field.name, self._names)
            case "choice":
                return self._choice(field.name, CHOICES[field.name])
            case "pair":
                return self._word(), self._word()
            case "shape":
                shape = self._word(), self._word(), self._word()
                return shape[:1] if shape[1:] == (0, 0) else shape
            case "text":
                return self._text()
            case "texts":
                return tuple(self._text() for _ in range(self._number()))
            case "optional" if self._peek() == 0:
                self._word(), self._word()
                return None
            case "array" | "optional":
                return self._array(field)
            case "records":
                return self._records(LAYERS if field.name == "layers" else SYNAPSE_TYPES)
        return self._word()

    def _records(self, types: Mapping[type, Group]) -> tuple[Any, ...]:
        kinds = list(types)
        found = []
        for _ in range(self._number()):
            kind = self._choice("type", kinds)
            found.append(kind(**self.fields(types[kind])))
        return tuple(found)

    def _array(self, field: Field) -> np.ndarray:
        dtype = np.dtype(field.dtype.partition(" ")[0]).newbyteorder("<")
        start = self._word()
        shape = [self._word() for _ in range(field.dtype.count(",") + 1)]
        if min(shape) < 1:
            raise self._damaged(f"{field.name!r} has the shape {shape}")
        content = self._bytes(start, prod(shape) * dtype.itemsize)
        return np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))

    def _text(self) -> str:
        start = self._word()
        return self._bytes(start, self._word()).decode()

    def _bytes(self, start: int, size: int) -> bytes:
        if not (0 <= start <= len(self._content) and 0 <= size <= len(self._content) - start):
            raise self._damaged("a text or an array lies outside of it")
        return self._content[start : start + size]

    def _choice(self, name: str, values: Any) -> Any:
        number = self._word()
        if not 0 <= number < len(values):
            raise self._damaged(f"{name!r} has the unknown number {number}")
        return values[number]

    def _number(self) -> int:
        """Return how many texts or records follow; each has at least a word."""
        number = self._word()
        if not 0 <= number <= (self._end - self._at) // WORD:
            raise self._damaged(f"it holds fewer than {number} records")
        return number

    def _peek(self) -> int:
        at = self._at
        word = self._word()
        self._at = at
        return word

    def _word(self) -> int:
        return int(self._unpack("<q"))

    def _unpack(self, form: str) -> Any:
        if self._at >= self._end:
            raise self._damaged("its records end too early")
        (value,) = struct.unpack_from(form, self._content, self._at)
        self._at += WORD
        return value

    def _damaged(self, what: str) -> StorageError:
        return StorageError(f"{self._path}: is damaged: {what}")
