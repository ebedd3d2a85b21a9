"""What each framework computes for a neuron of NIR, which states a differential equation only.

A profile says how a framework discretizes the equation, in which unit it writes time constants, and
how its neurons reset. With the step dt, all of them are of this form:

    i    = a·i + w·x          CubaLIF only
    v    = λ·v + g·i + c
    v    = max(v, floor)      only with a floor
    k    = clip(floor(v / θ), 0, L)
    v    = v - k·θ            reset "subtract"; "subtract-late": at the next step, after the leak
    v    = r where k > 0      reset "value"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from lmht_deploy._arguments import INTEGER, is_real
from lmht_deploy.errors import LoweringError, show
from lmht_deploy.formats.nir import Node

ProfileName: TypeAlias = Literal["nir", "sinabs", "snntorch", "spikingjelly", "norse"]
"""Framework whose conventions a graph follows; "nir" is the definition of NIR itself."""
Reset: TypeAlias = Literal["subtract", "subtract-late", "value"]
"""What a spike does to the potential: θ is subtracted at once, or at the next step after the leak
has acted on the whole potential, or the potential is set to `v_reset`."""

MAX_SPIKES = 2**31 - 1
"""Largest number of spikes per neuron and step."""
NEURONS = ("IF", "LIF", "CubaLIF", "Threshold")
"""Types of nodes that fire."""


@dataclass(frozen=True)
class Dynamics:
    """The discrete equations of the neurons of one node; arrays have the shapes in the graph.

    Attributes:
        leak: λ.
        gain: g·w, factor of the input.
        offset: c, added to the potential at every step.
        threshold: θ.
        v0: Initial potential.
        decay: a, of the synaptic current; None without one.
        reset: What a spike does to the potential.
        v_reset: r, of the reset "value".
        floor: Lower bound of the potential; None for none.
    """

    leak: np.ndarray
    gain: np.ndarray
    offset: np.ndarray
    threshold: np.ndarray
    v0: np.ndarray
    decay: np.ndarray | None = None
    reset: Reset = "subtract"
    v_reset: np.ndarray = field(default_factory=lambda: np.zeros(()))
    floor: float | None = None


@dataclass(frozen=True)
class Profile:
    """Conventions of one framework.

    Attributes:
        dt: Step that it writes or assumes, in the unit of its time constants.
        rule: How it discretizes, as text.
        keep: Part of a potential that is kept per step, from dt and τ.
        if_gain: Gain of an IF neuron with r = 1, from dt.
        reset: How its neurons reset; None where the file says so.
        max_spikes: Largest number of spikes per step.
        notes: What its files do not say.
        begins_at_leak: Whether potentials begin at `v_leak`, not at 0.
        begins_at_reset: Whether potentials begin at `v_reset`, not at 0.
        adds_spikes: Whether a spike is added to the current of a `CubaLIF` as it is, times w_in.
        subtracts_late: Whether θ is subtracted after the leak, whatever is said of the reset.
    """

    dt: float
    rule: str
    keep: Callable[[float, np.ndarray], np.ndarray]
    if_gain: Callable[[float], float]
    reset: Reset | None
    max_spikes: int = 1
    notes: tuple[str, ...] = ()
    begins_at_leak: bool = False
    begins_at_reset: bool = False
    adds_spikes: bool = False
    subtracts_late: bool = False


def _euler(dt: float, tau: np.ndarray) -> np.ndarray:
    return 1 - dt / tau


PROFILES: Mapping[str, Profile] = {
    "nir": Profile(1e-4, "forward Euler, λ = 1 - dt/τ", _euler, lambda dt: dt, None),
    "sinabs": Profile(
        1.0,
        "exponential, λ = exp(-dt/τ), input times 1 - λ",
        lambda dt, tau: np.exp(-dt / tau),
        lambda dt: 1.0,
        "subtract",
        max_spikes=127,
        notes=(
            "sinabs does not write tau_syn and norm_input: tau_syn=None and norm_input=True are "
            "assumed",
            "sinabs does not write spike_fn and min_v_mem: MultiSpike and no floor are assumed, "
            "unless max_spikes and floor are given",
        ),
    ),
    "snntorch": Profile(
        1e-4,
        "beta = λ = 1 - dt/τ",
        _euler,
        lambda dt: dt,
        "subtract-late",
        notes=(
            "snnTorch writes v_reset = 0 for every reset: reset by subtraction with "
            "reset_delay=True is assumed, unless the reset is given",
        ),
        subtracts_late=True,  # also with reset_delay=False, where a potential stays above θ
    ),
    "spikingjelly": Profile(
        1e-4,
        "forward Euler, λ = 1 - dt/τ",
        _euler,
        lambda dt: dt,
        "value",
        begins_at_reset=True,
    ),
    "norse": Profile(
        1e-3,
        "forward Euler, λ = 1 - dt·dt/τ, as Norse writes τ·dt for τ",
        lambda dt, tau: 1 - dt * dt / tau,
        lambda dt: 1.0,
        "value",
        begins_at_leak=True,
        adds_spikes=True,
    ),
}
"""Conventions by name."""


@dataclass(frozen=True)
class Rules:
    """What an import assumes for a graph: a profile, and what the user said beside it.

    Attributes:
        name: Name of the profile.
        profile: The profile.
        dt: Step.
        reset: How neurons reset; None where the file says so.
        max_spikes: L.
        floor: Lower bound of the potentials of neurons that integrate; None for none.
    """

    name: ProfileName
    profile: Profile
    dt: float
    reset: Reset | None
    max_spikes: int
    floor: float | None = None

    def dynamics(self, where: str, node: Node) -> Dynamics:
        """Return the equations of the neurons of `node`.

        Raises:
            LoweringError: A network cannot express them; names the node.
        """
        values = {key: np.asarray(value, float) for key, value in node.values.items()}
        _check_shapes(where, values)
        if node.type == "Threshold":
            threshold = _positive(where, values["threshold"])
            zero = np.zeros_like(threshold)
            return Dynamics(zero, zero + 1, zero, threshold, zero)
        threshold = _positive(where, values["v_threshold"])
        zero = np.zeros_like(threshold)
        if node.type == "IF":
            found = Dynamics(
                zero + 1, values["r"] * self.profile.if_gain(self.dt), zero, threshold, zero
            )
        else:
            found = self._leaky(where, node.type, values)
        return self._with_reset(where, node, found)

    def _leaky(self, where: str, kind: str, values: Mapping[str, np.ndarray]) -> Dynamics:
        leak, gain = self._keep(where, values["tau" if kind == "LIF" else "tau_mem"], values["r"])
        offset = (1 - leak) * values["v_leak"]
        v0 = values["v_leak"] if self.profile.begins_at_leak else np.zeros_like(values["v_leak"])
        decay = None
        if kind == "CubaLIF":
            decay, w = self._keep(where, values["tau_syn"], values.get("w_in", np.ones(())))
            gain = gain * (values.get("w_in", np.ones(())) if self.profile.adds_spikes else w)
        return Dynamics(leak, gain, offset, values["v_threshold"], v0, decay)

    def _keep(
        self, where: str, tau: np.ndarray, factor: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what is kept per step, and `factor` times what enters."""
        if (tau <= 0).any():
            raise LoweringError(f"{where}: every time constant must be positive, not {tau.min()}")
        kept = self.profile.keep(self.dt, tau)
        if (kept < 0).any():
            raise LoweringError(
                f"{where}: the time constant {tau.min():.3g} is shorter than the step "
                f"{self.dt:.3g}; give the step of the model (dt)"
            )
        with np.errstate(invalid="ignore"):
            gain = factor * (1 - kept)
        # snnTorch writes τ = r = inf for beta = 1, where r·dt/τ is 1.
        return kept, np.where(np.isinf(tau) & np.isinf(factor), 1.0, gain)

    def _with_reset(self, where: str, node: Node, found: Dynamics) -> Dynamics:
        reset = self.reset_of(node)
        if reset == "subtract" and self.profile.subtracts_late:
            if (found.leak != 1).any():
                raise LoweringError(
                    f"{where}: the leak acts before θ is subtracted in {self.name}; with "
                    f"reset_delay=False it differs once more, which a network cannot express. For "
                    f"a model with reset_delay=True, leave the reset out"
                )
            reset = "subtract-late"
        if reset == "value" and self.profile.subtracts_late and node.type == "CubaLIF":
            raise LoweringError(
                f"{where}: a Synaptic neuron of {self.name} that resets to zero loses the input of "
                f"the step after a spike, which a network cannot express; use a Leaky neuron, or "
                f"reset_mechanism='subtract'"
            )
        v_reset = np.asarray(node.values.get("v_reset", np.zeros(())), float)
        v0 = found.v0 + v_reset if self.profile.begins_at_reset else found.v0
        return replace(found, reset=reset, v_reset=v_reset, v0=v0, floor=self.floor)

    def reset_of(self, node: Node) -> Reset:
        """Return how the neurons of `node` reset.

        NIR before version 1.0.5 has no `v_reset` and subtracts θ.
        """
        return self.reset or ("value" if "v_reset" in node.values else "subtract")


