"""How much is measured, and how long a run takes on a GPU or a CPU."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from lmht_deploy.training import neurons

Run = Callable[[], object]


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        device: "cuda" or "cpu".
        batch_size: Windows per training step.
        buffer: Bytes of a buffer: too many for any cache.
        repeats: Repetitions of every measurement.
        tiles: Tiles to compare: neurons per program, warps.
        images: Images of a data set that are used, per split; 0: all.
        recordings: Recordings that are emulated per class.
        small: Settings that replace those of every recipe.
        max_epochs: Most epochs of a training.
        pace: Multiplies the estimated seconds of a part.
    """

    device: str
    batch_size: int
    buffer: int
    repeats: int
    tiles: tuple[tuple[int, int], ...]
    images: int = 0
    recordings: int = 1000
    small: tuple[str, ...] = ()
    max_epochs: int = 1000
    pace: float = 1.0

    @property
    def fused(self) -> bool:
        """Whether the fused kernels run here: on a GPU, or in Triton's interpreter."""
        if self.device == "cuda":
            return True
        if not neurons._TRITON:
            return False
        import triton

        return bool(triton.knobs.runtime.interpret)


GPU = Scale(
    "cuda",
    256,
    2**30,
    30,
    tuple((block, warps) for block in (512, 1024, 2048, 4096) for warps in (2, 4, 8)),
)
CPU = Scale(
    "cpu",
    2,
    2**12,
    1,
    ((512, 4), (1024, 4)),
    images=64,
    recordings=4,
    small=(
        "network.architecture=residual-small",
        "network.width=0.25",
        "training.batch_size=16",
        "training.precision=float32",
    ),
    max_epochs=2,
    pace=0.05,
)


def seconds_each(runs: Sequence[Run], scale: Scale) -> float:
    """Median seconds per run, of several `runs` on different data, which no cache then holds.

    On a GPU they are one CUDA graph, so that kernels are timed and not their launches.
    """
    if scale.device == "cpu":
        return _median(lambda: [run() for run in runs], scale.repeats) / len(runs)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        runs[0]()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        # Every result keeps its memory: none is overwritten while it is in the cache.
        kept = [run() for run in runs]
    found = seconds(graph.replay, scale) / len(runs)
    del kept
    return found


def seconds(run: Run, scale: Scale) -> float:
    """Median seconds of `run`, after warm-up runs."""
    for _ in range(3 if scale.device == "cuda" else 1):
        run()
    if scale.device == "cpu":
        return _median(run, scale.repeats)
    marks = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(scale.repeats)]
    for start, end in marks:
        start.record()  # type: ignore[no-untyped-call]
        run()
        end.record()  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in marks) / 1e3  # type: ignore[no-untyped-call]


def _median(run: Run, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def copy_bandwidth(scale: Scale) -> float:
    """Bytes per second, read and written, of copies between large buffers."""
    buffers = [torch.randn(scale.buffer // 4, device=scale.device) for _ in range(4)]
    runs = [lambda a=a, b=b: b.copy_(a) for a, b in (buffers[:2], buffers[2:])]
    return 2 * scale.buffer / seconds_each(runs, scale)
