"""Playback of a recording under control of the page: pause, step, speed and seek."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lmht_deploy.errors import DataError
from lmht_deploy.events.arrays import MAX_GAP, MAX_TIME
from lmht_deploy.events.live import POLL_INTERVAL, SPIN_TIME, split_ticks, wait_until
from lmht_deploy.events.stream import Packet

PIECE = 2**14
"""Events that are played at once where no pace is kept: a command takes effect after them."""


class SeekRequested(Exception):  # noqa: N818 - ends a pass through the recording; not an error
    """The page asks to play the recording from another time."""


@dataclass(frozen=True)
class Playback:
    """State of a transport.

    Attributes:
        paused: Whether the stream waits.
        speed: Multiple of real time; infinite: as fast as possible.
        ended: Whether the recording was played to its end.
    """

    paused: bool
    speed: float
    ended: bool


class Transport:
    """Controls how fast a recording is played, and from which time on.

    The thread of the stream plays; any other thread may give commands.

    Args:
        speed: Multiple of real time; infinite: as fast as possible.
        max_gap: A silence of more us is not waited for: it may be a damaged time.

    Raises:
        DataError: `speed` is out of range.
    """

    def __init__(self, speed: float = 1.0, max_gap: int = MAX_GAP) -> None:
        self._changed = threading.Condition()
        self._speed = _checked_speed(speed)
        self._max_gap = max_gap
        self._paused = self._stepping = self._ended = False
        self._target: int | None = None
        self._anchor: tuple[float, int] | None = None
        self._latest = 0

    # ------------------------------------------------------------------------------ the commands

    def pause(self) -> None:
        """Stop before the next window or packet."""
        self._set(paused=True, stepping=False)

    def play(self) -> None:
        """Go on."""
        self._set(paused=False, stepping=False)

    def step(self) -> None:
        """Run until the next window is classified, without a pace, and stop."""
        self._set(paused=True, stepping=True)

    def set_speed(self, speed: float) -> None:
        """Play at a multiple of real time; infinite: as fast as possible."""
        with self._changed:
            self._speed, self._anchor = _checked_speed(speed), None
            self._changed.notify_all()

    def seek(self, time: int) -> None:
        """Go on with the first window that starts at `time` or later, in us from the first event.

        If the transport is paused, this window is shown.
        """
        if not 0 <= time <= MAX_TIME:
            raise DataError(f"a time in a recording lies within 0 and 2^62 us, not {time}")
        with self._changed:
            self._target = time
            self._changed.notify_all()

    @property
    def state(self) -> Playback:
        """The state of the transport."""
        with self._changed:
            return Playback(self._paused, self._speed, self._ended)

    def _set(self, *, paused: bool, stepping: bool) -> None:
        with self._changed:
            self._paused, self._stepping, self._anchor = paused, stepping, None
            self._changed.notify_all()

    # -------------------------------------------------------------------------------- the stream

    def begin(self) -> int:
        """Begin a pass through the recording.

        Returns:
            Start in us, from the first event, of the earliest window to classify.
        """
        with self._changed:
            target, self._target = self._target, None
            self._ended, self._anchor = False, None
            self._stepping |= target is not None and self._paused
            return target or 0

    def decided(self) -> None:
        """Note that a window was classified: a step ends."""
        with self._changed:
            self._stepping = False

    def pass_gate(self) -> None:
        """Wait while the transport is paused.

        Raises:
            SeekRequested: The page asks for another time.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._target is not None or not self._held)
            if self._target is not None:
                raise SeekRequested

    def wait_at_end(self, seconds: float) -> None:
        """Wait for a command to seek, up to some seconds, after the recording was played.

        Raises:
            SeekRequested: The page asks for another time.
        """
        with self._changed:
            self._ended, self._stepping = True, False
            if self._changed.wait_for(lambda: self._target is not None, seconds):
                raise SeekRequested

    def packets(self, recording: Iterator[np.ndarray], first: int | None) -> Iterator[Packet]:
        """Play a recording.

        Args:
            recording: Structured arrays with t, x, y, p.
            first: Time in us up to which no pace is kept. Default: there is none.
        """
        for events in recording:
            for at in range(0, len(events), PIECE):
                yield from self._piece(events[at : at + PIECE], first)

    def _piece(self, events: np.ndarray, first: int | None) -> Iterator[Packet]:
        if first is not None and int(events["t"][-1]) < first:
            self._check_seek()
            yield Packet(events, None)
        elif self._speed == math.inf:
            self.pass_gate()
            yield Packet(events, None)
        else:
            for part in split_ticks(events):
                self.pass_gate()
                yield Packet(part, self._wait_for(int(part["t"][0]), int(part["t"][-1])))

    def _wait_for(self, first: int, last: int) -> float | None:
        """Wait until the events of a packet are due; return that time, None without a pace."""
        with self._changed:
            due = self._sleep(first, last)
            self._latest = last
        if due is None:
            self.pass_gate()
        else:
            wait_until(due)
        return due

    def _sleep(self, first: int, last: int) -> float | None:
        """Sleep until shortly before the events are due; None if a command ends their pace."""
        if abs(first - self._latest) > self._max_gap:
            self._anchor = None
        while self._paced and not self._held and self._target is None:
            due = self._due(first, last)
            left = due - time.perf_counter()
            if left <= SPIN_TIME:
                return due
            self._changed.wait(min(left - SPIN_TIME, POLL_INTERVAL))
        return None

    def _due(self, first: int, last: int) -> float:
        if self._anchor is None:
            self._anchor = time.perf_counter(), first
        since, start = self._anchor
        return since + (last - start) * 1e-6 / self._speed

    def _check_seek(self) -> None:
        if self._target is not None:
            raise SeekRequested

    @property
    def _held(self) -> bool:
        return self._paused and not self._stepping

    @property
    def _paced(self) -> bool:
        return self._speed < math.inf and not self._stepping


def _checked_speed(speed: float) -> float:
    if not speed > 0:
        raise DataError(f"the speed of a recording must be > 0, not {speed}")
    return speed
