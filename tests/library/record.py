"""Writes networks, recordings and the expected integers to a file that `replay.cpp` runs.

`python -m tests.library.record FILE`. The file consists of blocks: the number of bytes, int64, and
these bytes, little-endian. The first block of a case is its kind:

    "network"   flat file, windows int32, logits, spikes and SOPs int64 [windows, layers]
    "stream"    flat file, recording, and for each window label, events, spikes and SOPs int64
    a name      content of a file of that name
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

import numpy as np

import lmht_deploy
from lmht_deploy import reference
from lmht_deploy.events.recordings import read_events
from lmht_deploy.events.windows import WindowRule, clip_counts, count_windows
from lmht_deploy.formats.flat import network_to_bytes
from lmht_deploy.ir import Network
from lmht_deploy.result import Counts
from lmht_deploy.zoo import recording_path
from tests.fuzz.targets import targets
from tests.support.networks import SPECIAL, windows_for

MAX_RECORDING = 20_000
"""Bytes of a recording of which damaged copies are read."""


def write(file: BinaryIO, *blocks: bytes | np.ndarray) -> None:
    """Append blocks."""
    for block in blocks:
        content = block if isinstance(block, bytes) else np.ascontiguousarray(block).tobytes()
        file.write(len(content).to_bytes(8, "little") + content)


def table(counts: Counts) -> np.ndarray:
    """Return counts by layer as int64 [windows, layers]."""
    return np.stack(list(counts.values()), 1) if counts else np.empty((0, 0), np.int64)


def record_network(file: BinaryIO, net: Network) -> None:
    """Append a network, windows, and what the reference gives for them."""
    windows = windows_for(net, 3)
    found = reference.run(net, windows)
    write(file, b"network", network_to_bytes(net), windows.astype(np.int32))
    write(file, found.logits, table(found.spikes), table(found.sops))


def record_stream(file: BinaryIO) -> None:
    """Append the network and the recording of the zoo, and the decisions."""
    net = lmht_deploy.load("zoo:digits")
    events, sensor, _ = read_events("zoo:digits")
    rule = WindowRule.from_text(net.metadata["window"])
    counts = count_windows(events, sensor, rule, net.input.shape[1:])
    found = reference.run(net, clip_counts(counts, net.input.max_value)[0])
    columns = (
        found.predictions,
        counts.sum((1, 2, 3, 4)),
        table(found.spikes).sum(1),
        table(found.sops).sum(1),
    )
    content = recording_path(Path("zoo:digits")).read_bytes()
    write(file, b"stream", network_to_bytes(net), content, np.stack(columns, 1))


if __name__ == "__main__":
    with Path(sys.argv[1]).open("wb") as out:
        for build in SPECIAL.values():
            record_network(out, build())
        record_stream(out)
        for name in ("aedat4", "aedat", "raw", "dat", "es", "bin"):
            for seed in targets()[name].seeds:
                write(out, f"recording.{name}".encode(), seed[:MAX_RECORDING])
