"""Backend of the Lava processes: a NetX file (`.net`), simulated by lava-nc in a child process.

environment.py   the Python environment of Lava, and how it is built
child.py         one run: files in and out, a time limit, complete cleanup
stock.py         NetX files in unmodified lava-dl
worker/          what runs inside that environment; it knows nothing of lmht-deploy or NetX
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lmht_deploy.backends import Capability, no_progress
from lmht_deploy.errors import BackendError
from lmht_deploy.formats.netx.network import LayerRecord, NetworkFile, read_network
from lmht_deploy.formats.netx.stock import is_foreign
from lmht_deploy.result import Counts, Result, check_windows, per_window

from . import child, environment, stock
from .worker.pooling import pooled

SUFFIX = ".net"
CAPABILITIES: frozenset[Capability] = frozenset({"traces"})


def unavailable() -> str | None:
    """Return how to install Lava's environment, or None where it is installed."""
    return None if environment.python_of() else _NOT_INSTALLED


def open_artifact(
    path: Path,
    *,
    threads: int = 1,
    seconds: float = 600.0,
    folder: Path | None = None,
    fast_conv: bool = False,
) -> LavaBackend | stock.StockBackend:
    """Open a NetX file.

    A file of an LM-HT network runs in the Lava processes of lmht-deploy. Every other file runs in
    unmodified lava-dl.

    Args:
        path: The file.
        threads: Number of threads of NumPy in each Lava process.
        seconds: Time limit of one run.
        folder: Folder of Lava's environment; None for `environment.default_folder()`.
        fast_conv: Whether lava-dl convolves by matrix products, with the same integers.

    Raises:
        StorageError: The file is missing or damaged.
        BackendError: The environment is not installed, or `fast_conv` has no effect because the
            file is of an LM-HT network.
    """
    foreign = is_foreign(path)
    network = None if foreign else read_network(path)
    python = environment.python_of(folder)
    if python is None:
        raise BackendError(_NOT_INSTALLED)
    if network is None:
        return stock.StockBackend(path, python, threads, seconds, fast_conv)
    if fast_conv:
        raise BackendError(
            f"{path}: runs in the processes of lmht-deploy, whose convolutions are always fast; "
            "fast convolutions are for NetX files of stock lava-dl"
        )
    return LavaBackend(path, network, python, threads, seconds)


class LavaBackend:
    """The Lava processes of lmht-deploy as a backend.

    Attributes:
        network: Content of the file.
    """

    chunk: int | None = 50

    def __init__(
        self, path: Path, network: NetworkFile, python: Path, threads: int, seconds: float
    ) -> None:
        self.path, self.network = path, network
        self.window_shape, self.max_value = network.window_shape, network.input.max_value
        self.metadata = network.metadata
        self._python, self._threads, self._seconds = python, threads, seconds
        self.progress: Callable[[int], None] = no_progress

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        """Run `windows` [B, T_in, ...] in one child process."""
        network, entry = self.network, self.network.input
        windows = check_windows(self.window_shape, entry.min_value, entry.max_value, windows)
        job, files = _job(network)
        job |= {"trace": trace or _max_pools(network), "threads": self._threads}
        files["windows"] = windows.astype(np.int32)
        with child.run(
            self._python, self.path.name, job, files, seconds=self._seconds, progress=self.progress
        ) as (folder, report):
            logits = np.load(folder / "logits.npy")
            spikes = {
                index: np.load(folder / f"layer-{index}.npy")
                for index, layer in enumerate(network.layers)
                if layer.neurons
            }
        return _result(network, windows, logits, spikes, report["seconds"], trace)

    def close(self) -> None:
        """Do nothing: a child process lives as long as its run."""


_NOT_INSTALLED = "Lava's environment is not installed; run: lmht lava install"


# ------------------------------------------------------------------------------- to and from Lava


