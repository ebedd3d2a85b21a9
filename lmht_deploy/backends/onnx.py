"""Backend of ONNX Runtime: a `.onnx` file of an LM-HT network, on the CPU."""

from __future__ import annotations

import importlib.util
import os
import re
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmht_deploy.errors import BackendError, StorageError, first_line
from lmht_deploy.formats.files import reading
from lmht_deploy.formats.onnx import (
    COUNTS,
    LOGITS,
    SCHEMA,
    TRACE,
    WINDOWS,
    Properties,
    by_layer,
    check_model,
)
from lmht_deploy.result import Result, check_windows

from . import Capability

if TYPE_CHECKING:
    import onnxruntime

SUFFIX = SCHEMA.suffix
CAPABILITIES: frozenset[Capability] = frozenset({"events", "traces"})
CHUNKS = (1, 4, 16, 64)
"""Numbers of windows per call that are tried."""
MIN_GAIN = 0.9
"""Time per window of a larger number, relative to that of a smaller one, at which it is taken."""
MAX_REASON = 200
"""Largest length of a text of ONNX Runtime in a message."""
FATAL = 4
"""Severity of log messages below which ONNX Runtime is silent; errors are raised."""


def unavailable() -> str | None:
    """Return how to install ONNX Runtime, or None where it is installed."""
    return (
        None
        if importlib.util.find_spec("onnxruntime")
        else "ONNX Runtime is not installed; run: pip install 'lmht-deploy[onnx]'"
    )


def open_artifact(path: Path, *, threads: int = 1) -> OnnxBackend:
    """Open a `.onnx` file.

    Raises:
        StorageError: The file is missing, damaged, of another tool or of another version.
    """
    with reading(path, "an .onnx file"):
        content = path.read_bytes()
        properties = check_model(path, content)
        return OnnxBackend(path, _session(path, content, threads), properties)


def _session(path: Path, content: bytes, threads: int) -> onnxruntime.InferenceSession:
    # From 1.32 on, ONNX Runtime sends telemetry and writes into the home folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # beside other work
    options.log_severity_level = FATAL
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its dozen exception types have no base class of their own
        raise StorageError(_reason(path, onnxruntime.__version__, first_line(error))) from None


def _reason(path: Path, version: str, error: str) -> str:
    """Return why ONNX Runtime does not open a file, in one line."""
    if needed := re.search(r"Opset (\d+) is under development.* is till opset (\d+)", error):
        return f"{path}: needs opset {needed[1]}; ONNX Runtime {version} has opset {needed[2]}"
    if missing := re.search(r"Could not find an implementation for (\w+)", error):
        return (
            f"{path}: needs ONNX Runtime 1.24 or later; version {version} does not implement "
            f"{missing[1]} on uint8; write the file with `lmht export --portable`"
        )
    if len(error) > MAX_REASON:
        error = f"{error[:MAX_REASON]}..."
    return (
        f"{path}: is not an .onnx file that ONNX Runtime {version} runs, or is truncated ({error})"
    )


class OnnxBackend:
    """A session of ONNX Runtime as a backend."""

    def __init__(
        self, path: Path, session: onnxruntime.InferenceSession, properties: Properties
    ) -> None:
        (windows,) = session.get_inputs()
        self._dtype = np.dtype(windows.type.removeprefix("tensor(").removesuffix(")"))
        self._names = [output.name for output in session.get_outputs()]
        self.window_shape = tuple(windows.shape[1:])
        self.max_value, self.metadata = properties.max_value, properties.metadata
        _check_face(self._dtype, self.window_shape, self._names, properties)
        self._path, self._properties = path, properties
        self._session: onnxruntime.InferenceSession | None = session
        self._traces = by_layer(TRACE, self._names)

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
        if self._session is None:
            raise BackendError("the backend is closed")
        given = self._properties
        windows = check_windows(self.window_shape, given.min_value, given.max_value, windows)
        if trace and self._traces.keys() != by_layer(COUNTS[0], self._names).keys():
            raise BackendError(
                f"{self._path}: holds no traces; write it with `lmht export --trace`, or "
                "lmht_deploy.export(net, path, trace=True)"
            )
        names = [name for name in self._names if trace or name not in self._traces.values()]
        start = time.perf_counter()
        try:
            values = self._session.run(names, {WINDOWS: windows.astype(self._dtype)})
        except Exception as error:  # its dozen exception types have no base class of their own
            raise BackendError(
                f"{self._path}: ONNX Runtime does not run it ({first_line(error)})"
            ) from None
        seconds = time.perf_counter() - start
        outputs = dict(zip(names, values, strict=True))
        _check_outputs(self._path, outputs, len(windows))
        counts = {
            kind: {layer: outputs[name] for layer, name in by_layer(kind, names).items()}
            for kind in (*COUNTS, TRACE)
        }
        return Result(
            backend="onnx",
            logits=outputs[LOGITS],
            scale=given.scale,
            macs=dict(given.macs),
            seconds=seconds,
            traces=counts.pop(TRACE) if trace else None,
            **{kind: counts[kind] for kind in COUNTS},
        )

    def close(self) -> None:
        """Release the session; the backend cannot run afterwards."""
        self._session = None


def _check_face(
    dtype: np.dtype, window_shape: tuple[int, ...], outputs: list[str], given: Properties
) -> None:
    """Require that inputs and outputs are those of an exported network."""
    if not all(isinstance(size, int) and size > 0 for size in window_shape):
        raise ValueError(f"windows of shape {list(window_shape)}")
    span = np.iinfo(dtype)
    if not span.min <= given.min_value <= given.max_value <= span.max:
        raise ValueError(f"windows of type {dtype}")
    if LOGITS not in outputs:
        raise ValueError(f"no output {LOGITS}")


def _check_outputs(path: Path, outputs: dict[str, np.ndarray], batch: int) -> None:
    """Require one entry per window: rows of logits, traces of any shape, and counts."""
    for name, value in outputs.items():
        trace = name.startswith(f"{TRACE}/")
        ndim = value.ndim if trace else 2 if name == LOGITS else 1
        dtype = value.dtype.kind in "iu" if trace else value.dtype == np.int64
        if not dtype or value.ndim != ndim or value.shape[:1] != (batch,) or not value.size:
            raise BackendError(
                f"{path}: gives {name!r} as {value.dtype} {list(value.shape)}, which is not what "
                "an exported network gives; the file was edited"
            )
