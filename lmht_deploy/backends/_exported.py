"""What the backends of exported ONNX files share: checks, states, chunks and results.

A runtime is a subclass of `ExportedBackend`, which computes named outputs from named inputs.
"""

from __future__ import annotations

import dataclasses
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from lmht_deploy.errors import BackendError
from lmht_deploy.formats.onnx import (
    COUNTS,
    LOGITS,
    NEXT_STATE,
    SCALE,
    STATE,
    TRACE,
    WINDOWS,
    Properties,
    by_layer,
    output_name,
)
from lmht_deploy.result import Result, add_steps, check_windows

CHUNKS = (1, 4, 16, 64)
"""Numbers of windows per call that are tried."""
MIN_GAIN = 0.9
"""Time per window of a larger number, relative to that of a smaller one, at which it is taken."""

Arrays = dict[str, np.ndarray]
"""Tensors by name."""


class Signature(NamedTuple):
    """Inputs and outputs of a graph.

    Attributes:
        dtypes: Types of the inputs, by name.
        shapes: Shapes of the inputs without the batch, by name.
        outputs: Names of the outputs.
    """

    dtypes: Mapping[str, np.dtype]
    shapes: Mapping[str, tuple[int, ...]]
    outputs: Sequence[str]


class ExportedBackend(ABC):
    """A runtime with an exported file as a backend.

    Args:
        path: The file, for messages.
        properties: Its metadata.
        signature: Its inputs and outputs.
    """

    name: ClassVar[str]

    def __init__(self, path: Path, properties: Properties, signature: Signature) -> None:
        _check_signature(signature, properties)
        self._path, self._properties, self._signature = path, properties, signature
        self._steps = signature.shapes[WINDOWS][0]
        steps = _window_steps(properties) if properties.max_calls else self._steps
        self.window_shape = (steps, *signature.shapes[WINDOWS][1:])
        self.max_value, self.metadata = properties.max_value, properties.metadata
        self._traces = by_layer(TRACE, signature.outputs)
        self._states = by_layer(STATE, signature.shapes)

    @abstractmethod
    def _compute(self, names: list[str], inputs: Arrays) -> Arrays:
        """Return the outputs `names`; BackendError after `close`."""

    @abstractmethod
    def close(self) -> None:
        """Release the runtime; the backend cannot run afterwards."""

    @cached_property
    def chunk(self) -> int:
        """Number of windows per call, measured: larger while that is faster per window."""
        best, seconds = CHUNKS[0], self._seconds_per_window(CHUNKS[0])
        for size in CHUNKS[1:]:
            found = self._seconds_per_window(size)
            if found > MIN_GAIN * seconds:
                break
            best, seconds = size, found
        return best

    def _seconds_per_window(self, windows: int) -> float:
        """Return the shorter time of two runs."""
        inputs = np.full((windows, *self.window_shape), self._properties.min_value)
        return min(self.run(inputs).seconds for _ in range(2)) / windows

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run `windows` [B, T_in, ...]; BackendError for `trace` with a file without traces."""
        windows = self._checked(self.window_shape, windows)
        stream = Stream(self, len(windows))
        calls = range(0, self.window_shape[0], self._steps)
        results = [stream.advance(windows[:, t : t + self._steps], trace=trace) for t in calls]
        total = results[0]
        for result in results[1:]:
            total = add_steps(total, result)
        return dataclasses.replace(total, seconds=sum(result.seconds for result in results))

    def stream(self, batch: int = 1) -> Stream:
        """Return a stream whose potentials are kept from call to call.

        Args:
            batch: Number of streams that run side by side.

        Raises:
            BackendError: The file has no states.
        """
        if not self._states:
            raise BackendError(
                f"{self._path}: keeps no potentials; write it with `lmht export --stream window` "
                "or `--stream step`"
            )
        return Stream(self, batch)

    def _checked(self, shape: tuple[int, ...], windows: np.ndarray) -> np.ndarray:
        given = self._properties
        return check_windows(shape, given.min_value, given.max_value, windows)

    def _names(self, trace: bool) -> list[str]:
        """Return the outputs to compute."""
        if trace and self._traces.keys() != by_layer(COUNTS[0], self._signature.outputs).keys():
            raise BackendError(
                f"{self._path}: holds no traces; write it with `lmht export --trace`, or "
                "lmht_deploy.export(net, path, trace=True)"
            )
        dropped = {SCALE} if trace else {SCALE, *self._traces.values()}
        return [name for name in self._signature.outputs if name not in dropped]

    def _outputs(self, names: list[str], inputs: Arrays) -> tuple[Arrays, float]:
        """Return checked outputs, and the run time in seconds."""
        dtypes = self._signature.dtypes
        inputs = {name: values.astype(dtypes[name]) for name, values in inputs.items()}
        start = time.perf_counter()
        outputs = self._compute(names, inputs)
        seconds = time.perf_counter() - start
        _check_outputs(self._path, outputs, len(inputs[WINDOWS]))
        return outputs, seconds

    def _result(self, outputs: Arrays, seconds: float, trace: bool) -> Result:
        counts: dict[str, Any] = {
            kind: {layer: outputs[name] for layer, name in by_layer(kind, outputs).items()}
            for kind in (*COUNTS, TRACE)
        }
        return Result(
            backend=self.name,
            logits=outputs[LOGITS],
            scale=self._properties.scale,
            macs=dict(self._properties.macs),
            seconds=seconds,
            traces=counts.pop(TRACE) if trace else None,
            **{kind: counts[kind] for kind in COUNTS},
        )


class Stream:
    """Input that arrives in parts; the potentials stay from one part to the next.

    Args:
        backend: The backend.
        batch: Number of streams that run side by side.
    """

    def __init__(self, backend: ExportedBackend, batch: int) -> None:
        self._backend, self._batch = backend, batch
        self.reset()

    def reset(self) -> None:
        """Begin again: every potential is v0."""
        shapes, states = self._backend._signature.shapes, self._backend._states
        self._calls = 0
        self._states = {
            name: np.zeros((self._batch, *shapes[name]), np.int32) for name in states.values()
        }

    def advance(self, part: np.ndarray, *, trace: bool = False) -> Result:
        """Run the next time-steps.

        Args:
            part: Integers `[batch, n, ...]`, where n is the number of steps of the file.
            trace: Whether to return the spikes of every neuron layer.

        Raises:
            BackendError: More calls than those for which 32 bits are proved.
            DataError: The part does not fit the network.
        """
        backend, given = self._backend, self._backend._properties
        if self._states and self._calls >= given.max_calls:
            raise BackendError(
                f"{backend._path}: 32 bits are proved for {given.max_calls} calls of one stream; "
                "call reset() before the next"
            )
        shape = backend._signature.shapes[WINDOWS]
        part = backend._checked(shape, part)
        outputs, seconds = backend._outputs(backend._names(trace), {WINDOWS: part} | self._states)
        for layer, name in backend._states.items():
            self._states[name] = outputs[output_name(NEXT_STATE, layer)]
        self._calls += 1
        return backend._result(outputs, seconds, trace)


def _window_steps(properties: Properties) -> int:
    """Return T_in of the network."""
    (entry,) = (layer for layer in json.loads(properties.network) if layer.get("type") == "Input")
    return int(entry["steps"])


def _check_signature(signature: Signature, given: Properties) -> None:
    """Require that inputs and outputs are those of an exported network."""
    if WINDOWS not in signature.shapes:
        raise ValueError(f"no input {WINDOWS}")
    for name, shape in signature.shapes.items():
        if not all(isinstance(size, int) and size > 0 for size in shape):
            raise ValueError(f"{name} of shape {list(shape)}")
    span = np.iinfo(signature.dtypes[WINDOWS])
    if not span.min <= given.min_value <= given.max_value <= span.max:
        raise ValueError(f"windows of type {signature.dtypes[WINDOWS]}")
    if LOGITS not in signature.outputs:
        raise ValueError(f"no output {LOGITS}")
    states = by_layer(STATE, signature.shapes)
    if {WINDOWS, *states.values()} != signature.shapes.keys():
        raise ValueError("inputs that are neither windows nor states")
    if states.keys() != by_layer(NEXT_STATE, signature.outputs).keys() or bool(states) != bool(
        given.max_calls
    ):
        raise ValueError("states that do not fit each other")


def _check_outputs(path: Path, outputs: Arrays, batch: int) -> None:
    """Require one entry per window: rows of logits, traces of any shape, states and counts."""
    dimensions = {LOGITS: 2, NEXT_STATE: 3}
    for name, value in outputs.items():
        kind = name.split("/", maxsplit=1)[0]
        ndim = value.ndim if kind == TRACE else dimensions.get(kind, 1)
        dtype = value.dtype.kind in "iu" if kind in (TRACE, NEXT_STATE) else value.dtype == np.int64
        if not dtype or value.ndim != ndim or value.shape[:1] != (batch,) or not value.size:
            raise BackendError(
                f"{path}: gives {name!r} as {value.dtype} {list(value.shape)}, which is not what "
                "an exported network gives; the file was edited"
            )
