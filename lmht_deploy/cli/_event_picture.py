"""Pictures of recordings: PNG, and GIF that moves."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from lmht_deploy._packages import require_package
from lmht_deploy.errors import StorageError, listed

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.events.summary import EventSummary

PICTURES = (".png", ".gif")
FRAMES = 30
"""Frames of a GIF."""
MIN_FRAME_MS, MAX_FRAME_MS = 40, 200
"""Milliseconds for which a frame is shown: in real time where that is possible."""


def check_picture(path: Path | None) -> Path | None:
    """Refuse a picture of another kind, and any without Pillow."""
    if path is not None:
        if path.suffix.lower() not in PICTURES:
            raise StorageError(f"{path}: a picture is a {listed(PICTURES, 'or')} file")
        require_package("PIL", "images")
    return path


def save_picture(path: Path, found: EventSummary, packets: Iterable[np.ndarray]) -> None:
    """Write a picture of all events, or a GIF of 30 parts of equal duration.

    Args:
        path: File to write.
        found: Summary of the recording.
        packets: Its valid events; read for a GIF only.
    """
    from PIL import Image

    from lmht_deploy.events.pictures import draw, find_brightest
    from lmht_deploy.formats.files import atomic_write

    if path.suffix.lower() == ".gif":
        parts = _count_parts(found, packets)
        top = find_brightest(parts)
        frames = [Image.fromarray(draw(part, top)) for part in parts]
    else:
        frames = [Image.fromarray(draw(found.counts))]
    shown = min(max(found.duration / FRAMES * 1e-3, MIN_FRAME_MS), MAX_FRAME_MS)
    options = {"append_images": frames[1:], "duration": round(shown), "loop": 0}
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        if len(frames) > 1:
            frames[0].save(file, "gif", save_all=True, **options)
        else:
            frames[0].save(file, path.suffix[1:].lower())


def _count_parts(found: EventSummary, packets: Iterable[np.ndarray]) -> np.ndarray:
    """Number of events per part, polarity and pixel, int64 `[30, 2, H, W]`."""
    import numpy as np

    from lmht_deploy.events.windows import count_events

    counts = np.zeros((FRAMES, 2, *found.sensor), np.int32)
    frame = np.zeros((2, *found.sensor), np.int64)
    for events in packets:
        parts = (events["t"] - found.start) * FRAMES // max(found.duration + 1, 1)
        edges = [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), len(events)]
        for first, last in pairwise(edges):
            if last > first:
                frame[:] = 0
                count_events(events, first, last, found.sensor, frame)
                counts[parts[first]] += frame
    return counts