def _check_shapes(where: str, values: Mapping[str, np.ndarray]) -> None:
    try:
        np.broadcast_shapes(*(value.shape for value in values.values()))
    except ValueError:
        shapes = ", ".join(f"{key} {value.shape}" for key, value in values.items())
        raise LoweringError(
            f"{where}: the values have different shapes: {shapes}; each must be one number, or one "
            "per neuron"
        ) from None


def _positive(where: str, threshold: np.ndarray) -> np.ndarray:
    if (threshold <= 0).any():
        raise LoweringError(f"{where}: every threshold must be positive, not {threshold.min()}")
    return threshold


def rules(
    profile: ProfileName,
    dt: float | None,
    reset: Reset | None,
    max_spikes: int | None,
    floor: float | None = None,
) -> Rules:
    """Return the rules of an import.

    Raises:
        LoweringError: An unknown profile or reset, a step or a number that is not positive, or a
            floor that is positive.
    """
    if not isinstance(profile, str) or profile not in PROFILES:
        choices = ", ".join(PROFILES)
        raise LoweringError(f"the profile must be one of {choices}, not {show(profile)}")
    if reset is not None and (not isinstance(reset, str) or reset not in get_args(Reset)):
        choices = ", ".join(get_args(Reset))
        raise LoweringError(f"the reset must be one of {choices}, not {show(reset)}")
    found = PROFILES[profile]
    step, most = found.dt if dt is None else dt, max_spikes
    most = found.max_spikes if most is None else most
    if not is_real(step) or step <= 0:
        raise LoweringError(f"dt must be a positive number, not {show(dt)}")
    if not isinstance(most, INTEGER) or isinstance(most, bool) or not 1 <= most <= MAX_SPIKES:
        raise LoweringError(
            f"the largest number of spikes must be an integer of 1 to {MAX_SPIKES:,}, not "
            f"{show(max_spikes)}"
        )
    if floor is not None and not (is_real(floor) and floor <= 0):
        raise LoweringError(f"the floor must be a number <= 0, not {show(floor)}")
    return Rules(profile, found, float(step), reset or found.reset, int(most), floor)
