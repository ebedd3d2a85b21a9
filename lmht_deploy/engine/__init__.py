"""The event-driven engine: runs an integer network on a CPU and computes only what spikes reach.

A `Model` holds the packed weights of a network. An `Engine` runs windows of a model. Where
time-steps arrive one by one, an `IncrementalEngine` computes the first layer once for all windows
that overlap, and a `StepwiseEngine` runs each time-step through all layers. All return the integers
of `lmht_deploy.reference`, spike for spike, on every instruction set and for any number of threads.

Example:
    >>> model = engine.Model(net)
    >>> runner = engine.Engine(model, threads=2)
    >>> result = runner.run(windows)
"""

from __future__ import annotations

from ._engine import Engine, LayerProfile
from ._extension import unavailable
from ._incremental import IncrementalEngine
from ._model import PATHS, TIERS, ForcedPath, Model, isas
from ._stepwise import StepwiseEngine, StepwiseRing, check_stepwise

__all__ = [
    "PATHS",
    "TIERS",
    "Engine",
    "ForcedPath",
    "IncrementalEngine",
    "LayerProfile",
    "Model",
    "StepwiseEngine",
    "StepwiseRing",
    "check_stepwise",
    "isas",
    "unavailable",
]
