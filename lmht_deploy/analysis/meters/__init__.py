"""Measured energy: counters of the machine, where it has them.

    meters.rapl.open_meter()    the processor, by the RAPL counters of Linux
    meters.nvml.open_meter()    a GPU, by the counter of NVIDIA's driver

A meter either has counters or says why it has none.
"""

from __future__ import annotations

from ._meter import Counter, Meter

__all__ = ["Counter", "Meter"]
