"""One pass over windows that keeps everything the analysis needs, but not the spikes themselves."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from lmht_deploy import reference
from lmht_deploy.backends import Backend, no_progress, run_chunks
from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import Network
from lmht_deploy.reparameterize import reparameterize
from lmht_deploy.result import Result, concatenate

from . import counters, counts
from .counters import Activity
from .counts import GRADED, SINGLE_THRESHOLD, Counts

__all__ = ["Observation", "digests", "join_digests", "observe", "spikes_of"]


@dataclass(frozen=True, eq=False)
class Observation:
    """What a network did in a run.

    Attributes:
        net: The network.
        single: Its single-threshold form; None if there is no such form.
        result: Logits and counts per window.
        views: Counts by view; without the single-threshold view if there is no such form.
        activity: What other counters need, by view.
        partial: Logits after each time-step of the read-out's input, `[B, T, K]`.
        digests: Digest of the spikes of each window by layer, uint64 `[B]`.
    """

    net: Network
    single: Network | None
    result: Result
    views: Mapping[str, Counts]
    activity: Mapping[str, Activity]
    partial: np.ndarray
    digests: Mapping[str, np.ndarray]


def observe(
    net: Network,
    backend: Backend,
    windows: np.ndarray,
    *,
    progress: Callable[[int], None] = no_progress,
) -> Observation:
    """Run windows through a backend that returns spikes, chunk by chunk.

    Args:
        net: The network that the backend runs.
        backend: An open backend with the capability `traces`.
        windows: Integers `[B, T_in, ...]`.
        progress: Called with the number of finished windows.
    """
    single = _single_threshold(net)
    parts, start = [], 0
    for result in run_chunks(backend, windows, trace=True, progress=progress):
        end = start + len(result.logits)
        parts.append(_observe_chunk(net, single, windows[start:end], result))
        start = end
    return _join(parts)


def _single_threshold(net: Network) -> Network | None:
    try:
        return reparameterize(net)
    except NetworkError:  # levels and sub-steps at once
        return None


def _observe_chunk(
    net: Network, single: Network | None, windows: np.ndarray, result: Result
) -> Observation:
    traces = result.traces or {}
    outputs = reference.outputs_of(net, windows, traces)
    views = {GRADED: counts.count_outputs(net, outputs, GRADED)}
    activity = {GRADED: counters.observe(net, outputs)}
    partial = reference.currents(net, net.readout, outputs).cumsum(1)
    if single is not None:
        unrolled = counts.unroll(net, single, windows, traces)
        views[SINGLE_THRESHOLD] = counts.count_outputs(single, unrolled, SINGLE_THRESHOLD)
        activity[SINGLE_THRESHOLD] = counters.observe(single, unrolled)
    untraced = dataclasses.replace(result, traces=None)
    return Observation(net, single, untraced, views, activity, partial, digests(traces))


def _join(parts: list[Observation]) -> Observation:
    first = parts[0]
    return Observation(
        first.net,
        first.single,
        concatenate([part.result for part in parts]),
        {view: counts.concatenate([part.views[view] for part in parts]) for view in first.views},
        {view: counters.merge([part.activity[view] for part in parts]) for view in first.activity},
        np.concatenate([part.partial for part in parts]),
        join_digests([part.digests for part in parts]),
    )


def digests(traces: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a digest of the spikes of each window by layer, uint64 `[B]`.

    Equal spikes have equal digests, whatever integer type holds them. Different spikes have the
    same digest with a probability of 2^-64.
    """
    return {
        name: np.array([_digest(k) for k in trace], np.uint64) for name, trace in traces.items()
    }


def join_digests(parts: list[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Join the digests of successive windows."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _digest(k: np.ndarray) -> int:
    data = np.ascontiguousarray(k, dtype="<i4").data
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def spikes_of(backend: Backend, windows: np.ndarray, index: int = 0) -> dict[str, np.ndarray]:
    """Run windows in one call, and return k of one of them `[steps, ...]` by layer."""
    traces = backend.run(windows, trace=True).traces or {}
    return {name: trace[index] for name, trace in traces.items()}
