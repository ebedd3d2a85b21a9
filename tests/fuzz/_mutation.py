"""Mutation of input files: bytes, and HDF5 content with its checksum made anew."""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Sequence

import h5py
import numpy as np

from lmht_deploy.formats.hdf5 import hdf5_checksum

INTERESTING = (0, 1, -1, 2, 7, 127, 128, 255, 256, 4096, 2**15, 2**16, 2**31 - 1, 2**31, 2**62)
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
    buffer = io.BytesIO(seed)
    with h5py.File(buffer, "r+") as file:
        for _ in range(rng.randint(1, 4)):
            with contextlib.suppress(Exception):  # h5py refuses some changes
                _mutate_object(rng.choice(_objects(file)), rng)
        with contextlib.suppress(Exception):  # what cannot be signed is tried unsigned
            file.attrs["checksum"] = hdf5_checksum(file)
    return buffer.getvalue()


def _objects(file: h5py.File) -> list[h5py.Group | h5py.Dataset]:
    found: list[h5py.Group | h5py.Dataset] = [file]
    file.visititems(lambda _, item: found.append(item))
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
