"""Neurons and layers of sinabs, snnTorch and SpikingJelly in a model that is lowered.

Each layer of neurons is replaced by a `FrameworkNeuron`. It holds the discrete equations of the
layer, which the network computes, and the layer itself, which it runs step by step. So the check at
the end of lowering compares the network with the framework.

No framework is imported here: its classes are known by their names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lmht_deploy.errors import LoweringError, show
from lmht_deploy.ir import Reset

from .model import SpikingModel
from .neurons import Neuron

MAX_SPIKES = 127
"""L of neurons of sinabs that may fire any number of spikes."""

PACKAGES = {
    "sinabs": "sinabs.",
    "snnTorch": "snntorch.",
    "SpikingJelly": "spikingjelly.activation_based.",
}
"""Where the classes of a framework are defined."""


# ------------------------------------------------------------------------------------- equations


@dataclass(frozen=True)
class Dynamics:
    """Discrete equations of a layer of neurons, which hold scalars:

        i    = a·i + x                  only with a decay
        v    = λ·v + g·i + c
        v    = max(v, floor)            only with a floor
        k    = clip(floor(v / θ), 0, L)
        v    = reset of v               to `v_reset` for "zero"
        out  = k·amplitude

    Attributes:
        threshold: θ.
        leak: λ.
        gain: g.
        offset: c.
        v0: Initial potential.
        decay: a; None without a synaptic current.
        levels: L.
        reset: What spikes do to the potential.
        v_reset: Value to which the reset "zero" sets the potential.
        floor: Lower bound of the potential; None for none.
        amplitude: Real value of one spike.
    """

    threshold: float
    leak: float = 1.0
    gain: float = 1.0
    offset: float = 0.0
    v0: float = 0.0
    decay: float | None = None
    levels: int = 1
    reset: Reset = "subtract"
    v_reset: float = 0.0
    floor: float | None = None
    amplitude: float = 1.0

    def shifted(self, by: float) -> Dynamics:
        """Return the equations of u = v - `by`."""
        return replace(
            self,
            threshold=self.threshold - by,
            offset=self.offset - (1 - self.leak) * by,
            v0=self.v0 - by,
            v_reset=self.v_reset - by,
            floor=None if self.floor is None else self.floor - by,
        )


class FrameworkNeuron(Neuron):
    """Neurons of a framework, run by the framework.

    Args:
        layer: The layer of the framework.
        run: Runs it from its initial state, on currents [T, B, ...].
        dynamics: Its equations, for a reset to 0.
        steps: Number of steps T.
    """

    def __init__(
        self,
        layer: nn.Module,
        run: Callable[[Any, Tensor], Tensor],
        dynamics: Dynamics,
        steps: int,
    ) -> None:
        super().__init__(dynamics.levels, steps, steps, dynamics.threshold, 0.0)
        self.threshold.data = torch.tensor(dynamics.threshold, dtype=torch.float64)
        self.layer, self._run, self._dynamics = layer, run, dynamics
        self.gain, self.offset = dynamics.gain, dynamics.offset
        self.reset, self.floor = dynamics.reset, dynamics.floor

    @property
    def omega(self) -> Tensor:
        """T-GIM Ω [T, T]: Ω[t, j] = a^(t - j) for j <= t with a synaptic current."""
        if self._dynamics.decay is None:
            return torch.eye(self.steps, dtype=torch.float64)
        lag = torch.arange(self.steps)[:, None] - torch.arange(self.steps)
        kept = torch.tensor(self._dynamics.decay, dtype=torch.float64) ** lag.clamp(min=0)
        return torch.where(lag >= 0, kept, torch.zeros(()))

    @property
    def leak(self) -> Tensor:
        """Leak λ, a scalar."""
        return torch.tensor(self._dynamics.leak, dtype=torch.float64)

    @property
    def v0(self) -> Tensor:
        """Initial potential."""
        return torch.tensor(self._dynamics.v0, dtype=torch.float64)

    @property
    def amplitude(self) -> Tensor:
        """Real value of one spike."""
        return torch.tensor(self._dynamics.amplitude, dtype=torch.float64)

    def _fire(self, current: Tensor) -> Tensor:
        return self._run(self.layer, current).to(current.dtype)


# ----------------------------------------------------------------------------------- SpikingJelly


def _spikingjelly(where: str, layer: Any) -> Dynamics:
    """IF, LIF, parametric LIF and I-LIF neurons."""
    name, r = type(layer).__name__, layer.v_reset
    if not layer.surrogate_function.spiking:
        raise LoweringError(f"{where}: the surrogate function of {name} must have spiking=True")
    hard = r is not None
    found = Dynamics(
        threshold=_scalar(where, "v_threshold", layer.v_threshold),
        reset="zero" if hard else "subtract",
        v_reset=float(r) if hard else 0.0,
        v0=float(r) if hard else 0.0,
    )
    if name == "IFNode":
        return found
    keeps = 1 - (
        _scalar(where, "w", layer.w.sigmoid()) if name == "ParametricLIFNode" else 1 / layer.tau
    )
    gain = 1 - keeps if layer.decay_input else 1.0
    found = replace(found, leak=keeps, gain=gain, offset=(1 - keeps) * found.v_reset)
    if name != "ILIFNode":
        return found
    # It rounds v/θ, which is the floor of v/θ + 1/2.
    levels = layer.surrogate_function.max_spike_count
    return replace(found.shifted(-found.threshold / 2), threshold=found.threshold, levels=levels)


def _run_spikingjelly(layer: Any, current: Tensor) -> Tensor:
    layer.step_mode = "s"
    layer.reset()
    spikes = torch.stack([layer(x) for x in current])
    layer.reset()
    return spikes


# ----------------------------------------------------------------------------------------- sinabs


def _sinabs(where: str, layer: Any) -> Dynamics:
    """IAF and LIF neurons, also their forms with merged batch and time."""
    leak = _scalar(where, "tau_mem", layer.alpha_mem_calculated)
    gain = 1 - leak if layer.norm_input else 1.0
    decay = None
    if layer.alpha_syn_calculated is not None:
        decay = _scalar(where, "tau_syn", layer.alpha_syn_calculated)
        gain *= decay  # i = a·(i + x)
    return Dynamics(
        threshold=_scalar(where, "spike_threshold", layer.spike_threshold),
        leak=leak,
        gain=gain,
        decay=decay,
        levels=_sinabs_levels(where, layer.spike_fn),
        reset=_sinabs_reset(where, layer.reset_fn),
        floor=None if layer.min_v_mem is None else _scalar(where, "min_v_mem", layer.min_v_mem),
    )


def _sinabs_levels(where: str, function: Any) -> int:
    name = getattr(function, "__name__", type(function).__name__)
    if name == "SingleSpike":
        return 1
    if name == "MaxSpike":
        return int(function.max_num_spikes_per_bin or MAX_SPIKES)
    if name == "MultiSpike":
        return MAX_SPIKES
    raise LoweringError(
        f"{where}: the spike_fn {name} cannot be lowered; use SingleSpike, MaxSpike or MultiSpike"
    )


def _sinabs_reset(where: str, function: Any) -> Reset:
    name = type(function).__name__
    if name == "MembraneSubtract" and function.subtract_value is None:
        return "subtract"
    if name == "MembraneReset" and function.reset_value == 0:
        return "zero"
    raise LoweringError(
        f"{where}: the reset_fn {function} cannot be lowered; use MembraneSubtract() or "
        "MembraneReset()"
    )


@dataclass(frozen=True)
class _AtMost:
    """A spike_fn of sinabs with at most `MAX_SPIKES` spikes per step."""

    function: Any

    @property
    def required_states(self) -> list[str]:
        """Names of the states that the function reads."""
        found: list[str] = self.function.required_states
        return found

    def apply(self, *inputs: Any) -> Tensor:
        """Return the spikes."""
        spikes: Tensor = self.function.apply(*inputs).clamp(max=MAX_SPIKES)
        return spikes


def _run_sinabs(layer: Any, current: Tensor) -> Tensor:
    if not isinstance(layer.spike_fn, _AtMost):
        layer.spike_fn = _AtMost(layer.spike_fn)
    forward = next(vars(c)["forward"] for c in type(layer).__mro__ if c.__name__ == "LIF")
    layer.init_state_with_shape(current.shape[1:])
    spikes: Tensor = forward(layer, current.transpose(0, 1)).transpose(0, 1)
    return spikes


# --------------------------------------------------------------------------------------- snnTorch


def _snntorch(where: str, layer: Any) -> Dynamics:
    """Leaky and Synaptic neurons."""
    name, mechanism = type(layer).__name__, layer.reset_mechanism
    allowed = {"subtract": "subtract-late", "zero": "zero"}
    problems = {
        ("init_hidden=False", "init_hidden=True"): not layer.init_hidden,
        ("reset_delay=False", "reset_delay=True"): not layer.reset_delay,
        ("inhibition=True", "inhibition=False"): layer.inhibition,
        ("state_quant", "state_quant=False"): layer.state_quant,
        (f"reset_mechanism={mechanism!r}", "reset_mechanism='subtract'"): mechanism not in allowed
        or (name == "Synaptic" and mechanism == "zero"),
    }
    for (problem, instead), found in problems.items():
        if found:
            raise LoweringError(f"{where}: {name} with {problem} cannot be lowered; use {instead}")
    alpha = getattr(layer, "alpha", None)
    return Dynamics(
        threshold=_scalar(where, "threshold", layer.threshold),
        leak=_scalar(where, "beta", layer.beta.clamp(0, 1)),
        decay=None if alpha is None else _scalar(where, "alpha", alpha.clamp(0, 1)),
        reset=allowed[mechanism],  # type: ignore[arg-type]
        amplitude=_scalar(where, "graded_spikes_factor", layer.graded_spikes_factor),
    )


def _run_snntorch(layer: Any, current: Tensor) -> Tensor:
    layer.mem = torch.zeros(0)
    if hasattr(layer, "syn"):
        layer.syn = torch.zeros(0)
    steps = [layer(x) for x in current]
    return torch.stack([step[0] if isinstance(step, tuple) else step for step in steps])


# ------------------------------------------------------------------------------------ replacement


@dataclass(frozen=True)
class _Kind:
    read: Callable[[str, Any], Dynamics]
    run: Callable[[Any, Tensor], Tensor]


_SPIKINGJELLY = _Kind(_spikingjelly, _run_spikingjelly)
_SINABS = _Kind(_sinabs, _run_sinabs)
_SNNTORCH = _Kind(_snntorch, _run_snntorch)

NEURONS: dict[tuple[str | None, str], _Kind] = {
    ("SpikingJelly", "IFNode"): _SPIKINGJELLY,
    ("SpikingJelly", "LIFNode"): _SPIKINGJELLY,
    ("SpikingJelly", "ParametricLIFNode"): _SPIKINGJELLY,
    ("SpikingJelly", "ILIFNode"): _SPIKINGJELLY,
    ("sinabs", "IAF"): _SINABS,
    ("sinabs", "IAFSqueeze"): _SINABS,
    ("sinabs", "LIF"): _SINABS,
    ("sinabs", "LIFSqueeze"): _SINABS,
    ("snnTorch", "Leaky"): _SNNTORCH,
    ("snnTorch", "Synaptic"): _SNNTORCH,
}
"""Layers of neurons, by framework and name."""


def _without_steps(kind: type[nn.Module]) -> Callable[[Any], nn.Module]:
    """Turn a layer with a step mode into the layer of PyTorch that it is at each step."""

    def convert(layer: Any) -> nn.Module:
        layer.__class__ = kind
        found: nn.Module = layer
        return found

    return convert


def _nothing(_layer: Any) -> nn.Module:
    return nn.Identity()


def _sum_pool(pool: Any) -> nn.Module:
    return nn.AvgPool2d(pool.kernel_size, pool.stride, ceil_mode=pool.ceil_mode, divisor_override=1)


def _repeated(wrapper: Any) -> nn.Module:
    return nn.Sequential(wrapper.module)


_STATELESS = (
    *(nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d),
    *(nn.AvgPool2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d, nn.Flatten),
)
_CONTAINERS = ("SeqToANNContainer", "MultiStepContainer", "StepModeContainer")
OTHERS: dict[tuple[str | None, str], Callable[[Any], nn.Module]] = {
    **{("SpikingJelly", kind.__name__): _without_steps(kind) for kind in _STATELESS},
    **{("SpikingJelly", name): _without_steps(nn.Sequential) for name in _CONTAINERS},
    **{("SpikingJelly", name): _nothing for name in ("Dropout", "Dropout2d")},
    **{("sinabs", name): _nothing for name in ("FlattenTime", "UnflattenTime")},
    ("sinabs", "SumPool2d"): _sum_pool,
    ("sinabs", "Repeat"): _repeated,
}
"""All other layers, by framework and name, in evaluation mode; time and batch are merged."""


def adopted(model: object, steps: int) -> object:
    """Return a model of framework layers as a `SpikingModel`, and any other as it is."""
    if isinstance(model, SpikingModel) or not isinstance(model, nn.Module):
        return model
    found = any(_framework(type(module)) for module in model.modules())
    return SpikingModel(model, steps) if found else model


def check_layers(body: nn.Module, path: str = "") -> None:
    """Require that every framework layer in `body` is one that can be replaced.

    Args:
        body: A module.
        path: Its path in the model.

    Raises:
        LoweringError: Names the first that is not.
    """
    key = (_framework(type(body)), type(body).__name__)
    if key in NEURONS:
        return
    _check_layer(path or "the model", body, *key)
    for name, child in body.named_children():
        check_layers(child, f"{path}.{name}".lstrip("."))


def _check_layer(where: str, module: nn.Module, framework: str | None, name: str) -> None:
    if framework is None:
        _check_subclass(where, module)
    elif (framework, name) not in OTHERS:
        known = ", ".join(sorted(n for f, n in NEURONS if f == framework))
        reason = "; a network has no recurrent connections" if _is_recurrent(name) else ""
        raise LoweringError(
            f"{where}: {name} of {framework} cannot be lowered{reason}. The neurons of "
            f"{framework} that can be lowered are {known}"
        )


def translated(body: nn.Module, steps: int) -> nn.Module:
    """Replace all framework layers in `body`, which is changed.

    Args:
        body: Body of a model, in float64 and in evaluation mode.
        steps: Number of steps T.

    Raises:
        LoweringError: A layer of a framework cannot be lowered; names it.
    """
    done: dict[int, nn.Module] = {}

    def visit(module: nn.Module, path: str) -> nn.Module:
        if id(module) not in done:
            done[id(module)] = module  # a module within itself ends here
            done[id(module)] = _replaced(path, module, steps)
            found = done[id(module)]
            if not isinstance(found, FrameworkNeuron):
                for name, child in list(found._modules.items()):
                    if child is not None:
                        setattr(found, name, visit(child, f"{path}.{name}".lstrip(".")))
        return done[id(module)]

    return visit(body, "")


def _replaced(where: str, module: nn.Module, steps: int) -> nn.Module:
    """Return what `module` itself becomes; its children are not looked at."""
    key = (_framework(type(module)), type(module).__name__)
    if key in NEURONS:
        return _neurons(where or key[1], module, NEURONS[key], steps)
    return OTHERS[key](module) if key in OTHERS else module


def _neurons(where: str, layer: nn.Module, kind: _Kind, steps: int) -> FrameworkNeuron:
    found = kind.read(where, layer)
    _check_reset(where, found)
    if found.reset == "zero":
        found = found.shifted(found.v_reset)
    if not 0 <= found.leak <= 1:
        raise LoweringError(
            f"{where}: the leak must be within 0 to 1, not {found.leak:.4g}; use a time constant "
            "of at least one step"
        )
    return FrameworkNeuron(layer, kind.run, found, steps)


def _check_reset(where: str, found: Dynamics) -> None:
    """Require a threshold above, and a floor not above, what a spike resets the potential to."""
    if not math.isfinite(found.threshold):
        raise LoweringError(
            f"{where}: the threshold must be a finite number, not {found.threshold}"
        )
    least = found.v_reset if found.reset == "zero" else 0.0
    after = f"{least:g}, to which a spike resets the potential" if found.reset == "zero" else "0"
    if not found.threshold > least:
        raise LoweringError(
            f"{where}: the threshold must be above {after}; it is {found.threshold:g}"
        )
    if found.floor is not None and not found.floor <= least:
        raise LoweringError(
            f"{where}: the floor of the potential must not be above {after}; it is {found.floor:g}"
        )


def _framework(kind: type) -> str | None:
    """Return the framework that defines a class."""
    return next((f for f, package in PACKAGES.items() if kind.__module__.startswith(package)), None)


def _check_subclass(where: str, module: nn.Module) -> None:
    for kind in type(module).__mro__:
        framework = _framework(kind)
        if framework and (framework, kind.__name__) in NEURONS:
            raise LoweringError(
                f"{where}: {type(module).__name__} is a subclass of {kind.__name__} of {framework} "
                f"and may compute something else; use {kind.__name__} itself"
            )


def _is_recurrent(name: str) -> bool:
    return "Recurrent" in name or name in ("RLeaky", "RSynaptic")


def _scalar(where: str, what: str, value: Any) -> float:
    values = torch.as_tensor(value, dtype=torch.float64).detach()
    if not values.isfinite().all():
        raise LoweringError(f"{where}: {what} must be a finite number, not {show(value)}")
    least, largest = float(values.min()), float(values.max())
    if least != largest:
        raise LoweringError(
            f"{where}: {what} must be the same for all neurons of a layer, not {least:.4g} to "
            f"{largest:.4g}; train with one value per layer, or use one layer per value and join "
            "their spikes by torch.cat"
        )
    return least
