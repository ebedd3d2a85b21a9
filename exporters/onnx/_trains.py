"""Spikes of a layer in an ONNX graph, per step (k) or since the start of the window (N).

    N[t] = k[1] + ... + k[t]

Synapses and sum pooling are linear and act on k and N alike. A layer takes the form that its
encoding needs, and only the steps that it needs. Conversions are added to the graph on demand.
Tensors are [B, steps, P, C]: P pixels (H·W, or 1 in a flat layer), channels last.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np

from lmht_deploy.ir import Pair

from ._graph import Graph

Form: TypeAlias = Literal["k", "N"]
"""Spikes per step, or since the start of the window."""


class Train(ABC):
    """Spikes of one layer.

    Attributes:
        steps: Number of steps.
        range: Smallest and largest k of a step.
        scope: Part of the layer that its nodes belong to.
    """

    def __init__(self, graph: Graph, steps: int, span: Pair) -> None:
        self.g, self.steps, self.range, self.scope = graph, steps, span, graph.scope
        self._ones: dict[tuple[Form, int], str] = {}
        self._stacks: dict[tuple[Form, tuple[int, ...]], str] = {}

    def span(self, form: Form) -> Pair:
        """Return the smallest and the largest value of `form`."""
        low, high = self.range
        return (low, high) if form == "k" else (min(low, low * self.steps), high * self.steps)

    def dtype(self, form: Form) -> np.dtype:
        """Return the dtype of `stack`."""
        return count_dtype(self.span(form))

    def stack(self, form: Form, steps: tuple[int, ...] | None = None) -> str:
        """Return the given steps, by default all, [B, len(steps), P, C] of `dtype(form)`."""
        steps = tuple(range(self.steps)) if steps is None else steps
        if (form, steps) not in self._stacks:
            with self.g.within(self.scope):
                self._stacks[form, steps] = self._stack(form, steps)
        return self._stacks[form, steps]

    def one(self, form: Form, step: int) -> str:
        """Return one step, [B, 1, P, C], in the dtype that the graph adds `dtype(form)` in."""
        if (form, step) not in self._ones:
            with self.g.within(self.scope):
                self._ones[form, step] = self._one(form, step)
        return self._ones[form, step]

    @abstractmethod
    def _stack(self, form: Form, steps: tuple[int, ...]) -> str: ...

    @abstractmethod
    def _one(self, form: Form, step: int) -> str: ...

    def _joined(self, form: Form, steps: tuple[int, ...]) -> str:
        ones = [self.one(form, step) for step in steps]
        joined = ones[0] if len(ones) == 1 else self.g("Concat", *ones, axis=1)
        return self.g.convert(joined, self._adds_in(form), self.dtype(form))

    def _adds_in(self, form: Form) -> np.dtype:
        return self.g.adds_in(self.dtype(form))

    def _converted(self, form: Form, step: int) -> str:
        """Return one step of `form` from the other form."""
        if form == "N" and step and ("N", step - 1) not in self._ones:
            for earlier in range(step):  # in order, so that the recursion stays shallow
                self.one("N", earlier)
        operator = "Add" if form == "N" else "Sub"
        other: Form = "k" if form == "N" else "N"
        dtype = self._adds_in("N")
        term = self.g.convert(self.one(other, step), self._adds_in(other), dtype)
        if step:
            term = self.g(operator, *self._terms(form, step, term))
        return self.g.convert(term, dtype, self._adds_in(form))

    def _terms(self, form: Form, step: int, term: str) -> tuple[str, str]:
        before = self.one("N", step - 1)
        return (before, term) if form == "N" else (term, before)


class Stacked(Train):
    """Spikes per step in one tensor."""

    def __init__(self, graph: Graph, steps: int, span: Pair, k: str) -> None:
        super().__init__(graph, steps, span)
        self._stacks["k", tuple(range(steps))] = k

    def _stack(self, form: Form, steps: tuple[int, ...]) -> str:
        return self._joined(form, steps)

    def _one(self, form: Form, step: int) -> str:
        if form == "N":
            return self._converted(form, step)
        parts = self.g.split(
            self.g.convert(self.stack("k"), self.dtype("k"), self._adds_in("k")), self.steps
        )
        self._ones |= {("k", i): part for i, part in enumerate(parts)}
        return parts[step]


class Stepwise(Train):
    """Spikes in one form, made step by step.

    Attributes:
        form: The form.
    """

    def __init__(
        self, graph: Graph, steps: int, span: Pair, form: Form, make: Callable[[int], str]
    ) -> None:
        super().__init__(graph, steps, span)
        self.form, self._make = form, make

    def _stack(self, form: Form, steps: tuple[int, ...]) -> str:
        return self._joined(form, steps)

    def _one(self, form: Form, step: int) -> str:
        return self._make(step) if form == self.form else self._converted(form, step)


class Blocks(Train):
    """Spikes of each time-step of a train with sub-steps."""

    def __init__(self, source: Train, substeps: int) -> None:
        low, high = source.range
        super().__init__(source.g, source.steps // substeps, (low * substeps, high * substeps))
        self._source, self._substeps, self.scope = source, substeps, source.scope

    def _stack(self, form: Form, steps: tuple[int, ...]) -> str:
        return self._joined(form, steps)

    def _one(self, form: Form, step: int) -> str:
        if form == "k":
            return self._converted(form, step)
        return self._source.one("N", (step + 1) * self._substeps - 1)


class Mapped(Train):
    """A linear function of another train, such as a sum pooling.

    The function takes a tensor [B, n, P, C], the dtype of the tensor and the dtype of its result.
    """

    def __init__(
        self, source: Train, span: Pair, function: Callable[[str, np.dtype, np.dtype], str]
    ) -> None:
        super().__init__(source.g, source.steps, span)
        self._source, self._function = source, function

    def _stack(self, form: Form, steps: tuple[int, ...]) -> str:
        values = self._source.stack(form, steps)
        return self._function(values, self._source.dtype(form), self.dtype(form))

    def _one(self, form: Form, step: int) -> str:
        return self.g.convert(self.stack(form, (step,)), self.dtype(form), self._adds_in(form))


def count_dtype(span: Pair) -> np.dtype:
    """Return the dtype of counts within `span`; only pooled large counts need 64 bits."""
    return smallest(span, np.uint8, np.int32, np.int64)


def smallest(span: Pair, *dtypes: type[np.integer]) -> np.dtype:
    """Return the first of `dtypes` that holds `span`, otherwise the last."""
    fitting = (
        dtype
        for dtype in dtypes
        if np.iinfo(dtype).min <= span[0] and span[1] <= np.iinfo(dtype).max
    )
    return np.dtype(next(fitting, dtypes[-1]))
