"""Deletion and insertion curves: cells left out or added in the order of their importance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ._explanation import Curve, Direction, Method, margins
from ._parts import Parts
from ._runner import Progress, Runner

MAX_POINTS = 100
"""Largest number of points of a curve, besides its beginning."""
DIRECTIONS: tuple[Direction, ...] = ("deletion", "insertion")


class Order(NamedTuple):
    """Orders of the cells by one method: indices of cells with events, int64 `[R, m]`."""

    method: Method
    cells: np.ndarray


def draw_curves(
    runner: Runner,
    parts: Parts,
    events: np.ndarray,
    order: Order,
    answer: int,
    scale: float,
    progress: Progress | None = None,
) -> list[Curve]:
    """Run the curves of one method, in both directions.

    Args:
        runner: Runs the window.
        parts: Division into cells.
        events: Number of events of each cell, int64 `[number of cells]`.
        order: Orders of the cells.
        answer: Class whose margin is followed.
        scale: Real value of one unit of a logit.
        progress: Called as `progress(done, total)` with numbers of runs of one curve.
    """
    number = order.cells.shape[1]
    cells = np.unique(np.linspace(0, number, min(number, MAX_POINTS) + 1).round().astype(np.int64))
    chosen = _chosen(order.cells, cells, parts.number)
    curves = []
    for direction in DIRECTIONS:
        left_out = chosen if direction == "deletion" else ~chosen
        logits = runner.logits(parts, left_out.reshape(-1, parts.number), progress)
        logits = logits.reshape(*left_out.shape[:2], -1)
        curves.append(
            Curve(
                method=order.method,
                direction=direction,
                order=order.cells,
                cells=cells,
                events=chosen @ events,
                logits=logits[..., answer],
                margins=margins(logits, answer),
                answers=logits.argmax(-1),
                scale=scale,
            )
        )
    return curves


def _chosen(orders: np.ndarray, cells: np.ndarray, number: int) -> np.ndarray:
    """Return which cells are the first `cells` of each order, bool `[R, n, number]`."""
    rank = np.full((len(orders), number), number)
    np.put_along_axis(rank, orders, np.arange(orders.shape[1])[None], 1)
    chosen: np.ndarray = rank[:, None] < cells[:, None]
    return chosen
