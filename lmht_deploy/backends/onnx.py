"""Backend of ONNX Runtime: a `.onnx` file that `exporters.onnx` wrote, on the CPU (docs/onnx.md says what is in it)."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lmht_deploy.errors import BackendError, StorageError
from lmht_deploy.formats.files import reading
from lmht_deploy.result import Counts, Result, check_windows

if TYPE_CHECKING:
    import onnxruntime

SUFFIX = ".onnx"
FORMAT = "lmht-deploy onnx"
VERSION = "1"
CHECKSUM_BYTES = 78
"""Length of the property that ends a file: two bytes of field, "checksum" and 64 hexadecimal digits with two bytes each before them."""


def unavailable() -> str | None:
    """Whether ONNX Runtime is installed."""
    return (
        None
        if importlib.util.find_spec("onnxruntime")
        else "ONNX Runtime is not installed; run: pip install 'lmht-deploy[onnx]'"
    )


def open_artifact(path: Path, *, threads: int = 1) -> OnnxBackend:
    """Open a `.onnx` file with `threads` threads. Raises StorageError where it is missing, damaged, foreign or of another version."""
    with reading(path, "an .onnx file"):
        content = path.read_bytes()
        session = _session(path, content, threads)
        metadata = session.get_modelmeta().custom_metadata_map
        if metadata.get("format") != FORMAT:
            raise StorageError(
                f"{path}: is ONNX, but not a network of lmht-deploy (its 'format' property is {metadata.get('format')!r})"
            )
        if metadata.get("version") != VERSION:
            raise StorageError(
                f"{path}: has format version {metadata.get('version')}, this release reads version {VERSION}"
            )
        content, end = content[:-CHECKSUM_BYTES], content[-CHECKSUM_BYTES:]
        if not end.endswith(hashlib.sha256(content).hexdigest().encode()):
            raise StorageError(
                f"{path}: the checksum does not match the content; the file is damaged or was edited"
            )
        return OnnxBackend(path, session, metadata)


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
            f"{path}: is not an .onnx file that ONNX Runtime {onnxruntime.__version__} runs, or is truncated ({_first_line(error)})"
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]


class OnnxBackend:
    """A session and what the file says of itself."""

    chunk = 32

    def __init__(
        self, path: Path, session: onnxruntime.InferenceSession, metadata: dict[str, str]
    ) -> None:
        self._path = path
        self._session = session
        entrance = json.loads(metadata["input"])
        self._min_value, self.max_value = int(entrance["min_value"]), int(entrance["max_value"])
        self._scale = float(metadata["scale"])
        self._macs: dict[str, int] = json.loads(metadata["macs"])
        (windows,) = session.get_inputs()
        self.window_shape = tuple(windows.shape[1:])
        self._dtype = np.dtype(windows.type.removeprefix("tensor(").removesuffix(")"))
        self._names = [output.name for output in session.get_outputs()]
        self._traced = all(
            f"k/{name.removeprefix('spikes/')}" in self._names
            for name in self._names
            if name.startswith("spikes/")
        )

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run `windows` [B, T_in, ...]; BackendError where `trace` is asked of a file without traces."""
        windows = check_windows(self.window_shape, self._min_value, self.max_value, windows).astype(
            self._dtype
        )
        if trace and not self._traced:
            raise BackendError(
                f"{self._path}: holds no traces; write it with `lmht export --trace`, or lmht_deploy.exporters.onnx.export_onnx(net, path, trace=True)"
            )
        names = [name for name in self._names if trace or not name.startswith("k/")]
        start = time.perf_counter()
        outputs = dict(zip(names, self._session.run(names, {"windows": windows}), strict=True))
        seconds = time.perf_counter() - start
        return Result(
            backend="onnx",
            logits=outputs["logits"],
            scale=self._scale,
            spikes=_by_layer("spikes", outputs),
            sops=_by_layer("sops", outputs),
            events=_by_layer("events", outputs),
            event_sops=_by_layer("event_sops", outputs),
            macs=self._macs,
            seconds=seconds,
            traces=_by_layer("k", outputs) if trace else None,
        )

    def close(self) -> None:
        """Give the session back; the backend cannot run any more."""
        del self._session


def _by_layer(kind: str, outputs: Mapping[str, np.ndarray]) -> Counts:
    """Outputs named `<kind>/<layer>`, by layer."""
    return {
        name.removeprefix(f"{kind}/"): values
        for name, values in outputs.items()
        if name.startswith(f"{kind}/")
    }
