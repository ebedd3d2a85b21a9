"""Mutation of input files: bytes, and content that is written again with a right checksum."""

from __future__ import annotations

import contextlib
import io
import json
import random
import tempfile
import tomllib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lmht_deploy.formats.onnx import sealed
from tests.support.hdf5 import seal

INTERESTING = (0, 1, -1, 2, 7, 127, 128, 255, 256, 4096, 2**15, 2**16, 2**31 - 1, 2**31, 2**62)
HUGE = (10**30, -(10**400), 10**4000)
TEXTS = ("", "x", "0", "-1", "nan", "\x1b[2J", "../x", "é", "{", '"', "A" * 300, "Conv", "lmht")


def mutate_bytes(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change `seed` in 1 to 8 places: flips, numbers, cuts, repetitions, and parts of `others`."""
    data = bytearray(seed)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + 4] = (rng.choice(INTERESTING) & 2**32 - 1).to_bytes(4, "little")
            case 2:
                del data[at : at + rng.choice((1, 4, 64, len(data)))]
            case 3:
                data[at:at] = data[at : at + rng.choice((1, 8, 256))]
            case 4:
                other = rng.choice(others)
                start = rng.randrange(len(other) + 1)
                data[at:at] = other[start : start + rng.choice((4, 64, 1024))]
            case _:
                data[at : at + 1] = rng.randbytes(rng.choice((1, 2, 8)))
    return bytes(data)


def mutate_hdf5(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change 1 to 4 attributes or data sets of an HDF5 file, and sign it again.

    One input in four is changed as bytes instead, so that the library's own parser is reached.
    """
    if rng.random() < 0.25:
        return mutate_bytes(seed, others, rng)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutated"
        path.write_bytes(seed)
        with h5py.File(path, "r+") as file:
            for name in rng.choices(_names(seed), k=rng.randint(1, 4)):
                with contextlib.suppress(Exception):  # h5py refuses some changes; or it is removed
                    _mutate_object(file[name], rng)
        with contextlib.suppress(Exception):  # what cannot be signed is tried unsigned
            seal(path)
        return path.read_bytes()


@cache
def _names(seed: bytes) -> list[str]:
    """Names of the root group and of everything below it."""
    found = ["/"]
    with h5py.File(io.BytesIO(seed), "r") as file:
        file.visit(found.append)
    return found


def _mutate_object(item: h5py.Group | h5py.Dataset, rng: random.Random) -> None:
    names = list(item.attrs)
    if names and rng.random() < 0.6:
        name = rng.choice(names)
        if rng.random() < 0.2:
            del item.attrs[name]
        else:
            item.attrs[name] = _other_value(item.attrs[name], rng)
        return
    parent, name = item.parent, item.name.rsplit("/", 1)[-1]
    if not name:
        item.attrs[rng.choice(TEXTS) or "x"] = rng.choice(INTERESTING)
    elif isinstance(item, h5py.Dataset):
        value = _other_value(item[()], rng)
        del parent[name]
        parent[name] = value
    elif rng.random() < 0.5:
        del parent[name]
    else:
        parent.move(name, f"{rng.randrange(12)}_{name}"[: rng.choice((1, 2, 9))])


def _other_value(value: object, rng: random.Random) -> object:
    """A value of another size, type, shape or magnitude."""
    array = np.asarray(value)
    match rng.randrange(5):
        case 0:
            return rng.choice(INTERESTING)
        case 1:
            return rng.choice(TEXTS)
        case 2:
            return float(rng.choice(("nan", "inf", "-0.5", "1e300")))
        case 3 if array.dtype.kind in "iuf" and array.size:
            changed = array.astype(np.int64 if array.dtype.kind in "iu" else np.float64).ravel()
            changed[rng.randrange(changed.size)] = rng.choice(INTERESTING)
            return changed.reshape(array.shape)
        case _:
            flat = array.ravel()
            return flat[: rng.randrange(flat.size + 1)] if flat.dtype.kind in "iufS" else "x"


def mutate_flat(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change 1 to 3 words of the records of a flat file, and seal it; or its bytes, at times."""
    if rng.random() < 0.25:
        content = mutate_bytes(seed, others, rng)
        return sealed_flat(content) if len(content) > 32 and rng.random() < 0.7 else content
    content = bytearray(seed)
    words = int.from_bytes(content[24:32], "little")
    for _ in range(rng.randint(1, 3)):
        at = 32 + 8 * rng.randrange(words)
        value = int.from_bytes(content[at : at + 8], "little")
        changed = rng.choice((*INTERESTING, value + 1, value - 1, value * 2, value + 64))
        content[at : at + 8] = (changed & 2**64 - 1).to_bytes(8, "little")
    return sealed_flat(bytes(content))


def mutate_zstd(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change the bytes of the last packet of a recording, a frame of Zstandard."""
    head, magic, body = seed.rpartition(b"\x28\xb5\x2f\xfd")
    frames = [other.rpartition(magic)[2] for other in others]
    body = magic + mutate_bytes(body, frames, rng)
    return head[:-4] + len(body).to_bytes(4, "little") + body


def sealed_flat(content: bytes) -> bytes:
    """Return a flat file with the size and the checksum of its content in the header."""
    content = content[:16] + len(content).to_bytes(8, "little") + content[24:]
    return content[:12] + zlib.crc32(content[16:]).to_bytes(4, "little") + content[16:]


# ------------------------------------------------------------------------------ nested values


def mutate_value(value: Any, rng: random.Random) -> Any:
    """Change one place of nested lists and dictionaries: replace, remove, add or nest."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        changed = dict(value)
        match rng.randrange(8):
            case 0:
                del changed[key]
            case 1:
                changed[rng.choice(TEXTS)] = value[key]
            case _:
                changed[key] = mutate_value(value[key], rng)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.8:
        index = rng.randrange(len(value))
        return [*value[:index], mutate_value(value[index], rng), *value[index + 1 :]]
    return _scalar(value, rng)


def _scalar(value: Any, rng: random.Random) -> Any:
    match rng.randrange(8):
        case 0:
            return rng.choice(INTERESTING)
        case 1:
            return rng.choice(HUGE)
        case 2:
            return rng.choice(TEXTS)
        case 3:
            return float(rng.choice(("nan", "inf", "-inf", "1e300", "-0.5", "1e-320")))
        case 4:
            return rng.choice(([], {}, None, True, [[]], {"": {}}))
        case 5:
            return [value] * rng.choice((2, 5, 1000))
        case 6:
            return {rng.choice(TEXTS): value}
        case _:
            return value * rng.choice((-1, 2, 10**6)) if isinstance(value, int | float) else [value]


def mutate_toml(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change 1 to 3 values of a recipe; or its bytes, one time in four."""
    if rng.random() < 0.25:
        return mutate_bytes(seed, others, rng)
    values = tomllib.loads(seed.decode())
    for _ in range(rng.randint(1, 3)):
        values = mutate_value(values, rng)
    try:
        return _as_toml(values).encode(errors="replace")
    except ValueError:  # an integer of too many digits
        return b"[training]\nepochs = 1" + b"0" * 5000


def _as_toml(value: Any) -> str:
    """Sections and keys; what is no table is written as a value."""
    if not isinstance(value, dict):
        return f"value = {_inline(value)}\n"
    plain = {key: item for key, item in value.items() if not isinstance(item, dict)}
    lines = [f"{json.dumps(str(key))} = {_inline(item)}" for key, item in plain.items()]
    for name, section in value.items():
        if isinstance(section, dict):
            lines.append(f"[{json.dumps(str(name))}]")
            lines += [f"{json.dumps(str(k))} = {_inline(v)}" for k, v in section.items()]
    return "\n".join(lines) + "\n"


def _inline(value: Any) -> str:
    match value:
        case dict():
            items = ", ".join(f"{json.dumps(str(k))} = {_inline(v)}" for k, v in value.items())
            return f"{{{items}}}"
        case list():
            return f"[{', '.join(map(_inline, value))}]"
        case float():
            return repr(value)
        case None:
            return '""'
        case _:
            return json.dumps(value)


def mutate_json_lines(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change a value of a file of JSON lines; or its bytes, one time in four."""
    if rng.random() < 0.25:
        return mutate_bytes(seed, others, rng)
    lines = mutate_value([json.loads(line) for line in seed.splitlines()], rng)
    return "\n".join(map(_as_json, lines if isinstance(lines, list) else [lines])).encode()


def _as_json(value: Any) -> str:
    try:
        return json.dumps(value)
    except ValueError:  # an integer of too many digits
        return "1" + "0" * 5000


def mutate_safetensors(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change a value of the header, or of the JSON text inside it; or bytes, one time in four."""
    if rng.random() < 0.25:
        return mutate_bytes(seed, others, rng)
    size = int.from_bytes(seed[:8], "little")
    header = json.loads(seed[8 : 8 + size])
    inner = header["__metadata__"]
    if rng.random() < 0.7:
        inner["lmht"] = _as_json(mutate_value(json.loads(inner["lmht"]), rng))
    else:
        header = mutate_value(header, rng)
    text = _as_json(header).encode(errors="replace")
    return len(text).to_bytes(8, "little") + text + seed[8 + size :]


# ---------------------------------------------------------------------------------- containers


def mutate_npz(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change the members of an archive, whose sums are made anew; or bytes, one time in four."""
    if rng.random() < 0.25:
        return mutate_bytes(seed, others, rng)
    with zipfile.ZipFile(io.BytesIO(seed)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(members))
    members[name] = _mutate_npy(members[name], list(members.values()), rng)
    if rng.random() < 0.1:
        members[rng.choice(TEXTS) + ".npy"] = members.pop(name)
    buffer = io.BytesIO()
    methods = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    with zipfile.ZipFile(buffer, "w", rng.choice(methods)) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return buffer.getvalue()


def _mutate_npy(content: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change the shape or the dtype that a header states; or bytes, one time in three."""
    if rng.random() < 0.33:
        return mutate_bytes(content, others, rng)
    header = {"descr": "<i8", "fortran_order": rng.random() < 0.2, "shape": (3,)}
    types = ("|u1", "<i8", ">i4", "|b1", "<f8", "|O", "|S5", "<U9", "<M8[s]", "|V8", "<c16", "x")
    header["descr"] = rng.choice(types)
    sizes = (0, 1, 2, 3, 4, -1, 10**6, 2**31, 2**62, 10**30)
    header["shape"] = tuple(rng.choice(sizes) for _ in range(rng.randrange(6)))
    text = repr(mutate_value(header, rng) if rng.random() < 0.3 else header).encode()[:60_000]
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + rng.randbytes(200)


def mutate_onnx(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Change 1 to 3 nodes, constants, types or properties, and seal the model again.

    One input in four is changed as bytes instead, half of these with a right checksum.
    """
    import onnx

    if rng.random() < 0.25:
        content = mutate_bytes(seed[:-78], others, rng)
        return sealed(content) if rng.random() < 0.5 else content
    model = onnx.load_from_string(seed)
    del model.metadata_props[-1]  # the checksum
    for _ in range(rng.randint(1, 3)):
        rng.choice((_mutate_node, _mutate_constant, _mutate_signature, _mutate_property))(
            model, rng
        )
    return sealed(model.SerializeToString())


def _mutate_node(model: Any, rng: random.Random) -> None:
    nodes = model.graph.node
    node, other = rng.choice(nodes), rng.choice(nodes)
    match rng.randrange(6):
        case 0:
            node.op_type = rng.choice((other.op_type, "Loop", "Tile", "Expand", ""))
        case 1 if node.input:
            node.input[rng.randrange(len(node.input))] = rng.choice((*other.input, *other.output))
        case 2 if node.attribute:
            attribute = rng.choice(node.attribute)
            attribute.i = rng.choice(INTERESTING)
            attribute.ints.append(rng.choice(INTERESTING))
        case 3:
            node.attribute.extend(list(other.attribute))  # its own would be appended for ever
        case 4:
            nodes.remove(node)
        case _:
            nodes.add().CopyFrom(node)


def _mutate_constant(model: Any, rng: random.Random) -> None:
    tensor = rng.choice(model.graph.initializer)
    match rng.randrange(5):
        case 0 if len(tensor.raw_data) >= 8:
            at = 8 * rng.randrange(len(tensor.raw_data) // 8)
            value = rng.choice(INTERESTING).to_bytes(8, "little", signed=True)
            tensor.raw_data = tensor.raw_data[:at] + value + tensor.raw_data[at + 8 :]
        case 1:
            tensor.dims.append(rng.choice(INTERESTING))
        case 2 if tensor.dims:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(INTERESTING)
        case 3:
            tensor.data_type = rng.randrange(24)
        case _:
            tensor.data_location = 1
            tensor.external_data.add(key="location", value=rng.choice(("/etc/passwd", "../x")))


def _mutate_signature(model: Any, rng: random.Random) -> None:
    """Change an input or an output of the graph, or the version of the operators."""
    value = rng.choice((*model.graph.input, *model.graph.output))
    dimensions = value.type.tensor_type.shape.dim
    match rng.randrange(5):
        case 0 if dimensions:
            rng.choice(dimensions).dim_value = rng.choice(INTERESTING)
        case 1:
            value.type.tensor_type.elem_type = rng.randrange(24)
        case 2:
            value.name = rng.choice(TEXTS)
        case 3:
            model.opset_import[0].version = rng.choice(INTERESTING)
        case _:
            dimensions.add().dim_param = rng.choice(TEXTS)


def _mutate_property(model: Any, rng: random.Random) -> None:
    entry = rng.choice(model.metadata_props)
    try:
        entry.value = _as_json(mutate_value(json.loads(entry.value), rng))
    except ValueError:
        entry.value = rng.choice(TEXTS)


Mutate = Callable[[bytes, Sequence[bytes], random.Random], bytes]
"""Makes an input of a seed and of all seeds."""
