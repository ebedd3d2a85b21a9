"""Evaluate whole data sets and hundreds of networks, on one machine or many.

`evaluate` cuts networks x windows into shards, runs them on an executor (processes of this machine,
Ray, Slurm), and keeps the result of each shard in a file that is addressed by its content. The
table sums them up. All sums are integers, so that it does not depend on how the work was cut.
"""

from __future__ import annotations

from ._audit import Audit
from ._evaluate import Evaluation, State, evaluate
from ._table import Row, write_table

__all__ = ["Audit", "Evaluation", "Row", "State", "evaluate", "write_table"]
