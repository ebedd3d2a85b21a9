"""LM-HT neurons as two Triton kernels, one for each direction: the fused path of `training.neurons.lmht`.

Each kernel passes once over memory. The forward one reads the currents x and writes the amplitudes k·θ. The backward one
reads x and the gradient of the amplitudes, and writes the gradient of x; it runs the neurons again rather than read what
the forward one would have had to write, for x must be read for the gradient of Ω anyway. So nothing but x is kept between
the two, not even spikes.

Potentials and sums are float32 (float64 for float64 currents), whatever the dtype of currents and amplitudes. The gradients of
Ω, λ and θ are summed block by block and then over the blocks, in an order that never changes: the same inputs give the
same bits.

Spikes equal those of the plain path wherever its arithmetic is exact; else they may part where a potential lies within
a rounding of a threshold, since Σ_j Ω·x is summed in another order and v/θ is v times 1/θ here.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from lmht_deploy.errors import TrainingError

# ------------------------------------------------------------------------------------------------ kernels
#
# A program has BLOCK neurons. x [T_in, neurons], amplitudes and their gradient [T, neurons] are contiguous; Ω [T, T_in], λ, θ
# and v0 are read from memory, so that nothing waits for the host. Loops over steps are unrolled: x stays in registers.


@triton.jit
def _currents(x_ptr, at, inside, neurons, STEPS_IN: tl.constexpr, WIDE: tl.constexpr):
    """x[j], j = 1..T_in, as a tuple."""
    x = ()
    for _ in tl.static_range(STEPS_IN):
        x = x + (tl.load(x_ptr + at, inside, 0).to(WIDE),)  # type: ignore[assignment]  # noqa: RUF005 (Triton has no unpacking)
        at += neurons
    return x


@triton.jit
def _mixed(omega_ptr, values, start: tl.constexpr, stride: tl.constexpr, number: tl.constexpr):
    """Σ_i Ω[start + i·stride]·values[i]: over a row of Ω from the currents, over a column from the gradients."""
    total = tl.load(omega_ptr + start) * values[0]
    for i in tl.static_range(1, number):
        total += tl.load(omega_ptr + start + i * stride) * values[i]
    return total


@triton.jit
def _fired(v, drive, leak, inverse, LEVELS: tl.constexpr):
    """λ·v + I[t], and k[t] = clip(floor(v / θ), 0, L); `inverse` is 1/θ. What is not a number stays so, as in PyTorch."""
    v = leak * v + drive
    return v, tl.clamp(tl.floor(v * inverse), 0.0, LEVELS, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _inverse(theta):
    """1/θ, correctly rounded: exact where θ is a power of two. (Triton's own division of float32 is not.)"""
    return 1 / theta if theta.dtype == tl.float64 else tl.div_rn(1.0, theta)


@triton.jit
def _forward(
    x_ptr,
    omega_ptr,
    leak_ptr,
    theta_ptr,
    v0_ptr,
    out_ptr,
    neurons,
    STEPS: tl.constexpr,
    STEPS_IN: tl.constexpr,
    LEVELS: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < neurons
    x = _currents(x_ptr, at, inside, neurons, STEPS_IN, WIDE)
    leak, theta = tl.load(leak_ptr), tl.load(theta_ptr)
    inverse = _inverse(theta)
    v = tl.full([BLOCK], 0, WIDE) + tl.load(v0_ptr)
    for t in tl.static_range(STEPS):
        v, k = _fired(v, _mixed(omega_ptr, x, t * STEPS_IN, 1, STEPS_IN), leak, inverse, LEVELS)
        tl.store(out_ptr + at, (k * theta).to(out_ptr.dtype.element_ty), inside)
        v -= k * theta
        at += neurons


@triton.jit
def _backward(
    grad_ptr,
    x_ptr,
    omega_ptr,
    leak_ptr,
    theta_ptr,
    v0_ptr,
    grad_x_ptr,
    sums_ptr,
    neurons,
    STEPS: tl.constexpr,
    STEPS_IN: tl.constexpr,
    LEVELS: tl.constexpr,
    MIXING: tl.constexpr,
    THRESHOLD: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Where p[t] is the gradient that passes the surrogate, grad[t] within 0.5·θ <= v <= (L + 0.5)·θ and 0 beyond:

        ∂x[j] = Σ_t Ω[t, j]·p[t]     ∂Ω[t, j] = Σ p[t]·x[j]     ∂λ = Σ_t p[t]·(v before step t)     ∂θ = Σ_t grad[t]·k[t] - p[t]·I[t]/θ

    This program's share of the sums over neurons goes to its column of `sums` [T·T_in + 2, programs]: Ω row by row and λ
    with MIXING, θ with THRESHOLD.
    """
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < neurons
    x = _currents(x_ptr, at, inside, neurons, STEPS_IN, WIDE)
    leak, theta = tl.load(leak_ptr), tl.load(theta_ptr)
    inverse = _inverse(theta)
    v = tl.full([BLOCK], 0, WIDE) + tl.load(v0_ptr)
    of_leak, of_theta = tl.full([BLOCK], 0, WIDE), tl.full([BLOCK], 0, WIDE)
    passed = ()
    at_step = at
    for t in tl.static_range(STEPS):
        drive = _mixed(omega_ptr, x, t * STEPS_IN, 1, STEPS_IN)
        before, k = _fired(v, drive, leak, inverse, LEVELS)
        grad = tl.load(grad_ptr + at_step, inside, 0).to(WIDE)
        p = tl.where((before >= 0.5 * theta) & (before <= (LEVELS + 0.5) * theta), grad, 0)
        of_leak += p * v
        of_theta += grad * k - p * drive * inverse
        passed = passed + (p,)  # type: ignore[assignment]  # noqa: RUF005
        v = before - k * theta
        at_step += neurons
    for j in tl.static_range(STEPS_IN):
        tl.store(
            grad_x_ptr + at,
            _mixed(omega_ptr, passed, j, STEPS_IN, STEPS).to(grad_x_ptr.dtype.element_ty),
            inside,
        )
        at += neurons
    place = sums_ptr + tl.program_id(0)
    if MIXING:
        for t in tl.static_range(STEPS):
            for j in tl.static_range(STEPS_IN):
                tl.store(place, tl.sum(passed[t] * x[j]))
                place += tl.num_programs(0)
        tl.store(place, tl.sum(of_leak))
        place += tl.num_programs(0)
    if THRESHOLD:
        tl.store(place, tl.sum(of_theta))


# ------------------------------------------------------------------------------------------------ operators


@torch.library.custom_op("lmht::amplitudes", mutates_args=())
def amplitudes(
    x: Tensor, omega: Tensor, leak: Tensor, threshold: Tensor, v0: Tensor, levels: int
) -> Tensor:
    """Amplitudes k·θ [T, neurons] under the currents `x` [T_in, neurons], of its dtype; see `training.neurons.lmht`."""
    if not (x.is_cuda or triton.knobs.runtime.interpret):
        raise TrainingError(
            f"fused neurons run on a GPU, not on {x.device.type}: take the path 'plain', or set TRITON_INTERPRET=1 to try them slowly"
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
    """Gradient of x [T_in, neurons], and in one vector those of Ω (row by row) and λ where `mixing`, then of θ where `of_threshold`."""
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
    x, *parameters = ctx.saved_tensors
    mixing, of_threshold = any(ctx.needs_input_grad[1:3]), ctx.needs_input_grad[3]
    grad_x, sums = amplitudes_backward(grad, x, *parameters, ctx.levels, mixing, of_threshold)
    grads: list[Tensor | None] = [None] * 3  # of Ω, λ and θ
    summed = [index for index, learns in enumerate((mixing, mixing, of_threshold)) if learns]
    for index, part in zip(
        summed, sums.split([parameters[index].numel() for index in summed]), strict=True
    ):
        grads[index] = part.view_as(parameters[index]).to(parameters[index].dtype)
    return grad_x, *grads, None, None


amplitudes.register_autograd(_differentiate, setup_context=_save)


# ------------------------------------------------------------------------------------------------ launching


def tile(steps: int, steps_in: int) -> tuple[int, int]:
    """Neurons of a program, and its warps: the more neurons a thread has, the cheaper the sums, as long as their steps fit the registers."""
    for neurons, most in ((2048, 4), (1024, 16), (512, 32)):
        if steps + steps_in <= most:
            return neurons, 4
    return 256, 4


def _launch(
    kernel: Any,
    inputs: list[Tensor],
    parameters: list[Tensor],
    outputs: list[Tensor],
    **constants: int,
) -> None:
    """`kernel` over the neurons of `inputs`, x last; `parameters` are Ω, λ, θ and v0."""
    x, omega = inputs[-1], parameters[0]
    block, warps = tile(*omega.shape)
    wide = tl.float64 if _wide(x) == torch.float64 else tl.float32
    tensors = [
        tensor.contiguous()
        for tensor in (*inputs, *(parameter.to(_wide(x)) for parameter in parameters), *outputs)
    ]
    with torch.cuda.device_of(x):
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
