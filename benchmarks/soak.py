"""A long stream: `python -m benchmarks.soak [--events N] [--json FILE]`.

Events of a synthetic recording come again and again, with a clock that goes on. They pass the
validator and the windows as in `lmht stream`, and run on the event engine. The command checks that
every window has the class, margin, spikes and SOPs of the reference model and that no event is
lost. It prints the memory of the process (RSS) and the latency (p50, p99) for each tenth of the
events: both must stay flat.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lmht_deploy import engine, reference
from lmht_deploy.events.arrays import EventValidator
from lmht_deploy.events.stream import Decision, Packet, SharedSteps, Windower, decide
from lmht_deploy.events.windows import WindowRule, count_windows
from lmht_deploy.ir import Network

from .events import SENSOR, SIZE, STEPS, first_layer, synthetic_recording
from .report import Row, Table, add_report_arguments, run_tables

PERIOD_EVENTS = 2_000_000
"""Events after which the recording comes again."""
WINDOW_EVENTS = 20_000
PACKET_EVENTS = 4096
PARTS = 10
"""Rows of the table."""


class Answer(NamedTuple):
    """What is compared with the reference model."""

    label: int
    margin: float
    events: int
    lost: int
    spikes: int
    sops: int


@dataclass
class Part:
    """Measurements of one part of the stream.

    Attributes:
        latencies: Latency of each window in seconds.
        start: When the part began (`time.perf_counter`).
    """

    latencies: list[float]
    start: float


def expected_answers(net: Network, events: np.ndarray, rule: WindowRule) -> list[Answer]:
    """Compute the answers of all windows of one period with the reference model."""
    counts = count_windows(events, SENSOR, rule, SIZE)
    clipped = np.minimum(counts, net.input.max_value)
    answers = []
    for raw, window in zip(counts, clipped, strict=True):
        result = reference.run(net, window[None])
        logits = np.sort(result.logits[0])
        answers.append(
            Answer(
                label=int(result.predictions[0]),
                margin=float(logits[-1] - logits[-2]) * result.scale,
                events=int(raw.sum()),
                lost=int((raw - window).sum()),
                spikes=sum(int(layer[0]) for layer in result.spikes.values()),
                sops=sum(int(layer[0]) for layer in (result.sops or {}).values()),
            )
        )
    return answers


def endless_packets(events: np.ndarray, number: int) -> Iterator[Packet]:
    """Yield `number` events: `events` again and again, each time one period later."""
    period = int(events["t"][-1] - events["t"][0]) + 1
    sent = 0
    shifted = events.copy()
    while sent < number:
        for start in range(0, len(events), PACKET_EVENTS):
            packet = shifted[start : start + PACKET_EVENTS][: number - sent]
            sent += len(packet)
            yield Packet(packet.copy(), time.perf_counter())
        shifted["t"] += period


def answer_of(decision: Decision) -> Answer:
    """Return what is compared."""
    return Answer(
        decision.label,
        decision.margin,
        decision.events,
        decision.lost,
        decision.spikes,
        decision.sops,
    )


def memory() -> float:
    """Return the memory of this process (RSS) in MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the system does not tell the memory of a process")


def soak(number: int) -> Iterator[Row]:
    """Stream `number` events; yield a row for each tenth.

    Raises:
        AssertionError: A window differs from the reference model, or an event is lost.
    """
    net, rule = first_layer(), WindowRule(STEPS, "events", WINDOW_EVENTS)
    events = synthetic_recording(PERIOD_EVENTS)
    answers = expected_answers(net, events, rule)
    incremental = engine.IncrementalEngine(engine.Model(net))
    into = SharedSteps(incremental, net.input.max_value, STEPS, SENSOR, SIZE)
    validator = EventValidator(SENSOR)
    part, counted, length = Part([], time.perf_counter()), 0, number // PARTS
    for decision in decide(endless_packets(events, number), Windower(rule, into), validator):
        expected = answers[decision.window % len(answers)]
        if answer_of(decision) != expected:
            raise AssertionError(f"window {decision.window}: {answer_of(decision)}, not {expected}")
        counted += decision.events
        part.latencies.append(decision.latency)
        if counted // length > (counted - decision.events) // length:
            yield _row(counted, part)
            part = Part([], time.perf_counter())
    if not counted == validator.seen == number:
        raise AssertionError(f"{counted:,} of {number:,} events were counted")


def _row(counted: int, part: Part) -> Row:
    p50, p99 = np.percentile(part.latencies, [50, 99]) * 1e3
    windows = len(part.latencies)
    seconds = time.perf_counter() - part.start
    figures = {
        "RSS MB": memory(),
        "p50 ms": float(p50),
        "p99 ms": float(p99),
        "M events/s": windows * WINDOW_EVENTS / seconds * 1e-6,
        "windows exact": windows,
    }
    return Row(f"{counted:,} events", figures=figures)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=(__doc__ or "").splitlines()[0]
    )
    add_report_arguments(parser, ("soak",))
    parser.add_argument("--events", type=int, default=10**9, help="length of the stream")
    options = parser.parse_args(arguments)
    number = max(options.events // (PARTS * WINDOW_EVENTS), 1) * PARTS * WINDOW_EVENTS
    title = (
        f"{number:,} events, {WINDOW_EVENTS:,} per window of {STEPS} x 2 x 48 x 48, packets of"
        f" {PACKET_EVENTS:,}; every window compared with the reference model"
    )
    run_tables({"soak": Table(title, partial(soak, number))}, options.json, events=number)
    return 0


if __name__ == "__main__":
    sys.exit(main())
