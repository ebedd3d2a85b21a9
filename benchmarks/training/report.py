"""Results of a folder as text, for benchmarks/results/."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .experiments import EXPERIMENTS
from .integers import PREFIX

TARGETS = {"forward": 0.85, "backward": 0.85, "step": 6.0, "share": 0.15, "augmentation": 0.1}
"""Shares of the copy's bandwidth, speed relative to the step loop, largest shares of the step that
the neurons and the augmentation may take."""

AT_MOST = ("share", "augmentation")

WINDOWS_PER_SECOND = 28_000
"""Target of whole epochs, test included."""


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the results of `folder` by part."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")))
    return {content["part"]: content for content in found}


def to_text(folder: Path) -> str:
    """Return every result of `folder` as text."""
    results = read_results(folder)
    if not results:
        return f"{folder}: there are no results"
    found = {name: one["result"] for name, one in results.items() if one.get("result") is not None}
    failed = {name: one["failed"] for name, one in results.items() if "failed" in one}
    lines = [
        *_environment(results),
        *_kernels(found),
        *_steps(found),
        *_profiles(found),
        *_epochs(found),
        *_experiments(found),
        *(f"FAILED: {name}: {why}" for name, why in failed.items()),
        *_verdict(found),
    ]
    return "\n".join(lines)


def _environment(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    last = max(results.values(), key=lambda one: one["date"])
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    yield f"{last['device']}; {last['cpu']}, {last['cores']} cores"
    yield f"{last['date']}, commit {last['commit'] or 'unknown'}; {versions}"
    took = (f"{name} {one['seconds']:.0f}" for name, one in results.items() if one["seconds"])
    yield "seconds: " + ", ".join(took)


def _kernels(found: dict[str, Any]) -> Iterator[str]:
    copy = found.get("copy") or float("nan")
    if "copy" in found:
        yield f"\ncopy: {copy / 1e9:.0f} GB/s, read and written"
    for dtype, said in found.get("correctness", {}).items():
        yield f"fused against plain, {dtype}: {said}"
    for part, columns in (
        ("kernels", ("layers", "steps_in", "neurons")),
        ("tiles", ("neurons", "warps")),
    ):
        for row in found.get(part, ()):
            sizes = ", ".join(f"{column} {row[column]}" for column in columns)
            yield f"{part}: {sizes}:   {_shares(row, copy)} of the copy's bandwidth"


def _shares(row: dict[str, Any], copy: float) -> str:
    return "   ".join(
        f"{way} {row[way]['seconds'] * 1e6:.1f} us = "
        f"{row[way]['bytes'] / row[way]['seconds'] / copy:.0%}"
        for way in ("forward", "backward")
    )


def _steps(found: dict[str, Any]) -> Iterator[str]:
    steps = {**found.get("step", {}), **found.get("compiled", {})}
    loop = steps.get("step loop, bfloat16", {}).get("seconds")
    if steps:
        yield f"\n{'step of ResNet-18, batch size 256':48s} {'ms':>8s} {'speed':>8s} {'GiB':>8s}"
    for name, step in steps.items():
        speed = f"{loop / step['seconds']:.2f}x" if loop else ""
        yield f"{name:48s} {step['seconds'] * 1e3:8.2f} {speed:>8s} {step['bytes'] / 2**30:8.2f}"


def _profiles(found: dict[str, Any]) -> Iterator[str]:
    for name, one in found.get("profile", {}).items():
        yield (
            f"\nkernels of a step, {name}: {one['kernels']:.2f} of {one['wall']:.2f} ms, "
            f"{one['launches']:.0f} launches, GPU idle {one['idle']:.0%}"
        )
        for kind, milliseconds in one["milliseconds"].items():
            yield f"  {kind:24s} {milliseconds:7.3f} ms"


def _epochs(found: dict[str, Any]) -> Iterator[str]:
    for part in ("epochs", "epochs-compiled"):
        if one := found.get(part):
            seconds = ", ".join(f"{value:.2f}" for value in one["seconds"])
            accuracies = ", ".join(f"{value:.2%}" for value in one["test_accuracy"])
            yield (
                f"\n{part} of {one['recipe']}, augmentation and test included: {seconds} s; best "
                f"{one['windows_per_second']:,.0f}, mean {one['mean_windows_per_second']:,.0f} "
                f"windows/s; test accuracy {accuracies}"
            )
    if one := found.get("average"):
        yield (
            f"after one epoch: average of the weights {one['average']:.2%}, "
            f"weights {one['weights']:.2%}"
        )


COLUMNS = (
    f"\n{'experiment':14s} {'network':38s} {'epochs':>6s} {'s':>5s} {'train':>7s} {'test':>7s} "
    f"{'integer':>8s} {'mean k':>7s} {'10^6 SOPs':>10s} {'uJ':>7s} {'ms':>6s}"
)


def _experiments(found: dict[str, Any]) -> Iterator[str]:
    names = [name for name in EXPERIMENTS if name in found]
    if names:
        yield COLUMNS
    for name in names:
        yield _row(name, found[name], found.get(PREFIX + name))
    for name, accuracy in found.get("conversion", {}).items():
        yield f"conversion of the quantized ANN: {name}: {accuracy:.2%}"
    if any(name.startswith("dvs") for name in names):
        yield "dvs: recordings of CIFAR10-DVS emulated from images of CIFAR-10, not the real ones"


def _row(name: str, one: dict[str, Any], integer: dict[str, Any] | None) -> str:
    network = f"{one['architecture']}, {one['neurons']}"
    k = "" if one["mean_k"] is None else f"{one['mean_k']:.3f}"
    row = (
        f"{name:14s} {network:38s} {one['epochs']:6d} {one['seconds']:5.0f} "
        f"{one['training_accuracy']:7.2%} {one['accuracy']:7.2%}"
    )
    if integer is None:
        return f"{row} {'':8s} {k:>7s}".rstrip()
    return (
        f"{row} {integer['accuracy']:8.2%} {k:>7s} {integer['sops'] / 1e6:10.2f} "
        f"{integer['energy_nj'] / 1e3:7.2f} {integer['ms_one_thread']:6.2f}"
    )


def verdict(found: dict[str, Any]) -> dict[str, float]:
    """Return the figures that `TARGETS` limit, as far as they were measured."""
    steps = {**found.get("step", {}), **found.get("compiled", {})}
    ours = {name: one["seconds"] for name, one in steps.items() if name.startswith("ours")}
    figures = {}
    layers = found.get("kernels") or []
    if layers and found.get("copy"):
        for way in ("forward", "backward"):
            moved, taken = (
                sum(layer["layers"] * layer[way][what] for layer in layers)
                for what in ("bytes", "seconds")
            )
            figures[way] = moved / taken / found["copy"]
    if ours:
        best = min(ours.values())
        figures["step"] = steps["step loop, bfloat16"]["seconds"] / best if found.get("step") else 0
        if layers:
            figures["share"] = _seconds_of(layers) / best
    if found.get("step"):
        graph, trained = (ours["ours, one CUDA graph" + rest] for rest in ("", TRAINED))
        figures["augmentation"] = (trained - graph) / trained
    return figures


TRAINED = ", augmentation and average"


def _seconds_of(layers: list[dict[str, Any]]) -> float:
    return float(
        sum(
            layer["layers"] * (layer["forward"]["seconds"] + layer["backward"]["seconds"])
            for layer in layers
        )
    )


def _verdict(found: dict[str, Any]) -> Iterator[str]:
    yield ""
    for name, figure in verdict(found).items():
        met = figure <= TARGETS[name] if name in AT_MOST else figure >= TARGETS[name]
        yield f"{name}: {figure:.2f}, target {TARGETS[name]:.2f}: {'met' if met else 'missed'}"
    rates = [
        found[part]["windows_per_second"] for part in ("epochs", "epochs-compiled") if part in found
    ]
    if rates:
        met = max(rates) >= WINDOWS_PER_SECOND
        yield (
            f"windows/s: {max(rates):,.0f}, target {WINDOWS_PER_SECOND:,}: "
            f"{'met' if met else 'missed'}"
        )
