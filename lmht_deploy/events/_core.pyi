"""Event arrays: validation, counts per time bin, and an emulated sensor (events/core).

Events are `uint8 [n, 13]`, the bytes of EVENT in events/arrays.py, or `int64 [n, 4]` with the
columns t, x, y, p. All arrays are C-contiguous. Functions raise ValueError where arguments do not
fit each other.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

class _Size(Protocol):
    """A sensor, in pixels."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...

class Sifter:
    """Passes valid events on, packet by packet, and counts the others.

    Args:
        sensor: Size of the sensor.
        max_gap: Microseconds between two events beyond which the second is held until the next
            packet confirms it, or until an earlier event refutes it; negative: never.
    """

    def __init__(self, sensor: _Size, max_gap: int) -> None: ...
    @property
    def held(self) -> int:
        """Number of events that wait for the next packet."""

    @property
    def dropped(self) -> dict[str, int]:
        """Number of dropped events by fault: "range", "polarity", "order"."""

    def sift(
        self,
        events: NDArray[np.uint8] | NDArray[np.int64],
        expected: int,
        admitted: NDArray[np.uint8],
    ) -> int:
        """Write the valid events to `admitted` `uint8 [>= held + n, 13]` and return their number.

        Times up to `expected` (us) are not held.
        """

    def release(self, admitted: NDArray[np.uint8]) -> int:
        """Write the events that are held to `admitted` and return their number."""

class Filter:
    """Keeps some of the valid events of a recording, packet by packet."""

    def apply(self, events: NDArray[np.uint8], kept: NDArray[np.uint8]) -> int:
        """Write the events that are kept to `kept` `uint8 [>= n, 13]` and return their number."""

def background_activity_filter(sensor: _Size, time: int) -> Filter:
    """Keep events with an event at one of the eight neighbors within the last `time` us."""

def refractory_filter(sensor: _Size, time: int) -> Filter:
    """Keep events without a kept event of the same pixel less than `time` us before."""

class Decoder:
    """Decodes the bytes of an event file piece by piece (`make_decoder`)."""

    @property
    def word_bytes(self) -> int:
        """Bytes of a word; pieces must hold whole words."""

    @property
    def complete(self) -> bool:
        """Whether the bytes so far end between two events."""

    def decode(self, bytes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Decode the next bytes `uint8 [n]` to events `uint8 [m, 13]`, which are not validated."""

def make_decoder(format: str) -> Decoder:
    """Return a decoder.

    Args:
        format: "evt2", "evt2.1", "evt2.1-legacy", "evt3", "dat", "es-dvs" or "es-atis".
    """

def check(events: NDArray[np.uint8] | NDArray[np.int64], sensor: _Size, latest: int) -> int:
    """Return the index of the first event with a fault, or the number of events.

    Args:
        events: Events in either form.
        sensor: Size of the sensor.
        latest: Time of the last event before these (us).
    """

def first_at(events: NDArray[np.uint8], time: int) -> int:
    """Return the index of the first event that is not earlier than `time` (us)."""

def count(
    events: NDArray[np.uint8], first: int, last: int, sensor: _Size, cells: NDArray[np.int64]
) -> None:
    """Add the events `first` to `last` (not included) to the counts `cells` `int64 [2, H, W]`."""

def clip(cells: NDArray[np.int64], largest: int, clipped: NDArray[np.int32]) -> int:
    """Write the counts `cells` `int64 [2, H, W]`, at most `largest` each, to `clipped`.

    Returns:
        The number of events that are lost.
    """

def move(
    scene: NDArray[np.float32],
    rows: NDArray[np.float32],
    columns: NDArray[np.float32],
    frames: NDArray[np.float32],
) -> None:
    """Write what a moving camera sees of a scene, interpolated linearly between its pixels.

    Args:
        scene: `float32 [h, w]`.
        rows: Rows of the scene at which the rows of each frame lie, `float32 [S, H]`.
        columns: The same of columns, `float32 [S, W]`.
        frames: The result, `float32 [S, H, W]`.
    """

def take_logarithms(values: NDArray[np.float32]) -> None:
    """Replace values `float32 [S, H, W]` by their natural logarithms, equal on every machine.

    They must be positive, finite and not denormal.
    """

def emulate(
    *,
    levels: NDArray[np.float32],
    order: NDArray[np.int64],
    times: NDArray[np.int64],
    off: NDArray[np.float32],
    on: NDArray[np.float32],
    refractory: float,
    leak: float,
    readout: float,
    noise: NDArray[np.uint8],
) -> NDArray[np.uint8]:
    """Return the events that the pixels of a sensor send, `uint8 [n, 13]` in order of time.

    Args:
        levels: Log intensities of the frames, `float32 [S, H, W]`.
        order: The frame that is seen at each time, `int64 [F]`.
        times: Microseconds from 0 on, each less than 2^24 after the one before, `int64 [F]`.
        off: Threshold of each pixel for a fall, `float32 [H, W]`.
        on: Threshold of each pixel for a rise, `float32 [H, W]`.
        refractory: Microseconds after an event in which a pixel sees nothing.
        leak: Thresholds of ON per microsecond by which the level of a still scene rises.
        readout: Microseconds in which the readout is busy with one event.
        noise: Events to send among the others, `uint8 [n, 13]` in order of time.
    """
