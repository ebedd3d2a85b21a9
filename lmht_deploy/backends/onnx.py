"""Backend of ONNX Runtime: a `.onnx` file of an LM-HT network, on the CPU."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmht_deploy.errors import BackendError, StorageError
from lmht_deploy.formats.files import reading
from lmht_deploy.formats.onnx import (
    COUNTS,
    LOGITS,
    SCHEMA,
    TRACE,
    WINDOWS,
    Properties,
    by_layer,
    check_identity,
)
from lmht_deploy.result import Result, check_windows

from . import Capability

if TYPE_CHECKING:
    import onnxruntime

SUFFIX = SCHEMA.suffix
CAPABILITIES: frozenset[Capability] = frozenset({"events", "traces"})


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
        session = _session(path, content, threads)
        properties = session.get_modelmeta().custom_metadata_map
        check_identity(path, content, properties)
        return OnnxBackend(path, session, Properties.decode(properties))


def _session(path: Path, content: bytes, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its dozen exception types have no base class of their own
        raise StorageError(
            f"{path}: is not an .onnx file that ONNX Runtime {onnxruntime.__version__} runs, or is "
            f"truncated ({_first_line(error)})"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]


class OnnxBackend:
    """A session of ONNX Runtime as a backend."""

    chunk = 32

    def __init__(
        self, path: Path, session: onnxruntime.InferenceSession, properties: Properties
    ) -> None:
        (windows,) = session.get_inputs()
        self.window_shape = tuple(windows.shape[1:])
        self.max_value, self.metadata = properties.max_value, properties.metadata
        self._path, self._properties = path, properties
        self._session: onnxruntime.InferenceSession | None = session
        self._dtype = np.dtype(windows.type.removeprefix("tensor(").removesuffix(")"))
        self._names = [output.name for output in session.get_outputs()]
        self._traces = by_layer(TRACE, self._names)

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
        values = self._session.run(names, {WINDOWS: windows.astype(self._dtype)})
        seconds = time.perf_counter() - start
        outputs = dict(zip(names, values, strict=True))
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
