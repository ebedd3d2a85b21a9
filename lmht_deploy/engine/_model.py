"""A network packed for the engine, and the instruction sets that can run it."""

from __future__ import annotations

from typing import Literal, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from lmht_deploy.errors import BackendError
from lmht_deploy.ir import Network, Neurons, Readout, require_network
from lmht_deploy.result import check_windows, macs

from ._extension import core, require
from ._plan import Planner

TIERS = ("amx", "avx512vnni", "avxvnni", "avx2", "i8mm", "dotprod", "neon", "generic")
"""Names of all tiers (implementations for one instruction set), the fastest first."""

PATHS = ("ones", "shared", "graded", "weighted", "dense", "channelwise")
"""Names of the methods by which a synapse adds the currents of one output row.

============= ============ =====================================================================
path          spikes       what is added
============= ============ =====================================================================
`ones`        binary       one row of weights per spike
`shared`      binary       as `ones`; work common to two time-steps is done once
`graded`      counts       one row of weights for odd k, and k // 2 rows that count twice
`weighted`    any integer  one row of weights per nonzero k, multiplied by k
`dense`       counts       all inputs, by dot products of 8-bit integers
`channelwise` any integer  one weight per channel: identity shortcuts, depthwise convolutions
============= ============ =====================================================================

The engine takes the cheapest path of each output row. A cost model estimates it from the spikes of
the window.
"""

ForcedPath: TypeAlias = Literal["list", "shared", "dense"]
"""Paths that tests and benchmarks can force: sparse, sparse with sharing, or dense."""


def _by_cost(costs: list[float | None]) -> dict[str, float]:
    possible = [(cost, path) for path, cost in zip(PATHS, costs, strict=True) if cost is not None]
    return {path: cost for cost, path in sorted(possible)}


def isas() -> list[str]:
    """Return the names of the tiers that this CPU can run, the fastest first.

    Raises:
        BackendError: If the extension was not built.
    """
    require()
    return core.isas()


class Model:
    """An integer network packed for the engine. Any number of engines can share one model.

    Attributes:
        net: The network.
        places: Index of each layer in the core's model, by name; none for a layer without cost.
        macs: Multiply-accumulates per window, by name of the layers that read pixels.
        columns: Place of every layer of neurons, and of the read-out behind them, in the counts.
        classes: Number of logits.
        scale: Real value of one unit of a logit.
    """

    def __init__(
        self, net: Network, *, isa: str | None = None, path: ForcedPath | None = None
    ) -> None:
        """Pack the weights of `net`.

        Args:
            net: An integer network.
            isa: Name of the tier to use, one of `isas()`. The default is the environment variable
                LMHT_ISA or, if it is not set, the fastest tier of this CPU.
            path: Path to force wherever the engine has a choice. For tests and benchmarks.

        Raises:
            BackendError: If the extension was not built, the network holds floats or is too large
                for the engine, or the tier or path is unknown.
        """
        require()
        if not require_network(net).integer:
            raise BackendError(
                "the event-driven engine runs integer networks, not float ones; see `lmht convert`"
            )
        self.net = net
        self._window_shape = net.window_shape
        self.macs = macs(net)
        self.columns = {
            name: column
            for column, name in enumerate(
                [*(layer.name for layer in net.neurons), net.readout.name]
            )
        }
        self.classes, self.scale = net.classes, net.readout.scale
        try:
            self._core = core.Model(isa=isa or "", path=path or "")
            self.places = Planner(net, self._core, core.Synapse).places
        except MemoryError:
            raise BackendError(
                "the event-driven engine needs more memory for this network than is available"
            ) from None
        except (ValueError, OverflowError) as error:
            raise BackendError(
                f"the event-driven engine cannot run this network: {error}"
            ) from None

    def inputs(self, windows: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
        """Return windows as the core takes them: int32 [B, T_in, ...] in one piece.

        The core checks the range of int32 arrays while it runs them; see `check`.

        Args:
            windows: Integers within the input's range, [B, T_in, ...].

        Raises:
            DataError: If shape, dtype or range of the windows do not fit the network's input.
        """
        fit = (
            type(windows) is np.ndarray
            and windows.dtype == np.int32
            and windows.flags.c_contiguous
            and windows.shape[1:] == self._window_shape
            and len(windows) > 0
        )
        if fit:  # the general check takes longer than a small network
            return cast("npt.NDArray[np.int32]", windows)
        return np.ascontiguousarray(self.check(windows), np.int32)

    def check(self, windows: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
        """Return windows that fit the network's input; raise DataError if they do not."""
        limits = self.net.input
        return check_windows(self._window_shape, limits.min_value, limits.max_value, windows)

    def path_costs(self, layer: str, density: float) -> list[dict[str, float]]:
        """Estimate the time per window of every path that the synapses of a layer can take.

        The engine estimates each row of a window in the same way from the spikes that it finds
        there, and takes the cheapest path.

        Args:
            layer: Name of a layer with synapses.
            density: Spikes per neuron and step of the layers that it reads, spread evenly.

        Returns:
            Nanoseconds by path (see `PATHS`), the cheapest first, for each synapse in order; `{}`
            for a synapse with one weight per channel, which has no choice.

        Raises:
            BackendError: If there is no such layer, or the density is negative.
        """
        try:
            place = self.places[layer]
            synapses = next(
                given.synapses
                for given in self.net.layers
                if given.name == layer and isinstance(given, Neurons | Readout)
            )
        except (KeyError, StopIteration):
            raise BackendError(f"the network has no layer with synapses named {layer!r}") from None
        if not density >= 0:
            raise BackendError(f"a density is at least 0, not {density}")
        return [
            _by_cost(self._core.path_costs(place, index, density)) for index in range(len(synapses))
        ]

    @property
    def costs(self) -> dict[str, float]:
        """Costs of the parts of the paths, by name, from which the engine chooses.

        The first model of a process measures them for its tier in less than 0.1 s, all but
        `streamed_byte`. They change the speed of a run, never its integers. All are in nanoseconds,
        except `large_slice_factor`:

        ==================== ==========================================================
        name                 cost
        ==================== ==========================================================
        `binary_row`         adding a row of 64 weights, paths `ones` and `shared`
        `graded_row`         the same, path `graded`
        `weighted_row`       the same, path `weighted`
        `large_slice_factor` the cost of a row among 512 input channels, relative to 64
        `list_pixel`         lists: an output pixel at one step
        `graded_pixel`       the same, path `graded`, which has two lists
        `list_word`          lists: 64 inputs under an output row, active or not
        `extra_list_pixel`   path `shared`: an output pixel of a third list
        `streamed_byte`      lists: a byte of weights, if those of all layers exceed the cache
        `dense_slot`         path `dense`: an input and 64 output channels
        `dense_pixel`        path `dense`: an output pixel at one step
        `dense_word`         path `dense`: 64 inputs under an output row
        `tile_product`       path `dense` by tiles: 16 pixels, 64 inputs, 16 channels; or 0
        `tile_pixel`         path `dense` by tiles: an output pixel at one step; or 0
        ==================== ==========================================================
        """
        return self._core.costs

    @property
    def isa(self) -> str:
        """Name of the tier in use."""
        return self._core.isa

    @property
    def weight_bytes(self) -> int:
        """Bytes of packed weights and neuron parameters."""
        return self._core.weight_bytes

    @property
    def core(self) -> core.Model:
        """The core's model, for the engines of this package."""
        return self._core
