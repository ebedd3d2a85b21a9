"""The commands of `lmht` that the faults are tried on, and what they write when nothing happens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy import reference
from lmht_deploy.events.arrays import make_events
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.windows import save_windows
from tests.support.images import random_pixels, write_parquet
from tests.support.networks import SPECIAL, Builder, windows_for

TIMINGS = {"created", "ms", "seconds", "windows_per_second", "ms_per_window", "latency", "time"}
"""Keys of JSON that differ from call to call."""


@dataclass(frozen=True)
class Command:
    """A call of `lmht` in an empty folder.

    Attributes:
        arguments: Its arguments; names of outputs are relative, `{inputs}` is the folder of
            `prepare`.
        output: File or folder that it writes.
        resume: Arguments to add where it continues what an interrupted call left.
        appends: Whether the output grows line by line, so that a part of it is right.
    """

    arguments: tuple[str, ...]
    output: str
    resume: tuple[str, ...] = ()
    appends: bool = False


COMMANDS = {
    "train": Command(
        (
            *("train", "digits", "--out", "run", "--threads", "1", "--device", "cpu"),
            *("training.epochs=3", "network.width=0.25", "training.batch_size=128"),
        ),
        "run",
        resume=("--resume",),
    ),
    "convert": Command(("convert", "{inputs}/run", "--out", "net.lmht"), "net.lmht"),
    "export onnx": Command(("export", "{inputs}/net.lmht", "--out", "net.onnx"), "net.onnx"),
    "export netx": Command(("export", "{inputs}/net.lmht", "--out", "net.net"), "net.net"),
    "run": Command(
        ("run", "{inputs}/net.lmht", "--data", "{inputs}/windows.npz", "--json", "run.json"),
        "run.json",
    ),
    "compare": Command(
        (
            *("compare", "{inputs}/net.lmht", "--data", "{inputs}/windows.npz"),
            *("--backends", "event,onnx", "--json", "compare.json"),
        ),
        "compare.json",
    ),
    "stream": Command(
        (
            *("stream", "{inputs}/events.lmht", "{inputs}/recording.npy"),
            *("--length", "2ms", "--sensor", "8x8", "--json", "out.jsonl"),
        ),
        "out.jsonl",
        appends=True,
    ),
    "emulate": Command(
        ("emulate", "{inputs}", "--out", "data", "--per-class", "1", "--workers", "2"), "data"
    ),
}


def prepare(inputs: Path) -> None:
    """Write the inputs of all commands except the run, which `prepare_run` trains."""
    net = SPECIAL["residual"]()
    windows = windows_for(net, 300)
    save_network(net, inputs / "net.lmht")
    labels = reference.run(net, windows).predictions
    save_windows(windows, inputs / "windows.npz", labels)
    b = Builder(0, shape=(2, 8, 8), steps=2, max_value=255)
    save_network(b.finish(b.neurons("a", b.conv("input", 3), steps=2)), inputs / "events.lmht")
    rng, number = np.random.default_rng(0), 100_000
    times = np.sort(rng.integers(0, 2_000_000, number))
    pixels = rng.integers(8, size=(2, number))
    np.save(inputs / "recording.npy", make_events(times, *pixels, rng.integers(2, size=number)))
    write_parquet(inputs / "train.parquet", random_pixels(10), list(range(10)))


def content(path: Path) -> Any:
    """Return what an output holds, without timings; raises if it is not whole."""
    if path.is_dir():
        files = sorted(found for found in path.rglob("*") if found.is_file())
        return {str(found.relative_to(path)): content(found) for found in files}
    if path.suffix == ".json":
        return _timeless(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
    return path.read_bytes()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMINGS}
    return [_timeless(item) for item in value] if isinstance(value, list) else value
