"""Simulation of NetX networks (netx/core). All arrays are C-contiguous."""

from collections.abc import Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

STATE_ONE: int
"""1.0 in the unit of `Neurons.keep_u` and `Neurons.keep_v`."""
STATE_UNIT: int
"""One unit of a weight in the unit of u and v."""

def isas() -> list[str]:
    """Return the names of the tiers that this CPU runs, the best first."""

class Shape:
    """Channels, rows and columns of a layer, each at least 1."""

    def __init__(self, *, channels: int, height: int, width: int) -> None: ...

class Neurons:
    """CUBA neurons.

    Args:
        keep_u: The share of u that a step leaves, in units of 1 / STATE_ONE.
        keep_v: The share of v that a step leaves, in units of 1 / STATE_ONE.
        threshold: In the unit of u and v.
    """

    def __init__(self, *, keep_u: int, keep_v: int, threshold: int) -> None: ...

class Kind(Enum):
    """Kind of sigma-delta neurons."""

    DELTA = 0
    SIGMA_DELTA = 1
    SIGMA = 2

class SigmaDelta:
    """Sigma-delta neurons.

    Args:
        kind: What they do.
        threshold: In units of 1 / 4096.
        current_bits: Bits at which the sum of one step wraps.
    """

    def __init__(self, *, kind: Kind, threshold: int, current_bits: int) -> None: ...

class Records:
    """Arrays into which `Network.run` writes the results of one layer.

    Args:
        counts: Spikes of each neuron, `int32 [B, N]`.
        potential: v after the last step, `int32 [B, N]`.
        wrapped: How often a current left its 24 bits, `int64 [B]`.
        clipped: How often a potential did, `int64 [B]`.
        spikes: Zeros, `uint8 [B, steps, N]`; 1 is written for each spike.
        u: `int32 [B, steps, N]`.
        v: v after the reset, `int32 [B, steps, N]`.
        messages: Zeros, `int32 [B, steps, N]`; of sigma-delta neurons.
    """

    def __init__(
        self,
        *,
        counts: NDArray[np.int32],
        potential: NDArray[np.int32],
        wrapped: NDArray[np.int64],
        clipped: NDArray[np.int64],
        spikes: NDArray[np.uint8] | None = None,
        u: NDArray[np.int32] | None = None,
        v: NDArray[np.int32] | None = None,
        messages: NDArray[np.int32] | None = None,
    ) -> None: ...

class Network:
    """A chain of layers.

    Args:
        input: Shape of the spikes, or of the input layer whose biases drive the network.
        isa: Highest instruction set to use; empty for the one in LMHT_ISA, if set, or the best.

    Raises:
        ValueError: This CPU does not run the instruction set.
    """

    def __init__(self, input: Shape, isa: str = "") -> None: ...
    @property
    def isa(self) -> str:
        """Name of the tier in use."""

    def add_input(
        self, shape: Shape, neurons: Neurons | SigmaDelta, *, bias: NDArray[np.int32]
    ) -> None:
        """Add a layer without synapses, `bias` `int32 [N]`; it must be the first."""

    def add_convolution(
        self,
        shape: Shape,
        neurons: Neurons | SigmaDelta,
        *,
        bias: NDArray[np.int32],
        weight: NDArray[np.int32],
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> None:
        """Add a convolution, `weight` `int32 [C_out, C_in / groups, kh, kw]`, `bias` `int32 [N]`.

        Pairs are along y and x.
        """

    def add_dense(
        self,
        units: int,
        neurons: Neurons | SigmaDelta,
        *,
        bias: NDArray[np.int32],
        weight: NDArray[np.int32],
        delay: NDArray[np.int32] | None = None,
        recurrent: NDArray[np.int32] | None = None,
    ) -> None:
        """Add a dense layer.

        Args:
            units: N, the number of neurons.
            neurons: Their constants.
            bias: `int32 [N]`.
            weight: `int32 [N, N_in]`, inputs in the order (C, H, W).
            delay: Steps within 0..255 by which each weight acts later, as `weight`.
            recurrent: Weights from the layer to itself, `int32 [N, N]`.
        """

    def run(
        self,
        *,
        spikes: NDArray[np.int16] | None = None,
        biases: NDArray[np.int32] | None = None,
        graded: bool,
        steps: int,
        reset_interval: int,
        reset_offset: int,
        records: Sequence[Records],
        threads: int,
    ) -> None:
        """Run B samples from rest, each on one of the threads.

        Args:
            spikes: `int16 [B, steps, N_in]`, unless the network begins with CUBA neurons.
            biases: `int32 [B, N_in]`, if it does.
            graded: Whether spikes have other values than 0 and 1.
            steps: Number of steps.
            reset_interval: Steps between two resets of u and v; 0 for none.
            reset_offset: See `netx.Simulator.run`.
            records: One per layer.
            threads: Largest number of threads.

        Raises:
            ValueError: The arguments do not fit the network.
        """
