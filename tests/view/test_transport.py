"""Playback of a recording: pause, step, speed, seek."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from lmht_deploy.errors import DataError
from lmht_deploy.events.stream import Packet
from lmht_deploy.view import SeekRequested, Transport
from lmht_deploy.view.transport import PIECE
from tests.support.recordings import at


def recording(*times: int) -> Iterator[np.ndarray]:
    return iter([at(*times)])


def times(packets: Iterator[Packet]) -> list[int]:
    return [t for packet in packets for t in packet.events["t"].tolist()]


class Played:
    """Plays in a thread; `times` grows."""

    def __init__(self, transport: Transport, packets: Iterator[np.ndarray]) -> None:
        self.times: list[int] = []
        self.sought = False
        self._packets = transport.packets(packets, None)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            for packet in self._packets:
                self.times += packet.events["t"].tolist()
        except SeekRequested:
            self.sought = True


def test_all_events_are_played_in_order_at_every_speed() -> None:
    given = [5, 5, 900, 1000, 1001, 70_000]
    for speed in (math.inf, 1e3, 10):
        assert times(Transport(speed).packets(recording(*given), None)) == given


def test_the_pace_is_that_of_the_recording() -> None:
    start = time.perf_counter()
    packets = list(Transport(2.0).packets(recording(0, 50_000, 100_000), None))
    assert time.perf_counter() - start >= 0.05
    due = [packet.arrived for packet in packets]
    assert None not in due
    assert np.diff(due) == pytest.approx([0.025, 0.025], abs=1e-6)  # type: ignore[arg-type]


def test_long_packets_are_played_in_pieces() -> None:
    given = np.arange(3 * PIECE).tolist()
    packets = list(Transport(math.inf).packets(recording(*given), None))
    assert [len(packet.events) for packet in packets] == [PIECE] * 3


def test_a_gap_is_not_waited_for() -> None:
    transport = Transport(1.0, max_gap=1000)
    start = time.perf_counter()
    assert len(times(transport.packets(recording(0, 3_600_000_000), None))) == 2
    assert time.perf_counter() - start < 60


def test_no_pace_is_kept_up_to_a_time() -> None:
    found = list(Transport(1e-3).packets(iter([at(0, 10**9), at(10**9 + 1)]), 10**9 + 1))
    assert [packet.arrived is None for packet in found] == [True, False]


def test_paused_until_play() -> None:
    transport = Transport(math.inf)
    transport.pause()
    played = Played(transport, recording(1, 2))
    time.sleep(0.1)
    assert played.times == [] and transport.state.paused
    transport.play()
    played.thread.join(20)
    assert played.times == [1, 2]


def test_a_pause_ends_a_long_wait_and_play_does_not_catch_up() -> None:
    transport = Transport(1.0)
    played = Played(transport, recording(0, 5_000_000))
    time.sleep(0.05)
    transport.pause()
    time.sleep(0.05)
    assert played.times == [0]
    transport.set_speed(math.inf)
    transport.play()
    played.thread.join(20)
    assert len(played.times) == 2


def test_a_step_ends_with_the_next_decision() -> None:
    transport = Transport(1.0)
    transport.step()
    packets = transport.packets(recording(0, 5_000_000, 10_000_000), None)
    assert next(packets).arrived is None and next(packets).arrived is None  # without a pace
    transport.decided()
    played = Played(transport, recording(1))
    time.sleep(0.05)
    assert played.times == [] and transport.state.paused
    transport.step()
    played.thread.join(20)
    assert played.times == [1]


@pytest.mark.parametrize("paused", [False, True])
def test_a_seek_ends_the_pass_wherever_it_waits(paused: bool) -> None:
    transport = Transport(1.0)
    played = Played(transport, recording(0, 5_000_000))
    if paused:
        transport.pause()
    time.sleep(0.05)
    transport.seek(7)
    played.thread.join(20)
    assert played.sought
    assert transport.begin() == 7
    assert transport.begin() == 0
    if paused:  # the window is shown
        transport.pass_gate()
        transport.decided()
        played = Played(transport, recording(1))
        time.sleep(0.05)
        assert played.times == [] and transport.state.paused
        transport.play()
        played.thread.join(20)


def test_a_seek_after_the_end() -> None:
    transport = Transport()
    transport.wait_at_end(0)
    assert transport.state.ended
    transport.seek(3)
    with pytest.raises(SeekRequested):
        transport.wait_at_end(20)
    assert transport.begin() == 3 and not transport.state.ended


@pytest.mark.parametrize("speed", [0, -1, math.nan])
def test_a_speed_is_positive(speed: float) -> None:
    with pytest.raises(DataError, match="the speed of a recording must be > 0"):
        Transport(speed)
    with pytest.raises(DataError, match="the speed of a recording must be > 0"):
        Transport().set_speed(speed)
    with pytest.raises(DataError, match="a time in a recording lies within"):
        Transport().seek(-1)
