"""Speed of liblmht beside the engine in Python: `python -m benchmarks.library LIBRARY`.

LIBRARY is the path of `liblmht.so`, which `docs/how-to/library.md` builds. Both run the same
windows one by one on one thread, in turns, with the fastest instruction set. Each figure is the
best of several runs, in ms per window. `lmht run` uses the engine in Python.
"""

from __future__ import annotations

import ctypes
import sys
import time
from ctypes import byref, c_char_p, c_int32, c_int64, c_size_t, c_uint32, c_void_p

import numpy as np

from lmht_deploy.engine import Engine, Model
from lmht_deploy.formats.flat import network_to_bytes
from lmht_deploy.ir import Network

from .report import cpu
from .timing import Run, best_of_each
from .web import cases

SECONDS = 10
"""Time for both runs of a case."""
HANDLE = ctypes.POINTER(c_void_p)
SIGNATURES = {
    "network_read": [c_char_p, c_size_t, c_char_p, HANDLE],
    "engine_create": [c_void_p, c_int32, HANDLE],
    "engine_run": [c_void_p, c_void_p, c_size_t, c_uint32, c_void_p],
    "result_create": [HANDLE],
    "result_logits": [c_void_p],
}


class Library:
    """One network, run by the library."""

    def __init__(self, path: str, net: Network) -> None:
        """Load the library and the network."""
        self._library = ctypes.CDLL(path)
        for name, arguments in SIGNATURES.items():
            getattr(self._library, f"lmht_{name}").argtypes = arguments
        self._library.lmht_result_logits.restype = ctypes.POINTER(c_int64)
        content = network_to_bytes(net)
        self._classes = net.classes
        self._network = self._made("network_read", content, len(content), None)
        self._engine = self._made("engine_create", self._network, 1)
        self._result = self._made("result_create")

    def _made(self, name: str, *arguments: object) -> c_void_p:
        handle = c_void_p()
        assert getattr(self._library, f"lmht_{name}")(*arguments, byref(handle)) == 0
        return handle

    def run(self, window: np.ndarray) -> None:
        """Run one window, int32 [T_in, C, H, W]."""
        status = self._library.lmht_engine_run(self._engine, window.ctypes.data, 1, 0, self._result)
        assert status == 0

    def logits(self) -> list[int]:
        """Return the logits of the last window."""
        return list(self._library.lmht_result_logits(self._result)[: self._classes])


def compare(path: str, net: Network, windows: np.ndarray) -> tuple[float, float]:
    """Return milliseconds per window of the library and of Python."""
    engine, library = Engine(Model(net)), Library(path, net)
    windows = np.ascontiguousarray(windows, np.int32)
    for window in windows:
        library.run(window)
        assert library.logits() == engine.run(window[None]).logits[0].tolist()
    runs: dict[str, Run] = {
        "library": lambda: [library.run(window) for window in windows],
        "python": lambda: [engine.run(window[None]) for window in windows],
    }
    times = best_of_each(runs, SECONDS, time.perf_counter)
    return times["library"] / len(windows), times["python"] / len(windows)


def main() -> None:
    """Print a table."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.library LIBRARY")
    print(f"{cpu()}\n\n{'ms per window':50s}{'liblmht':>10s}{'Python':>10s}{'ratio':>8s}")
    for name, (net, windows) in cases().items():
        library, python = compare(sys.argv[1], net, windows)
        print(f"{name:50s}{library:10.3f}{python:10.3f}{python / library:8.2f}")


if __name__ == "__main__":
    main()
