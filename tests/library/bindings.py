"""Bindings of `lmht.h` by ctypes, which return the results of the Python interface."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import (
    POINTER,
    Structure,
    byref,
    c_char_p,
    c_double,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint16,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.events.arrays import EVENT
from lmht_deploy.result import Result

OK, NONE, ARGUMENT, FILE, UNSUPPORTED, IO, INVALID_EVENT = 0, 1, -1, -2, -3, -4, -5
TRACE = 1


def fields(**kinds: Any) -> list[tuple[str, Any]]:
    """The fields of a structure."""
    return list(kinds.items())


class WindowRule(Structure):
    _fields_ = fields(by=c_int32, hop=c_int32, length=c_int64)


class NetworkInfo(Structure):
    _fields_ = fields(
        channels=c_int32, height=c_int32, width=c_int32, steps=c_int32, min_count=c_int32,
        max_count=c_int32, kind=c_int32, classes=c_int32, layers=c_int32, neuron_layers=c_int32,
        synaptic_layers=c_int32, reserved=c_int32, scale=c_double, min_margin=c_double,
        weight_bytes=c_uint64, window=WindowRule,
    )  # fmt: skip


class LayerInfo(Structure):
    _fields_ = fields(
        name=c_char_p, type=c_int32, channels=c_int32, height=c_int32, width=c_int32, steps=c_int32,
        levels=c_int32, spikes=c_int32, sops=c_int32, macs=c_int64,
    )  # fmt: skip


class Place(Structure):
    _fields_ = fields(step=c_int32, channel=c_int32, y=c_int32, x=c_int32)


class Event(Structure):
    _fields_ = fields(t=c_int64, x=c_uint16, y=c_uint16, p=c_uint8, reserved=c_uint8 * 3)


class StreamOptions(Structure):
    _fields_ = fields(
        window=WindowRule, threads=c_int32, drop=c_int32, smooth=c_int32, run=c_uint32,
        max_gap=c_int64, min_margin=c_double,
    )  # fmt: skip


class Decision(Structure):
    _fields_ = fields(
        window=c_int64, start=c_int64, time=c_int64, label=c_int32, incomplete=c_int32,
        margin=c_double, events=c_int64, lost=c_int64, spikes=c_int64, sops=c_int64,
        seconds=c_double,
    )  # fmt: skip


class Losses(Structure):
    _fields_ = fields(
        outside=c_int64, polarity=c_int64, order=c_int64, late=c_int64, skipped=c_int64
    )


PACKED = np.dtype(
    {
        "names": ["t", "x", "y", "p"],
        "formats": ["<i8", "<u2", "<u2", "u1"],
        "offsets": [0, 8, 10, 12],
        "itemsize": ctypes.sizeof(Event),
    }
)
"""An `lmht_event`."""

HANDLE = c_void_p
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "abi_version": (c_uint32, []),
    "version": (c_char_p, []),
    "file_version": (c_uint32, []),
    "error_message": (c_char_p, []),
    "isa": (c_char_p, [c_size_t]),
    "network_open": (c_int32, [c_char_p, c_char_p, POINTER(HANDLE)]),
    "network_read": (c_int32, [c_char_p, c_size_t, c_char_p, POINTER(HANDLE)]),
    "network_free": (None, [HANDLE]),
    "network_get_info": (c_int32, [HANDLE, POINTER(NetworkInfo)]),
    "network_get_layer": (c_int32, [HANDLE, c_int32, POINTER(LayerInfo)]),
    "network_class_name": (c_char_p, [HANDLE, c_int32]),
    "network_metadata": (c_char_p, [HANDLE]),
    "network_isa": (c_char_p, [HANDLE]),
    "result_create": (c_int32, [POINTER(HANDLE)]),
    "result_free": (None, [HANDLE]),
    "result_windows": (c_size_t, [HANDLE]),
    "result_logits": (POINTER(c_int64), [HANDLE]),
    "result_spikes": (POINTER(c_int64), [HANDLE]),
    "result_events": (POINTER(c_int64), [HANDLE]),
    "result_sops": (POINTER(c_int64), [HANDLE]),
    "result_event_sops": (POINTER(c_int64), [HANDLE]),
    "result_trace": (POINTER(c_int32), [HANDLE, c_int32]),
    "result_answer": (c_int32, [HANDLE, c_size_t]),
    "result_seconds": (c_double, [HANDLE]),
    "engine_create": (c_int32, [HANDLE, c_int32, POINTER(HANDLE)]),
    "engine_free": (None, [HANDLE]),
    "engine_run": (c_int32, [HANDLE, c_void_p, c_size_t, c_uint32, HANDLE]),
    "engine_push": (c_int32, [HANDLE, c_void_p, c_size_t]),
    "engine_finish": (c_int32, [HANDLE, c_uint32, HANDLE]),
    "engine_reset": (c_int32, [HANDLE]),
    "engine_buffer_bytes": (c_uint64, [HANDLE]),
    "stepper_open": (c_int32, [c_char_p, c_char_p, c_int32, POINTER(HANDLE)]),
    "stepper_read": (c_int32, [c_char_p, c_size_t, c_char_p, c_int32, POINTER(HANDLE)]),
    "stepper_free": (None, [HANDLE]),
    "stepper_step": (c_int32, [HANDLE, c_void_p, c_uint32, HANDLE]),
    "stepper_steps": (c_int32, [HANDLE]),
    "stepper_finish": (c_int32, [HANDLE, HANDLE]),
    "stepper_reset": (c_int32, [HANDLE]),
    "recording_open": (c_int32, [c_char_p, c_int32, c_int32, c_char_p, POINTER(HANDLE)]),
    "recording_read": (
        c_int32,
        [c_char_p, c_size_t, c_char_p, c_int32, c_int32, c_char_p, POINTER(HANDLE)],
    ),
    "recording_free": (None, [HANDLE]),
    "recording_width": (c_int32, [HANDLE]),
    "recording_height": (c_int32, [HANDLE]),
    "recording_next": (c_int32, [HANDLE, c_void_p, c_size_t, POINTER(c_size_t)]),
    "stream_options_init": (c_int32, [POINTER(StreamOptions)]),
    "stream_create": (
        c_int32,
        [HANDLE, c_int32, c_int32, POINTER(StreamOptions), POINTER(HANDLE)],
    ),
    "stream_free": (None, [HANDLE]),
    "stream_push": (c_int32, [HANDLE, c_void_p, c_size_t]),
    "stream_elapse": (c_int32, [HANDLE, c_int64]),
    "stream_finish": (c_int32, [HANDLE]),
    "stream_next": (c_int32, [HANDLE, POINTER(Decision)]),
    "stream_result": (HANDLE, [HANDLE]),
    "stream_counts": (POINTER(c_int64), [HANDLE]),
    "stream_get_losses": (c_int32, [HANDLE, POINTER(Losses)]),
}
"""Result and arguments of each function, by its name without `lmht_`."""


class LibraryError(Exception):
    """A status that is an error.

    Attributes:
        status: The status.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Library:
    """The functions of a shared library."""

    def __init__(self, path: Path) -> None:
        self._loaded = ctypes.CDLL(str(path))
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(self._loaded, f"lmht_{name}")
            function.restype, function.argtypes = result, arguments

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loaded, f"lmht_{name}")

    def check(self, status: int) -> int:
        """Return a status that is no error."""
        if status < 0:
            raise LibraryError(status, self.error_message().decode())
        return status

    def isas(self) -> list[str]:
        """Return the instruction sets of this CPU."""
        names = (self.isa(index) for index in range(20))
        return [name.decode() for name in names if name]

    @contextmanager
    def made(self, kind: str, *arguments: Any) -> Iterator[c_void_p]:
        """Provide a handle that `lmht_KIND` makes."""
        handle = HANDLE()
        self.check(getattr(self, kind)(*arguments, byref(handle)))
        try:
            yield handle
        finally:
            getattr(self, f"{kind.partition('_')[0]}_free")(handle)

    @contextmanager
    def network(self, content: bytes, isa: str | None = None) -> Iterator[c_void_p]:
        """Provide the network of a flat file."""
        name = None if isa is None else isa.encode()
        with self.made("network_read", content, len(content), name) as network:
            yield network

    def info(self, network: c_void_p) -> NetworkInfo:
        """Return the description of a network."""
        info = NetworkInfo()
        self.check(self.network_get_info(network, byref(info)))
        return info

    def layers(self, network: c_void_p) -> list[LayerInfo]:
        """Return the descriptions of its layers."""
        found = [LayerInfo() for _ in range(self.info(network).layers)]
        for index, layer in enumerate(found):
            self.check(self.network_get_layer(network, index, byref(layer)))
        return found

    def run(self, network: c_void_p, windows: np.ndarray, threads: int = 1) -> Result:
        """Run windows, and keep the spikes of every layer."""
        windows = np.ascontiguousarray(windows, np.int32)
        with (
            self.made("engine_create", network, threads) as engine,
            self.made("result_create") as result,
        ):
            self.check(self.engine_run(engine, windows.ctypes.data, len(windows), TRACE, result))
            return self.as_result(network, result)

    def as_result(self, network: c_void_p, result: c_void_p, steps: int = 1) -> Result:
        """Copy a result; `steps`: into how many the window of its traces is divided."""
        info, layers = self.info(network), self.layers(network)
        windows = self.result_windows(result)
        spiking = [layer for layer in layers if layer.spikes >= 0]
        synaptic = [layer for layer in layers if layer.sops >= 0]

        def table(values: Any, columns: list[LayerInfo]) -> dict[str, np.ndarray]:
            found = np.ctypeslib.as_array(values, (windows, len(columns))).copy()
            return {layer.name.decode(): found[:, i] for i, layer in enumerate(columns)}

        traces = {
            layer.name.decode(): np.ctypeslib.as_array(
                self.result_trace(result, layer.spikes),
                (windows, layer.steps // steps, layer.channels, layer.height, layer.width),
            ).copy()
            for layer in spiking
            if self.result_trace(result, layer.spikes)
        }
        return Result(
            backend="liblmht",
            logits=np.ctypeslib.as_array(
                self.result_logits(result), (windows, info.classes)
            ).copy(),
            scale=info.scale,
            spikes=table(self.result_spikes(result), spiking) if spiking else {},
            sops=table(self.result_sops(result), synaptic),
            events=table(self.result_events(result), spiking) if spiking else {},
            event_sops=table(self.result_event_sops(result), synaptic),
            macs={layer.name.decode(): layer.macs for layer in layers if layer.macs},
            traces=traces or None,
        )

    def read_all(self, recording: c_void_p, capacity: int = 1000) -> np.ndarray:
        """Read all events of a recording, EVENT `[n]`, whose polarities are not checked."""
        parts = [np.empty(0, PACKED)]
        count = c_size_t()
        while True:
            part = np.zeros(capacity, PACKED)
            status = self.recording_next(recording, part.ctypes.data, capacity, byref(count))
            if self.check(status) == NONE:
                return np.concatenate(parts)
            parts.append(part[: count.value])

    def decisions(self, stream: c_void_p) -> Iterator[Decision]:
        """Yield copies of the decisions that are ready."""
        decision = Decision()
        while self.check(self.stream_next(stream, byref(decision))) == OK:
            yield Decision.from_buffer_copy(decision)


def packed(events: np.ndarray) -> np.ndarray:
    """Return EVENT `[n]` as `lmht_event` has it."""
    found = np.zeros(len(events), PACKED)
    for name in EVENT.names or ():
        found[name] = events[name]
    return found
