"""LM-HT neurons as two Triton kernels, forward and backward: the fused path of `neurons.lmht`.

Each kernel passes once over memory. The forward one reads the currents x and writes the amplitudes
k·θ. The backward one reads x and the gradient of the amplitudes, and writes the gradient of x. It
computes the neurons again: the gradient of Ω needs x anyway, so reading stored potentials would
only add traffic. Between the two passes only x is kept.

Potentials and sums are float32 (float64 for float64 currents), whatever the dtype of currents and
amplitudes. The gradients of Ω, λ and θ are summed per block and then over the blocks, in a fixed
order: equal inputs give equal bits.

Spikes equal those of the plain path wherever its arithmetic is exact. Otherwise they may differ
where a potential is within one rounding of a threshold: Σ_j Ω·x is summed in another order, and
v/θ is computed as v · (1/θ).
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lmht_deploy.errors import TrainingError

# --------------------------------------------------------------------------------------- kernels
#
# A program computes BLOCK neurons. x [T_in, neurons], amplitudes and their gradient [T, neurons]
# are contiguous. Ω [T, T_in], λ, θ and v0 are read from memory, so that nothing waits for the host.
# Loops over steps are unrolled: x stays in registers.


@triton.jit  # type: ignore[untyped-decorator]
def _currents(
    x_ptr: tl.tensor,
    at: tl.tensor,
    inside: tl.tensor,
    neurons: tl.tensor,
    STEPS_IN: tl.constexpr,
    WIDE: tl.constexpr,
) -> tl.tuple:
    """Read x[j], j = 1..T_in, as a tuple."""
    x = ()
    for _ in tl.static_range(STEPS_IN):
        # Triton has no unpacking.
        x = x + (tl.load(x_ptr + at, inside, 0).to(WIDE),)  # type: ignore[assignment]  # noqa: RUF005
        at += neurons
    return x


@triton.jit  # type: ignore[untyped-decorator]
def _mix(
    omega_ptr: tl.tensor,
    values: tl.tuple,
    start: tl.constexpr,
    stride: tl.constexpr,
    number: tl.constexpr,
) -> tl.tensor:
    """Σ_i Ω[start + i·stride]·values[i]: a row of Ω for the currents, a column for gradients."""
    total = tl.load(omega_ptr + start) * values[0]
    for i in tl.static_range(1, number):
        total += tl.load(omega_ptr + start + i * stride) * values[i]
    return total


@triton.jit  # type: ignore[untyped-decorator]
def _fire(
    v: tl.tensor, drive: tl.tensor, leak: tl.tensor, inverse: tl.tensor, LEVELS: tl.constexpr
) -> tl.tuple:
    """λ·v + I[t], and k[t] = clip(floor(v / θ), 0, L); `inverse` is 1/θ.

    NaN is propagated, as in PyTorch.
    """
    v = leak * v + drive
    return v, tl.clamp(tl.floor(v * inverse), 0.0, LEVELS, propagate_nan=tl.PropagateNan.ALL)


@triton.jit  # type: ignore[untyped-decorator]
def _inverse(theta: tl.tensor) -> tl.tensor:
    """1/θ, correctly rounded, so exact for powers of two. Triton's float32 division is not."""
    return 1 / theta if theta.dtype == tl.float64 else tl.div_rn(1.0, theta)


