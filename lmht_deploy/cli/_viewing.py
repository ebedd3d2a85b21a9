"""Passes through a source that a page shows and controls."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lmht_deploy.errors import counted

from ._stream_source import Source, SourceOptions, open_source
from ._stream_windows import input_size, make_bins

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.answers import Judge
    from lmht_deploy.backends import Backend
    from lmht_deploy.events.arrays import Sensor
    from lmht_deploy.events.stream import Clock, Decision, Windower
    from lmht_deploy.events.windows import WindowRule
    from lmht_deploy.ir import Network
    from lmht_deploy.view import (
        Description,
        RerunWriter,
        Sampler,
        Transport,
        ViewServer,
        WatchedBins,
    )
    from lmht_deploy.view.sampler import Watcher

    from ._stream_summary import Summary

GRACE = 2.0
"""Seconds in which a page may be opened again, after the source has ended and no page is open."""
POLL_INTERVAL = 0.1
"""Seconds after which a command that has nothing left to play looks whether a page is open."""


@dataclass(frozen=True)
class Viewed:
    """What is viewed.

    Attributes:
        net: The network.
        runner: Runs it.
        rule: Cuts the source into windows.
        chosen: Options of the source.
        judge: Turns logits into answers.
    """

    net: Network
    runner: Backend
    rule: WindowRule
    chosen: SourceOptions
    judge: Judge


class Extent(NamedTuple):
    """The extent of a recording in us."""

    start: int
    duration: int


class _Pass(NamedTuple):
    """A pass through a source; a recording may be passed through several times."""

    opened: Source
    bins: WatchedBins
    windower: Windower
    clock: Clock | None


def measure(viewed: Viewed) -> Extent:
    """Return the extent of the valid events of a recording."""
    from lmht_deploy.events.live import play_fast

    first = last = None
    with ExitStack() as stack:
        chosen = replace(viewed.chosen, drop=True)
        found = open_source(stack, chosen, input_size(viewed.net), play_fast)
        packets = (found.validator.validate(packet.events) for packet in found.packets)
        for events in (*packets, found.validator.finish()):
            if len(events):
                first = int(events["t"][0]) if first is None else first
                last = int(events["t"][-1])
    return Extent(first or 0, (last or 0) - (first or 0))


def open_pass(
    stack: ExitStack,
    viewed: Viewed,
    transport: Transport | None,
    extent: Extent | None,
    first: int = 0,
) -> Source:
    """Open the source.

    Args:
        stack: Closes the source.
        viewed: What is viewed.
        transport: Plays a recording.
        extent: Extent of a recording.
        first: Time from which on the recording is played at its pace, in us from the first event.
    """
    play = None
    if transport is not None and extent is not None:
        start = extent.start + first
        play = lambda packets: transport.packets(packets, start)  # noqa: E731
    return open_source(stack, viewed.chosen, input_size(viewed.net), play)


def describe(viewed: Viewed, name: str, sensor: Sensor, extent: Extent | None) -> Description:
    """Return what the page needs to know once.

    Args:
        viewed: What is viewed.
        name: Name of the network.
        sensor: Size of the sensor.
        extent: Extent of a recording.
    """
    from lmht_deploy.view import Description, Layer, picture_size

    net, chosen = viewed.net, viewed.chosen
    names = net.class_names or tuple(map(str, range(net.classes)))
    return Description(
        network=name,
        source=Path(chosen.source).name if chosen.played else chosen.source,
        classes=tuple(names),
        scale=net.readout.scale,
        layers=tuple(
            Layer(layer.name, layer.steps * math.prod(net.shapes[layer.name]))
            for layer in net.neurons
        ),
        synaptic=(*(layer.name for layer in net.neurons), net.readout.name),
        window=str(viewed.rule),
        size=picture_size(sensor),
        sensor=sensor,
        duration=None if extent is None else extent.duration,
    )


class Recorded:
    """A stream that is written to a recording for Rerun.

    Args:
        viewed: What is viewed.
        opened: The source.
        writer: Writes.
    """

    def __init__(self, viewed: Viewed, opened: Source, writer: RerunWriter) -> None:
        self._viewed, self._opened, self._writer = viewed, opened, writer
        self._pass = _begin(viewed, opened, writer, 0)

    def decisions(self) -> Iterator[Decision]:
        """Yield the decisions of the source, each after it was written."""
        for decision in _decide(self._pass, self._viewed.judge):
            assert self._pass.bins.result is not None
            self._writer.add(decision, self._pass.bins.result)
            yield decision

    def summarize(self, summary: Summary) -> str:
        """Return the summary of the stream."""
        return summary.text(self._pass.windower, self._opened, self._pass.clock)


class Explainer:
    """Says which cells decided the last window.

    Args:
        net: The network.
    """

    def __init__(self, net: Network) -> None:
        self._net = net
        self._last: tuple[Decision, np.ndarray] | None = None

    def remember(self, decision: Decision, counts: np.ndarray) -> None:
        """Remember a window, int64 `[T_in, 2, H, W]`, until the next one."""
        self._last = decision, counts

    def explain(self) -> dict[str, Any]:
        """Return how the margin of the last window changes without each cell, as plain values."""
        import numpy as np

        from lmht_deploy.analysis.explain import explain
        from lmht_deploy.errors import LmhtError

        if self._last is None:
            return {"error": "no window is classified yet"}
        decision, counts = self._last
        window = np.minimum(counts, self._net.input.max_value)
        try:
            found = explain(self._net, window, methods=(), flip=False)
        except LmhtError as error:
            return {"error": str(error)}
        cells = found.parts["cell"]
        return {
            "window": decision.window,
            "answer": found.answer,
            "margin": found.margin * found.scale,
            "cell": found.cell,
            "size": list(window.shape[2:]),
            "frame": window.sum(0).ravel().tolist(),
            "deltas": (cells.margin_deltas * found.scale).tolist(),
            "changed": int(cells.changed.sum()),
            "runs": found.runs,
        }


class Viewing:
    """A stream and the page that shows it.

    Args:
        viewed: What is viewed.
        opened: The source.
        sampler: Takes the pictures.
        server: Serves the page.
        transport: Plays a recording; None for another source.
        extent: Extent of a recording.
        explainer: Is shown every window.
    """

    def __init__(
        self,
        viewed: Viewed,
        opened: Source,
        sampler: Sampler,
        server: ViewServer,
        explainer: Explainer,
        transport: Transport | None,
        extent: Extent | None,
    ) -> None:
        self.server, self._explainer = server, explainer
        self._viewed, self._sampler = viewed, sampler
        self._transport, self._extent = transport, extent
        self._now = _begin(viewed, opened, sampler, 0)

    @property
    def _waits(self) -> bool:
        """Whether the source waits for a page: a recording, or standard input that is not live."""
        chosen = self._viewed.chosen
        return chosen.played or (chosen.source == "-" and not chosen.live)

    def decisions(self) -> Iterator[Decision]:
        """Yield the decisions of all passes, until the source has ended and no page is open.

        A source that waits for a page begins when one is open.
        """
        from lmht_deploy.view import SeekRequested

        if self._waits:
            self.server.wait_for_viewer()
        while True:
            try:
                yield from self._decide()
                self._wait_at_end()
                return
            except SeekRequested:
                self._seek()

    def summarize(self, summary: Summary) -> str:
        """Return the summary of the stream, and how many pictures were dropped."""
        now, dropped = self._now, self.server.dropped
        text = summary.text(now.windower, now.opened, now.clock)
        return f"{text}; {counted(dropped, 'picture')} dropped" if dropped else text

    def _decide(self) -> Iterator[Decision]:
        now = self._now
        for decision in _decide(now, self._viewed.judge):
            assert now.bins.result is not None and now.bins.counts is not None
            self._explainer.remember(decision, now.bins.counts)
            self._sampler.add(decision, now.bins.result)
            yield decision
            if self._transport is not None:
                self._transport.decided()
                self._transport.pass_gate()

    def _wait_at_end(self) -> None:
        while self.server.seconds_alone < GRACE:
            if self._transport is None:
                time.sleep(POLL_INTERVAL)
            else:
                self._transport.wait_at_end(POLL_INTERVAL)

    def _seek(self) -> None:
        assert self._transport is not None
        first = self._transport.begin()
        self._viewed.judge.forget()
        with ExitStack() as stack:  # a recording has nothing to close
            opened = open_pass(stack, self._viewed, self._transport, self._extent, first)
        self._now = _begin(self._viewed, opened, self._sampler, first)


def _begin(viewed: Viewed, opened: Source, watcher: Watcher, first: int) -> _Pass:
    """Begin a pass through a source, whose windows from `first` (us) on run."""
    from lmht_deploy.events.stream import Clock, Windower
    from lmht_deploy.view import WatchedBins

    counted = make_bins(viewed.net, viewed.runner, viewed.rule, opened.validator.sensor)
    bins = WatchedBins(counted, watcher, first, lambda: windower.start)
    windower = Windower(viewed.rule, bins, viewed.chosen.max_gap)
    return _Pass(opened, bins, windower, Clock() if viewed.chosen.live else None)


def _decide(now: _Pass, judge: Judge) -> Iterator[Decision]:
    from lmht_deploy.events.stream import decide

    yield from decide(now.opened.packets, now.windower, now.opened.validator, now.clock, judge)
