"""LM-HT neurons in PyTorch: one pure function, and thin modules that hold its parameters.

Tensors inside a model are [T·B, ...] with time outermost. So `nn.Conv2d`, `nn.BatchNorm2d` and the
like are used unchanged, and only neurons separate the time-steps. The output of a neuron is the
amplitude k·θ.

The function has two implementations. The plain one below is the reference and runs everywhere. The
fused one (`_fused`) consists of Triton kernels for GPUs.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from lmht_deploy.errors import NetworkError, TrainingError
from lmht_deploy.ir import Reset

Path: TypeAlias = Literal["auto", "plain", "fused"]
"""Implementation of the neurons.

"plain" uses PyTorch's operators and "fused" the Triton kernels. "auto" uses the kernels for
currents on a GPU if Triton is installed and T·T_in <= MAX_FUSED_OMEGA, otherwise the operators.
"""

MAX_FUSED_OMEGA = 128
"""Largest number of entries of Ω for which "auto" selects the fused kernels.

The kernels are unrolled over Ω, so a large one takes minutes to compile.
"""

_TRITON = importlib.util.find_spec("triton") is not None

# -------------------------------------------------------------------------------------- function


def lmht(
    current: Tensor,
    omega: Tensor,
    leak: Tensor,
    threshold: Tensor,
    v0: Tensor,
    levels: int,
    path: Path = "auto",
) -> Tensor:
    """Compute the amplitudes k·θ of LM-HT neurons. For t = 1..T:

        I[t] = Σ_j Ω[t, j] · x[j]
        v    = λ·v + I[t]                      v starts at v0
        k[t] = clip(floor(v / θ), 0, L)
        v    = v - k[t]·θ

    The computation is float32 at least, also under autocast. Maps that are channels-last at every
    step stay so; otherwise the result is contiguous.

    Gradient (Hao et al. 2024): the previous potential and the reset are detached. ∂(k·θ)/∂v is 1
    where 0.5·θ <= v <= (L + 0.5)·θ, otherwise 0. So λ learns from λ·v with v held constant. The
    detached potential is held constant as a multiple of θ. This makes ∂(k·θ)/∂θ = k - I[t]/θ within
    those limits and k outside. For one step and v0 = θ/2 it is the gradient of the QCFS activation
    (Bu et al. 2022).

    Args:
        current: Synaptic currents x of any floating dtype.
        omega: T-GIM Ω.
        leak: Leak λ, a scalar.
        threshold: Threshold θ, a scalar.
        v0: Initial potential, a scalar.
        levels: Number of threshold levels L.
        path: Implementation.

    Shape:
        current: [T_in, ...]
        omega: [T, T_in]
        output: [T, ...], of the dtype of `current`

    Raises:
        TrainingError: `path` is "fused" and the fused kernels cannot run.
    """
    channels_last = (
        current.ndim == 5
        and not current.is_contiguous()
        and current[0].is_contiguous(memory_format=torch.channels_last)
    )
    if channels_last:  # in the order of the memory, so that `flatten` makes no copy
        current = current.permute(0, 1, 3, 4, 2)
    suits = current.is_cuda and _TRITON and omega.numel() <= MAX_FUSED_OMEGA
    amplitudes = _fused if path == "fused" or (path == "auto" and suits) else _plain
    out = amplitudes(current.flatten(1), omega, leak, threshold, v0, levels)
    out = out.reshape(len(out), *current.shape[1:])
    return out.permute(0, 1, 4, 2, 3) if channels_last else out


def _fused(
    x: Tensor, omega: Tensor, leak: Tensor, threshold: Tensor, v0: Tensor, levels: int
) -> Tensor:
    if not _TRITON:
        raise TrainingError(
            "fused neurons need the package 'triton', which comes with PyTorch for CUDA; "
            "use the path 'plain'"
        )
    from ._fused import amplitudes  # Triton is slow to import

    out: Tensor = amplitudes(x, omega, leak, threshold, v0, levels)
    return out


def _plain(
    x: Tensor, omega: Tensor, leak: Tensor, threshold: Tensor, v0: Tensor, levels: int
) -> Tensor:
    wide = torch.promote_types(x.dtype, torch.float32)
    with torch.autocast(x.device.type, enabled=False):
        drive = omega.to(wide) @ x.to(wide)
        out: Tensor = _Fire.apply(drive, leak.to(wide), threshold.to(wide), v0.to(wide), levels)  # type: ignore[no-untyped-call]
    return out.to(x.dtype)


class _Fire(torch.autograd.Function):
    """From the mixed currents I [T, ...] to the amplitudes k·θ [T, ...]."""

    @staticmethod
    def forward(
        ctx: Any, drive: Tensor, leak: Tensor, threshold: Tensor, v0: Tensor, levels: int
    ) -> Tensor:
        before, after, out = (torch.empty_like(drive) for _ in range(3))  # the reset of v; k·θ
        v = v0.expand(drive.shape[1:])
        for t, current in enumerate(drive):
            torch.addcmul(current, v, leak, out=before[t])
            torch.div(before[t], threshold, out=out[t]).floor_().clamp_(0, levels).mul_(threshold)
            v = torch.sub(before[t], out[t], out=after[t])
        ctx.save_for_backward(before, after, leak, threshold, v0)
        ctx.levels = levels
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        before, after, leak, threshold, v0 = ctx.saved_tensors
        passed = grad * ((before >= 0.5 * threshold) & (before <= (ctx.levels + 0.5) * threshold))
        grad_leak = grad_threshold = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            grad_leak = torch.dot(passed[1:].flatten(), after[:-1].flatten()) + v0 * passed[0].sum()
        if ctx.needs_input_grad[2]:
            # Σ grad·k - passed·I/θ, with I = v before the reset - λ·(v after the previous one).
            grad_threshold = (
                (grad * (before - after)).sum() - (passed * before).sum() + leak * grad_leak
            ) / threshold
        return passed, grad_leak, grad_threshold, None, None


# --------------------------------------------------------------------------------------- modules


def is_size(value: object) -> bool:
    """Whether `value` is an integer >= 1."""
    return (
        isinstance(value, int | np.integer)
        and not isinstance(value, bool)
        and bool(1 <= value < 2**31)
    )


def is_number(value: object) -> bool:
    """Whether `value` is a finite number."""
    try:
        return isinstance(value, int | float | np.integer | np.floating) and math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def is_positive(value: object) -> bool:
    """Whether `value` is a number > 0."""
    return isinstance(value, int | float | np.integer | np.floating) and bool(value > 0)


def _check_sizes(levels: int, steps: int, steps_in: int, threshold: float) -> None:
    if not (all(map(is_size, (levels, steps, steps_in))) and is_positive(threshold)):
        raise NetworkError(
            "levels, steps and input steps must be integers >= 1 and the threshold > 0, "
            f"not {levels!r}, {steps!r}, {steps_in!r} and {threshold!r}"
        )


class Neuron(nn.Module):
    """Base class of neuron layers, which differ in Ω, λ and what of them is learned.

    The threshold θ is one parameter per layer. It is frozen unless a subclass says otherwise.

    Args:
        levels: Number of threshold levels L.
        steps: Number of time-steps T.
        steps_in: Number of input steps T_in.
        threshold: Initial threshold θ.
        v0: Initial potential in units of θ.

    Attributes:
        path: Implementation. `Neuron.path = "plain"` sets it for all layers, `neuron.path =
            "plain"` for one.

    Raises:
        NetworkError: A number of levels or steps is less than 1, or the threshold is not positive,
            or `v0` is not a number.
    """

    path: Path = "auto"
    initial: Tensor
    gain: float = 1.0
    """Factor of the currents."""
    offset: float = 0.0
    """Added to the potential at every step."""
    reset: Reset = "subtract"
    """What spikes do to the potential."""
    floor: float | None = None
    """Lower bound of the potential."""

    def __init__(self, levels: int, steps: int, steps_in: int, threshold: float, v0: float) -> None:
        super().__init__()
        _check_sizes(levels, steps, steps_in, threshold)
        if not is_number(v0):
            raise NetworkError(f"the initial potential v0 must be a number, not {v0!r}")
        self.levels, self.steps, self.steps_in = levels, steps, steps_in
        self.threshold = nn.Parameter(torch.tensor(float(threshold)), requires_grad=False)
        self.register_buffer("initial", torch.tensor(float(v0)))

    @property
    def omega(self) -> Tensor:
        """T-GIM Ω [T, T_in]."""
        raise NotImplementedError

    @property
    def leak(self) -> Tensor:
        """Leak λ, a scalar."""
        raise NotImplementedError

    @property
    def v0(self) -> Tensor:
        """Initial potential, a scalar in the unit of the potential."""
        return self.initial * self.threshold

    def forward(self, x: Tensor) -> Tensor:
        """Map currents to amplitudes, time outermost in both.

        Shape:
            x: [T_in·B, ...]
            output: [T·B, ...]

        Raises:
            NetworkError: The length of `x` is not a multiple of T_in.
        """
        if len(x) % self.steps_in:
            raise NetworkError(
                f"neurons with {self.steps_in} input steps received {len(x)} currents, which is "
                "not a multiple"
            )
        current = torch.unflatten(x, 0, (self.steps_in, len(x) // self.steps_in))
        return self._fire(current).flatten(0, 1)

    @property
    def amplitude(self) -> Tensor:
        """Real value of one spike."""
        return self.threshold

    def _fire(self, current: Tensor) -> Tensor:
        """Map currents [T_in, B, ...] to amplitudes [T, B, ...]."""
        return lmht(
            current, self.omega, self.leak, self._learned_threshold, self.v0, self.levels, self.path
        )

    @property
    def _learned_threshold(self) -> Tensor:
        """θ as it enters the function, where its gradient may be scaled."""
        return self.threshold

    def extra_repr(self) -> str:
        """Format the sizes of the layer for `repr`."""
        return f"levels={self.levels}, steps={self.steps}, steps_in={self.steps_in}"


class LMHT(Neuron):
    """LM-HT neurons with a learnable T-GIM Ω = 2·σ(m)/T_in and a learnable leak λ = σ(α) + 0.5.

    m and α start at 0, which gives Ω = 1/T_in and λ = 1. With `v0=0.5` this is QCFS with L·T levels
    (Theorem 4.4), where hybrid training starts.

    Args:
        levels: Number of threshold levels L.
        steps: Number of time-steps T.
        steps_in: Number of input steps T_in; None: T.
        threshold: Threshold θ.
        v0: Initial potential in units of θ.

    Raises:
        NetworkError: As for `Neuron`.
    """

    def __init__(
        self,
        levels: int,
        steps: int,
        steps_in: int | None = None,
        *,
        threshold: float = 1.0,
        v0: float = 0.0,
    ) -> None:
        super().__init__(levels, steps, steps if steps_in is None else steps_in, threshold, v0)
        self.m = nn.Parameter(torch.zeros(self.steps, self.steps_in))
        self.alpha = nn.Parameter(torch.zeros(()))

    @property
    def omega(self) -> Tensor:
        """T-GIM Ω [T, T_in]."""
        return 2 * torch.sigmoid(self.m) / self.steps_in

    @property
    def leak(self) -> Tensor:
        """Leak λ, a scalar."""
        return torch.sigmoid(self.alpha) + 0.5


class FixedLMHT(Neuron):
    """LM-HT neurons with a given T-GIM and leak, which are not learned.

    Args:
        levels: Number of threshold levels L.
        omega: T-GIM Ω [T, T_in].
        threshold: Threshold θ.
        leak: Leak λ.
        v0: Initial potential in units of θ.

    Raises:
        NetworkError: `omega` is not a matrix, or as for `Neuron`.
    """

    _omega: Tensor
    _leak: Tensor

    def __init__(
        self,
        levels: int,
        omega: Tensor | Sequence[Sequence[float]],
        *,
        threshold: float = 1.0,
        leak: float = 1.0,
        v0: float = 0.0,
    ) -> None:
        try:
            omega = torch.as_tensor(omega, dtype=torch.get_default_dtype())
        except (TypeError, ValueError) as error:
            raise NetworkError(f"a T-GIM must be a matrix of numbers: {error}") from None
        if omega.ndim != 2:
            raise NetworkError(f"a T-GIM must have the shape [T, T_in], not {list(omega.shape)}")
        super().__init__(levels, omega.shape[0], omega.shape[1], threshold, v0)
        self.register_buffer("_omega", omega.clone())
        self.register_buffer("_leak", torch.tensor(float(leak)))

    @property
    def omega(self) -> Tensor:
        """T-GIM Ω [T, T_in]."""
        return self._omega

    @property
    def leak(self) -> Tensor:
        """Leak λ, a scalar."""
        return self._leak


class MHT(FixedLMHT):
    """M-HT neurons: L levels, no T-GIM (Ω = I), a fixed leak.

    With one input step (a still image) the current enters at every time-step: Ω is I summed over
    its columns.

    Args:
        levels: Number of threshold levels L.
        steps: Number of time-steps T.
        steps_in: Number of input steps T_in, which is T or 1; None: T.
        threshold: Threshold θ.
        leak: Leak λ.
        v0: Initial potential in units of θ.

    Raises:
        NetworkError: `steps_in` is neither T nor 1, or as for `Neuron`.
    """

    def __init__(
        self,
        levels: int,
        steps: int,
        steps_in: int | None = None,
        *,
        threshold: float = 1.0,
        leak: float = 1.0,
        v0: float = 0.0,
    ) -> None:
        _check_sizes(levels, steps, steps if steps_in is None else steps_in, threshold)
        if steps_in not in (None, 1, steps):
            raise NetworkError(
                "neurons without a T-GIM need as many input steps as time-steps "
                f"({steps}), or one, not {steps_in}"
            )
        omega = torch.ones(steps, 1) if steps_in == 1 else torch.eye(steps)
        super().__init__(levels, omega, threshold=threshold, leak=leak, v0=v0)


class IF(MHT):
    """Integrate-and-fire neurons (STBP): one level, Ω = I, λ = 1.

    Args:
        steps: Number of time-steps T.
        steps_in: Number of input steps T_in, which is T or 1; None: T.
        threshold: Threshold θ.
        v0: Initial potential in units of θ.

    Raises:
        NetworkError: As for `MHT`.
    """

    def __init__(
        self, steps: int, steps_in: int | None = None, *, threshold: float = 1.0, v0: float = 0.0
    ) -> None:
        super().__init__(1, steps, steps_in, threshold=threshold, v0=v0)


class QCFS(MHT):
    """Quantization-clip-floor-shift (Bu et al. 2022): the activation of a quantized ANN.

        y = ϑ/n · clip(floor(x·n/ϑ + 1/2), 0, n)

    This is one step of a neuron with n levels, θ = ϑ/n and v0 = θ/2. θ is learned, as ϑ would be
    learned by gradient descent: its gradient is divided by n².

    Args:
        levels: Number of levels n.
        ceiling: Largest value ϑ.

    Raises:
        NetworkError: As for `Neuron`.
    """

    def __init__(self, levels: int, *, ceiling: float = 1.0) -> None:
        _check_sizes(levels, 1, 1, ceiling)
        super().__init__(levels, 1, threshold=ceiling / levels, v0=0.5)
        self.threshold.requires_grad_(True)

    @property
    def _learned_threshold(self) -> Tensor:
        scaled: Tensor = _ScaleGradient.apply(self.threshold, self.levels**-2)  # type: ignore[no-untyped-call]
        return scaled


class ReLU(nn.ReLU):
    """Rectified linear units: the activation of an ANN, with which spiking neurons are compared.

    They have one step, no levels and no spikes. So a model of them is trained and tested like any
    other, but it cannot be lowered.

    Attributes:
        steps: 1.
        steps_in: 1.
    """

    steps, steps_in = 1, 1


Activation: TypeAlias = Neuron | ReLU
"""What a model has between its layers: spiking neurons, or the activation of an ANN."""


class _ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by `factor`."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None
