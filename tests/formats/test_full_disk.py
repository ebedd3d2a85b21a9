"""Every writer on a disk that fills up at any moment: one line, and the file before stays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy.errors import StorageError
from lmht_deploy.formats.files import atomic_write
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL

resource = pytest.importorskip("resource")

RNG = np.random.default_rng(0)


def network() -> Network:
    net: Network = SPECIAL["if"]()
    return net


def write_text(path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text("a line\n" * 20_000)


WRITERS: dict[str, Callable[[Path], object]] = {
    "net.lmht": lambda path: lmht.save(network(), path),
    "net.net": lambda path: lmht.export(network(), path),
    "net.onnx": lambda path: lmht.export(network(), path),
    "windows.npz": lambda path: lmht.save_windows(RNG.integers(0, 255, (50, 4, 2, 9, 9)), path),
    "report.json": write_text,
}


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file become larger than `size` bytes, as on a disk with so much space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 1, 511, 2000, 5000])
@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(name: str, size: int, tmp_path: Path) -> None:
    if name.endswith(".onnx"):
        pytest.importorskip("onnx")
    path = tmp_path / name
    path.write_bytes(b"before")
    with largest_file(size), pytest.raises(StorageError, match="cannot be written") as caught:
        WRITERS[name](path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == [name]
    WRITERS[name](path)
    assert path.stat().st_size > size
