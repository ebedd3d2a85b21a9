"""The `.onnx` file of an LM-HT network: names of inputs and outputs, metadata, checksum.

This module needs no ONNX package. `lmht_deploy.exporters.onnx` builds the graph, and
`lmht_deploy.backends.onnx` runs it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmht_deploy.errors import StorageError
from lmht_deploy.formats.files import reading
from lmht_deploy.formats.lmht import network_checksum
from lmht_deploy.formats.schema import Field, Group, Schema, check_keys
from lmht_deploy.ir import INT32_MAX, MAX_INPUT, Network

from ._onnx_content import check_content, constants, has_functions, metadata_properties
from ._onnx_network import rebuild

__all__ = [
    "COUNTS",
    "DATA_SUFFIX",
    "FORMAT",
    "FUNCTIONS",
    "LOGITS",
    "NEXT_STATE",
    "SCALE",
    "SCHEMA",
    "STATE",
    "TRACE",
    "VERSION",
    "WINDOWS",
    "Model",
    "Properties",
    "by_layer",
    "check_model",
    "data_path",
    "load_model",
    "output_name",
    "read_network",
    "sealed",
]

FORMAT = "lmht-deploy onnx"
VERSION = 4

WINDOWS = "windows"
"""Name of the input."""
LOGITS = "logits"
"""Name of the output of the read-out."""
SCALE = "logits_scale"
"""Name of the output of the real value of one unit of a logit."""
COUNTS = ("spikes", "sops", "events", "event_sops")
"""Kinds of counts, as in `Result`; the outputs are named `<kind>/<layer>`."""
TRACE = "k"
"""Kind of the outputs with the spikes of a layer."""
STATE, NEXT_STATE = "state", "next_state"
"""Kinds of the inputs and outputs with the potentials of a layer, in files for streams."""
FUNCTIONS = "lmht"
"""Domain of the functions in a file."""
DATA_SUFFIX = ".data"
"""What the file with the weights of a large network adds to the name of its `.onnx` file."""

CHECKSUM = "checksum"
INPUT_KEYS = ("kind", "min_value", "max_value")
"""Keys of the JSON object that describes the input."""
AGAIN = "lmht export NETWORK --out FILE"
"""How to write an ONNX file again."""

_SEAL = b"\x72\x4c\x0a\x08" + CHECKSUM.encode() + b"\x12\x40"
"""Bytes before the digest: field 14 of a ModelProto (a metadata property) of 76 bytes, whose key
is `checksum` and whose value has 64 bytes."""
_SEAL_BYTES = len(_SEAL) + 64

_INPUT, _SCALE, _MACS, _METADATA = (
    Field("input", "JSON", "`kind` (`events` or `image`), `min_value`, `max_value`.", "property"),
    Field("scale", "text", "Real value of one unit of a logit.", "property"),
    Field("macs", "JSON", "MACs per window, by layer that reads an image.", "property"),
    Field("metadata", "JSON", "Provenance of the network.", "property"),
)
_SHA256 = Field(
    "sha256",
    "text",
    "Checksum in the `.lmht` file of the network, hexadecimal.",
    "property",
    since=2,
)
_NETWORK = Field(
    "network",
    "JSON",
    "Layers of the network with all fields except weights, which are constants of the graph named "
    "`<layer>/weight<i>:`. The reset `subtract` and a floor that is None are left out.",
    "property",
    since=2,
)
_MAGNITUDE = Field(
    "magnitude",
    "text",
    "Largest magnitude of any sum or product, except the counts of spikes and SOPs per window. "
    "A runtime that computes in float32 and int32 is exact where it is below 2^24.",
    "property",
    since=3,
)
_WIDEST = Field(
    "magnitude_layer",
    "text",
    "Layer in which the largest magnitude occurs.",
    "property",
    since=4,
)
_MAX_CALLS = Field(
    "max_calls",
    "text",
    "Number of calls of one stream for which 32 bits are proved to suffice; 0 without states.",
    "property",
    since=3,
)
_DATA_SHA256 = Field(
    "data_sha256",
    "text",
    "SHA-256 of the file `<name>.onnx.data`, hexadecimal; empty without such a file.",
    "property",
    since=3,
)
_FORMAT = Field("format", "text", "Name of the format.", "property")
_VERSION = Field("version", "text", "Version of the format.", "property")
_CHECKSUM = Field(CHECKSUM, "text", "SHA-256, hexadecimal; the last property.", "property")

SCHEMA = Schema(
    title="ONNX files (`.onnx`)",
    suffix=".onnx",
    format=FORMAT,
    version=VERSION,
    summary=(
        "ONNX with operators of the standard domain only, opset 17, IR 8. Nodes are named "
        "`<layer>/<part>/<operator>` (`<layer>/<operator>` before version 4). The nodes of a part "
        f"are the body of the model-local function `<layer>/<part>` of the domain `{FUNCTIONS}`, "
        "which is called once. Files that were exported with `--portable` or "
        "`--openvino` have no functions. "
        "`batch` is free; T_in and T are fixed. The graph does not check its input: values outside "
        "the range in the metadata are not covered by the proof of 32 bits."
    ),
    groups=(
        Group(
            "Inputs and outputs",
            "The order of the outputs is not part of the format.",
            (
                Field(
                    WINDOWS,
                    "[batch, T_in, C, H, W] or [batch, T_in, N]",
                    "Input, in the first of uint8, int8, uint16, int16, int32 that holds it. In a "
                    "file for single time-steps, T_in is 1.",
                    "input",
                ),
                Field(
                    f"{STATE}/<layer>",
                    "int32 [batch, H·W, C] or [batch, 1, N]",
                    "Potentials v - v0 of a neuron layer before the call; zeros begin a stream.",
                    "input",
                    optional=True,
                    since=3,
                ),
                Field(
                    f"{NEXT_STATE}/<layer>",
                    "int32 [batch, H·W, C] or [batch, 1, N]",
                    "Potentials v - v0 after the call.",
                    "output",
                    optional=True,
                    since=3,
                ),
                Field(LOGITS, "int64 [batch, K]", "Sum of the read-out's currents.", "output"),
                Field(
                    SCALE,
                    "float64 []",
                    "Real value of one unit of a logit.",
                    "output",
                    optional=True,
                    since=3,
                ),
                Field("spikes/<layer>", "int64 [batch]", "Σ k of a neuron layer.", "output"),
                Field(
                    "events/<layer>",
                    "int64 [batch]",
                    "Graded spikes of a neuron layer: k > 0 counts once.",
                    "output",
                ),
                Field(
                    "sops/<layer>",
                    "int64 [batch]",
                    "SOPs of a layer with synapses; none for pixels, which count as MACs.",
                    "output",
                ),
                Field(
                    "event_sops/<layer>",
                    "int64 [batch]",
                    "SOPs where every graded spike counts once.",
                    "output",
                ),
                Field(
                    "k/<layer>",
                    "[batch, T·S, C, H, W] or [batch, T·S, N]",
                    "Spikes, in the first of uint8, int32, int64 that holds the levels.",
                    "output",
                    optional=True,
                ),
            ),
        ),
        Group(
            "Metadata properties",
            "All values are text.",
            (
                _FORMAT,
                _VERSION,
                _INPUT,
                _SCALE,
                _MACS,
                _METADATA,
                _SHA256,
                _NETWORK,
                _MAGNITUDE,
                _WIDEST,
                _MAX_CALLS,
                _DATA_SHA256,
                _CHECKSUM,
            ),
        ),
    ),
    checksum=(
        "The last 78 bytes of the file are one more metadata property. Its value is the SHA-256 of "
        "all bytes before it. Serialized protocol buffers may be concatenated, so that every "
        "runtime reads the file; others than lmht-deploy ignore the property."
    ),
)


@dataclass(frozen=True)
class Properties:
    """Metadata of a file.

    Attributes:
        kind: Kind of the input, "events" or "image".
        min_value: Smallest input value.
        max_value: Largest input value.
        scale: Real value of one unit of a logit.
        macs: MACs per window, by layer that reads an image.
        metadata: Provenance of the network.
        sha256: Checksum in the `.lmht` file of the network; empty in files of version 1.
        network: Layers of the network as JSON, without weights; empty in files of version 1.
        magnitude: Largest magnitude of any sum or product; INT32_MAX in files before version 3.
        widest: Layer with the largest magnitude; empty in files before version 4.
        max_calls: Number of calls of a stream that are proved; 0 in files without states.
        data_sha256: Checksum of the file with the weights; empty where the file itself holds them.
    """

    kind: str
    min_value: int
    max_value: int
    scale: float
    macs: Mapping[str, int]
    metadata: Mapping[str, str]
    sha256: str = ""
    network: str = ""
    magnitude: int = INT32_MAX
    widest: str = ""
    max_calls: int = 0
    data_sha256: str = ""

    def encode(self) -> dict[str, str]:
        """Return the metadata properties of a file, without its checksum."""
        entry = {name: getattr(self, name) for name in INPUT_KEYS}
        return {
            _VERSION.name: str(VERSION),
            _INPUT.name: json.dumps(entry),
            _SCALE.name: repr(self.scale),
            _MACS.name: json.dumps(dict(self.macs)),
            _METADATA.name: json.dumps(dict(self.metadata), sort_keys=True),
            _SHA256.name: self.sha256,
            _NETWORK.name: self.network,
            _MAGNITUDE.name: str(self.magnitude),
            _WIDEST.name: self.widest,
            _MAX_CALLS.name: str(self.max_calls),
            _DATA_SHA256.name: self.data_sha256,
            _FORMAT.name: FORMAT,
        }

    @classmethod
    def decode(cls, properties: Mapping[str, str]) -> Properties:
        """Read the metadata properties of a file.

        Raises:
            KeyError: A property is missing.
            ValueError: A property has no such value.
        """
        entry = json.loads(properties[_INPUT.name])
        found = cls(
            min_value=int(entry["min_value"]),
            max_value=int(entry["max_value"]),
            kind=str(entry["kind"]),
            scale=float(properties[_SCALE.name]),
            macs={str(name): int(n) for name, n in json.loads(properties[_MACS.name]).items()},
            metadata=dict(json.loads(properties[_METADATA.name])),
            sha256=properties.get(_SHA256.name, ""),
            network=properties.get(_NETWORK.name, ""),
            magnitude=int(properties.get(_MAGNITUDE.name, INT32_MAX)),
            widest=properties.get(_WIDEST.name, ""),
            max_calls=int(properties.get(_MAX_CALLS.name, 0)),
            data_sha256=properties.get(_DATA_SHA256.name, ""),
        )
        found._check()
        return found

    def _check(self) -> None:
        if not -MAX_INPUT <= self.min_value <= self.max_value <= MAX_INPUT:
            raise ValueError(f"the input range {self.min_value}..{self.max_value}")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"the scale {self.scale}")
        if not all(0 <= n <= np.iinfo(np.int64).max for n in self.macs.values()):
            raise ValueError("MACs")
        if not all(isinstance(text, str) for text in self.metadata.values()):
            raise ValueError("metadata that are no texts")
        if self.magnitude < 0 or self.max_calls < 0:
            raise ValueError("negative magnitude or max_calls")


def check_model(path: Path, content: bytes) -> Properties:
    """Check a model before a runtime sees it, and return its metadata.

    Args:
        path: The file, for messages.
        content: All of its bytes.

    Raises:
        StorageError: Format, version, keys or checksum are not what `SCHEMA` says, or the model
            holds what no exported model holds, such as weights in another file.
        ValueError: The content is no protocol buffer, or a property has no such value.
        KeyError: A property is missing.
    """
    properties = metadata_properties(content)
    _check_identity(path, content, properties)
    external = data_path(path).name if properties.get(_DATA_SHA256.name) else None
    check_content(path, content, FUNCTIONS, external)
    entry = json.loads(properties[_INPUT.name])
    check_keys(f"{path}: {_INPUT.name}", entry, INPUT_KEYS, INPUT_KEYS, AGAIN)
    return Properties.decode(properties)


@dataclass(frozen=True)
class Model:
    """A model that was checked.

    Attributes:
        path: The file.
        content: All of its bytes.
        properties: Its metadata.
        data: The file with its weights, or None where the file itself holds them.
    """

    path: Path
    content: bytes
    properties: Properties
    data: Path | None

    @property
    def has_functions(self) -> bool:
        """Whether the graph calls model-local functions."""
        return has_functions(self.content)

    def network(self) -> Network:
        """Return the network that the file was written from.

        Raises:
            StorageError: The file is of version 1, or its weights are not those of the network
                whose checksum it holds.
        """
        given = self.properties
        if not given.network:
            raise StorageError(
                f"{self.path}: has format version 1, which does not hold the network"
            )
        stored = None if self.data is None else np.memmap(self.data, np.uint8, "r")
        net = rebuild(given.network, constants(self.content, stored), given.metadata)
        if network_checksum(net) != given.sha256:
            raise StorageError(
                f"{self.path}: holds another network than its 'sha256' says; it was edited"
            )
        return net


def load_model(path: Path) -> Model:
    """Read and check a model before a runtime sees it.

    Raises:
        StorageError, ValueError, KeyError: As `check_model`, or the file with the weights is
            missing or damaged.
    """
    content = path.read_bytes()
    properties = check_model(path, content)
    if not properties.data_sha256:
        return Model(path, content, properties, None)
    data = data_path(path)
    with reading(data, "a file of weights"), data.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != properties.data_sha256:
        raise StorageError(f"{data}: does not hold the weights of {path}; export the network again")
    return Model(path, content, properties, data)


def data_path(path: Path) -> Path:
    """Return the file with the weights of a large network."""
    return path.with_name(path.name + DATA_SUFFIX)


def read_network(path: str | Path) -> Network:
    """Read the network that an `.onnx` file was written from.

    Raises:
        StorageError: The file is missing, damaged, of another tool or of version 1, or its weights
            are not those of the network whose checksum it holds.
    """
    with reading(path, "an .onnx file"):
        return load_model(Path(path)).network()


def _check_identity(path: Path, content: bytes, properties: Mapping[str, str]) -> None:
    version = properties.get(_VERSION.name, "")
    SCHEMA.check(path, properties.get(_FORMAT.name), int(version) if version.isdecimal() else None)
    later = {field.name for field in SCHEMA.groups[1].fields if field.since > int(version)}
    known = SCHEMA.groups[1].required - later, SCHEMA.groups[1].names - later
    check_keys(str(path), properties, *known, AGAIN)
    if sealed(content[:-_SEAL_BYTES]) != content:
        raise StorageError(
            f"{path}: the checksum does not match the content; the file is damaged or was edited"
        )


def sealed(content: bytes) -> bytes:
    """Append the checksum to a serialized model."""
    return content + _SEAL + hashlib.sha256(content).hexdigest().encode()


def output_name(kind: str, layer: str) -> str:
    """Return the name of the output of `kind` of a layer."""
    return f"{kind}/{layer}"


def by_layer(kind: str, outputs: Iterable[str]) -> dict[str, str]:
    """Return the outputs of `kind`: their names, by layer."""
    prefix = output_name(kind, "")
    return {name.removeprefix(prefix): name for name in outputs if name.startswith(prefix)}