def _job(network: NetworkFile) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the network as the worker takes it: plain data, and arrays by name."""
    layers: list[dict[str, Any]] = []
    files: dict[str, np.ndarray] = {}
    for index, layer in enumerate(network.layers):
        if layer.input or layer.synapses:  # dense synapses do the work of a flatten layer
            layers.append(_entry(network, index))
            files |= {f"{index}-{name}": array for name, array in _arrays(layer).items()}
    return {"steps": network.steps, "substeps": network.substeps, "layers": layers}, files


def _entry(network: NetworkFile, index: int) -> dict[str, Any]:
    """Return layer `index` without its arrays."""
    layer = network.layers[index]
    entry: dict[str, Any] = {"index": index, "shape": layer.shape, "synapses": []}
    for synapse in layer.synapses:
        keys = ("source", "extent", "stride", "padding", "dilation", "groups")
        entry["synapses"].append({key: getattr(synapse, key) for key in keys})
        entry["synapses"][-1]["pooled"] = synapse.pools is not None
    if layer.neurons:
        entry["neurons"] = {
            "fires": _fires(network, layer),
            "max_spike": layer.neurons.levels if network.graded else 1,
            "levels": layer.neurons.levels,
            "reset": layer.neurons.reset or "subtract",
            "bounded": layer.neurons.floor is not None,
            "leak": layer.neurons.leak,
            "leak_bits": layer.neurons.leak_bits,
            "uniform": layer.neurons.injection == "uniform" and layer.neurons.substeps > 1,
        }
    return entry


def _arrays(layer: LayerRecord) -> dict[str, np.ndarray]:
    """Return the arrays of a layer: weights by number of the synapse, and its neurons' arrays."""
    found = {f"weight-{number}": synapse.weight for number, synapse in enumerate(layer.synapses)}
    for number, synapse in enumerate(layer.synapses):
        if synapse.pools is not None:
            found[f"pools-{number}"] = synapse.pools
    if layer.neurons:
        found |= {key: getattr(layer.neurons, key) for key in ("omega", "theta", "bias", "v0")}
        if layer.neurons.floor is not None:
            found["floor"] = layer.neurons.floor
    if layer.readout:
        found["bias"] = layer.readout.bias.astype(np.int64) * layer.readout.steps
    return found


def _max_pools(network: NetworkFile) -> bool:
    """Return whether a synapse reads max pooling, whose SOPs need the spikes of every step."""
    return any(synapse.pools is not None for layer in network.layers for synapse in layer.synapses)


def _fires(network: NetworkFile, layer: LayerRecord) -> int:
    """Lava steps per block in which the neurons of `layer` may fire."""
    assert layer.neurons is not None
    return layer.neurons.substeps * (1 if network.graded else layer.neurons.levels)


def _result(
    network: NetworkFile,
    windows: np.ndarray,
    logits: np.ndarray,
    spikes: dict[int, np.ndarray],
    seconds: float,
    trace: bool,
) -> Result:
    """Count what the neurons of the layers, by number, sent: `spikes` [B, steps, ...]."""
    sent = {0: windows} | spikes
    named = {index: str(network.layers[index].name) for index in spikes}
    return Result(
        backend="lava",
        logits=logits,
        scale=network.readout.scale,
        spikes={name: per_window(spikes[index]) for index, name in named.items()},
        sops=_sops(network, sent),
        macs=_macs(network),
        seconds=seconds,
        traces={name: _trace(network, index, spikes[index]) for index, name in named.items()}
        if trace
        else None,
    )


def _sops(network: NetworkFile, sent: dict[int, np.ndarray]) -> Counts:
    """SOPs per window, by layer with synapses; a synapse that reads pixels has MACs instead."""
    found: dict[str, np.ndarray] = {}
    for layer in network.layers:
        if layer.synapses:
            total = np.zeros(len(sent[0]), np.int64)
            for synapse in layer.synapses:
                if not synapse.macs:
                    k = pooled(sent[synapse.source], synapse.pools)
                    total += per_window(k, synapse.fan_out)
            found[str(layer.name)] = total
    return found


def _macs(network: NetworkFile) -> dict[str, int]:
    """MACs per window, by layer that reads pixels."""
    sums = {str(layer.name): sum(s.macs for s in layer.synapses) for layer in network.layers}
    return {name: count for name, count in sums.items() if count}


def _trace(network: NetworkFile, index: int, spikes: np.ndarray) -> np.ndarray:
    """Convert [B, window, ...] Lava steps to counts k [B, T, ...] or sub-steps [B, T·S, ...]."""
    layer = network.layers[index]
    assert layer.neurons is not None
    blocks = spikes.reshape(len(spikes), -1, network.substeps, *spikes.shape[2:])
    blocks = blocks[:, : layer.neurons.steps, : _fires(network, layer)].astype(np.int64)
    if layer.neurons.substeps == 1:
        blocks = blocks.sum(2, keepdims=True)
    return blocks.reshape(len(spikes), -1, *spikes.shape[2:])
