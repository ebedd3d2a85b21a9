"""Backend of ONNX Runtime: a `.onnx` file of an LM-HT network, on the CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lmht_deploy.errors import BackendError, StorageError, first_line
from lmht_deploy.formats.files import reading
from lmht_deploy.formats.onnx import SCHEMA, Model, load_model

from . import Capability
from ._exported import Arrays, ExportedBackend, Signature

if TYPE_CHECKING:
    import onnxruntime

SUFFIX = SCHEMA.suffix
CAPABILITIES: frozenset[Capability] = frozenset({"events", "traces"})
MAX_REASON = 200
"""Largest length of a text of ONNX Runtime in a message."""
KERNEL = "_kernel_time"
"""End of the names of events of ONNX Runtime's profiler that are the time of one node."""
RUN = "model_run"
"""Name of the event at the end of each run."""
INLINED = "_inlfunc_"
"""Begin of the names of nodes of functions, `_inlfunc_<function>_<node>`."""
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
        return OnnxBackend(path, load_model(path), threads)


def _session(
    path: Path, model: Model, threads: int, profile: str = ""
) -> onnxruntime.InferenceSession:
    # From 1.32 on, ONNX Runtime sends telemetry and writes into the home folder.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # beside other work
    options.log_severity_level = FATAL
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    try:
        return onnxruntime.InferenceSession(
            str(path) if model.data else model.content, options, providers=["CPUExecutionProvider"]
        )
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


def _signature(session: onnxruntime.InferenceSession) -> Signature:
    inputs = session.get_inputs()
    return Signature(
        {i.name: np.dtype(i.type.removeprefix("tensor(").removesuffix(")")) for i in inputs},
        {i.name: tuple(i.shape[1:]) for i in inputs},
        [output.name for output in session.get_outputs()],
    )


def _seconds_by_layer(events: Sequence[dict[str, Any]], skipped: int) -> dict[str, float]:
    """Add up the times of kernels after `skipped` runs; nodes of no layer are under "other"."""
    found: dict[str, float] = {}
    runs = [index for index, event in enumerate(events) if event.get("name") == RUN]
    for event in events[runs[skipped - 1] :]:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            name = _layer_of(event["name"])
            found[name] = found.get(name, 0.0) + event["dur"] * 1e-6
    return found


def _layer_of(node: str) -> str:
    """Return the layer of a node `<layer>/<part>/<operator>`, whose function is `<layer>/<part>`.

    Files before version 4 have nodes `<layer>/<operator>`.
    """
    part, slash, _ = node.rpartition("/")
    if part.startswith(INLINED):  # "_inlfunc_a/Conv0_a/Conv0"
        twice = part.removeprefix(INLINED)
        part = twice[len(twice) // 2 + 1 :]
    return part.partition("/")[0] if slash else "other"


class OnnxBackend(ExportedBackend):
    """A session of ONNX Runtime as a backend."""

    name = "onnx"

    def __init__(self, path: Path, model: Model, threads: int, profile: str = "") -> None:
        session = _session(path, model, threads, profile)
        super().__init__(path, model.properties, _signature(session))
        self._model, self._threads = model, threads
        self._session: onnxruntime.InferenceSession | None = session

    def profile(self, windows: np.ndarray) -> dict[str, float]:
        """Run windows, and return the time of each layer in seconds, in the order of the run.

        ONNX Runtime measures its nodes in a session of its own. Nodes that it adds are under
        "other". A call that is not counted comes first: memory is allocated in it.
        """
        windows = self._checked(self.window_shape, windows)
        with tempfile.TemporaryDirectory(prefix="lmht-") as folder:
            runner = OnnxBackend(self._path, self._model, self._threads, f"{folder}/profile")
            assert runner._session is not None
            for start in (0, *range(0, len(windows), self.chunk)):
                runner.run(windows[start : start + self.chunk])
            events = json.loads(Path(runner._session.end_profiling()).read_text())
        return _seconds_by_layer(events, skipped=self.window_shape[0] // self._steps)

    def _compute(self, names: list[str], inputs: Arrays) -> Arrays:
        if self._session is None:
            raise BackendError("the backend is closed")
        try:
            values = self._session.run(names, inputs)
        except Exception as error:  # its dozen exception types have no base class of their own
            raise BackendError(
                f"{self._path}: ONNX Runtime does not run it ({first_line(error)})"
            ) from None
        return dict(zip(names, values, strict=True))

    def close(self) -> None:
        """Release the session; the backend cannot run afterwards."""
        self._session = None
