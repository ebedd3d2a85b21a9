"""Events: arrays of events, the window rule, recordings, live sources and the emulated sensor.

Modules:
    arrays: The event array and its validation.
    windows: The window rule: events become integer count frames.
    recordings: Event files of every common format.
    live: Sources of a stream: played recordings, text, UDP, cameras.
    stream: Live classification in constant memory.
    dvs: An emulated dynamic vision sensor.

Data sets are in `lmht_deploy.data`.
"""

from __future__ import annotations

from .arrays import EVENT, EventValidator, Sensor, make_events, validate_events
from .recordings import EventStream, Recording, open_recording, read_events, write_events
from .windows import WindowRule, clip_counts, count_windows, iterate_windows

__all__ = [
    "EVENT",
    "EventStream",
    "EventValidator",
    "Recording",
    "Sensor",
    "WindowRule",
    "clip_counts",
    "count_windows",
    "iterate_windows",
    "make_events",
    "open_recording",
    "read_events",
    "validate_events",
    "write_events",
]
