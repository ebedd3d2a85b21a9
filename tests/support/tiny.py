"""The smallest network that has every part, with fields to be replaced one at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from lmht_deploy.ir import Conv, Flatten, Input, Layer, Linear, Network, Neurons, Readout, Shape


def neurons(
    name: str = "a", channels: int = 2, steps: int = 2, steps_in: int = 2, **fields: Any
) -> Neurons:
    """IF neurons under a 1 x 1 convolution of the input, with `fields` replaced."""
    values: dict[str, Any] = {
        "synapses": (Conv(source="in", weight=np.ones((channels, 1, 1, 1), int)),),
        "bias": np.zeros(channels, int),
        "threshold": np.full(channels, 3),
        "omega": np.ones((steps, steps_in), int),
        "leak": 4096,
        "v0": np.zeros(channels, int),
        "levels": 1,
    }
    return Neurons(name=name, **(values | fields))


def network(*layers: Layer, shape: Shape = (1, 2, 2), steps: int = 2) -> Network:
    """`layers` between an input and a read-out of eight spike counts."""
    last = layers[-1].name if layers else "in"
    readout = Readout(
        name="out",
        synapses=(Linear(source="flat", weight=np.ones((3, 8), int)),),
        bias=np.zeros(3, int),
    )
    source = Input(name="in", shape=shape, steps=steps)
    return Network((source, *layers, Flatten(name="flat", source=last), readout))
