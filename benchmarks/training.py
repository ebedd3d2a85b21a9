"""Training speed on a GPU: `python -m benchmarks.training [--json FILE]`, minutes on an H100.

    copy           read and write bandwidth of the device, to which the kernels are compared
    correctness    fused neurons against the plain path, for every dtype
    neurons        bandwidth of the fused kernels at the sizes of ResNet-18, forward and backward,
                   as a share of the copy's
    step           a whole training step (ResNet-18 for CIFAR-10, L = 2, T = 2, batch size 256),
                   and that of a plain step loop
    tiles          the kernels at the largest size with other tiles than `_fused.tile` chooses

Without a GPU everything runs in a small form, which only shows that the script works.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional

from lmht_deploy.formats.files import atomic_write
from lmht_deploy.training import ARCHITECTURES, LMHT, Neuron, build_model, neurons
from lmht_deploy.training.architectures import Convolution, Residual
from lmht_deploy.training.neurons import lmht

Run = Callable[[], object]

LEVELS, STEPS = 2, 2
TARGETS = {"forward": 0.85, "backward": 0.85, "step": 4.0, "share": 0.15}
"""Shares of the copy's bandwidth, speed relative to the step loop, largest share of the step that
the neurons may take."""


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        device: "cuda" or "cpu".
        batch_size: Windows per training step.
        buffer: Bytes of a buffer: too many for any cache.
        repeats: Repetitions of every measurement.
        tiles: Tiles to compare: neurons per program, warps.
    """

    device: str
    batch_size: int
    buffer: int
    repeats: int
    tiles: tuple[tuple[int, int], ...]

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
CPU = Scale("cpu", 2, 2**12, 1, ((512, 4), (1024, 4)))

# ------------------------------------------------------------------------------------------- timing


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


# ------------------------------------------------------------------------------------------ neurons


def parameters(steps_in: int, device: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Ω, λ, θ and v0, all exact in every dtype."""
    omega = torch.tensor([[0.75, 0.5], [0.25, 0.5]])[:, :steps_in]
    return [
        value.to(device, dtype)
        for value in (omega, torch.tensor(0.875), torch.tensor(0.5), torch.tensor(0.25))
    ]


def correctness(scale: Scale) -> dict[str, str]:
    """By dtype: "equal", or how the fused path differs from the plain one.

    Equal means: equal bits on numbers that no sum rounds, results close to float64 on random ones,
    and equal bits when run twice.
    """
    return {
        str(dtype).removeprefix("torch."): _correct(dtype, scale)
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    }


def _correct(dtype: torch.dtype, scale: Scale) -> str:
    g = torch.Generator().manual_seed(0)
    exact = [torch.randint(-8, 17, (2, 2051), generator=g) / 8 for _ in range(2)]
    if not _equal(_learn("plain", *exact, dtype, scale), _learn("fused", *exact, dtype, scale)):
        return "bits differ from the plain path"
    for many in (2048, 2051) if scale.device == "cpu" else (2**20, 2**20 + 3):
        drawn = [torch.randn(2, many, generator=g).to(dtype) for _ in range(2)]
        true, found = (
            _learn("plain", *drawn, torch.float64, scale),
            _learn("fused", *drawn, dtype, scale),
        )
        far = max(
            ((one.double() - other).norm() / other.norm()).item()
            for one, other in zip(found, true, strict=True)
        )
        # A potential within a rounding of a threshold may fall to either side: one neuron in a
        # million is an error of 1e-3.
        if not far <= (1e-10 if dtype == torch.float64 else max(4 * torch.finfo(dtype).eps, 4e-3)):
            return f"{many} neurons differ by {far:.1e} from the plain path in float64"
        if not _equal(found, _learn("fused", *drawn, dtype, scale)):
            return "bits differ when run again"
    return "equal"


def _learn(
    path: neurons.Path, x: Tensor, grad: Tensor, dtype: torch.dtype, scale: Scale
) -> list[Tensor]:
    """Amplitudes and gradients by x, Ω, λ and θ."""
    *learnt, v0 = (
        x.to(scale.device, dtype),
        *parameters(2, scale.device, torch.promote_types(dtype, torch.float32)),
    )
    leaves = [tensor.requires_grad_() for tensor in learnt]
    out = lmht(*leaves, v0, LEVELS, path)  # type: ignore[call-arg]
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.to(scale.device, dtype))]


def _equal(one: Iterable[Tensor], other: Iterable[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def layers(scale: Scale) -> Counter[tuple[int, int]]:
    """Number of neuron layers by (input steps, neurons in the batch)."""
    found: Counter[tuple[int, int]] = Counter()
    model, windows, _ = network(scale, LMHT)

    def count(neuron: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found[neuron.steps_in, scale.batch_size * inputs[0][0].numel()] += 1  # type: ignore[index]

    for module in model.modules():
        if isinstance(module, Neuron):
            module.register_forward_pre_hook(count)
    with torch.no_grad():
        model(windows[:2])
    return found


def bandwidths(steps_in: int, many: int, scale: Scale) -> dict[str, dict[str, float]]:
    """Seconds and bytes to move of one layer of `many` neurons, forward and backward.

    In bfloat16; Ω and λ are learnt.
    """
    from lmht_deploy.training import _fused

    drawn = [
        (
            torch.randn(steps_in, many, device=scale.device, dtype=torch.bfloat16),
            torch.randn(STEPS, many, device=scale.device, dtype=torch.bfloat16),
        )
        for _ in range(max(2, scale.buffer // (4 * many * STEPS)))
    ]
    arguments = parameters(steps_in, scale.device)
    forward: list[Run] = [lambda x=x: _fused.amplitudes(x, *arguments, LEVELS) for x, _ in drawn]
    backward: list[Run] = [
        lambda x=x, grad=grad: _fused.amplitudes_backward(grad, x, *arguments, LEVELS, True, False)
        for x, grad in drawn
    ]
    return {
        "forward": {
            "seconds": seconds_each(forward, scale),
            "bytes": 2 * many * (steps_in + STEPS),
        },
        "backward": {
            "seconds": seconds_each(backward, scale),
            "bytes": 2 * many * (steps_in + STEPS + steps_in),
        },
    }


def all_layers(scale: Scale) -> list[dict[str, Any]]:
    return [
        {
            "steps_in": steps_in,
            "neurons": many,
            "layers": count,
            **bandwidths(steps_in, many, scale),
        }
        for (steps_in, many), count in layers(scale).items()
    ]


def other_tiles(scale: Scale) -> list[dict[str, Any]]:
    """The largest layer with every tile of `scale`."""
    from lmht_deploy.training import _fused

    largest = max(many for _, many in layers(scale))
    found = []
    for tile in scale.tiles:
        with mock.patch.object(_fused, "tile", lambda steps, steps_in, tile=tile: tile):
            found.append(
                {"neurons": tile[0], "warps": tile[1], **bandwidths(STEPS, largest, scale)}
            )
    return found


# --------------------------------------------------------------------------------------- whole step


class StepLoop(LMHT):
    """LM-HT in its plainest form: PyTorch's operators, step by step, and autograd."""

    def forward(self, x: Tensor) -> Tensor:
        drive = torch.einsum("ts,s...->t...", self.omega, x.unflatten(0, (self.steps_in, -1)))
        v = self.v0.expand(drive.shape[1:])
        out = []
        for now in drive:
            v = self.leak * v.detach() + now
            fired = _Spike.apply(v, self.threshold, self.levels)  # type: ignore[no-untyped-call]
            v = v - fired.detach()
            out.append(fired)
        return torch.stack(out).flatten(0, 1)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, threshold: Tensor, levels: int) -> Tensor:  # type: ignore[override]
        ctx.save_for_backward(v, threshold)
        ctx.levels = levels
        return (v / threshold).floor().clamp(0, levels) * threshold

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        v, threshold = ctx.saved_tensors
        return (
            grad * ((v >= 0.5 * threshold) & (v <= (ctx.levels + 0.5) * threshold)).to(grad.dtype),
            None,
            None,
        )


