"""One backend in a process of its own, which `speed` asks to run windows.

It is started as `python -m lmht_deploy.analysis._speed_worker` with the arguments BACKEND,
ARTIFACT, WINDOWS, THREADS and DEVICE. It answers each line of standard input with one line of JSON
on standard output.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import IO, Any


def main() -> None:
    """Open the backend, run one window, and answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    import numpy as np

    from lmht_deploy.backends import open_backend

    name, path, windows, threads, device = sys.argv[1:]
    data = np.load(windows)
    start = time.perf_counter()
    backend = open_backend(name, path, threads=int(threads), device=device)
    opened = time.perf_counter() - start
    backend.run(data[:1])
    batch = min(len(data), backend.chunk or len(data))
    _answer(answers, {"open": opened, "batch": batch, "gpu": _gpu(device)})
    for line in sys.stdin:
        kind, _, seconds = line.partition(" ")
        size = 1 if kind == "latency" else batch
        _answer(answers, {"times": _times(backend, data, size, float(seconds)), "size": size})
    backend.close()
    _answer(answers, {"peak": peak_memory(), "modules": _versions()})


def _gpu(device: str) -> str | None:
    """Return the UUID of a GPU of NVIDIA; None for another device."""
    if not device.startswith("cuda"):
        return None
    import torch

    return str(torch.cuda.get_device_properties(device).uuid)


def _answer(answers: IO[str], content: dict[str, Any]) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()


def _times(backend: Any, data: Any, size: int, seconds: float) -> list[float]:
    """Return the time of each call, for `seconds` at most."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    position = 0
    while True:
        start = time.perf_counter()
        if times and start >= end:
            return times
        if position + size > len(data):
            position = 0
        backend.run(data[position : position + size])
        times.append(time.perf_counter() - start)
        position += size


def peak_memory() -> int | None:
    """Return the largest resident memory of this process in bytes; None if it is not known."""
    status = Path("/proc/self/status")
    if status.exists():  # unlike getrusage, without the memory of the process that started it
        found = re.search(r"^VmHWM:\s*(\d+) kB", status.read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _versions() -> dict[str, str]:
    """Return the versions of the packages that this process has imported."""
    names = ("numpy", "torch", "onnxruntime")
    return {name: str(sys.modules[name].__version__) for name in names if name in sys.modules}


if __name__ == "__main__":
    main()
