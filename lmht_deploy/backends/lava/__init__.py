"""Backend of the Lava processes: a NetX file (`.net`), simulated by lava-nc in a child process (docs/lava.md).

    environment.py   Lava's own Python environment, and how it is built
    child.py         one run: files in and out, a time limit, nothing left behind
    stock.py         NetX files of others, in unmodified lava-dl
    worker/          what runs inside that environment, and knows nothing of lmht-deploy

What the file says about counting and naming is read here; what it says about running, in the child.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from lmht_deploy.backends import no_progress
from lmht_deploy.errors import BackendError, StorageError
from lmht_deploy.formats.files import hdf5_checksum, reading
from lmht_deploy.netx import is_foreign
from lmht_deploy.result import Result, check_windows, per_window

from . import child, environment, stock

SUFFIX = ".net"
FORMAT = "lmht-deploy NetX"
VERSION = 1


def unavailable() -> str | None:
    """Whether Lava's environment is installed."""
    return (
        None
        if environment.python_of()
        else "Lava's environment is not installed; run: lmht lava install"
    )


def open_artifact(
    path: Path,
    *,
    threads: int = 1,
    seconds: float = 600.0,
    folder: Path | None = None,
    fast_conv: bool = False,
) -> LavaBackend | stock.StockBackend:
    """Open a NetX file: one that lmht-deploy wrote for its own processes, or any other, which unmodified lava-dl will run.

    A run may take `seconds`, and uses the environment in `folder`. `fast_conv` has lava-dl convolve by matrix products,
    with the same integers. Raises StorageError for a file that is missing or damaged, BackendError without the environment
    and for `fast_conv` where the processes are lmht-deploy's, which convolve so anyway.
    """
    foreign = is_foreign(path)
    net = None if foreign else _read(path)
    python = environment.python_of(folder)
    if python is None:
        raise BackendError("Lava's environment is not installed; run: lmht lava install")
    if net is None:
        return stock.StockBackend(path, python, threads, seconds, fast_conv)
    if fast_conv:
        raise BackendError(
            f"{path}: runs in lmht-deploy's own processes, whose convolutions are fast; fast convolutions are for NetX files of stock lava-dl"
        )
    return LavaBackend(path, net, python, threads, seconds)


class LavaBackend:
    chunk: int | None = 50

    def __init__(self, path: Path, net: _Net, python: Path, threads: int, seconds: float) -> None:
        self.net, self.path, self.window_shape, self.max_value = (
            net,
            path,
            net.window_shape,
            net.max_value,
        )
        self._python, self._threads, self._seconds = python, threads, seconds
        self.progress: Callable[[int], None] = no_progress

    def run(self, windows: np.ndarray, *, trace: bool = False) -> Result:
        net = self.net
        windows = check_windows(net.window_shape, net.min_value, net.max_value, windows)
        job = {"net": str(self.path.resolve()), "trace": trace, "threads": self._threads}
        files = {"windows.npy": windows.astype(np.int32)}
        with child.run(
            self._python, self.path.name, job, files, seconds=self._seconds, progress=self.progress
        ) as (folder, report):
            logits = np.load(folder / "logits.npy")
            spikes = {0: windows} | {
                layer.index: np.load(folder / f"layer-{layer.index}.npy")
                for layer in net.layers
                if layer.fires
            }
        return Result(
            backend="lava",
            logits=logits,
            scale=net.scale,
            spikes={
                layer.name: per_window(spikes[layer.index]) for layer in net.layers if layer.fires
            },
            sops={layer.name: layer.sops(spikes) for layer in net.layers},
            macs=net.macs(),
            seconds=report["seconds"],
            traces={
                layer.name: layer.trace(spikes[layer.index], net.substeps)
                for layer in net.layers
                if layer.fires
            }
            if trace
            else None,
        )

    def close(self) -> None:
        """Nothing: a child lives as long as its run."""


# ------------------------------------------------------------------------------------------------ what the file says