def network(scale: Scale, kind: type[LMHT]) -> tuple[nn.Module, Tensor, Tensor]:
    """Model, a batch of windows [B, 1, 3, 32, 32] and labels, on the device.

    The numbers are the same for every kind of neurons.
    """
    torch.manual_seed(0)
    blocks = (
        ARCHITECTURES["resnet-18"] if scale.device == "cuda" else (Convolution(4), Residual(6, 2))
    )
    size = 32 if scale.device == "cuda" else 8
    model = build_model(
        blocks, (3, size, size), 10, lambda steps_in: kind(LEVELS, STEPS, steps_in), steps_in=1
    )
    windows = torch.randn(scale.batch_size, 1, 3, size, size)
    return (
        model.to(scale.device),
        windows.to(scale.device),
        torch.randint(10, (scale.batch_size,)).to(scale.device),
    )


@contextmanager
def path(chosen: neurons.Path) -> Any:
    with mock.patch.object(Neuron, "path", chosen):
        yield


def step_of(scale: Scale, kind: type[LMHT], *, narrow: bool, compiled: bool = False) -> Run:
    """One training step: forward, loss, backward, SGD.

    `narrow` is bfloat16 under autocast, and channels-last.
    """
    model, windows, labels = network(scale, kind)
    if narrow:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    run = (
        torch.compile(
            model, backend="inductor" if scale.device == "cuda" else "aot_eager", dynamic=False
        )
        if compiled
        else model
    )
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )

    def step() -> None:
        with torch.autocast(scale.device, torch.bfloat16, enabled=narrow):
            loss = functional.cross_entropy(run(windows), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def whole_step(scale: Scale) -> dict[str, dict[str, float]]:
    """Seconds and peak memory of a training step, by variant."""
    variants: dict[str, Callable[[], Run]] = {
        "step loop, float32": lambda: step_of(scale, StepLoop, narrow=False),
        "step loop, bfloat16": lambda: step_of(scale, StepLoop, narrow=True),
        "ours, bfloat16": lambda: step_of(scale, LMHT, narrow=True),
        "ours, bfloat16, compiled": lambda: step_of(scale, LMHT, narrow=True, compiled=True),
    }
    found = {}
    with path("fused" if scale.fused else "auto"):
        for name, make in variants.items():
            if scale.device == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            found[name] = {
                "seconds": seconds(make(), scale),
                "bytes": torch.cuda.max_memory_allocated() if scale.device == "cuda" else 0,
            }
    return found


# ------------------------------------------------------------------------------------------- report


def measure(scale: Scale, after: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Measure everything, the most important parts first.

    `after` receives all figures so far when a part ends. If a part fails, its error is recorded and
    the others go on.
    """
    parts: dict[str, Callable[[Scale], Any]] = {"copy": copy_bandwidth, "step": whole_step}
    if scale.fused:
        parts = {
            "copy": copy_bandwidth,
            "correctness": correctness,
            "neurons": all_layers,
            "step": whole_step,
            "tiles": other_tiles,
        }
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name()
        if scale.device == "cuda"
        else "cpu, in a small form: the figures mean nothing",
        "torch": torch.__version__,
        "took": {},
    }
    for name, part in parts.items():
        begun = time.perf_counter()
        try:
            found[name] = part(scale)
        except Exception as error:  # of a driver or a compiler: the other parts are still useful
            found[name] = None
            found.setdefault("failed", {})[name] = f"{type(error).__name__}: {error}"
        found["took"][name] = time.perf_counter() - begun
        found["verdict"] = verdict(found)
        after(found)
    return found


def verdict(found: dict[str, Any]) -> dict[str, float]:
    """The figures that `TARGETS` limit, as far as they were measured.

    The training step is compared with the step loop of the same dtype.
    """
    figures = {}
    layers, step = found.get("neurons"), found.get("step")
    if layers and found["copy"]:
        for way in ("forward", "backward"):
            moved, taken = (
                sum(layer["layers"] * layer[way][what] for layer in layers)
                for what in ("bytes", "seconds")
            )
            figures[way] = moved / taken / found["copy"]
    if step:
        ours = min(one["seconds"] for one in ours_of(step))
        figures["step"] = step["step loop, bfloat16"]["seconds"] / ours
        if layers:
            figures["share"] = (
                sum(
                    layer["layers"] * (layer["forward"]["seconds"] + layer["backward"]["seconds"])
                    for layer in layers
                )
                / ours
            )
    return figures


def ours_of(step: dict[str, dict[str, float]]) -> list[dict[str, float]]:
    return [one for name, one in step.items() if name.startswith("ours")]


def show(found: dict[str, Any]) -> None:
    print(f"{found['device']}, PyTorch {found['torch']}")
    copy = found["copy"] or float("nan")
    print(f"copy: {copy / 1e9:.0f} GB/s, read and written")
    for dtype, said in (found.get("correctness") or {}).items():
        print(f"fused against plain, {dtype}: {said}")
    for name, columns in (
        ("neurons", ("layers", "steps_in", "neurons")),
        ("tiles", ("neurons", "warps")),
    ):
        for row in found.get(name) or ():
            shares = "   ".join(
                f"{way} {row[way]['seconds'] * 1e6:.1f} us = "
                f"{row[way]['bytes'] / row[way]['seconds'] / copy:.0%}"
                for way in TARGETS
                if way in row
            )
            sizes = ", ".join(f"{column} {row[column]}" for column in columns)
            print(f"{name}: {sizes}:   {shares} of the copy's bandwidth")
    for name, step in (found["step"] or {}).items():
        ours = min(one["seconds"] for one in ours_of(found["step"]))
        print(
            f"step: {name}: {step['seconds'] * 1e3:.2f} ms = {step['seconds'] / ours:.2f}x our "
            f"best, {step['bytes'] / 2**30:.2f} GiB"
        )
    for name, why in found.get("failed", {}).items():
        print(f"FAILED: {name}: {why}")
    for name, figure in found["verdict"].items():
        met = figure <= TARGETS[name] if name == "share" else figure >= TARGETS[name]
        print(f"{name}: {figure:.2f}, target {TARGETS[name]:.2f}: {'met' if met else 'missed'}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write all figures to FILE as well"
    )
    chosen = parser.parse_args(arguments)

    def after(found: dict[str, Any]) -> None:
        """Report and save the figures so far: the machine may stop before the end."""
        name, took = list(found["took"].items())[-1]
        print(f"{name}: measured in {took:.0f} s", file=sys.stderr, flush=True)
        if chosen.json:
            with atomic_write(chosen.json) as temporary:
                temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")

    found = measure(GPU if torch.cuda.is_available() else CPU, after)
    show(found)
    wrong = [said for said in (found.get("correctness") or {}).values() if said != "equal"]
    return 1 if found.get("failed") or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
