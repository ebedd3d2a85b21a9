"""LM-HT neurons: literal sequences, a separate loop in Python, and gradients by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lmht_deploy.errors import NetworkError
from lmht_deploy.training.neurons import IF, LMHT, MHT, QCFS, FixedLMHT, Neuron, lmht

DTYPE = torch.float64


def amplitudes(neuron: Neuron, *current: float) -> list[float]:
    """Output of one neuron for the currents of its input steps."""
    out: list[float] = neuron.double()(torch.tensor(current, dtype=DTYPE)[:, None])[:, 0].tolist()
    return out


# -------------------------------------------------------------------------------- literal sequences


def test_if_sequence() -> None:
    """v: 0.4 | 0.9 | 1.4 -> fires, 0.4 | -0.6 | 2.4 -> fires once, 1.4 | 1.4 -> fires."""
    assert amplitudes(IF(6), 0.4, 0.5, 0.5, -1.0, 3.0, 0.0) == [0, 0, 1, 0, 1, 1]


def test_mht_sequence() -> None:
    """L = 3, θ = 0.5.

    v 1.25 -> k 2, rest 0.25 | 2.25 -> k 3 (clipped), rest 0.75 | 0.75 -> k 1, rest 0.25 | -0.75 ->
    0.
    """
    assert amplitudes(MHT(3, 4, threshold=0.5), 1.25, 2.0, 0.0, -1.0) == [1.0, 1.5, 0.5, 0.0]


def test_leak_sequence() -> None:
    """λ = 0.5: v 0.75 | 0.375 + 0.75 = 1.125 -> fires, rest 0.125 | 0.0625 + 0.875 = 0.9375."""
    assert amplitudes(MHT(1, 3, leak=0.5), 0.75, 0.75, 0.875) == [0, 1, 0]


def test_every_step_sees_the_whole_window() -> None:
    """The T-GIM gives the first step a part of the last current: I = 1.5, 1.5, 1.5, 1.5."""
    assert amplitudes(LMHT(2, 4), 0.0, 0.0, 0.0, 6.0) == [1, 2, 1, 2]


def test_steps_in_may_differ() -> None:
    """Three input steps, two output steps: I = (1 + 2 + 6) / 3 = 3 each; L = 2 leaves 1, then 4."""
    assert amplitudes(LMHT(2, 2, 3), 1.0, 2.0, 6.0) == [2, 2]
    neuron = LMHT(2, 2, 3)
    assert neuron(torch.ones(3 * 5, 4)).shape == (2 * 5, 4)


def test_given_mixing_and_leak() -> None:
    """Frames averaged (I = 3 each), λ = 0.5: v 3 -> k 2, rest 1 | 0.5 + 3 -> k 2."""
    assert amplitudes(FixedLMHT(2, [[1 / 3] * 3] * 2, leak=0.5), 1.0, 2.0, 6.0) == [2, 2]
    assert amplitudes(FixedLMHT(1, torch.tensor([[0.0, 1.0], [1.0, 0.0]])), 0.25, 1.0) == [1, 0]
    assert not [
        parameter
        for parameter in FixedLMHT(1, torch.eye(2)).parameters()
        if parameter.requires_grad
    ]
    with pytest.raises(NetworkError, match=r"a T-GIM must have the shape \[T, T_in\], not \[2\]"):
        FixedLMHT(1, torch.ones(2))


def test_a_still_image_enters_every_step() -> None:
    """Without a T-GIM, and with one input step: v 0.75 | 1.5 -> fires, 0.5 | 1.25 -> fires."""
    assert amplitudes(IF(3, 1), 0.75) == [0, 1, 1]
    assert amplitudes(MHT(3, 2, 1, v0=0.5), 2.0) == [2, 2]
    with pytest.raises(
        NetworkError, match=r"need as many input steps as time-steps \(4\), or one, not 2"
    ):
        MHT(1, 4, 2)


def test_currents_that_do_not_fit() -> None:
    with pytest.raises(
        NetworkError,
        match="neurons with 3 input steps received 7 currents, which is not a multiple",
    ):
        LMHT(1, 2, 3)(torch.ones(7, 4))


def test_qcfs_formula() -> None:
    n, ceiling = 8, 1.5
    x = torch.linspace(-1.01, 3, 400, dtype=DTYPE)
    expected = ceiling / n * torch.clamp(torch.floor(x * n / ceiling + 0.5), 0, n)
    torch.testing.assert_close(QCFS(n, ceiling=ceiling).double()(x), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("levels", "steps"), [(1, 4), (2, 2), (2, 4), (4, 2), (3, 5)])
def test_qcfs_is_lmht_with_uniform_mixing(levels: int, steps: int) -> None:
    """Theorem 4.2 (ii): the mean amplitude is QCFS with L·T levels of the mean current.

    It needs Ω = 1/T, λ = 1 and v0 = θ/2.
    """
    torch.manual_seed(0)
    x = torch.randn(steps, 2000, dtype=DTYPE)
    ceiling = levels * steps / 8
    spiking = LMHT(levels, steps, threshold=ceiling / levels, v0=0.5).double()
    quantized = QCFS(levels * steps, ceiling=ceiling).double()
    rate = spiking(x.flatten(0, 1)).unflatten(0, (steps, -1)).mean(0)
    torch.testing.assert_close(rate, quantized(x.mean(0)), rtol=0, atol=1e-12)
    assert rate.count_nonzero() > 500


def test_initial_parameters() -> None:
    neuron = LMHT(2, 4, 3)
    torch.testing.assert_close(neuron.omega, torch.full((4, 3), 1 / 3))
    assert neuron.leak == 1 and neuron.v0 == 0
    with torch.no_grad():
        neuron.m.fill_(math.log(3))  # σ = 3/4
        neuron.alpha.fill_(-math.log(3))  # σ = 1/4
    torch.testing.assert_close(neuron.omega, torch.full((4, 3), 0.5))
    torch.testing.assert_close(neuron.leak, torch.tensor(0.75))


@pytest.mark.parametrize(
    "wrong", [{"levels": 0}, {"steps": 0}, {"steps_in": 0}, {"threshold": 0.0}]
)
def test_wrong_parameters(wrong: dict[str, int]) -> None:
    with pytest.raises(NetworkError, match="must be integers >= 1"):
        LMHT(**({"levels": 1, "steps": 1} | wrong))  # type: ignore[arg-type]


def test_wrong_parameters_of_other_neurons() -> None:
    for make in (lambda: QCFS(0), lambda: QCFS(2, ceiling=0), lambda: MHT(2, -1), lambda: IF(0)):
        with pytest.raises(NetworkError, match="must be integers >= 1"):
            make()
    with pytest.raises(NetworkError, match="a T-GIM must be a matrix of numbers"):
        FixedLMHT(1, [[1.0, 2.0], [3.0]])


# ----------------------------------------------------------------------------------- against a loop


def by_hand(
    x: list[float],
    omega: list[list[float]],
    leak: float,
    theta: float,
    v0: float,
    levels: int,
    grad: list[float],
) -> tuple:
    """k·θ of one neuron, and the gradients of Σ grad·k·θ by x, Ω, λ and θ.

    Written out from the docstring of `lmht`.
    """
    v, out = v0, []
    of_x, of_omega = [0.0] * len(x), [[0.0] * len(x) for _ in omega]
    of_leak = of_theta = 0.0
    for t, row in enumerate(omega):
        drive = sum(w * value for w, value in zip(row, x, strict=True))
        before, v = v, leak * v + drive
        k = min(max(math.floor(v / theta), 0), levels)
        out.append(k * theta)
        passed = grad[t] if 0.5 * theta <= v <= (levels + 0.5) * theta else 0.0
        for j, value in enumerate(x):
            of_x[j] += passed * row[j]
            of_omega[t][j] += passed * value
        of_leak += passed * before
        of_theta += grad[t] * k - passed * drive / theta
        v -= k * theta
    return out, of_x, of_omega, of_leak, of_theta


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 5),
    steps_in=st.integers(1, 5),
    levels=st.integers(1, 4),
)
def test_function_and_gradients(seed: int, steps: int, steps_in: int, levels: int) -> None:
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=DTYPE, generator=g)

    x, omega, grad = draw(steps_in, 7) + 0.5, draw(steps, steps_in), draw(steps, 7)
    leak, theta, v0 = draw().abs(), draw().abs() + 0.1, draw() * 0.3
    leaves = [tensor.requires_grad_() for tensor in (x, omega, leak, theta)]
    out = lmht(x, omega, leak, theta, v0, levels)
    found = torch.autograd.grad(out, leaves, grad)

    rows = [
        by_hand(
            x[:, n].tolist(),
            omega.tolist(),
            leak.item(),
            theta.item(),
            v0.item(),
            levels,
            grad[:, n].tolist(),
        )
        for n in range(7)
    ]
    torch.testing.assert_close(
        out.T, torch.tensor([row[0] for row in rows], dtype=DTYPE), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(found[0].T, torch.tensor([row[1] for row in rows], dtype=DTYPE))
    for index in (1, 2, 3):
        torch.testing.assert_close(
            found[index], torch.tensor([row[index + 1] for row in rows], dtype=DTYPE).sum(0)
        )


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    steps=st.integers(1, 4),
    steps_in=st.integers(1, 4),
    levels=st.integers(1, 3),
)
def test_gradients_by_finite_differences(seed: int, steps: int, steps_in: int, levels: int) -> None:
    """The surrogate is the derivative of clip(v, 0.5·θ, (L + 0.5)·θ).

    The potential before each step is held constant.
    """
    g = torch.Generator().manual_seed(seed)
    x, omega, grad = (
        torch.rand(shape, dtype=DTYPE, generator=g) * 2 - 0.5
        for shape in ((steps_in, 3), (steps, steps_in), (steps, 3))
    )
    leak, theta, v0 = (torch.tensor(value, dtype=DTYPE) for value in (0.9, 0.7, 0.2))
    leaves = [tensor.requires_grad_() for tensor in (x, omega, leak)]
    out = lmht(x, omega, leak, theta, v0, levels)

    held, v = [], v0.expand(3)
    for drive, fired in zip(omega.detach() @ x.detach(), out.detach(), strict=True):
        held.append(v)
        v = 0.9 * v + drive - fired

    def smooth(x: Tensor, omega: Tensor, leak: Tensor) -> Tensor:
        return (leak * torch.stack(held) + omega @ x).clamp(0.5 * theta, (levels + 0.5) * theta)

    assert torch.autograd.gradcheck(smooth, leaves)
    torch.testing.assert_close(
        torch.autograd.grad(out, leaves, grad), torch.autograd.grad(smooth(*leaves), leaves, grad)
    )


def test_surrogate_limits() -> None:
    """1 where 0.5θ <= v <= (L + 0.5)θ, both ends included, 0 elsewhere."""
    x = torch.tensor([0.9, 1.0, 3.0, 5.0, 5.1], dtype=DTYPE, requires_grad=True)
    MHT(2, 1, threshold=2.0).double()(x).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 1, 0]


def test_previous_potential_is_detached() -> None:
    """The first current changes the second potential, but has no gradient through it."""
    x = torch.tensor([0.4, 0.4], dtype=DTYPE, requires_grad=True)
    IF(2).double()(x)[1].backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1]


def test_qcfs_gradient() -> None:
    """By x: 1 within 0..ϑ. By ϑ = n·θ: y/ϑ - x/ϑ within, 1 above.

    This is the straight-through gradient of Bu et al. (2022).
    """
    x = torch.tensor([-0.2, 0.3, 1.1, 2.0], dtype=DTYPE, requires_grad=True)
    neuron = QCFS(4, ceiling=1.6).double()
    y = neuron(x)
    y.sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 0]
    by_ceiling = (y[1] - x[1]) / 1.6 + (y[2] - x[2]) / 1.6 + 1
    expected = 4 * by_ceiling / 4**2  # a step of θ is 1/n of one of ϑ
    torch.testing.assert_close(neuron.threshold.grad, expected.detach())


def test_learnable_parameters_learn() -> None:
    neuron = LMHT(2, 4)
    neuron(torch.rand(4 * 3, 5) * 2).sum().backward()
    assert neuron.m.grad is not None and neuron.m.grad.count_nonzero() == 16
    assert neuron.alpha.grad is not None and neuron.alpha.grad != 0
    assert neuron.threshold.grad is None
