"""Readers of liblmht, whose errors become errors of ours; Python's readers say what is right."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_void_p
from functools import cache
from pathlib import Path

import numpy as np

from lmht_deploy.errors import LmhtError
from lmht_deploy.events.arrays import Sensor
from tests.library.bindings import ARGUMENT, FILE, TRACE, UNSUPPORTED, Library, LibraryError
from tests.library.test_recordings import read_library, read_python
from tests.support.native_build import build

MAX_VALUES = 10**5
"""Values of a window that a network is run with."""
NOT_XML = "its header is not XML"
"""The library looks for tracks in the header of AEDAT 4, and does not check the rest of it."""
CALLS = 12
"""Calls of a stepper."""


class RefusedError(LmhtError):
    """An error of the library about a file."""


@cache
def library() -> Library:
    """Return the library, which is built first, or that of the variable LMHT_FUZZ_LIBRARY."""
    given = os.environ.get("LMHT_FUZZ_LIBRARY")
    if given:
        return Library(Path(given))
    return Library(build("lmht") / "lmht_deploy" / "library" / "liblmht.so")


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except LibraryError as error:
        if error.status not in (FILE, UNSUPPORTED):
            raise
        raise RefusedError(str(error)) from None


def open_network(path: Path) -> None:
    """Open a flat file, and run a window if it is small."""
    with _refusing(), library().network(path.read_bytes(), "generic") as network:
        shape = _small_window(network)
        if shape:
            windows = np.full((1, *shape), library().info(network).max_count, np.int32)
            library().run(network, windows)


def _small_window(network: c_void_p) -> tuple[int, ...] | None:
    info = library().info(network)
    shape = info.steps, info.channels, info.height, info.width
    return shape if np.prod(shape, dtype=float) < MAX_VALUES else None


def read_recording(path: Path) -> None:
    """Read all events, which are those that Python reads; or refuse what Python refuses."""
    for sensor in (None, Sensor(480, 640)):
        try:
            expected = read_python(path, sensor, None)
        except LmhtError as error:
            with _refusing():
                read_library(library(), path, sensor, None)
            if NOT_XML not in str(error):
                raise AssertionError(f"read, but Python says: {error}") from None
            continue
        assert read_library(library(), path, sensor, None) == expected


# ------------------------------------------------------------------------------------- steppers


def run_steps(path: Path) -> None:
    """Open a flat file as a stepper, and call its functions in any order, with any arguments."""
    content = path.read_bytes()
    rng = random.Random(zlib.crc32(content))
    with (
        _refusing(),
        library().made("stepper_read", content, len(content), b"generic", 1) as stepper,
        library().network(content, "generic") as network,
        library().made("result_create") as result,
    ):
        shape = _small_window(network)
        if shape:
            calls = _Calls(network, stepper, result, shape)
            for _ in range(CALLS):
                rng.choice((calls.step, calls.step, calls.step_wrongly, calls.finish, calls.reset))(
                    rng
                )


class _Calls:
    """Calls of a stepper, and what each has to return."""

    def __init__(
        self, network: c_void_p, stepper: c_void_p, result: c_void_p, shape: tuple[int, ...]
    ) -> None:
        self._network, self._stepper, self._result = network, stepper, result
        self._info = library().info(network)
        self._shape = shape
        self._done: list[np.ndarray] = []

    def step(self, rng: random.Random) -> None:
        """Run a step, or be refused one that the window does not have."""
        counts = np.random.default_rng(rng.randrange(2**32)).integers(
            self._info.min_count, self._info.max_count, self._shape[1:], endpoint=True
        )
        status = self._step(counts, rng.choice((0, TRACE)))
        room = len(self._done) < self._shape[0]
        assert status == (0 if room else ARGUMENT)
        if room:
            self._done.append(counts)
        assert library().stepper_steps(self._stepper) == len(self._done)

    def step_wrongly(self, rng: random.Random) -> None:
        """Be refused a count that is out of range, an option or a null pointer."""
        counts = np.full(self._shape[1:], self._info.min_count, np.int64)
        beyond = self._info.max_count + 1, self._info.min_count - 1
        wrong = [value for value in beyond if abs(value) < 2**31]
        if wrong and rng.random() < 0.6:
            counts.flat[rng.randrange(counts.size)] = rng.choice(wrong)
            assert self._step(counts, 0) == ARGUMENT
        elif rng.random() < 0.5:
            assert self._step(counts, rng.choice((2, 3, 2**31))) == ARGUMENT
        else:
            assert library().stepper_step(self._stepper, None, 0, self._result) == ARGUMENT

    def finish(self, _rng: random.Random) -> None:
        """End the window; the integers of a whole one are those of an engine."""
        status = library().stepper_finish(self._stepper, self._result)
        assert status == (0 if self._done else ARGUMENT)
        if len(self._done) == self._shape[0]:
            found = library().as_result(self._network, self._result)
            whole = library().run(self._network, np.array([self._done]))
            for kind in ("logits", "spikes", "sops", "events", "event_sops"):
                assert str(getattr(found, kind)) == str(getattr(whole, kind)), kind
        self._done = []

    def reset(self, _rng: random.Random) -> None:
        """Drop the steps of the window."""
        assert library().stepper_reset(self._stepper) == 0
        self._done = []

    def _step(self, counts: np.ndarray, options: int) -> int:
        given = np.ascontiguousarray(counts, np.int32)
        status: int = library().stepper_step(
            self._stepper, given.ctypes.data, options, self._result
        )
        return status
