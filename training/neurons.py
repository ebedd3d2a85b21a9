"""LM-HT neurons in PyTorch: one pure function, and thin modules that hold its parameters.

Inside a model tensors are [T·B, ...] with time outermost, so that `nn.Conv2d`, `nn.BatchNorm2d` and their kin are used
as they are and only neurons see time. What leaves a neuron is the amplitude k·θ (docs/semantics.md).

The function has two paths: the plain one below, which is the oracle and runs anywhere, and the fused kernels of
`training.fused` for GPUs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from lmht_deploy.errors import TrainingError

Path: TypeAlias = Literal["auto", "plain", "fused"]
"""How neurons are computed: by PyTorch's operators ("plain"), by the kernels of `training.fused` ("fused"), or by what suits ("auto"):
the kernels for currents on a GPU, where Triton is installed and T·T_in <= MOST_MIXING, else the operators."""

MOST_MIXING = 128
"""Entries of Ω up to which "auto" takes the fused kernels: they are unrolled over Ω, and take minutes to compile for a large one."""

_TRITON = importlib.util.find_spec("triton") is not None

# ------------------------------------------------------------------------------------------------ function


def lmht(
    current: Tensor,
    omega: Tensor,
    leak: Tensor,
    threshold: Tensor,
    v0: Tensor,
    levels: int,
    path: Path = "auto",
) -> Tensor:
    """Amplitudes k·θ [T, ...] of LM-HT neurons under the synaptic currents `current` [T_in, ...]. For t = 1..T:

        I[t] = Σ_j Ω[t, j] · x[j]
        v    = λ·v + I[t]                      v starts at v0
        k[t] = clip(floor(v / θ), 0, L)
        v    = v - k[t]·θ

    where `omega` Ω is [T, T_in], `leak` λ, `threshold` θ and `v0` are scalars, and `levels` is L. Any floating dtype: the
    result has that of `current`, and what lies between is float32 at least, under autocast too. Maps [T_in, B, C, H, W] that
    are channels_last at every step stay so; the result is contiguous otherwise.

    Gradient (Hao et al. 2024): the previous potential and the reset are detached, and ∂(k·θ)/∂v is 1 where
    0.5·θ <= v <= (L + 0.5)·θ, else 0. So λ learns from λ·v with v held constant. The detached potential is held constant
    as a multiple of θ, which makes ∂(k·θ)/∂θ = k - I[t]/θ within those limits and k beyond: with one step and v0 = θ/2,
    the gradient of the QCFS activation (Bu et al. 2022).

    Raises TrainingError where `path` is "fused" and the fused kernels cannot run.
    """
    channels_last = (
        current.ndim == 5
        and not current.is_contiguous()
        and current[0].is_contiguous(memory_format=torch.channels_last)
    )
    if channels_last:
        current = current.permute(
            0, 1, 3, 4, 2
        )  # as they lie in memory, so that to flatten them needs no copy
    suits = current.is_cuda and _TRITON and omega.numel() <= MOST_MIXING
    fire = _fused if path == "fused" or (path == "auto" and suits) else _plain
    out = fire(current.flatten(1), omega, leak, threshold, v0, levels)
    out = out.reshape(len(out), *current.shape[1:])
    return out.permute(0, 1, 4, 2, 3) if channels_last else out


def _fused(
    x: Tensor, omega: Tensor, leak: Tensor, threshold: Tensor, v0: Tensor, levels: int
) -> Tensor:
    if not _TRITON:
        raise TrainingError(
            "fused neurons need the package 'triton', which comes with PyTorch for CUDA; take the path 'plain'"
        )
    from .fused import amplitudes  # here, for Triton takes a while to import

    return amplitudes(x, omega, leak, threshold, v0, levels)


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
    ) -> Tensor:  # type: ignore[override]
        before, after, out = (
            torch.empty_like(drive) for _ in range(3)
        )  # v before and after the reset, amplitudes
        v = v0.expand(drive.shape[1:])
        for t, now in enumerate(drive):
            torch.addcmul(now, v, leak, out=before[t])
            torch.div(before[t], threshold, out=out[t]).floor_().clamp_(0, levels).mul_(threshold)
            v = torch.sub(before[t], out[t], out=after[t])
        ctx.save_for_backward(before, after, leak, threshold, v0)
        ctx.levels = levels
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        before, after, leak, threshold, v0 = ctx.saved_tensors
        passed = grad * ((before >= 0.5 * threshold) & (before <= (ctx.levels + 0.5) * threshold))
        of_leak = of_threshold = None
        if ctx.needs_input_grad[1] or ctx.needs_input_grad[2]:
            of_leak = torch.dot(passed[1:].flatten(), after[:-1].flatten()) + v0 * passed[0].sum()
        if ctx.needs_input_grad[
            2
        ]:  # Σ grad·k - passed·I/θ, with I = v before the reset - λ·(v after the last one)
            of_threshold = (
                (grad * (before - after)).sum() - (passed * before).sum() + leak * of_leak
            ) / threshold
        return passed, of_leak, of_threshold, None, None


# ------------------------------------------------------------------------------------------------ modules


class Neuron(nn.Module):
    """Base of the modules: they differ in `omega` Ω [steps, steps_in], `leak` λ and what of them is learnt.

    `forward` takes currents [T_in·B, ...] and gives amplitudes [T·B, ...], time outermost in both. `threshold` θ is one
    number a layer (a parameter; frozen unless a subclass says otherwise), `v0` the initial potential in units of θ.
    `path` says how they are computed: `Neuron.path = "plain"` for all, `neuron.path = "plain"` for one layer.
    """

    path: Path = "auto"
    initial: Tensor

    def __init__(self, levels: int, steps: int, steps_in: int, threshold: float, v0: float) -> None:
        super().__init__()
        if min(levels, steps, steps_in) < 1 or threshold <= 0:
            raise ValueError(
                f"levels, steps and input steps must be >= 1 and the threshold > 0, not {levels}, {steps}, {steps_in} and {threshold}"
            )
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
        if len(x) % self.steps_in:
            raise ValueError(
                f"neurons that take {self.steps_in} input steps meet {len(x)} currents, which is no multiple"
            )
        current = x.unflatten(0, (self.steps_in, len(x) // self.steps_in))
        return lmht(
            current, self.omega, self.leak, self.threshold, self.v0, self.levels, self.path
        ).flatten(0, 1)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, steps={self.steps}, steps_in={self.steps_in}"


class LMHT(Neuron):
    """LM-HT neurons with a learnable T-GIM Ω = 2·σ(m)/T_in and a learnable leak λ = σ(α) + 0.5.

    m and α start at 0: Ω = 1/T_in everywhere and λ = 1. With `v0` = 0.5 that is QCFS with L·T levels (Theorem 4.4),
    from which hybrid training sets out.
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
        return 2 * torch.sigmoid(self.m) / self.steps_in

    @property
    def leak(self) -> Tensor:
        return torch.sigmoid(self.alpha) + 0.5


