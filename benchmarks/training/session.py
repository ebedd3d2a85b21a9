"""The budget, and the folder to which every result is written as it comes."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmarks.report import cpu, versions
from lmht_deploy.analysis.provenance import commit
from lmht_deploy.formats.files import atomic_write

from .timing import Scale

MARGIN = 6.0
"""Seconds of the budget that are kept for writing the last results."""


class OutOfTimeError(BaseException):
    """The time of a part is over. Nothing that handles errors of a part may stop it."""


class TooLittleTimeError(Exception):
    """A part would not fit into what is left of the budget."""


@dataclass
class Session:
    """What parts share.

    Attributes:
        scale: How much is measured.
        folder: Folder of results.
        budget: Seconds in all.
        data: Folder of CIFAR-10; None: synthetic images.
        keep: Folder for what is worth keeping of a machine that is given back; None: no copies.
        cores: Processor cores that are used.
        start: Moment at which the budget began, of `time.monotonic`.
    """

    scale: Scale
    folder: Path
    budget: float
    data: Path | None = None
    keep: Path | None = None
    cores: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    start: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left, without the margin."""
        return self.start + self.budget - MARGIN * self.scale.pace - time.monotonic()

    @property
    def runs(self) -> Path:
        """Folder of trained runs."""
        return self.folder / "runs"

    def require(self, seconds: float) -> None:
        """Raise TooLittleTimeError unless `seconds` on a GPU are left."""
        needed = seconds * self.scale.pace
        if self.left < needed:
            raise TooLittleTimeError(f"it needs {needed:.0f} s, {self.left:.0f} s are left")

    def read(self, part: str) -> Any:
        """Return the result of `part`; None if there is none yet."""
        path = self._path(part)
        return json.loads(path.read_text(encoding="utf-8")).get("result") if path.exists() else None

    def write(self, part: str, result: Any, seconds: float, failed: str = "") -> None:
        """Write the result of `part`, with device and date."""
        content = {
            "part": part,
            "seconds": round(seconds, 3),
            **environment(self.scale),
            **({"failed": failed} if failed else {"result": result}),
        }
        with atomic_write(self._path(part)) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    def _path(self, part: str) -> Path:
        return self.folder / f"{part}.json"

    def say(self, text: str) -> None:
        """Print what happens, with the seconds since the start."""
        passed = time.monotonic() - self.start
        print(f"[{passed:6.1f} s] {text}", file=sys.stderr, flush=True)


def environment(scale: Scale) -> dict[str, Any]:
    """Return the device, the date, the commit and the versions of packages."""
    gpu = scale.device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if gpu else "cpu, small: the figures mean nothing",
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": {**versions(), "cuda": torch.version.cuda},
    }


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTimeError in the block after `seconds`; only for the main thread."""

    def stop(*_: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def hard_limit(seconds: float, stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` and end the process after `seconds`, even where nothing else can stop it."""

    def end() -> None:
        print("the budget is spent: stopped", file=sys.stderr, flush=True)
        stop()
        sys.stdout.flush()
        os._exit(3)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
