"""Files of strangers: the library refuses what Python refuses, and never crashes."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.errors import LmhtError, StorageError
from lmht_deploy.formats.flat import load_flat, network_to_bytes
from tests.fuzz._mutation import mutate_flat
from tests.fuzz._runner import run_inputs
from tests.fuzz.targets import flat_networks, targets
from tests.support.networks import SPECIAL, windows_for

from .bindings import FILE, UNSUPPORTED, Library, LibraryError

MAX_VALUES = 10**5


class RefusedError(LmhtError):
    """An error of the library, for the runner of the fuzzer."""


def open_network(library: Library, content: bytes) -> bool:
    """Open a flat file and run a window if it is small; whether it is accepted."""
    try:
        with library.network(content, "generic") as network:
            info = library.info(network)
            shape = info.steps, info.channels, info.height, info.width
            if np.prod(shape, dtype=float) < MAX_VALUES:
                windows = np.full((1, *shape), info.max_count, np.int32)
                library.run(network, windows)
    except LibraryError as error:
        if error.status not in (FILE, UNSUPPORTED):
            raise
        raise RefusedError(str(error)) from None
    return True


def test_networks(library: Library, tmp_path: Path) -> None:
    seeds, rng = flat_networks(), random.Random(1)
    inputs = [mutate_flat(rng.choice(seeds), seeds, rng) for _ in range(1500)]
    findings = list(
        run_inputs(lambda path: open_network(library, path.read_bytes()), inputs, tmp_path, ".x")
    )
    assert not findings, f"{len(findings)}; the first: {findings[0].what}"


def test_both_readers_refuse_the_same_files(library: Library, tmp_path: Path) -> None:
    """Except for what only Python checks: letters of names, and what the metadata say."""
    seeds, rng = flat_networks(), random.Random(2)
    path, refused = tmp_path / "net.lmhtf", 0
    for _ in range(600):
        content = mutate_flat(rng.choice(seeds), seeds, rng)
        path.write_bytes(content)
        try:
            net = load_flat(path)
        except StorageError as error:
            if "printable" not in str(error) and "of its metadata" not in str(error):
                with pytest.raises(RefusedError):
                    open_network(library, content)
            refused += 1
            continue
        try:
            open_network(library, content)
        except RefusedError as error:
            assert "the engine cannot run this network" in str(error), error
        assert net.integer
    assert 300 < refused < 600


def test_no_flipped_bit_goes_unseen(library: Library) -> None:
    content = network_to_bytes(SPECIAL["residual"]())
    rng = np.random.default_rng(0)
    for at in [*range(32), *rng.integers(0, len(content), 200)]:
        changed = bytearray(content)
        changed[at] ^= 1 << rng.integers(8)
        with pytest.raises(RefusedError):
            open_network(library, bytes(changed))


def test_a_file_need_not_be_aligned(library: Library) -> None:
    net = SPECIAL["residual"]()
    content = b"x" + network_to_bytes(net)
    windows = windows_for(net, 1)
    view = np.frombuffer(content, np.uint8)[1:]
    handle = library.made("network_read", _pointer(view), len(view), None)
    with handle as network:
        found = library.run(network, windows)
    assert found.logits.tolist() == reference.run(net, windows).logits.tolist()


def _pointer(view: np.ndarray) -> object:
    return ctypes.cast(view.ctypes.data, ctypes.c_char_p)


@pytest.mark.parametrize("name", ["aedat4", "aedat", "raw", "dat", "es", "bin"])
def test_recordings(library: Library, name: str, tmp_path: Path) -> None:
    target = targets()[name]
    if target.missing:
        pytest.skip(target.missing)

    def read(path: Path) -> None:
        for width, height in ((0, 0), (640, 480)):
            try:
                with library.made(
                    "recording_open", str(path).encode(), width, height, None
                ) as recording:
                    library.read_all(recording, 10_000)
            except LibraryError as error:
                assert error.status in (FILE, UNSUPPORTED)

    inputs = [*target.seeds, *target.inputs(300, seed=3)]
    findings = list(run_inputs(read, inputs, tmp_path, target.suffix))
    assert not findings, f"{len(findings)}; the first: {findings[0].what}"
