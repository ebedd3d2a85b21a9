"""Deploy spiking networks trained with the LM-HT model, with the same integers on every backend.

    import lmht_deploy as lmht

    net = lmht.quantize(lmht.lower(model, lmht.Input(name="input", shape=(2, 16, 16), steps=4)))
    lmht.save(net, "net.lmht")
    lmht.export(net, "net.onnx")
    result = lmht.run(net, windows, backend="event")

Names are imported on first use: `import lmht_deploy` loads neither NumPy nor any optional package.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import data as data
    from . import plot as plot
    from ._api import load, lower, save
    from .analysis.compare import Comparison, compare
    from .analysis.explain import Explanation, explain
    from .analysis.runner import run
    from .engine import Engine
    from .errors import (
        BackendError,
        DataError,
        ExportError,
        LmhtError,
        LoweringError,
        NetworkError,
        QuantizationError,
        RecipeError,
        StorageError,
        TrainingError,
    )
    from .events.recordings import Recording, read_events
    from .exporters import ExportReport, export
    from .formats.windows import load_windows, save_windows
    from .importers import from_nir
    from .ir import (
        Bounds,
        Conv,
        Flatten,
        Input,
        Linear,
        MaxPool,
        Network,
        Neurons,
        Readout,
        Scale,
        SumPool,
    )
    from .quantize import quantize
    from .reparameterize import reparameterize
    from .result import Result
    from .scale import Evaluation, SearchResult, evaluate, search

__version__ = "0.1.0"

__all__ = [
    "BackendError",
    "Bounds",
    "Comparison",
    "Conv",
    "DataError",
    "Engine",
    "Evaluation",
    "Explanation",
    "ExportError",
    "ExportReport",
    "Flatten",
    "Input",
    "Linear",
    "LmhtError",
    "LoweringError",
    "MaxPool",
    "Network",
    "NetworkError",
    "Neurons",
    "QuantizationError",
    "Readout",
    "RecipeError",
    "Recording",
    "Result",
    "Scale",
    "SearchResult",
    "StorageError",
    "SumPool",
    "TrainingError",
    "__version__",
    "compare",
    "data",
    "evaluate",
    "explain",
    "export",
    "from_nir",
    "load",
    "load_windows",
    "lower",
    "plot",
    "quantize",
    "read_events",
    "reparameterize",
    "run",
    "save",
    "save_windows",
    "search",
]

_PACKAGES = ("data", "plot")
"""Public packages that are imported on first use."""
_SOURCES = {
    "_api": ("load", "lower", "save"),
    "analysis.compare": ("Comparison", "compare"),
    "analysis.explain": ("Explanation", "explain"),
    "analysis.runner": ("run",),
    "engine": ("Engine",),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "events.recordings": ("Recording", "read_events"),
    "exporters": ("ExportReport", "export"),
    "importers": ("from_nir",),
    "formats.windows": ("load_windows", "save_windows"),
    "ir": (
        *("Bounds", "Conv", "Flatten", "Input", "Linear", "MaxPool", "Network", "Neurons"),
        *("Readout", "Scale", "SumPool"),
    ),
    "quantize": ("quantize",),
    "reparameterize": ("reparameterize",),
    "result": ("Result",),
    "scale": ("Evaluation", "SearchResult", "evaluate", "search"),
}
_HOMES = {name: module for module, names in _SOURCES.items() for name in names}
"""Module of each public name."""


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name in _PACKAGES:
        return importlib.import_module(f".{name}", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


class _Package(ModuleType):
    """Keeps `lmht.quantize` the function after the module `lmht_deploy.quantize` is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
