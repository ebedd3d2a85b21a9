"""A whole training step by variant, and epochs of a recipe."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.nn import functional

from lmht_deploy.data import Windows
from lmht_deploy.training import (
    LMHT,
    Data,
    Recipe,
    evaluate,
    load_run,
    loop,
    runs,
    train,
)
from lmht_deploy.training.recipe import AugmentationRecipe
from lmht_deploy.training.run_folder import STATE

from .data import recipe_of, session_data
from .network import StepLoop, network
from .session import Session
from .timing import Run, Scale, seconds

RECIPE = "cifar10-fast"
"""The recipe whose step and epochs are timed."""

EPOCHS = 3

VARIANTS = {
    "step": {
        "ours": {"cuda_graph": False},
        "ours, one CUDA graph": {"cuda_graph": True},
    },
    "compiled": {
        "ours, compiled": {"cuda_graph": False, "compile": True},
        "ours, compiled, one CUDA graph": {"cuda_graph": True, "compile": True},
    },
}
"""Settings of training by variant and part; to compile a step takes a minute."""


def step_loop(scale: Scale, kind: type[LMHT], *, narrow: bool) -> Run:
    """One training step as it is usually written: forward, loss, backward, SGD.

    `narrow` is bfloat16 under autocast, and channels-last.
    """
    model, windows, labels = network(scale, kind)
    if narrow:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )

    def step() -> None:
        with torch.autocast(scale.device, torch.bfloat16, enabled=narrow):
            loss = functional.cross_entropy(model(windows), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def our_step(scale: Scale, recipe: Recipe) -> Run:
    """One training step of `recipe` as `lmht train` takes it, on one batch of random images."""
    data = random_images(recipe.training.batch_size)
    session = loop._Session(recipe, data, Path(), lambda progress: None, torch.device(scale.device))
    session.model.train()
    batch = next(iter(session.batches.epoch(1)))
    return lambda: session._train_step(0, batch)


def bare(recipe: Recipe, **training: Any) -> Recipe:
    """`recipe` without augmentation and without an average of the weights."""
    changed = dataclasses.replace(recipe.training, ema_decay=0.0, **training)
    return dataclasses.replace(recipe, augmentation=AugmentationRecipe(), training=changed)


def random_images(number: int) -> Data:
    """Images and labels that hold nothing to learn."""
    rng = np.random.default_rng(0)
    images = rng.integers(-128, 128, (number, 1, 3, 32, 32), dtype=np.int8)
    labels = rng.integers(10, size=number)
    split = Windows(images, labels, tuple(map(str, range(10))), "image")
    return Data(split, split[:10])


# ------------------------------------------------------------------------------------------- parts


def whole_step(session: Session) -> dict[str, dict[str, float]]:
    """Seconds and peak memory of a step: plain loops, ours, and ours as it is trained."""
    scale, recipe = session.scale, recipe_of(session, RECIPE)
    return _measure(
        scale,
        {
            "step loop, float32": lambda: step_loop(scale, StepLoop, narrow=False),
            "step loop, bfloat16": lambda: step_loop(scale, StepLoop, narrow=True),
            **_ours(scale, recipe, "step"),
            "ours, one CUDA graph, augmentation and average": lambda: our_step(scale, recipe),
        },
    )


def compiled_step(session: Session) -> dict[str, dict[str, float]]:
    """The same of compiled steps."""
    scale = session.scale
    with _compiler(scale):
        return _measure(scale, _ours(scale, recipe_of(session, RECIPE), "compiled"))


def _ours(scale: Scale, recipe: Recipe, part: str) -> dict[str, Callable[[], Run]]:
    return {
        name: partial(our_step, scale, bare(recipe, **training))
        for name, training in VARIANTS[part].items()
    }


def _measure(scale: Scale, variants: dict[str, Callable[[], Run]]) -> dict[str, dict[str, float]]:
    found = {}
    for name, make in variants.items():
        if scale.device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        found[name] = {
            "seconds": seconds(make(), scale),
            "bytes": torch.cuda.max_memory_allocated() if scale.device == "cuda" else 0,
        }
    return found


@contextmanager
def _compiler(scale: Scale) -> Iterator[None]:
    """Without a GPU nothing is generated."""
    if scale.device == "cuda":
        yield
        return
    with mock.patch("torch.compile", partial(torch.compile, backend="aot_eager")):
        yield


def epochs(session: Session, **training: Any) -> dict[str, Any]:
    """Seconds and windows per second of the first epochs of the recipe, test included."""
    recipe = recipe_of(session, RECIPE, epochs=EPOCHS)
    recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **training))
    data = session_data(session, recipe)
    with tempfile.TemporaryDirectory() as folder, _compiler(session.scale):
        run = train(recipe, data, Path(folder) / "run", device=session.scale.device)
    seconds_each = [line["seconds"] for line in run.metrics]
    return {
        "recipe": RECIPE,
        "seconds": seconds_each,
        "windows": len(data.train),
        "windows_per_second": len(data.train) / min(seconds_each[1:]),
        "mean_windows_per_second": len(data.train) * (EPOCHS - 1) / sum(seconds_each[1:]),
        "training_windows_per_second": [line["windows_per_second"] for line in run.metrics],
        "test_accuracy": [line["test_accuracy"] for line in run.metrics],
    }


def average(session: Session) -> dict[str, float]:
    """Test accuracy of the average of the weights and of the weights after one epoch."""
    recipe = recipe_of(session, RECIPE, epochs=1)
    data = session_data(session, recipe)
    device = session.scale.device
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        run = train(recipe, data, folder, device=device)
        tensors, _ = runs.read(folder / STATE)
        model = load_run(folder).model
    weights = {key.removeprefix("model."): value for key, value in tensors.items()}
    model.load_state_dict({key: weights[key] for key in model.state_dict()})
    raw = evaluate(model.to(device), data.test).accuracy
    return {"average": run.accuracy, "weights": raw, "ratio": run.accuracy / raw if raw else 0.0}
