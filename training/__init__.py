"""Train LM-HT networks with PyTorch, and lower them to a `Network`.

    from lmht_deploy.training import LMHT, SpikingModel, load_recipe, lower, train

Names are imported when they are first used. Recipes and architectures do not need PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .architectures import ARCHITECTURES
    from .builder import build_model, count_parameters
    from .data import Data, load_data
    from .evaluation import Evaluation, evaluate
    from .hybrid import start_from
    from .loop import Progress, train
    from .lowering import lower
    from .model import SpikingModel
    from .neurons import IF, LMHT, MHT, QCFS, FixedLMHT, Neuron, ReLU
    from .recipe import Recipe, RecipeKey, available_recipes, load_recipe, recipe_keys
    from .runs import Run, load_run

__all__ = [
    "ARCHITECTURES",
    "IF",
    "LMHT",
    "MHT",
    "QCFS",
    "Data",
    "Evaluation",
    "FixedLMHT",
    "Neuron",
    "Progress",
    "ReLU",
    "Recipe",
    "RecipeKey",
    "Run",
    "SpikingModel",
    "available_recipes",
    "build_model",
    "count_parameters",
    "evaluate",
    "load_data",
    "load_recipe",
    "load_run",
    "lower",
    "recipe_keys",
    "start_from",
    "train",
]

_MODULES = {
    "architectures": ("ARCHITECTURES",),
    "builder": ("build_model", "count_parameters"),
    "data": ("Data", "load_data"),
    "hybrid": ("start_from",),
    "evaluation": ("Evaluation", "evaluate"),
    "loop": ("Progress", "train"),
    "lowering": ("lower",),
    "model": ("SpikingModel",),
    "neurons": ("IF", "LMHT", "MHT", "QCFS", "FixedLMHT", "Neuron", "ReLU"),
    "recipe": ("Recipe", "RecipeKey", "available_recipes", "load_recipe", "recipe_keys"),
    "runs": ("Run", "load_run"),
}
"""Names of every module."""

_WITHOUT_TORCH = ("architectures", "data", "recipe")

_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if module not in _WITHOUT_TORCH:
        from lmht_deploy._packages import require_package

        require_package("torch", "train")
    return getattr(importlib.import_module(f".{module}", __name__), name)


def __dir__() -> list[str]:
    return __all__
