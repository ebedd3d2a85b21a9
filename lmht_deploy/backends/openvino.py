"""Backend of OpenVINO: a `.onnx` file of an LM-HT network, on the CPU.

By default, OpenVINO computes in bfloat16 on some processors, and rounds the input of some dense
layers to 8 bits. This backend sets float32, and turns that rounding off. OpenVINO still replaces
int64 by int32 and float64 by float32, and it sums integers in float32. A file therefore runs only
if the magnitude in its metadata is below 2^24, where all of these are exact.
The numbers of spikes and SOPs have no such bound. The spikes are sums of terms that are not
negative, and rounding is monotone: a sum that ends below 2^24 was exact throughout. The spikes of
each run then bound its SOPs.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from lmht_deploy.errors import BackendError, StorageError
from lmht_deploy.formats.files import reading
from lmht_deploy.formats.onnx import COUNTS, SCHEMA, WINDOWS, Model, by_layer, load_model
from lmht_deploy.ir import (
    INT32_MAX,
    Flatten,
    MaxPool,
    Network,
    Neurons,
    Readout,
    SumPool,
)

from . import Capability
from ._exported import Arrays, ExportedBackend, Signature

if TYPE_CHECKING:
    import openvino

SUFFIX = SCHEMA.suffix
CAPABILITIES: frozenset[Capability] = frozenset({"events", "traces"})
EXPORT = {"openvino": True}
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
    with reading(path, "an .onnx file"):
        model = load_model(path)
    if reason := _refusal(model):
        raise BackendError(f"{path}: {reason}")
    with reading(path, "an .onnx file"):
        return OpenVinoBackend(path, model, threads)


def refusal(path: Path) -> str | None:
    """Return why OpenVINO is not proved to run a file exactly, or None.

    Raises:
        StorageError: The file is missing, damaged, of another tool or of another version.
    """
    with reading(path, "an .onnx file"):
        return _refusal(load_model(path))


def _refusal(model: Model) -> str | None:
    if model.has_functions:
        return (
            "has model-local functions, which OpenVINO does not read; write the file with `lmht "
            "export --openvino`, or lmht_deploy.export(net, path, openvino=True)"
        )
    largest, layer = model.properties.magnitude, model.properties.widest
    if largest < EXACT_FLOAT32:
        return None
    where = f"layer {layer!r}" if layer else "a layer"
    return (
        f"integers of {where} can reach {largest}, and OpenVINO computes in float32, which is "
        f"exact below {EXACT_FLOAT32}; use the backend onnx"
    )


class _Term(NamedTuple):
    """SOPs of one synapse.

    Attributes:
        source: Neurons or input whose spikes cross it.
        largest: Largest number of synapses that one of these spikes crosses.
        unit: What divides the SOPs; the graph multiplies by it last, in int32.
    """

    source: str
    largest: int
    unit: int


class OpenVinoBackend(ExportedBackend):
    """A compiled model of OpenVINO as a backend."""

    name = "openvino"

    def __init__(self, path: Path, model: Model, threads: int) -> None:
        self._core: Any = _openvino().Core()
        self._options = {
            "INFERENCE_PRECISION_HINT": "f32",
            # A dense layer in float32 with weights of 8 bits would round its input to 8 bits.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,  # beside other work
        }
        self._model = model
        self._requests: dict[bool, openvino.InferRequest] = {}
        net = model.network()
        self._input = net.input.name
        layers: list[Neurons | Readout] = [*net.neurons, net.readout]
        self._sops = {layer.name: _terms(net, layer) for layer in layers}
        super().__init__(path, model.properties, _signature(_read(self._core, path, model)))

    def _compute(self, names: list[str], inputs: Arrays) -> Arrays:
        if self._core is None:
            raise BackendError("the backend is closed")
        traced = any(name in self._traces.values() for name in names)
        request = self._requests.get(traced) or self._compiled(traced)
        try:
            values = request.infer(inputs)
        except Exception as error:  # RuntimeError and others, by the version of OpenVINO
            raise BackendError(
                f"{self._path}: OpenVINO does not run it ({_reason(error)})"
            ) from None
        found = {
            name: np.array(value) for output, value in values.items() for name in _names(output)
        }
        self._check_batch(found, len(inputs[WINDOWS]))
        self._check_counts(found, inputs[WINDOWS])
        return {name: found[name] for name in names}

    def _compiled(self, traced: bool) -> openvino.InferRequest:
        """Compile the model; without traces their outputs are left out."""
        model = _read(self._core, self._path, self._model)
        for result in [] if traced else model.get_results():
            if _names(result.output(0)) <= set(self._traces.values()):
                model.remove_result(result)
        try:
            compiled = self._core.compile_model(model, "CPU", self._options)
        except Exception as error:  # OpenVINO fails on some graphs of a few channels
            raise BackendError(
                f"{self._path}: OpenVINO does not compile it ({_reason(error)})"
            ) from None
        self._requests[traced] = compiled.create_infer_request()
        return self._requests[traced]

    def _check_batch(self, found: Arrays, batch: int) -> None:
        """Raise BackendError where OpenVINO changed the shapes of a graph."""
        for name, value in found.items():
            if value.shape[:1] != (batch,) or not value.size:
                raise BackendError(
                    f"{self._path}: OpenVINO gives {name!r} of the shape {list(value.shape)} for "
                    f"{batch} windows; use the backend onnx"
                )

    def _check_counts(self, found: Arrays, windows: np.ndarray) -> None:
        """Raise BackendError for counts that float32 may have rounded, or int32 wrapped."""
        spikes = by_layer(COUNTS[0], found)
        for name in spikes.values():
            self._require(name, 0 <= found[name].min() <= found[name].max() < EXACT_FLOAT32)
        totals = {layer: found[name] for layer, name in spikes.items()}
        totals[self._input] = windows.reshape(len(windows), -1).sum(1, dtype=np.int64)
        for layer, name in by_layer(COUNTS[1], found).items():
            most = np.zeros(len(windows), np.int64)
            for term in self._sops[layer]:
                crossed = totals[term.source] * term.largest
                self._require(name, crossed.max() < EXACT_FLOAT32 * term.unit)
                most += crossed
            self._require(name, most.max() <= INT32_MAX)

    def _require(self, name: str, exact: bool) -> None:
        if not exact:
            raise BackendError(
                f"{self._path}: {name} exceeds what OpenVINO counts exactly; use the backend onnx, "
                "or export the network with --logits-only"
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
            f"{path}: is not an .onnx file that OpenVINO runs ({_reason(error)})"
        ) from None


def _reason(error: Exception) -> str:
    """Return the first line that says more than where in OpenVINO the exception was raised."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.startswith("Exception from")), "")


def _signature(model: openvino.Model) -> Signature:
    return Signature(
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


def _terms(net: Network, layer: Neurons | Readout) -> list[_Term]:
    """Return the terms of the SOPs of a layer; pixels cause none."""
    terms = []
    for synapse in layer.synapses:
        if synapse.source not in net.pixels:
            fan_out = synapse.fan_out(net.shapes[synapse.source])
            source, overlap = _counted(net, synapse.source)
            unit = max(1, int(np.gcd.reduce(fan_out, axis=None)))
            terms.append(_Term(source, overlap * int(fan_out.max()), unit))
    return terms


def _counted(net: Network, name: str) -> tuple[str, int]:
    """Return the layer that a layer gets its spikes from, and how many one of them can become."""
    layer, overlap = net[name], 1
    while isinstance(layer, Flatten | SumPool | MaxPool):
        if not isinstance(layer, Flatten):
            overlap *= prod(-(-k // s) for k, s in zip(layer.kernel, layer.stride, strict=True))
        layer = net[layer.source]
    return layer.name, overlap
