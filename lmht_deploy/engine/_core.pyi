"""Core of the event-driven engine (C++). Arrays are contiguous and never converted."""

import numpy as np
from numpy.typing import NDArray

_Pair = tuple[int, int]

def isas() -> list[str]:
    """Return the names of the tiers that this CPU can run, the fastest first."""

class Synapse:
    """The weights of one synapse and how it reads its source.

    Shape:
        weight: int8 [C_out, C_in / groups, kernel height, kernel width].
    """

    def __init__(
        self,
        *,
        source: int,
        weight: NDArray[np.int8],
        stride: _Pair = (1, 1),
        padding: _Pair = (0, 0),
        dilation: _Pair = (1, 1),
        groups: int = 1,
        exponent: int = 0,
        counted: bool = True,
    ) -> None: ...
    @property
    def source(self) -> int: ...
    @property
    def weight(self) -> NDArray[np.int8]: ...
    @property
    def stride(self) -> _Pair: ...
    @property
    def padding(self) -> _Pair: ...
    @property
    def dilation(self) -> _Pair: ...
    @property
    def groups(self) -> int: ...
    @property
    def exponent(self) -> int: ...
    @property
    def counted(self) -> bool: ...

class Model:
    """Layers in order with their packed weights. Each method but the last returns a layer's number.

    Raises:
        ValueError: If a layer does not fit.
    """

    def __init__(self, *, isa: str = "", path: str = "") -> None: ...
    def add_input(
        self,
        *,
        channels: int,
        height: int,
        width: int,
        steps: int,
        min_count: int,
        max_count: int,
    ) -> int: ...
    def add_pool(
        self, *, source: int, kernel: _Pair, stride: _Pair, padding: _Pair, max: bool
    ) -> int: ...
    def add_flatten(self, *, source: int) -> int: ...
    def add_neurons(
        self,
        *,
        synapses: list[Synapse],
        bias: NDArray[np.int32],
        threshold: NDArray[np.int32],
        v0: NDArray[np.int32],
        omega: NDArray[np.int32],
        substeps: int,
        levels: int,
        leak: int,
        reset: str,
        floor: NDArray[np.int32] | None,
    ) -> int:
        """Add a layer of neurons.

        Shape:
            bias, threshold, v0, floor: [C_out].
            omega: [T·S, T_in], one row per sub-step.
        """
    def add_readout(
        self, *, synapses: list[Synapse], bias: NDArray[np.int32], summable: bool
    ) -> None:
        """Add the read-out and finish the model.

        Args:
            summable: Whether the current summed over the window is proved to fit 32 bits.
        """
    def path_costs(self, layer: int, synapse: int, density: float) -> list[float | None]:
        """Return the nanoseconds per window of each path, None where it is not possible."""
    @property
    def costs(self) -> dict[str, float]: ...
    @property
    def supports_incremental(self) -> bool: ...
    @property
    def isa(self) -> str: ...
    @property
    def weight_bytes(self) -> int: ...

class Outputs:
    """Arrays that a run of B windows writes to.

    Shape:
        logits: [B, classes].
        spikes, events: [B, neuron layers].
        sops, event_sops: [B, layers with synapses].
        traces: empty, or [B, T·S, C, H, W] per neuron layer.
        profile: None, or zeros [layers, 1 + paths]: nanoseconds, then output rows by path.
    """

    def __init__(
        self,
        *,
        logits: NDArray[np.int64],
        spikes: NDArray[np.int64],
        events: NDArray[np.int64],
        sops: NDArray[np.int64],
        event_sops: NDArray[np.int64],
        traces: list[NDArray[np.int32]] = [],
        profile: NDArray[np.int64] | None = None,
    ) -> None: ...

class Engine:
    """Runs windows of the model that it holds.

    Raises:
        ValueError: If the windows or the outputs do not fit that model.
    """

    def __init__(self, model: Model, threads: int) -> None: ...
    def run(self, windows: NDArray[np.int32], outputs: Outputs) -> None: ...
    @property
    def memory_plan(self) -> str: ...
    @property
    def buffer_bytes(self) -> int: ...

class StepwiseEngine:
    """Runs windows, each from the potentials that the one before it left.

    Raises:
        ValueError: If the window or the outputs do not fit the engine's model.
    """

    def __init__(self, model: Model, threads: int) -> None: ...
    def step(
        self, window: NDArray[np.int32], first: bool, last: bool, outputs: Outputs
    ) -> None: ...
    @property
    def buffer_bytes(self) -> int: ...

class IncrementalEngine:
    """Runs windows whose steps lie in the slots of a ring.

    Raises:
        ValueError: If the slot, the counts or the outputs do not fit the engine's model.
    """

    def __init__(self, model: Model, threads: int) -> None: ...
    def put(self, slot: int, counts: NDArray[np.int32]) -> None: ...
    def run(self, oldest: int, outputs: Outputs) -> None: ...
    @property
    def buffer_bytes(self) -> int: ...
