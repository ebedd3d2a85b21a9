"""Neurons without leak and with plain reset in an ONNX graph, by counts instead of potentials.

Let P[t] be the potential that neurons would have at step t without any reset, and N[t] the spikes
since the start of the window:

    P[t] = v0 + Σ_{u<=t} I[u]
    N[t] = min(max(floor(P[t] / θ), N[t-1]), N[t-1] + L)

Proof. The potential before step t fires is P[t] - θ·N[t-1]. The soft reset gives

    k[t] = clip(floor(P[t]/θ - N[t-1]), 0, L) = clip(floor(P[t]/θ) - N[t-1], 0, L)

because N[t-1] is an integer, and N[t] = N[t-1] + k[t].

All floors are computed at once, and the recurrence is left with uint8. Currents are linear in k.
With D = Ω summed over the rows up to t (one row per sub-step),

    P[t] = v0 + Σ_j D[t, j]·(W ∗ k[j] + b) = c[t] + Σ_j E[t, j]·(W ∗ N[j])

where E[t, j] = D[t, j] - D[t, j+1] and c[t] = v0 + Σ_j D[t, j]·b. For the identity T-GIM E is the
identity, and for a uniform T-GIM only the last column is not zero: one product per window.

Constant drive. Where all rows of Ω are equal, I[t] = Q for every step, and with 0 <= v0 < θ there
is no recurrence:

    N[t] = clip(floor((v0 + t·Q) / θ), 0, L·t)

Proof by induction. Q < 0: floor(P/θ) <= 0, and both sides are 0. Q >= 0: F[t] = floor(P[t]/θ) does
not decrease. Let N[t-1] = min(F[t-1], L·(t-1)). If N[t-1] = L·(t-1), then F[t] >= N[t-1] and
N[t] = min(F[t], L·t). Otherwise F[t-1] < L·(t-1), thus Q < L·θ since v0 >= 0, and
F[t] <= F[t-1] + L: N[t] = F[t], which is below L·t.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lmht_deploy.ir import INT32_MAX, Neurons, Shape

from ._graph import Graph
from ._mixing import clipped, floor_quotients, mix
from ._products import Current
from ._trains import Form, Stepwise, Train

MAX_COUNT = 255
"""Largest N: uint8."""


@dataclass(frozen=True)
class Plan:
    """How the potentials without reset follow from the sums of a layer.

    Attributes:
        form: What the synapses multiply.
        columns: Input steps whose sums are needed.
        matrix: int64 [steps, columns].
        constants: c, int64 [steps, C].
        bound: Largest magnitude of P and of all partial sums.
    """

    form: Form
    columns: tuple[int, ...]
    matrix: np.ndarray
    constants: np.ndarray
    bound: int


def plan(layer: Neurons, form: Form, largest_sum: int) -> Plan | None:
    """Return how to count the spikes of a layer; None where it leaks, has another reset or a floor,
    or needs more bits.

    Args:
        layer: The neurons.
        form: What the synapses multiply.
        largest_sum: Largest magnitude of a sum of the synapses, without bias.
    """
    counted = layer.plain_reset and not layer.leaks
    if not counted or layer.levels * layer.steps > MAX_COUNT:
        return None
    sums = np.cumsum(layer.unrolled_omega().astype(np.int64), axis=0)
    constants = layer.v0 + np.outer(sums.sum(1), layer.bias.astype(np.int64))
    if form == "N":
        sums = sums - np.append(sums[:, 1:], np.zeros((len(sums), 1), np.int64), axis=1)
    columns = np.flatnonzero(sums.any(0))
    columns = columns if len(columns) else np.zeros(1, int)
    matrix = sums[:, columns]
    bound = int(np.abs(matrix).sum(1).max()) * largest_sum + int(np.abs(constants).max())
    if max(bound, largest_sum) > INT32_MAX - int(layer.threshold.max()):
        return None
    return Plan(form, tuple(map(int, columns)), matrix, constants, bound)


def count(g: Graph, layer: Neurons, plan: Plan, current: Current, shape: Shape) -> Train:
    """Return the spikes of `layer`.

    Args:
        g: The graph.
        layer: The neurons.
        plan: The plan of the layer.
        current: Sums of the synapses at the steps `plan.columns`.
        shape: Shape of the layer.
    """
    g.reach(plan.bound)
    neurons = _Neurons(g, layer, plan, shape)
    if _constant_drive(layer):
        return neurons.closed(current)
    return neurons.recurrent(current)


def _constant_drive(layer: Neurons) -> bool:
    omega = layer.unrolled_omega()
    small = (layer.v0 >= 0) & (layer.v0 < layer.threshold)
    return bool((omega == omega[0]).all() and small.all())


@dataclass(frozen=True)
class _Neurons:
    g: Graph
    layer: Neurons
    plan: Plan
    shape: Shape

    def closed(self, current: Current) -> Train:
        """Return the spikes of neurons with a constant drive, by the step."""
        row, factor = self.plan.matrix[:1], 1
        if row.size == 1 and row[0, 0] > 0:
            row, factor = np.ones((1, 1), np.int64), int(row[0, 0])
        drive = mix(self.g, row, current, self.shape, self.plan.bound)
        theta = self.layer.threshold.astype(np.int64)

        def make(step: int) -> str:
            limit, constants = self.layer.levels * (step + 1), self.plan.constants[step : step + 1]
            found = floor_quotients(self.g, drive, theta, factor * (step + 1), constants, limit)
            return self._arithmetic(clipped(self.g, found, limit))

        return self._train(make)

    def recurrent(self, current: Current) -> Train:
        """Return the spikes of all other neurons; equal potentials are computed once."""
        order, index = _distinct(np.concatenate([self.plan.matrix, self.plan.constants], 1))
        potentials = mix(self.g, self.plan.matrix[order], current, self.shape, self.plan.bound)
        quotients = floor_quotients(
            self.g,
            potentials,
            self.layer.threshold.astype(np.int64),
            1,
            self.plan.constants[order],
            self.layer.levels * self.layer.steps,
        )
        floors = self.g.split(self._arithmetic(quotients), len(order))
        return self._train(self._recurrence([floors[i] for i in index]))

    def _recurrence(self, floors: list[str]) -> Callable[[int], str]:
        g = self.g
        levels = g.constant(self._dtype.type(self.layer.levels))
        counts = [g("Min", floors[0], levels)]
        for floor in floors[1:]:
            most = g("Add", counts[-1], levels)
            counts.append(g("Min", g("Max", floor, counts[-1]), most))
        return counts.__getitem__

    @property
    def _dtype(self) -> np.dtype:
        return self.g.adds_in(np.dtype(np.uint8))

    def _arithmetic(self, counts: str) -> str:
        return self.g.convert(counts, np.dtype(np.uint8), self._dtype)

    def _train(self, make: Callable[[int], str]) -> Train:
        layer = self.layer
        return Stepwise(self.g, layer.steps, (0, layer.levels), "N", make)


def _distinct(rows: np.ndarray) -> tuple[list[int], list[int]]:
    """Return the indices of the distinct rows, in order, and for each row its place among them."""
    places: dict[bytes, int] = {}
    index = [places.setdefault(row.tobytes(), len(places)) for row in rows]
    return [index.index(place) for place in range(len(places))], index
