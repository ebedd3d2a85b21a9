"""What is fuzzed: every reader of files that strangers may have made."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lmht_deploy import backends
from lmht_deploy.events import read_events
from lmht_deploy.events.arrays import EVENT, Sensor
from lmht_deploy.formats.lmht import load_network
from lmht_deploy.formats.windows import load_windows
from lmht_deploy.netx import load_netx
from lmht_deploy.training.recipe import load_recipe
from tests.fuzz._mutation import mutate_bytes, mutate_hdf5

TESTS = Path(__file__).parents[1]
GOLDEN = TESTS / "formats" / "golden"
RECIPES = TESTS.parent / "training" / "recipes"
REAL = TESTS.parents[1] / "shared" / "data"
"""Recordings that others wrote; targets do without them where they are absent."""

MAX_SEED = 50_000
"""Bytes of a seed: real recordings are cut."""

Mutate = Callable[[bytes, Sequence[bytes], random.Random], bytes]


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        read: Reads the file; returns, or raises an LmhtError.
        suffix: Suffix of the file.
        seeds: Valid files, from which inputs are mutated.
        mutate: How an input is made of a seed.
    """

    read: Callable[[Path], object]
    suffix: str
    seeds: tuple[bytes, ...]
    mutate: Mutate = mutate_bytes

    def inputs(self, number: int, seed: int) -> list[bytes]:
        """Return `number` inputs, the same ones for the same `seed`."""
        rng = random.Random(seed)
        return [self.mutate(rng.choice(self.seeds), self.seeds, rng) for _ in range(number)]


def _files(pattern: str, folder: Path = GOLDEN) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(folder.glob(pattern)))


def _run_onnx(path: Path) -> object:
    backend = backends.open_backend("onnx", path)
    if np.prod(backend.window_shape) < 10**6:
        return backend.run(np.zeros((1, *backend.window_shape), np.int64))
    return None


def _recording(path: Path) -> object:
    return read_events(path, Sensor(480, 640), drop=True)


def _recordings(suffix: str, *written: bytes) -> Target:
    found = [*REAL.glob(f"event_formats/*{suffix}"), *REAL.glob(f"reports/*/*{suffix}")]
    real = (path.read_bytes()[:MAX_SEED] for path in sorted(found))
    return Target(_recording, suffix, (*written, *real))


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _stored_npz(**arrays: np.ndarray) -> bytes:
    """The same without compression, so that a changed byte changes a header or a value."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(f"{name}.npy", content.getvalue())
    return buffer.getvalue()


def targets() -> dict[str, Target]:
    """All targets by name."""
    windows = {"windows": np.ones((3, 2, 2, 4, 4), np.uint8), "labels": np.arange(3)}
    columns = {name: np.arange(4) % 2 for name in "txyp"}
    evt3 = b"% evt 3.0\n% geometry 640x480\n" + bytes.fromhex("02800560 0500 0728 0538 ff4f")
    dat = b"% Width 9\n% Height 9\n\x0c\x08" + bytes(range(16))
    es = b"Event Stream\2\0\0\1\x09\0\x09\0" + bytes(range(0, 40, 2))
    return {
        "lmht": Target(load_network, ".lmht", _files("*.lmht"), mutate_hdf5),
        "windows": Target(load_windows, ".npz", (_npz(**windows), _stored_npz(**windows))),
        "netx": Target(load_netx, ".net", _files("*.net"), mutate_hdf5),
        "onnx": Target(_run_onnx, ".onnx", _files("*.onnx")),
        "recipe": Target(load_recipe, ".toml", _files("*.toml", RECIPES)),
        "aedat4": _recordings(".aedat4"),
        "aedat": _recordings(".aedat", b"#!AER-DAT2.0\r\n# End\r\n" + bytes(range(32))),
        "raw": _recordings(".raw", evt3),
        "dat": _recordings(".dat", dat),
        "es": _recordings(".es", es),
        "bin": _recordings(".bin", bytes(range(50))),
        "hdf5": _recordings(".hdf5"),
        "csv": _recordings(".csv", b"t,x,y,p\n1,2,3,1\n20,4,5,0\n", b"1 2 3 1\n2 2 3 0\n"),
        "npy": _recordings(".npy", _npy(np.zeros(4, EVENT))),
        "npz": Target(_recording, ".npz", (_npz(**columns), _stored_npz(**columns))),
    }