class Fixed(Neuron):
    """Neurons whose T-GIM `omega` [T, T_in] and `leak` are given and stay as they are."""

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
        omega = torch.as_tensor(omega, dtype=torch.get_default_dtype())
        if omega.ndim != 2:
            raise ValueError(f"a T-GIM is [T, T_in], not of shape {tuple(omega.shape)}")
        super().__init__(levels, omega.shape[0], omega.shape[1], threshold, v0)
        self.register_buffer("_omega", omega.clone())
        self.register_buffer("_leak", torch.tensor(float(leak)))

    @property
    def omega(self) -> Tensor:
        return self._omega

    @property
    def leak(self) -> Tensor:
        return self._leak


class MHT(Fixed):
    """M-HT neurons: L levels, no T-GIM (Ω = I), a fixed leak.

    With one input step, a still image, Ω is I summed over its columns: every time-step receives the whole current.
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
        if steps_in not in (None, 1, steps):
            raise ValueError(
                f"neurons without a T-GIM take as many input steps as time-steps ({steps}), or a single one, not {steps_in}"
            )
        omega = torch.ones(steps, 1) if steps_in == 1 else torch.eye(steps)
        super().__init__(levels, omega, threshold=threshold, leak=leak, v0=v0)


class IF(MHT):
    """Vanilla integrate-and-fire neurons (STBP): one level, Ω = I, λ = 1."""

    def __init__(
        self, steps: int, steps_in: int | None = None, *, threshold: float = 1.0, v0: float = 0.0
    ) -> None:
        super().__init__(1, steps, steps_in, threshold=threshold, v0=v0)


class QCFS(MHT):
    """Quantisation-clip-floor-shift (Bu et al. 2022), the activation of a quantised ANN, with n = `levels` levels:

        y = ϑ/n · clip(floor(x·n/ϑ + 1/2), 0, n)

    which is one step of an n-level neuron with θ = ϑ/n and v0 = θ/2. ϑ is `ceiling`; θ is learnt.
    """

    def __init__(self, levels: int, *, ceiling: float = 1.0) -> None:
        super().__init__(levels, 1, threshold=ceiling / levels, v0=0.5)
        self.threshold.requires_grad_(True)
