"""Accuracy of the dense twin: the network of the same shape that is not spiking.

The energy models of the view "dense" price one pass of this twin. Energies of networks can be
compared at equal accuracy only, and counts of a spiking network do not tell the accuracy of its
twin.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["UNKNOWN", "Twin"]


@dataclass(frozen=True)
class Twin:
    """What is known of the dense twin.

    Attributes:
        accuracy: Its accuracy, 0..1; None if it is not known.
        source: Where the accuracy comes from; empty if it is not known.
    """

    accuracy: float | None
    source: str


UNKNOWN = Twin(None, "")
"""A twin that nobody trained."""
