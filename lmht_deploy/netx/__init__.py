"""NetX files of other tools: run without Lava, with the integers of Lava's simulation.

    simulate.py    the simulation: event-driven, many samples at once
    counting.py    its recordings as a `Result`
    core/          its C++ core

`lmht_deploy.formats.netx` reads the files. Stock lava-dl, and this package, see hard-reset CUBA
neurons in the files of LM-HT networks; the backends `event` and `lava` run those exactly.
"""

from lmht_deploy.formats.netx.stock import (
    CUBA,
    READOUT,
    ExactEncoding,
    NetX,
    NetXAverage,
    NetXConv,
    NetXDense,
    NetXFlatten,
    NetXInput,
    SigmaDelta,
    StockEncoding,
    is_foreign,
    load_netx,
)

from .simulate import Recording, Simulator, isas

__all__ = [
    "CUBA",
    "READOUT",
    "ExactEncoding",
    "NetX",
    "NetXAverage",
    "NetXConv",
    "NetXDense",
    "NetXFlatten",
    "NetXInput",
    "Recording",
    "SigmaDelta",
    "Simulator",
    "StockEncoding",
    "is_foreign",
    "isas",
    "load_netx",
]
