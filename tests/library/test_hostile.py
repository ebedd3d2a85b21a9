"""Files of strangers: the library refuses what Python refuses. `tests.fuzz` tries more."""

from __future__ import annotations

import ctypes
import random
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.errors import StorageError
from lmht_deploy.formats.flat import load_flat, network_to_bytes
from tests.fuzz._liblmht import RefusedError, open_network
from tests.fuzz._mutation import mutate_flat
from tests.fuzz.targets import flat_networks
from tests.support.networks import SPECIAL, windows_for

from .bindings import Library


def test_both_readers_refuse_the_same_files(tmp_path: Path) -> None:
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
                    open_network(path)
            refused += 1
            continue
        try:
            open_network(path)
        except RefusedError as error:
            assert "the engine cannot run this network" in str(error), error
        assert net.integer
    assert 300 < refused < 600


def test_no_flipped_bit_goes_unseen(tmp_path: Path) -> None:
    content, path = network_to_bytes(SPECIAL["residual"]()), tmp_path / "net.lmhtf"
    rng = np.random.default_rng(0)
    for at in [*range(32), *rng.integers(0, len(content), 200)]:
        changed = bytearray(content)
        changed[at] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        with pytest.raises(RefusedError):
            open_network(path)


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
