"""Writes what the live view shows to a recording for the viewer Rerun.

Entities, over the timelines `time` (from the first event) and `window` (number of the window):

    events                   image of the events since the last one: ON blue, OFF orange
    answer                   class, margin and window as a line of text
    probability/CLASS        softmax of the logits
    margin, latency          of each window; the latency in ms
    spikes/LAYER, density/LAYER, sops/LAYER
    description              what runs, once
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy._packages import require_package
from lmht_deploy.events.arrays import Sensor
from lmht_deploy.events.stream import Decision
from lmht_deploy.events.windows import count_events
from lmht_deploy.formats.files import atomic_write
from lmht_deploy.result import Result

from .protocol import Description

__all__ = ["RerunWriter", "open_rerun"]

APPLICATION = "lmht view"
PICTURE_US = 33_333
"""Shortest time between two pictures, in us of the recording."""
BACK, ON, OFF = (20, 22, 26), (125, 185, 255), (255, 150, 40)


@contextmanager
def open_rerun(path: Path, about: Description) -> Iterator[RerunWriter]:
    """Open a recording for Rerun, which is complete when the block ends.

    Args:
        path: File to write, `.rrd`.
        about: What is viewed.

    Raises:
        DataError: The package rerun-sdk is not installed.
        StorageError: The file cannot be written.
    """
    require_package("rerun", "rerun")
    with atomic_write(path) as temporary:
        writer = RerunWriter(about, temporary)
        try:
            yield writer
        finally:
            writer.close()


class RerunWriter:
    """Takes events and decisions as `Sampler` does, and logs them.

    Every event is in a picture and every decision is logged: nothing is dropped.

    Args:
        about: What is viewed.
        path: File to write.
    """

    def __init__(self, about: Description, path: Path) -> None:
        self._rerun = importlib.import_module("rerun")
        self._about = about
        self._sensor = Sensor(*about.sensor)
        self._counts = np.zeros((2, *about.sensor), np.int64)
        self._time, self._drawn = 0, -PICTURE_US
        self._stream = self._rerun.RecordingStream(APPLICATION)
        self._stream.save(str(path), default_blueprint=_blueprint())
        text = f"{about.network} on {about.source}; windows: {about.window}"
        self._stream.log("description", self._rerun.TextDocument(text), static=True)

    def count(self, events: np.ndarray, first: int, last: int, time: int) -> None:
        """Count `events[first:last]`, EVENT `[n]`, valid; the last one is from `time` (us)."""
        count_events(events, first, last, self._sensor, self._counts)
        self._time = time
        if time - self._drawn >= PICTURE_US:
            self._draw()

    def add(self, decision: Decision, result: Result) -> None:
        """Add a decision and the result it was made of."""
        self._draw()
        self._stream.set_time("window", sequence=decision.window)
        self._log_answer(decision)
        self._log_layers(result)

    def close(self) -> None:
        """Log the last events, and end the file."""
        self._draw()
        self._stream.flush()
        self._stream.disconnect()

    def _draw(self) -> None:
        self._stream.set_time("time", duration=self._time * 1e-6)
        if self._counts.any():
            self._stream.log("events", self._rerun.Image(paint(self._counts)))
            self._counts[:] = 0
            self._drawn = self._time

    def _log_answer(self, decision: Decision) -> None:
        name = "unknown" if decision.label < 0 else self._about.classes[decision.label]
        text = f"{name}, margin {decision.margin:.3f}, window {decision.window}"
        self._stream.log("answer", self._rerun.TextLog(text))
        logits = np.array(decision.logits, np.float64) * self._about.scale
        shares = np.exp(logits - logits.max())
        for label, share in zip(self._about.classes, shares / shares.sum(), strict=True):
            self._log_scalar(["probability", label], share)
        self._log_scalar(["margin"], decision.margin)
        self._log_scalar(["latency"], 1e3 * decision.latency)

    def _log_layers(self, result: Result) -> None:
        for layer in self._about.layers:
            spikes = int(result.spikes[layer.name][0])
            self._log_scalar(["spikes", layer.name], spikes)
            self._log_scalar(["density", layer.name], spikes / layer.neuron_steps)
        for name, sops in result.sops.items():
            self._log_scalar(["sops", name], int(sops[0]))

    def _log_scalar(self, path: list[str], value: float) -> None:
        self._stream.log(path, self._rerun.Scalars(float(value)))


def paint(counts: np.ndarray) -> np.ndarray:
    """Return a picture of events: brighter where there are more, logarithmically.

    Shape:
        counts: int `[2, H, W]`, OFF and ON. Result: uint8 `[H, W, 3]`.
    """
    total = counts.sum(0)
    light = np.log1p(total) / np.log1p(max(1, total.max()))
    on = light * counts[1] / np.maximum(total, 1)
    back = np.array(BACK, np.float64)
    blue, orange = (np.array(color) - back for color in (ON, OFF))
    colors = back + on[..., None] * blue + (light - on)[..., None] * orange
    return np.asarray(colors.round().astype(np.uint8))


def _blueprint() -> Any:
    """Return what the viewer shows at first: the events and the answer, the charts below."""
    views = importlib.import_module("rerun.blueprint")
    charts = (
        views.TimeSeriesView(origin=origin, name=name)
        for origin, name in (
            ("probability", "Probability"),
            ("density", "Spikes per neuron and time-step"),
            ("sops", "SOPs by layer"),
        )
    )
    above = views.Horizontal(
        views.Spatial2DView(origin="events", name="Events"),
        views.TextLogView(origin="answer", name="Answer"),
    )
    return views.Blueprint(views.Vertical(above, views.Horizontal(*charts)))
