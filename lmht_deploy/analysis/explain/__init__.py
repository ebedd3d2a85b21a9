"""Which events decided? What a network answers for a window without parts of it.

`explain` leaves out cells of pixels, input steps, polarities, and cells in single steps. The
event-driven engine runs each of these windows, so that every change of a logit is exact. Deletion
and insertion curves compare the order of the cells with that of a gradient method and with random
orders.

A counterfactual says what the network answers without these events. It says nothing about why the
events occurred, and nothing about another network.

Example:
    >>> found = lmht.explain(net, windows[0])
    >>> cells = found.parts["cell"]
    >>> [divmod(int(cell), found.grid[1]) for cell in cells.ranking()[:3]]
    [(2, 2), (2, 1), (3, 2)]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import NoneType
from typing import TypeAlias, get_args

import numpy as np

from lmht_deploy._arguments import as_array, check_types
from lmht_deploy._packages import require_package
from lmht_deploy.errors import DataError
from lmht_deploy.formats.networks import load_any_network
from lmht_deploy.ir import Network
from lmht_deploy.result import check_windows
from lmht_deploy.zoo import network_path

from ._content import to_content
from ._curves import Order, draw_curves
from ._explanation import (
    Counterfactuals,
    Curve,
    Direction,
    Explanation,
    Flip,
    Method,
    count,
    margins,
)
from ._greedy import find_flip
from ._parts import KINDS, Kind, Parts, check_cell, default_cell, divide
from ._runner import EachAlone, Runner

__all__ = [
    "METHODS",
    "ORDERS",
    "Counterfactuals",
    "Curve",
    "Direction",
    "Explanation",
    "Flip",
    "Kind",
    "Method",
    "explain",
    "has_gradient",
    "to_content",
]

Report: TypeAlias = Callable[[str, int, int], None]
METHODS: tuple[Method, ...] = get_args(Method)
"""Names of the methods that order the cells for a curve."""
ORDERS = 10
"""Number of random orders."""


@check_types(
    DataError,
    net=(Network, str, Path),
    cell=(int, np.integer, NoneType),
    flip=bool,
    seed=(int, np.integer),
    progress=(Callable, NoneType),
)
def explain(
    net: Network | str | Path,
    window: np.ndarray,
    *,
    cell: int | None = None,
    methods: Sequence[Method] = ("counterfactual", "random"),
    flip: bool = True,
    seed: int = 0,
    threads: int = 1,
    progress: Report | None = None,
) -> Explanation:
    """Run a window without its cells, steps and polarities, and compare the logits.

    Args:
        net: An integer network, the path of a `.lmht` file of one, or "zoo:NAME".
        window: Integers within the range of the network's input.
        cell: Side of a cell in pixels. Default: that of about 8 x 8 cells.
        methods: Orders of the cells for deletion and insertion curves, see `Method`; none for no
            curves. The two gradient methods need PyTorch.
        flip: Whether to search a small set of cells without which the answer is another class.
        seed: Seed of the random orders.
        threads: Number of windows that are run at the same time.
        progress: Called as `progress(what, done, total)`.

    Returns:
        Exact counterfactuals of all parts, curves, and a set of cells that changes the answer.

    Raises:
        BackendError: The network is not an integer network, or the engine cannot run it.
        DataError: The window does not fit the network, the network has no pixels, or another
            argument is not valid; or PyTorch is not installed.
        StorageError: The file is missing or damaged.

    Shape:
        window: int `[T_in, C, H, W]`

    Example:
        >>> found = lmht.explain("net.lmht", windows[0], cell=4, threads=2)
        >>> found.parts["polarity"].margin_deltas.tolist()
        [-172, -3541]
    """
    net = net if isinstance(net, Network) else load_any_network(network_path(net))
    values = _check_window(net, window)
    side = check_cell(default_cell(values.shape) if cell is None else cell, values.shape)
    chosen = _check_methods(methods, net)
    if seed < 0:
        raise DataError(f"seed must be a number >= 0, not {seed}")
    work = _Work(net, values, side, Runner(net, values, threads), progress, int(seed))
    return work.explain(chosen, flip)


def _check_window(net: Network, window: object) -> np.ndarray:
    """Return the window as int64 `[T_in, C, H, W]`."""
    shape, source = net.window_shape, net.input
    if len(shape) != 4:
        raise DataError(
            f"the network takes {shape[1]} values without pixels per step; "
            "an explanation needs an input (C, H, W)"
        )
    if not source.min_value <= 0 <= source.max_value:
        raise DataError(
            "parts of a window are left out by setting them to 0, which the network's input of "
            f"{source.min_value}..{source.max_value} does not take"
        )
    values = as_array("window", window)
    if values.shape != shape:
        raise DataError(f"window must have shape {list(shape)}, not {list(values.shape)}")
    checked = check_windows(shape, source.min_value, source.max_value, values[None])[0]
    return np.asarray(checked, np.int64)


def has_gradient(net: Network) -> bool:
    """Whether the gradient methods can explain a network.

    The surrogate gradient is not defined for neurons that spread a current over sub-steps (the
    injection "uniform" of a reparameterized network).
    """
    return all(layer.injection == "block-start" for layer in net.neurons)


def _check_methods(methods: object, net: Network) -> list[Method]:
    if isinstance(methods, str) or not isinstance(methods, Sequence):
        raise DataError(f"methods must be a list of names, not {methods!r}")
    for method in methods:
        if method not in METHODS:
            raise DataError(f"there is no method {method!r}; methods are {', '.join(METHODS)}")
    chosen: list[Method] = list(dict.fromkeys(methods))
    if {"gradient", "integrated"} & set(chosen):
        require_package("torch", "train")
        if not has_gradient(net):
            raise DataError(
                "the network spreads its currents over sub-steps, where the surrogate gradient is "
                "not defined; explain the network before it was reparameterized"
            )
    return chosen


class _Work:
    """One explanation in the making."""

    def __init__(
        self,
        net: Network,
        window: np.ndarray,
        side: int,
        runner: Runner,
        progress: Report | None,
        seed: int,
    ) -> None:
        self._net, self._window, self._side, self._runner = net, window, side, runner
        self._progress, self._seed = progress, seed
        self._counts = count(window, net.input.kind)
        whole = self._divide("step")
        everything = np.ones(whole.number, bool)
        self._logits, self._empty = runner.logits(whole, np.stack([~everything, everything]))
        self._answer = int(self._logits.argmax())

    def explain(self, methods: Sequence[Method], flip: bool) -> Explanation:
        parts = {kind: self._counterfactuals(kind) for kind in KINDS}
        cells = parts["cell"]
        curves = [curve for method in methods for curve in self._curves(method, cells)]
        found = self._flip(cells) if flip else None
        return Explanation(
            window=self._window,
            kind=self._net.input.kind,
            cell=self._side,
            scale=self._net.readout.scale,
            logits=self._logits,
            empty=self._empty,
            parts=parts,
            curves=tuple(curves),
            flip=found,
            runs=self._runner.runs,
            seconds=self._runner.seconds,
        )

    def _divide(self, kind: Kind) -> Parts:
        return divide(kind, self._window.shape, self._side)

    def _report(self, what: str) -> Callable[[int, int], None] | None:
        return None if self._progress is None else partial(self._progress, what)

    def _counterfactuals(self, kind: Kind) -> Counterfactuals:
        """Run the window without each part; one without events would change nothing."""
        parts = self._divide(kind)
        events = parts.sums(self._counts).astype(np.int64)
        logits = np.broadcast_to(self._logits, (parts.number, len(self._logits))).copy()
        filled = np.flatnonzero(events)
        left_out, name = EachAlone(filled, parts.number), kind.replace("_", " x ")
        logits[filled] = self._runner.logits(parts, left_out, self._report(name))
        logits = logits.reshape(*parts.shape, -1)
        margin, answers = margins(logits, self._answer), logits.argmax(-1)
        return Counterfactuals(
            kind=kind,
            events=events.reshape(parts.shape),
            logits=logits,
            deltas=logits - self._logits,
            margins=margin,
            margin_deltas=margin - margins(self._logits, self._answer),
            answers=answers,
            changed=answers != self._answer,
        )

    def _curves(self, method: Method, cells: Counterfactuals) -> list[Curve]:
        events = cells.events.ravel()
        if not events.any():
            return []
        order = Order(method, self._order(method, cells))
        parts, scale = self._divide("cell"), self._net.readout.scale
        report = self._report(f"curves by {method}")
        return draw_curves(self._runner, parts, events, order, self._answer, scale, report)

    def _order(self, method: Method, cells: Counterfactuals) -> np.ndarray:
        if method == "counterfactual":
            return cells.ranking()[None]
        if method == "random":
            rng = np.random.default_rng(self._seed)
            filled = np.flatnonzero(cells.events)
            return rng.permuted(np.tile(filled, (ORDERS, 1)), axis=1)
        attribution = self._divide("cell").sums(self._attribute(method == "integrated"))
        order = np.argsort(-attribution, kind="stable")
        return order[cells.events.ravel()[order] > 0][None]

    def _attribute(self, integrated: bool) -> np.ndarray:
        from ._gradient import attribute

        others = np.argsort(-self._logits, kind="stable")
        other = int(others[1]) if len(others) > 1 else None
        return attribute(self._net, self._window, self._answer, other, integrated=integrated)

    def _flip(self, cells: Counterfactuals) -> Flip:
        parts, report = self._divide("cell"), self._report("cells that decide")
        return find_flip(self._runner, parts, cells.events.ravel(), self._answer, report)
