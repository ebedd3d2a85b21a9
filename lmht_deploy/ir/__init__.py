"""The deployable network as plain data: its layers, their checks and the proof of 32-bit bounds.

This package knows nothing of training, files or backends (docs/semantics.md).
"""

from ._checks import INT32_MAX
from .bounds import Bounds
from .layers import (
    LEAK_ONE,
    MAX_INPUT,
    MAX_LEAK,
    MAX_OMEGA,
    MAX_STEPS,
    Flatten,
    Injection,
    Input,
    InputKind,
    Layer,
    MaxPool,
    Neurons,
    Readout,
    Reset,
    SumPool,
    leak_integer,
    sources,
)
from .network import (
    WINDOW_STEPS,
    Network,
    class_names,
    first_bins,
    require_network,
    require_plain_resets,
    window_steps,
)
from .records import Pair, Shape
from .synapses import MAX_EXPONENT, Conv, Linear, Scale, Synapse

__all__ = [
    "INT32_MAX",
    "LEAK_ONE",
    "MAX_EXPONENT",
    "MAX_INPUT",
    "MAX_LEAK",
    "MAX_OMEGA",
    "MAX_STEPS",
    "WINDOW_STEPS",
    "Bounds",
    "Conv",
    "Flatten",
    "Injection",
    "Input",
    "InputKind",
    "Layer",
    "Linear",
    "MaxPool",
    "Network",
    "Neurons",
    "Pair",
    "Readout",
    "Reset",
    "Scale",
    "Shape",
    "SumPool",
    "Synapse",
    "class_names",
    "first_bins",
    "leak_integer",
    "require_network",
    "require_plain_resets",
    "sources",
    "window_steps",
]
