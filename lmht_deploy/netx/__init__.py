"""NetX files of others: read without Lava, and run step by step with the very integers of Lava's fixed-point simulation.

    file.py        layers of a NetX file as plain data; refuses what lava-dl would skip in silence
    simulate.py    the simulation, in NumPy, many samples at once

(The exact reading of files that lmht-deploy wrote is the backend `lava`; stock lava-dl, and this package, see hard-reset
neurons in them: docs/netx.md.)
"""

from .file import CUBA, READOUT, Conv, Dense, Flatten, InputLayer, NetX, load
from .simulate import Recording, run

__all__ = ["CUBA", "READOUT", "Conv", "Dense", "Flatten", "InputLayer", "NetX", "Recording", "load", "run"]
