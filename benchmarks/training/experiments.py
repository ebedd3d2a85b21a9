"""Trainings that say what accuracy a network reaches: which ones, in what order, how long.

Experiments of one group are compared, so they have the same number of epochs. It follows from the
speed that was measured and from the group's share of what is left of the budget, and is written
down: a run that was interrupted is resumed with it.
"""

from __future__ import annotations

import dataclasses
import gc
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from lmht_deploy.training import Recipe, Run, SpikingModel, evaluate, load_recipe, load_run, train
from lmht_deploy.training import runs as run_files
from lmht_deploy.training.hybrid import start_from
from lmht_deploy.training.run_folder import RECIPE, STATE

from .data import Emulation, recipe_of, session_data
from .integers import Integers
from .session import Session, TooLittleTimeError

STARTUP = 8.0
"""Seconds of a training beside its epochs: model, capture, kernels that are compiled."""

TAIL = 15.0
"""Seconds after the last training, in which its integer network is evaluated."""

ASSUMED_EPOCH = 3.0
"""Seconds of an epoch on a GPU, if they could not be measured."""

CONVERSION_STEPS = (2, 4, 8, 16, 32)
"""Time-steps of the IF neurons to which a quantized ANN is converted."""


@dataclass(frozen=True)
class Group:
    """Experiments that are compared.

    Attributes:
        weight: Share of the time, relative to the other groups.
        min_epochs: Fewer are not worth a training.
        max_epochs: More are not needed.
    """

    weight: float
    min_epochs: int
    max_epochs: int


GROUPS = {
    "twins": Group(0.45, 8, 120),
    "ablation": Group(0.20, 5, 30),
    "events": Group(0.13, 10, 80),
    "levels": Group(0.12, 8, 120),
    "hybrids": Group(0.10, 5, 40),
}


@dataclass(frozen=True)
class Experiment:
    """One training.

    Attributes:
        recipe: Name of the recipe.
        group: Experiments that it is compared with.
        cost: Seconds of an epoch, relative to one of the recipe whose epochs are timed.
        share: Epochs as a share of those of the group.
        start: Experiment whose network it starts from.
    """

    recipe: str
    group: str
    cost: float = 1.0
    share: float = 1.0
    start: str = ""


EXPERIMENTS = {
    "lmht": Experiment("cifar10-fast", "twins"),
    "relu": Experiment("cifar10-fast-relu", "twins", 0.55),
    "short-lmht": Experiment("cifar10-fast", "ablation"),
    "short-mht": Experiment("cifar10-fast-mht", "ablation"),
    "short-if": Experiment("cifar10-fast-if", "ablation", 1.9),
    "short-sparse": Experiment("cifar10-fast-sparse", "ablation"),
    "dvs-small": Experiment("cifar10-dvs-small-fast", "events", 0.3),
    "dvs-resnet-18": Experiment("cifar10-dvs-fast", "events", 0.6),
    "l4": Experiment("cifar10-fast-l4", "levels"),
    "qcfs": Experiment("cifar10-fast-qcfs", "hybrids", 0.65),
    "hybrid": Experiment("cifar10-fast-hybrid", "hybrids", 1.0, 0.4, start="qcfs"),
}
"""By name, in the order of their value."""


