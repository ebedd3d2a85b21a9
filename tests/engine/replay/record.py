"""Writes networks, windows and the expected integers to a file that `replay.cpp` runs.

`python -m tests.engine.replay.record FILE`. The file consists of int64, little-endian. It holds the
calls that `Planner` makes to the core's model, in order: each has its number and its arguments, and
an array its number of axes and their lengths before its values. Then follow the windows and the
logits and spikes of the reference.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, BinaryIO, cast, get_args

import numpy as np

from lmht_deploy import reference
from lmht_deploy.engine import _core
from lmht_deploy.engine._plan import Planner
from lmht_deploy.ir import Network, Pair, Reset
from tests.engine.test_exact import deep
from tests.support.networks import SPECIAL, windows_for

INPUT, POOL, FLATTEN, NEURONS, READOUT, RUN = range(6)


class Recorder:
    """Has the methods of `_core.Model` and writes their arguments to a file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._tensors = 0

    def write(self, *values: Any) -> None:
        for value in values:
            if isinstance(value, np.ndarray):
                self.write(value.ndim, *value.shape)
            self._file.write(np.asarray(value, "<i8").tobytes())

    def _tensor(self) -> int:
        self._tensors += 1
        return self._tensors - 1

    def _synapses(self, synapses: list[_core.Synapse]) -> None:
        self.write(len(synapses))
        for it in synapses:
            self.write(
                it.source,
                it.weight,
                it.stride,
                it.padding,
                it.dilation,
                it.groups,
                it.exponent,
                it.counted,
            )

    def add_input(
        self, *, channels: int, height: int, width: int, steps: int, min_count: int, max_count: int
    ) -> int:
        self.write(INPUT, channels, height, width, steps, min_count, max_count)
        return self._tensor()

    def add_pool(self, *, source: int, kernel: Pair, stride: Pair, padding: Pair, max: bool) -> int:
        self.write(POOL, source, kernel, stride, padding, max)
        return self._tensor()

    def add_flatten(self, *, source: int) -> int:
        self.write(FLATTEN, source)
        return self._tensor()

    def add_neurons(
        self,
        *,
        synapses: list[_core.Synapse],
        substeps: int,
        levels: int,
        leak: int,
        reset: str,
        floor: np.ndarray | None,
        **arrays: np.ndarray,
    ) -> int:
        self.write(NEURONS)
        self._synapses(synapses)
        self.write(
            *(arrays[name] for name in ("bias", "threshold", "v0", "omega")), substeps, levels, leak
        )
        self.write(get_args(Reset).index(reset), floor is not None)
        if floor is not None:
            self.write(floor)
        return self._tensor()

    def add_readout(
        self, *, synapses: list[_core.Synapse], bias: np.ndarray, summable: bool
    ) -> None:
        self.write(READOUT)
        self._synapses(synapses)
        self.write(bias, summable)


def record(file: BinaryIO, net: Network, windows: np.ndarray) -> None:
    """Append `net`, `windows` and the reference's logits and spikes, by layer of neurons."""
    recorder = Recorder(file)
    Planner(net, cast(_core.Model, recorder), _core.Synapse)
    expected = reference.run(net, windows, trace=True)
    assert expected.traces is not None
    recorder.write(RUN, windows.reshape(len(windows), -1), expected.logits)
    for layer in net.neurons:
        recorder.write(expected.traces[layer.name].reshape(len(windows), -1))


if __name__ == "__main__":
    with Path(sys.argv[1]).open("wb") as out:
        for net, batch in (*((build(), 3) for build in SPECIAL.values()), (deep(), 1)):
            record(out, net, windows_for(net, 3)[-batch:])
