"""Importers: networks of other tools as a `Network`, one module per format.

nir.py            NIR (`.nir`): the graph as a float network
_dynamics.py      what each framework computes for a neuron of NIR
_interpreter.py   the graph of NIR, computed step by step, with which the network is compared
"""

from __future__ import annotations

from .nir import from_nir

__all__ = ["from_nir"]
