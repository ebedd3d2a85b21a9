"""Backend of OpenVINO: a `.onnx` file of an LM-HT network, on the CPU.

OpenVINO computes in bfloat16 by default on some processors. Here it is told to take float32. It
still replaces int64 by int32 and float64 by float32, and it sums integers in float32. A file
therefore runs only if the magnitude in its metadata is below 2^24, where all of these are exact.
The counts of spikes and SOPs have no such bound. They are sums of terms that are not negative, and
rounding is monotone: a sum that ends below 2^24 was exact throughout. Every count is checked after
each run.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmht_deploy.errors import BackendError, StorageError, first_line
from lmht_deploy.formats.files import reading
from lmht_deploy.formats.onnx import COUNTS, SCHEMA, Model, by_layer, load_model
from lmht_deploy.ir import INT32_MAX, Network, Neurons, Readout

from . import Capability
from ._exported import Arrays, ExportedBackend, Face

if TYPE_CHECKING:
    import openvino

SUFFIX = SCHEMA.suffix
CAPABILITIES: frozenset[Capability] = frozenset({"events", "traces"})
EXPORT = {"portable": True}
TELEMETRY = "openvino_telemetry"
"""Package that sends telemetry when OpenVINO is imported."""
EXACT_FLOAT32 = 2**24
"""Integers below this magnitude are exact in float32."""


def unavailable() -> str | None:
    """Return how to install OpenVINO, or None where it is installed."""
    return (
        None
        if importlib.util.find_spec("openvino")
        else "OpenVINO is not installed; run: pip install 'lmht-deploy[openvino]'"
    )


def open_artifact(path: Path, *, threads: int = 1) -> OpenVinoBackend:
    """Open a `.onnx` file.

    Raises:
        BackendError: OpenVINO is not proved to run the file exactly.
        StorageError: The file is missing, damaged, of another tool or of another version.
    """
    if reason := refusal(path):
        raise BackendError(reason)
    with reading(path, "an .onnx file"):
        return OpenVinoBackend(path, load_model(path), threads)


def refusal(path: Path) -> str | None:
    """Return why OpenVINO is not proved to run a file exactly, or None.

    Raises:
        StorageError: The file is missing, damaged, of another tool or of another version.
    """
    with reading(path, "an .onnx file"):
        model = load_model(path)
        largest = model.properties.magnitude
        if largest >= EXACT_FLOAT32:
            return (
                f"{path}: values can reach {largest}, and OpenVINO is exact below "
                f"{EXACT_FLOAT32} only; export the network with --portable, which may keep them "
                "smaller, or use the backend onnx"
            )
        for layer, (_, most) in _sops(model.network()).items():
            if most > INT32_MAX:
                return (
                    f"{path}: layer {layer!r} can have {most} SOPs, which exceeds the 32 bits of "
                    "OpenVINO; use the backend onnx"
                )
    return None


class _Sops(NamedTuple):
    """What is known of the SOPs of a layer per window.

    Attributes:
        unit: What divides them; the graph multiplies by it last, in int32.
        most: Largest possible number.
    """

    unit: int
    most: int


class OpenVinoBackend(ExportedBackend):
    """A compiled model of OpenVINO as a backend."""

    name = "openvino"

    def __init__(self, path: Path, model: Model, threads: int) -> None:
        self._core: Any = _openvino().Core()
        self._options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # beside other work
        }
        self._model = model
        self._requests: dict[bool, openvino.InferRequest] = {}
        self._sops = _sops(model.network())
        super().__init__(path, model.properties, _face(_read(self._core, path, model)))

    def _compute(self, names: list[str], inputs: Arrays) -> Arrays:
        if self._core is None:
            raise BackendError("the backend is closed")
        traced = any(name in self._traces.values() for name in names)
        request = self._requests.get(traced) or self._compiled(traced)
        try:
            values = request.infer(inputs)
        except Exception as error:  # RuntimeError and others, by the version of OpenVINO
            raise BackendError(
                f"{self._path}: OpenVINO does not run it ({first_line(error)})"
            ) from None
        found = {
            name: np.array(value) for output, value in values.items() for name in _names(output)
        }
        self._check_counts(found)
        return {name: found[name] for name in names}

    def _compiled(self, traced: bool) -> openvino.InferRequest:
        """Compile the model; without traces their outputs are left out."""
        model = _read(self._core, self._path, self._model)
        for result in [] if traced else model.get_results():
            if _names(result.output(0)) <= set(self._traces.values()):
                model.remove_result(result)
        compiled = self._core.compile_model(model, "CPU", self._options)
        self._requests[traced] = compiled.create_infer_request()
        return self._requests[traced]

    def _check_counts(self, found: Arrays) -> None:
        """Raise BackendError for counts that float32 may have rounded."""
        for kind in COUNTS:
            for layer, name in by_layer(kind, found).items():
                unit = self._sops[layer].unit if kind.endswith("sops") else 1
                if found[name].max() >= EXACT_FLOAT32 * unit:
                    raise BackendError(
                        f"{self._path}: {name} exceeds what OpenVINO counts exactly; use the "
                        "backend onnx, or export the network with --logits-only"
                    )

    def close(self) -> None:
        """Release the compiled models; the backend cannot run afterwards."""
        self._core, self._requests = None, {}


def _openvino() -> Any:
    """Import OpenVINO without its telemetry, which sends an event and writes into the home folder.

    It has no setting for that. Without the package for telemetry OpenVINO sends nothing.
    """
    hidden = "openvino" not in sys.modules and TELEMETRY not in sys.modules
    if hidden:
        sys.modules[TELEMETRY] = None  # type: ignore[assignment]  # cannot be imported
    try:
        return importlib.import_module("openvino")
    finally:
        if hidden:
            del sys.modules[TELEMETRY]


def _read(core: Any, path: Path, model: Model) -> openvino.Model:
    try:
        return core.read_model(str(path) if model.data else model.content)
    except Exception as error:  # RuntimeError and others, by the version of OpenVINO
        raise StorageError(
            f"{path}: is not an .onnx file that OpenVINO runs ({first_line(error)})"
        ) from None


def _face(model: openvino.Model) -> Face:
    return Face(
        {i.any_name: np.dtype(i.get_element_type().to_dtype()) for i in model.inputs},
        {i.any_name: _sizes(i.get_partial_shape()) for i in model.inputs},
        [name for output in model.outputs for name in _names(output)],
    )


def _names(output: Any) -> set[str]:
    """Return the names of an output of the graph; OpenVINO adds those of inner tensors."""
    return {name for name in output.get_names() if ":" not in name}


def _sizes(shape: openvino.PartialShape) -> tuple[int, ...]:
    """Return a shape without the batch; 0 for sizes that are not fixed."""
    return tuple(0 if size.is_dynamic else size.get_length() for size in list(shape)[1:])


def _sops(net: Network) -> dict[str, _Sops]:
    """Return what is known of the SOPs of each layer."""
    found = {}
    layers: list[Neurons | Readout] = [*net.neurons, net.readout]
    for layer in layers:
        unit, most = INT32_MAX, 0
        for synapse in layer.synapses:
            if synapse.source in net.pixels:
                continue
            shape = net.shapes[synapse.source]
            fan_out = np.broadcast_to(synapse.fan_out(shape), (1, *shape[1:]))
            largest = max(net.ranges[synapse.source]) * net.steps[synapse.source] * shape[0]
            unit = min(unit, max(1, int(np.gcd.reduce(fan_out, axis=None))))
            most += largest * int(fan_out.sum())
        found[layer.name] = _Sops(unit, most)
    return found
