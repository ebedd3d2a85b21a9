"""NetX files of others: read without Lava, and run step by step with the very integers of Lava's fixed-point simulation.

    file.py        layers of a NetX file as plain data; refuses what lava-dl would skip in silence
    dense.py       what lava-dl and Lava make of dense weights
    simulate.py    the simulation, event-driven, many samples at once: the face of
    core/          its C++

(The exact reading of files that lmht-deploy wrote is the backend `lava`; stock lava-dl, and this package, see hard-reset
neurons in them: docs/netx.md.)
"""

from .file import (
    CUBA,
    READOUT,
    Approximation,
    Conv,
    Dense,
    Encoding,
    Flatten,
    InputLayer,
    NetX,
    is_foreign,
    load_netx,
)
from .simulate import Recording, Simulator, isas

__all__ = [
    "CUBA",
    "READOUT",
    "Approximation",
    "Conv",
    "Dense",
    "Encoding",
    "Flatten",
    "InputLayer",
    "NetX",
    "Recording",
    "Simulator",
    "is_foreign",
    "isas",
    "load_netx",
]