class Experiments:
    """The experiments of a session.

    Args:
        session: The session.
        chosen: Names of the experiments that will run, which share the time.
    """

    def __init__(self, session: Session, chosen: Iterable[str]) -> None:
        self.session = session
        self.chosen = [name for name in EXPERIMENTS if name in set(chosen)]
        self.integers = Integers(session)
        unfinished = (name for name in self.chosen if session.read(name) is None)
        needs_events = any(EXPERIMENTS[name].group == "events" for name in unfinished)
        self._emulation = Emulation(session) if needs_events else None

    def run(self, name: str) -> dict[str, Any]:
        """Train one experiment, or resume its training, and start its integer evaluation."""
        session, experiment = self.session, EXPERIMENTS[name]
        epochs = self._epochs(experiment)
        recipe = self._recipe(name, epochs)
        session.require(self._seconds(experiment, recipe.training.epochs) + TAIL)
        if experiment.group == "events" and self._emulation is not None:
            self._emulation.finish()
        run = self._train(name, recipe)
        self.evaluate_integers(name)
        return _summary(run)

    def evaluate_integers(self, name: str) -> None:
        """Start the evaluation of the integer network of a trained experiment, if it has one."""
        folder = self.session.runs / name
        if not (folder / RECIPE).exists():
            return
        recipe = load_recipe(folder / RECIPE)
        if recipe.network.neuron != "relu":
            self.integers.submit(name, session_data(self.session, recipe).test)

    def conversion(self) -> dict[str, float]:
        """Test accuracy of the quantized ANN as IF neurons, and as LM-HT before any training."""
        session = self.session
        if not (session.runs / "qcfs" / STATE).exists():
            raise LookupError("there is no trained run of 'qcfs'")
        ann = load_run(session.runs / "qcfs")
        test = session_data(session, ann.recipe).test
        found = {"ann": ann.accuracy}
        for name, neurons in _conversions().items():
            model = _converted(ann, *neurons).to(session.scale.device)
            found[name] = evaluate(model, test).accuracy
        return found

    def stop(self) -> None:
        """End all processes."""
        self.integers.stop()
        if self._emulation is not None:
            self._emulation.stop()

    # -- epochs

    def _epochs(self, experiment: Experiment) -> int:
        """Epochs of an experiment: as planned for its group, or as many as its share allows."""
        plan = f"epochs-of-{experiment.group}"
        if (epochs := self.session.read(plan)) is None:
            epochs = self._plan(experiment.group)
            self.session.write(plan, epochs, 0.0)
        return max(1, round(epochs * experiment.share))

    def _plan(self, group: str) -> int:
        """Number of epochs for which the experiments of `group` fit into its share."""
        session, limits = self.session, GROUPS[group]
        members = [one for name, one in self._unfinished() if one.group == group]
        groups = {one.group for _, one in self._unfinished()}
        share = limits.weight / sum(GROUPS[name].weight for name in groups)
        pace = session.scale.pace
        seconds = (session.left - TAIL * pace) * share - STARTUP * pace * len(members)
        cost = sum(one.cost * one.share for one in members) * epoch_seconds(session)
        epochs, most = math.floor(seconds / cost), min(limits.max_epochs, session.scale.max_epochs)
        if epochs < min(limits.min_epochs, most):
            raise TooLittleTimeError(f"{seconds:.0f} s are too few for its group")
        return min(epochs, most)

    def _unfinished(self) -> list[tuple[str, Experiment]]:
        return [
            (name, EXPERIMENTS[name]) for name in self.chosen if self.session.read(name) is None
        ]

    def _seconds(self, experiment: Experiment, epochs: int) -> float:
        """Seconds of a training on a GPU."""
        per_epoch = experiment.cost * epoch_seconds(self.session) / self.session.scale.pace
        return STARTUP + epochs * per_epoch

    # -- training

    def _recipe(self, name: str, epochs: int) -> Recipe:
        """Recipe of an experiment; that of its run folder if its training was interrupted."""
        folder = self.session.runs / name
        if (folder / STATE).exists():
            return load_recipe(folder / RECIPE)
        recipe = recipe_of(self.session, EXPERIMENTS[name].recipe, epochs)
        compiled = compiling_pays(self.session, epochs)
        return dataclasses.replace(
            recipe, training=dataclasses.replace(recipe.training, compile=compiled)
        )

    def _train(self, name: str, recipe: Recipe) -> Run:
        session, folder = self.session, self.session.runs / name
        start = EXPERIMENTS[name].start
        run = train(
            recipe,
            session_data(session, recipe),
            folder,
            resume=(folder / STATE).exists(),
            start=load_run(session.runs / start).model if start else None,
            device=session.scale.device,
        )
        free_memory()
        return run


def free_memory() -> None:
    """Return the memory of a finished training, and forget what was compiled for it."""
    if "torch._dynamo" in sys.modules:  # slow to import
        torch.compiler.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def epoch_seconds(session: Session) -> float:
    """Seconds of an epoch, test included, after the first: measured, or assumed if that failed."""
    found = session.read("epochs")
    if found is None:
        return ASSUMED_EPOCH * session.scale.pace
    return float(sum(found["seconds"][1:]) / len(found["seconds"][1:]))


def compiling_pays(session: Session, epochs: int) -> bool:
    """Whether `epochs` epochs are faster with torch.compile, as far as it was measured."""
    plain, compiled = (session.read(name) for name in ("epochs", "epochs-compiled"))
    if plain is None or compiled is None:
        return False
    return bool(_total(compiled["seconds"], epochs) < _total(plain["seconds"], epochs))


def _total(seconds: list[float], epochs: int) -> float:
    return seconds[0] + (epochs - 1) * min(seconds[1:])


def _summary(run: Run) -> dict[str, Any]:
    """What is written of a trained run."""
    last = run.metrics[-1]
    density = last["density"]
    return {
        "neurons": run.recipe.network.neurons,
        "architecture": run.recipe.network.architecture,
        "epochs": run.recipe.training.epochs,
        "compile": run.recipe.training.compile,
        "accuracy": run.accuracy,
        "training_accuracy": last["accuracy"],
        "mean_k": sum(density.values()) / len(density) if density else None,
        "density": density,
        "seconds": sum(line["seconds"] for line in run.metrics),
        "windows_per_second": last["windows_per_second"],
        "parameters": sum(p.numel() for p in run.model.parameters()),
        "emulated": "emulated" in run.data,
        "test_accuracies": [line["test_accuracy"] for line in run.metrics],
        "training_accuracies": [line["accuracy"] for line in run.metrics],
    }


def _conversions() -> dict[str, tuple[str, int, int]]:
    """Kind of neurons, L and T by name."""
    found = {f"IF, T={steps}": ("if", 1, steps) for steps in CONVERSION_STEPS}
    return {**found, "LM-HT, L=2, T=2, untrained": ("lmht", 2, 2)}


def _converted(ann: Run, neuron: str, levels: int, steps: int) -> SpikingModel:
    """The network of `ann` with spiking neurons."""
    network = dataclasses.replace(ann.recipe.network, neuron=neuron, levels=levels, steps=steps)
    recipe = dataclasses.replace(ann.recipe, network=network)
    model = run_files.make(recipe, ann.input, len(ann.classes))
    start_from(model, ann.model)
    return model.eval()
