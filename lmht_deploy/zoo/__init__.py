"""The zoo: trained integer networks with a card each.

"zoo:NAME" stands for a network wherever a network is read, and for its recording wherever events
are read: `lmht stream zoo:digits zoo:digits`. Small networks come with the package. Larger ones
have a card only, which states their checksum and the commands that build them.
"""

from __future__ import annotations

from ._cards import Card, Sample
from ._names import (
    PREFIX,
    cards,
    check_file,
    find_card,
    has_network,
    network_path,
    recording_path,
)

__all__ = [
    "PREFIX",
    "Card",
    "Sample",
    "cards",
    "check_file",
    "find_card",
    "has_network",
    "network_path",
    "recording_path",
]