@triton.jit  # type: ignore[untyped-decorator]
def _forward(
    x_ptr: tl.tensor,
    omega_ptr: tl.tensor,
    leak_ptr: tl.tensor,
    theta_ptr: tl.tensor,
    v0_ptr: tl.tensor,
    out_ptr: tl.tensor,
    neurons: tl.tensor,
    STEPS: tl.constexpr,
    STEPS_IN: tl.constexpr,
    LEVELS: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write the amplitudes k·θ."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < neurons
    x = _currents(x_ptr, at, inside, neurons, STEPS_IN, WIDE)
    leak, theta = tl.load(leak_ptr), tl.load(theta_ptr)
    inverse = _inverse(theta)
    v = tl.full([BLOCK], 0, WIDE) + tl.load(v0_ptr)
    for t in tl.static_range(STEPS):
        v, k = _fire(v, _mix(omega_ptr, x, t * STEPS_IN, 1, STEPS_IN), leak, inverse, LEVELS)
        tl.store(out_ptr + at, (k * theta).to(out_ptr.dtype.element_ty), inside)
        v -= k * theta
        at += neurons


@triton.jit  # type: ignore[untyped-decorator]
def _backward(
    grad_ptr: tl.tensor,
    x_ptr: tl.tensor,
    omega_ptr: tl.tensor,
    leak_ptr: tl.tensor,
    theta_ptr: tl.tensor,
    v0_ptr: tl.tensor,
    grad_x_ptr: tl.tensor,
    sums_ptr: tl.tensor,
    neurons: tl.tensor,
    STEPS: tl.constexpr,
    STEPS_IN: tl.constexpr,
    LEVELS: tl.constexpr,
    MIXING: tl.constexpr,
    THRESHOLD: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Write the gradients of x, Ω, λ and θ.

    With p[t] the gradient that passes the surrogate, which is grad[t] where
    0.5·θ <= v <= (L + 0.5)·θ and 0 elsewhere:

        ∂x[j]    = Σ_t Ω[t, j]·p[t]
        ∂Ω[t, j] = Σ p[t]·x[j]
        ∂λ       = Σ_t p[t]·(v before step t)
        ∂θ       = Σ_t grad[t]·k[t] - p[t]·I[t]/θ

    The sums over the neurons of this program go to its column of `sums` [T·T_in + 2, programs]: Ω
    row by row and λ if MIXING, then θ if THRESHOLD.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < neurons
    x = _currents(x_ptr, at, inside, neurons, STEPS_IN, WIDE)
    leak, theta = tl.load(leak_ptr), tl.load(theta_ptr)
    inverse = _inverse(theta)
    v = tl.full([BLOCK], 0, WIDE) + tl.load(v0_ptr)
    grad_leak, grad_theta = tl.full([BLOCK], 0, WIDE), tl.full([BLOCK], 0, WIDE)
    passed = ()
    at_step = at
    for t in tl.static_range(STEPS):
        drive = _mix(omega_ptr, x, t * STEPS_IN, 1, STEPS_IN)
        before, k = _fire(v, drive, leak, inverse, LEVELS)
        grad = tl.load(grad_ptr + at_step, inside, 0).to(WIDE)
        p = tl.where((before >= 0.5 * theta) & (before <= (LEVELS + 0.5) * theta), grad, 0)
        grad_leak += p * v
        grad_theta += grad * k - p * drive * inverse
        passed = passed + (p,)  # type: ignore[assignment]  # noqa: RUF005
        v = before - k * theta
        at_step += neurons
    for j in tl.static_range(STEPS_IN):
        grad_x = _mix(omega_ptr, passed, j, STEPS_IN, STEPS)
        tl.store(grad_x_ptr + at, grad_x.to(grad_x_ptr.dtype.element_ty), inside)
        at += neurons
    sum_ptr = sums_ptr + tl.program_id(0)
    if MIXING:
        for t in tl.static_range(STEPS):
            for j in tl.static_range(STEPS_IN):
                tl.store(sum_ptr, tl.sum(passed[t] * x[j]))
                sum_ptr += tl.num_programs(0)
        tl.store(sum_ptr, tl.sum(grad_leak))
        sum_ptr += tl.num_programs(0)
    if THRESHOLD:
        tl.store(sum_ptr, tl.sum(grad_theta))


# ------------------------------------------------------------------------------------- operators


@torch.library.custom_op("lmht::amplitudes", mutates_args=())
def amplitudes(
    x: Tensor, omega: Tensor, leak: Tensor, threshold: Tensor, v0: Tensor, levels: int
) -> Tensor:
    """Compute the amplitudes k·θ, as `neurons.lmht` does.

    Shape:
        x: [T_in, neurons]
        output: [T, neurons], of the dtype of `x`

    Raises:
        TrainingError: `x` is not on a GPU, and Triton does not interpret.
    """
    if not (x.is_cuda or triton.knobs.runtime.interpret):
        raise TrainingError(
            f"fused neurons run on a GPU, not on {x.device.type}: use the path 'plain', or set "
            "TRITON_INTERPRET=1 to interpret the kernels slowly"
        )
    out = x.new_empty(len(omega), x.shape[1])
    _launch(_forward, [x], [omega, leak, threshold, v0], [out], LEVELS=levels)
    return out


@amplitudes.register_fake
def _(x: Tensor, omega: Tensor, leak: Tensor, threshold: Tensor, v0: Tensor, levels: int) -> Tensor:
    return x.new_empty(len(omega), x.shape[1])


@torch.library.custom_op("lmht::amplitudes_backward", mutates_args=())
def amplitudes_backward(
    grad: Tensor,
    x: Tensor,
    omega: Tensor,
    leak: Tensor,
    threshold: Tensor,
    v0: Tensor,
    levels: int,
    mixing: bool,
    of_threshold: bool,
) -> tuple[Tensor, Tensor]:
    """Compute the gradient of x, and in one vector those of the parameters.

    The vector holds Ω (row by row) and λ if `mixing`, then θ if `of_threshold`.

    Shape:
        grad: [T, neurons]
        x: [T_in, neurons]
        output: [T_in, neurons] and [0 to T·T_in + 2]
    """
    grad_x = torch.empty_like(x, memory_format=torch.contiguous_format)
    sums = x.new_empty(_sums(omega, mixing, of_threshold), _programs(x, omega), dtype=_wide(x))
    _launch(
        _backward,
        [grad, x],
        [omega, leak, threshold, v0],
        [grad_x, sums],
        LEVELS=levels,
        MIXING=mixing,
        THRESHOLD=of_threshold,
    )
    return grad_x, sums.sum(1)


@amplitudes_backward.register_fake
def _(
    grad: Tensor,
    x: Tensor,
    omega: Tensor,
    leak: Tensor,
    threshold: Tensor,
    v0: Tensor,
    levels: int,
    mixing: bool,
    of_threshold: bool,
) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x, memory_format=torch.contiguous_format), x.new_empty(
        _sums(omega, mixing, of_threshold), dtype=_wide(x)
    )


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.levels = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Compute the gradients of the inputs of `amplitudes`; None for those that need none."""
    x, *parameters = ctx.saved_tensors
    mixing, of_threshold = any(ctx.needs_input_grad[1:3]), ctx.needs_input_grad[3]
    grad_x, sums = amplitudes_backward(grad, x, *parameters, ctx.levels, mixing, of_threshold)
    grads: list[Tensor | None] = [None] * 3  # of Ω, λ and θ
    learned = [index for index, learns in enumerate((mixing, mixing, of_threshold)) if learns]
    parts = torch.split(sums, [parameters[index].numel() for index in learned])
    for index, part in zip(learned, parts, strict=True):
        grads[index] = part.view_as(parameters[index]).to(parameters[index].dtype)
    return grad_x, *grads, None, None


amplitudes.register_autograd(_differentiate, setup_context=_save)


# ------------------------------------------------------------------------------------- launching


def tile(steps: int, steps_in: int) -> tuple[int, int]:
    """Choose the neurons per program and its number of warps.

    More neurons per thread make the sums cheaper, as long as their steps fit the registers.
    """
    for neurons, max_steps in ((2048, 4), (1024, 16), (512, 32)):
        if steps + steps_in <= max_steps:
            return neurons, 4
    return 256, 4


def _launch(
    kernel: Any,
    inputs: list[Tensor],
    parameters: list[Tensor],
    outputs: list[Tensor],
    **constants: int,
) -> None:
    """Run `kernel` over the neurons of `inputs`, x last; `parameters` are Ω, λ, θ and v0."""
    x, omega = inputs[-1], parameters[0]
    block, warps = tile(*omega.shape)
    wide = tl.float64 if _wide(x) == torch.float64 else tl.float32
    tensors = [
        tensor.contiguous()
        for tensor in (*inputs, *(parameter.to(_wide(x)) for parameter in parameters), *outputs)
    ]
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        kernel[(_programs(x, omega),)](
            *tensors,
            x.shape[1],
            STEPS=omega.shape[0],
            STEPS_IN=omega.shape[1],
            WIDE=wide,
            BLOCK=block,
            num_warps=warps,
            **constants,
        )


def _programs(x: Tensor, omega: Tensor) -> int:
    return int(triton.cdiv(x.shape[1], tile(*omega.shape)[0]))


def _sums(omega: Tensor, mixing: bool, of_threshold: bool) -> int:
    return (omega.numel() + 1) * mixing + of_threshold


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