@dataclass(frozen=True)
class _Fan:
    """What the spikes of layer `source` cross in one synapse; one that reads pixels has `macs` a window instead of SOPs."""

    source: int
    fan_out: np.ndarray
    macs: int


@dataclass(frozen=True)
class _Layer:
    """A layer with synapses, `index` in the file; one with neurons has T `steps` of `fires` Lava steps each, `summed` to one k."""

    name: str
    index: int
    fans: tuple[_Fan, ...]
    steps: int = 0
    fires: int = 0
    summed: bool = False

    def sops(self, spikes: dict[int, np.ndarray]) -> np.ndarray:
        """Synaptic operations of each window, int64 [B], from the spikes of every layer."""
        total = np.zeros(len(spikes[0]), np.int64)
        for fan in self.fans:
            if not fan.macs:
                total += per_window(spikes[fan.source], fan.fan_out)
        return total

    def trace(self, spikes: np.ndarray, substeps: int) -> np.ndarray:
        """Spikes [B, window, ...] as the network has them: [B, T, ...] counts k, or [B, T·S, ...] sub-steps."""
        blocks = spikes.reshape(len(spikes), -1, substeps, *spikes.shape[2:])[
            :, : self.steps, : self.fires
        ].astype(np.int64)
        return blocks.sum(2) if self.summed else blocks.reshape(len(spikes), -1, *spikes.shape[2:])


@dataclass(frozen=True)
class _Net:
    window_shape: tuple[int, ...]
    min_value: int
    max_value: int
    substeps: int
    scale: float
    layers: tuple[_Layer, ...]

    def macs(self) -> dict[str, int]:
        """Multiply-accumulates a window, by layer that reads pixels."""
        sums = {layer.name: sum(fan.macs for fan in layer.fans) for layer in self.layers}
        return {name: count for name, count in sums.items() if count}


def _read(path: Path) -> _Net:
    with reading(path, "a NetX file"), h5py.File(path, "r") as file:
        if file.attrs.get("format") != FORMAT:
            raise StorageError(
                f"{path}: was not written by `lmht export` (its 'format' attribute is {file.attrs.get('format')!r}); lmht_deploy.netx reads other NetX files"
            )
        if file.attrs.get("version") != VERSION:
            raise StorageError(
                f"{path}: has format version {file.attrs.get('version')}, this release reads version {VERSION}"
            )
        if file.attrs.get("checksum") != hdf5_checksum(file):
            raise StorageError(
                f"{path}: the checksum does not match the content; the file is damaged or was edited"
            )
        groups = [file["layer"][str(index)] for index in range(len(file["layer"]))]
        source, readout = groups[0], groups[-1]["lmht_readout"]
        return _Net(
            window_shape=(int(source.attrs["lmht_steps"]), *(int(n) for n in source["shape"])),
            min_value=int(source.attrs["lmht_min_value"]),
            max_value=int(source.attrs["lmht_max_value"]),
            substeps=int(file.attrs["lmht_substeps"]),
            scale=float(readout.attrs["scale"]),
            layers=tuple(
                _read_layer(index, group, bool(file.attrs["lmht_graded"]))
                for index, group in enumerate(groups)
                if "weight" in group
            ),
        )


def _read_layer(index: int, group: h5py.Group, graded: bool) -> _Layer:
    synapses = [group, *group.get("lmht_skip", {}).values()]
    fans = tuple(
        _Fan(int(s.attrs["lmht_from"]), s["lmht_fanOut"][()], int(s.attrs["lmht_macs"]))
        for s in synapses
    )
    if "neuron" not in group:
        return _Layer(group.attrs["lmht_name"], index, fans)
    neurons = group["neuron/lmht"]
    levels, substeps = int(neurons["levels"][()]), int(neurons["substeps"][()])
    fires = substeps if graded else substeps * levels
    return _Layer(
        group.attrs["lmht_name"],
        index,
        fans,
        int(neurons["steps"][()]),
        fires,
        summed=substeps == 1,
    )
