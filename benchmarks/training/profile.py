"""The kernels of a training step: their time by kind, and how long the GPU waits."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from .data import recipe_of
from .session import Session
from .step import RECIPE, bare, our_step
from .timing import Run, Scale

STEPS = 5

KINDS = {
    "neurons": r"^_?(forward|backward)$|amplitudes|^_(forward|backward)_",
    "batch norm": r"batch_?norm|bn_(fw|bw)|welford",
    "convolution": r"conv|xmma|cutlass|gemm|implicit|wgrad|dgrad|nchw|nhwc|cudnn|sm90|sm80",
    "optimizer and average": r"multi_tensor|foreach|fused_(sgd|adam)|lpnorm",
    "augmentation": r"index|gather|pad|rand|philox|grid|flip|histogram|sort|scatter",
    "copies and zeros": r"copy|memcpy|memset|fill",
}
"""Patterns of names of kernels, of which the first that is found decides."""


def profiles(session: Session) -> dict[str, Any]:
    """Profile the step of the recipe as it is trained, and without a graph and augmentation."""
    recipe = recipe_of(session, RECIPE)
    scale = session.scale
    return {
        "as trained": profile_of(our_step(scale, recipe), scale),
        "launched one by one, no augmentation": profile_of(
            our_step(scale, bare(recipe, cuda_graph=False)), scale
        ),
    }


def profile_of(step: Run, scale: Scale) -> dict[str, Any]:
    """Milliseconds per step by kind of kernel, launches per step, share of time without kernel."""
    for _ in range(3):
        step()
    gpu = scale.device == "cuda"
    activities = [ProfilerActivity.CUDA if gpu else ProfilerActivity.CPU]
    with profile(activities=activities) as found:
        for _ in range(STEPS):
            step()
        if gpu:
            torch.cuda.synchronize()
    kernels = [
        (event.name, event.time_range.start, event.time_range.end)
        for event in found.events()
        if not gpu or _is_kernel(event)
    ]
    return summarize(kernels)


def _is_kernel(event: Any) -> bool:
    on_gpu = event.device_type == torch.autograd.DeviceType.CUDA
    return on_gpu and not getattr(event, "is_user_annotation", False)


def summarize(kernels: list[tuple[str, float, float]]) -> dict[str, Any]:
    """Sum up kernels (name, start, end in us) of `STEPS` steps."""
    times: Counter[str] = Counter()
    names: Counter[str] = Counter()
    for name, start, end in kernels:
        times[kind_of(name)] += end - start
        names[name[:80]] += end - start
    first, last = min(start for _, start, _ in kernels), max(end for *_, end in kernels)
    per_step = {kind: time / STEPS / 1e3 for kind, time in times.most_common()}
    return {
        "milliseconds": per_step,
        "kernels": sum(per_step.values()),
        "wall": (last - first) / STEPS / 1e3,
        "idle": max(0.0, 1 - sum(times.values()) / max(last - first, 1e-9)),
        "launches": len(kernels) / STEPS,
        "longest": {name: time / STEPS / 1e3 for name, time in names.most_common(25)},
    }


def kind_of(name: str) -> str:
    """Kind of the kernel called `name`."""
    for kind, pattern in KINDS.items():
        if re.search(pattern, name, re.IGNORECASE):
            return kind
    return "other"
