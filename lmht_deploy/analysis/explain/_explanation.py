"""What an explanation holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from lmht_deploy.ir import InputKind

from ._parts import Kind

Method: TypeAlias = Literal["counterfactual", "gradient", "integrated", "random"]
"""How the cells of a window are ordered, the most important first.

* `counterfactual`: by the change of the margin when the cell alone is left out
* `gradient`: by input times gradient of the margin, with the surrogate gradient of training
* `integrated`: by integrated gradients of the margin from an empty window, with the same gradient
* `random`: at random, several times
"""
Direction: TypeAlias = Literal["deletion", "insertion"]
"""Whether cells are left out of the window one after another, or added to an empty one."""


def margins(logits: np.ndarray, label: int) -> np.ndarray:
    """Return the logit of class `label` minus the largest other logit; the logit if K = 1.

    Args:
        logits: int64 `[..., K]`.
        label: Class.

    Returns:
        int64 `[...]`; negative where another class is the answer.
    """
    own: np.ndarray = logits[..., label]
    others = np.delete(logits, label, axis=-1)
    return own - others.max(-1) if others.shape[-1] else own


@dataclass(frozen=True, eq=False)
class Counterfactuals:
    """What the network answers without each part of a window.

    Arrays have the shape of the parts: `[rows, columns]` for cells, `[T_in]` for steps, `[C]` for
    polarities, `[T_in, rows, columns]` for cells in steps.

    Attributes:
        kind: Kind of the parts.
        events: Number of events in the part, int64; for an image, of values that become 0.
        logits: Logits without the part, int64 `[..., K]`.
        deltas: These logits minus those of the whole window, int64 `[..., K]`.
        margins: Logit of the window's answer minus the largest other logit, without the part,
            int64. It is negative where another class is the answer.
        margin_deltas: These margins minus that of the whole window, int64. Parts with negative
            values support the answer.
        answers: Class of the largest logit without the part, int64.
        changed: Whether the answer is another one than that for the whole window, bool.
    """

    kind: Kind
    events: np.ndarray
    logits: np.ndarray
    deltas: np.ndarray
    margins: np.ndarray
    margin_deltas: np.ndarray
    answers: np.ndarray
    changed: np.ndarray

    def ranking(self) -> np.ndarray:
        """Return the flat indices of the parts with events, those that support the answer first."""
        order = np.argsort(self.margin_deltas, axis=None, kind="stable")
        return order[self.events.ravel()[order] > 0]


@dataclass(frozen=True, eq=False)
class Curve:
    """Margins of a window while its cells are left out, or added, in the order of a method.

    There are n points in each of R orders; R is 1 for every method but `random`.

    Attributes:
        method: Order of the cells.
        direction: Whether cells are left out or added.
        order: Flat indices of the cells with events, in each order, int64 `[R, m]`.
        cells: Number of cells left out or added, int64 `[n]`, from 0 to all.
        events: Number of events left out or added, int64 `[R, n]`.
        logits: Logit of the window's answer, int64 `[R, n]`.
        margins: Logit of that class minus the largest other logit, int64 `[R, n]`.
        answers: Class of the largest logit, int64 `[R, n]`.
        scale: Real value of one unit of a logit.
    """

    method: Method
    direction: Direction
    order: np.ndarray
    cells: np.ndarray
    events: np.ndarray
    logits: np.ndarray
    margins: np.ndarray
    answers: np.ndarray
    scale: float

    @property
    def shares(self) -> np.ndarray:
        """Share of the events that are left out or added, float64 `[R, n]`."""
        shares: np.ndarray = self.events / self.events[:, -1:]
        return shares

    @property
    def areas(self) -> np.ndarray:
        """Area under the margin (real values) over the share of events, float64 `[R]`.

        It is the mean margin along the curve. A faithful order has a small area of deletion and a
        large area of insertion.
        """
        x, y = self.shares, self.margins * self.scale
        areas: np.ndarray = ((y[:, 1:] + y[:, :-1]) / 2 * np.diff(x)).sum(1)
        return areas


@dataclass(frozen=True, eq=False)
class Flip:
    """A set of cells without which the network answers another class, found greedily.

    Cell after cell is left out, each time the one that leaves the smallest margin. Then every cell
    that is not needed is put back. Each step runs the network. A smaller set may exist.

    Attributes:
        status: "found"; "none" if no set that was tried changes the answer; "limit" if the search
            was stopped before an answer changed.
        cells: Rows and columns of the cells, int64 `[n, 2]`, in the order of the search; empty if
            none was found.
        smallest: Whether no smaller set exists. That is known for sets of one or two cells only,
            as each cell was left out alone.
        events: Number of events in the cells.
        logits: Logits without the cells, int64 `[K]`; None if none was found.
        answer: Class of the largest logit without the cells; None if none was found.
        runs: Number of sets that were tried.
    """

    status: Literal["found", "none", "limit"]
    cells: np.ndarray
    smallest: bool
    events: int
    logits: np.ndarray | None
    answer: int | None
    runs: int


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a network answers for one window without parts of it: exact counterfactuals.

    They say what the network answers without these events. They do not say why the events occurred,
    or what another network would answer.

    Attributes:
        window: The window, int64 `[T_in, C, H, W]`.
        kind: Kind of the input. Parts of an `"image"` are set to 0, which is mid-gray.
        cell: Side of a cell in pixels.
        scale: Real value of one unit of a logit.
        logits: Logits of the whole window, int64 `[K]`.
        empty: Logits of a window of zeros, int64 `[K]`.
        parts: Counterfactuals by kind of part.
        curves: Deletion and insertion curves.
        flip: A set of cells that decides the answer; None if it was not searched.
        runs: Number of windows that were run.
        seconds: Wall time of these runs.
    """

    window: np.ndarray
    kind: InputKind
    cell: int
    scale: float
    logits: np.ndarray
    empty: np.ndarray
    parts: dict[Kind, Counterfactuals]
    curves: tuple[Curve, ...]
    flip: Flip | None
    runs: int
    seconds: float

    @property
    def answer(self) -> int:
        """Class of the largest logit; the lowest class if several are equal."""
        return int(self.logits.argmax())

    @property
    def runner_up(self) -> int | None:
        """Class of the second largest logit; None if there is one class only."""
        order = np.argsort(-self.logits, kind="stable")
        return int(order[1]) if len(order) > 1 else None

    @property
    def margin(self) -> int:
        """Largest logit minus the second largest; the logit if there is one class only."""
        return int(margins(self.logits, self.answer))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        height, width = self.window.shape[2:]
        return -(-height // self.cell), -(-width // self.cell)

    @property
    def events(self) -> int:
        """Number of events of the window; for an image, of values that are not 0."""
        return int(count(self.window, self.kind).sum())

    def pixels(self, row: int, column: int) -> tuple[int, int, int, int]:
        """Return the first and the last column, and the first and the last row of a cell."""
        height, width = self.window.shape[2:]
        x, y = column * self.cell, row * self.cell
        return x, min(x + self.cell, width) - 1, y, min(y + self.cell, height) - 1


def count(window: np.ndarray, kind: InputKind) -> np.ndarray:
    """Return how many events each value of a window stands for; 1 for a pixel that is not 0."""
    return window if kind == "events" else (window != 0).astype(np.int64)
