"""Events: arrays of events, the window rule, recordings, live sources and the emulated sensor.

Modules:
    arrays: The event array and its validation.
    windows: The window rule: events become integer count frames.
    recordings: Event files of every common format.
    cutting: Parts of a recording.
    filters: Background activity, refractory time, hot pixels.
    summary: What a recording holds.
    pictures: Pictures of event counts.
    live: Sources of a stream: played recordings, text, UDP, cameras.
    stream: Live classification in constant memory.
    dvs: An emulated dynamic vision sensor.

Data sets are in `lmht_deploy.data`.
"""

from __future__ import annotations

from .arrays import EVENT, EventValidator, Sensor, make_events, validate_events
from .cutting import crop_events, cut_events
from .filters import (
    BackgroundActivityFilter,
    EventFilter,
    PixelFilter,
    RefractoryFilter,
    count_pixels,
    filter_events,
    find_hot_pixels,
)
from .recordings import EventStream, Recording, open_recording, read_events, write_events
from .summary import EventSummary, summarize
from .windows import WindowRule, clip_counts, count_windows, iterate_windows

__all__ = [
    "EVENT",
    "BackgroundActivityFilter",
    "EventFilter",
    "EventStream",
    "EventSummary",
    "EventValidator",
    "PixelFilter",
    "Recording",
    "RefractoryFilter",
    "Sensor",
    "WindowRule",
    "clip_counts",
    "count_pixels",
    "count_windows",
    "crop_events",
    "cut_events",
    "filter_events",
    "find_hot_pixels",
    "iterate_windows",
    "make_events",
    "open_recording",
    "read_events",
    "summarize",
    "validate_events",
    "write_events",
]
