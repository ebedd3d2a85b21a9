"""Evaluate whole data sets and hundreds of networks, on one machine or many.

`evaluate` cuts networks x windows into shards, runs them on an executor (processes of this machine,
Ray, Slurm), and keeps the result of each shard in a file that is addressed by its content. The
table sums them up. All sums are integers, so that it does not depend on how the work was cut.
Names are imported on first use: a worker starts without what only the driver needs.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._audit import Audit
    from ._evaluate import Evaluation, State, evaluate
    from ._search import Candidate, SearchResult, search
    from ._table import Row, write_table
    from ._variants import Variant

__all__ = [
    "Audit",
    "Candidate",
    "Evaluation",
    "Row",
    "SearchResult",
    "State",
    "Variant",
    "evaluate",
    "search",
    "write_table",
]

_SOURCES = {
    "Audit": "_audit",
    "Evaluation": "_evaluate",
    "Candidate": "_search",
    "SearchResult": "_search",
    "Variant": "_variants",
    "Row": "_table",
    "State": "_evaluate",
    "evaluate": "_evaluate",
    "search": "_search",
    "write_table": "_table",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in _SOURCES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_SOURCES[name]}", __name__), name)
