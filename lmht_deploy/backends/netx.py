"""Backend of NetX files that others wrote: CUBA neurons with a hard reset, as Lava's fixed-point simulation runs them (docs/netx.md).

Such a file is no LM-HT network: this backend is asked for by name, or by `lmht run`, and takes no part in comparisons.
Layers are named by their place in the file, and its logits are the spike counts of the last one; where that has no
neurons, as lava-dl leaves a read-out, the potential that it ends with.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from .. import network
from .. import netx as simulator
from ..errors import DataError
from ..netx import Conv, Dense, InputLayer, NetX
from ..result import Counts, Result, per_window

SUFFIX = ".net"


def missing() -> str | None:
    """Nothing: the simulation needs NumPy only."""
    return None


def load(path: Path, *, threads: int = 1) -> NetxBackend:
    """Open a NetX file; NumPy chooses its own threads. Raises StorageError for what is missing, damaged or not run here."""
    return NetxBackend(simulator.load(path))


class NetxBackend:
    """Windows are spikes [B, steps, ...], every value but 0 one spike, for any number of steps.

    Where the input layer has neurons, they are its biases, [B, 1, ...], held for the steps that the file names.
    """

    chunk = 32
    high = network.MAX_INPUT

    def __init__(self, net: NetX) -> None:
        self.net = net
        self._driven = isinstance(net.spiking[0], InputLayer)
        self.window_shape = (1 if self._driven else net.steps or 1, *net.input_shape)

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        windows = np.asarray(windows)
        if self._driven and (windows.ndim < 2 or windows.shape[1] != 1 or self.net.steps is None):
            raise DataError(f"this network is driven by biases [batch, 1, ...] for the file's 'simulation/tSample' ({self.net.steps}) steps")
        start = time.perf_counter()
        steps = self.net.steps if self._driven else None
        recordings = simulator.run(self.net, windows[:, 0] if self._driven else windows, steps, states=True)
        seconds = time.perf_counter() - start
        names = [f"layer {self.net.layers.index(layer)}" for layer in self.net.spiking]
        spikes = {name: recording.spikes.astype(np.int64) for name, recording in zip(names, recordings, strict=True)}
        last = recordings[-1]
        assert last.v is not None
        silent = self.net.spiking[-1].neurons == simulator.READOUT
        logits = last.v[:, -1] if silent else last.spikes.sum(1)
        return Result(
            backend="netx",
            logits=logits.reshape(len(windows), -1).astype(np.int64),
            scale=1.0,
            spikes={name: per_window(k) for name, k in spikes.items()},
            sops=self._sops((windows != 0).astype(np.int64), list(spikes.items())),
            seconds=seconds,
            traces=spikes if trace else None,
        )

    def close(self) -> None:
        """Nothing to give back."""

    def _sops(self, windows: np.ndarray, spikes: list[tuple[str, np.ndarray]]) -> Counts:
        """Synaptic operations of each layer: spikes of the one before, and its own where it is recurrent."""
        found: Counts = {}
        before = windows
        for (name, own), layer in zip(spikes, self.net.spiking, strict=True):
            if not isinstance(layer, InputLayer):
                found[name] = per_window(before, _fan_out(layer, before.shape[2:]))
                if isinstance(layer, Dense) and layer.recurrent is not None:
                    found[name] += per_window(own) * len(layer.recurrent)
            before = own
        return found


def _fan_out(layer: Conv | Dense, shape: tuple[int, ...]) -> np.ndarray | int:
    """Synapses that one spike crosses, at each place of the layer before."""
    if isinstance(layer, Dense):
        return len(layer.weight)
    geometry = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation, "groups": layer.groups}
    return network.Conv(source="before", weight=np.zeros(layer.weight.shape, np.int8), **geometry).fan_out(shape)  # type: ignore[arg-type]
