"""The fused kernels against the plain path: on a GPU, or in Triton's interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lmht_deploy.errors import TrainingError
from lmht_deploy.training import neurons
from lmht_deploy.training.architectures import Convolution, Residual
from lmht_deploy.training.builder import build_model
from lmht_deploy.training.model import SpikingModel
from lmht_deploy.training.neurons import LMHT, QCFS, Neuron, Path, lmht

pytest.importorskip("triton", reason="Triton is not installed")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def both(
    *inputs: Tensor, grad: Tensor, levels: int = 2, learnt: tuple[bool, ...] = (True,) * 4
) -> tuple[list[Any], list[Any]]:
    """Amplitudes and gradients by x, Ω, λ and θ (if `learnt`) of the plain and the fused path."""
    found = []
    for path in ("plain", "fused"):
        leaves = [
            tensor.detach().to(DEVICE).requires_grad_(learns)
            for tensor, learns in zip(inputs, (*learnt, False), strict=True)
        ]
        out = lmht(*leaves, levels, path)  # type: ignore[arg-type, misc]
        out.backward(grad.to(DEVICE))
        found.append([out.detach(), *(leaf.grad for leaf in leaves[:4])])
    return found[0], found[1]


# --------------------------------------------------------------------------- against the plain path

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels-last": lambda x: x.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3),
    "batch-outermost": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "every-second-row": lambda x: x.repeat_interleave(2, 3)[:, :, :, ::2],
    "one-value": lambda x: x[:, :1, :1, :1, :1].expand(x.shape),
}


@settings(max_examples=30, deadline=None)
@given(
    steps=st.integers(1, 5),
    steps_in=st.integers(1, 5),
    levels=st.integers(1, 5),
    shape=st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64]),
    layout=st.sampled_from(list(LAYOUTS)),
    grad_layout=st.sampled_from(list(LAYOUTS)),
    theta=st.sampled_from([0.25, 0.5, 1.0, 2.0]),
    seed=st.integers(0, 10**6),
)
def test_equal_where_arithmetic_is_exact(
    steps: int,
    steps_in: int,
    levels: int,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    layout: str,
    grad_layout: str,
    theta: float,
    seed: int,
) -> None:
    """Currents are eighths: no potential is rounded, and many equal thresholds and limits.

    Bits and layout are equal. The sums over neurons (of Ω, λ and θ) may be rounded: their order
    differs.
    """
    g = torch.Generator().manual_seed(seed)

    def eighths(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high + 1, shape, generator=g) / 8

    x = LAYOUTS[layout](eighths(-8, 16, steps_in, *shape).to(dtype))
    grad = LAYOUTS[grad_layout](eighths(-8, 8, steps, *shape).to(dtype))
    wide = torch.promote_types(dtype, torch.float32)
    parameters = [
        value.to(wide)
        for value in (
            eighths(-4, 8, steps, steps_in),
            eighths(2, 4) * 2,
            torch.tensor(theta),
            eighths(-4, 4),
        )
    ]
    plain, fused = both(x, *parameters, grad=grad, levels=levels)
    for one, other in zip(plain, fused, strict=True):
        torch.testing.assert_close(
            other,
            one,
            **({"rtol": 0, "atol": 0} if one.ndim == 5 else {"rtol": 1e-5, "atol": 1e-3}),
        )
        assert other.stride() == one.stride()


@settings(max_examples=10, deadline=None)
@given(
    steps=st.integers(1, 4),
    steps_in=st.integers(1, 4),
    levels=st.integers(1, 4),
    many=st.integers(2000, 2500),
    seed=st.integers(0, 10**6),
)
def test_gradients_in_float64(steps: int, steps_in: int, levels: int, many: int, seed: int) -> None:
    """Any real numbers, and more neurons than one program computes."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, dtype=torch.float64, generator=g)

    inputs = (
        draw(steps_in, many) + 0.5,
        draw(steps, steps_in),
        draw().abs(),
        draw().abs() + 0.1,
        draw() * 0.3,
    )
    for one, other in zip(*both(*inputs, grad=draw(steps, many), levels=levels), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_sums_of_narrow_dtypes_are_float32(dtype: torch.dtype) -> None:
    """Against the plain path in float64 on the same numbers.

    Amplitudes and ∂x are rounded once, to their dtype; the sums are close to float64.
    """
    g = torch.Generator().manual_seed(5)
    x, grad = (torch.randn(2, 3000, generator=g).to(dtype) for _ in range(2))
    parameters = [
        torch.tensor([[0.5, 0.25], [0.75, 0.5]]),
        torch.tensor(0.75),
        torch.tensor(0.5),
        torch.tensor(0.25),
    ]
    _, narrow = both(x, *parameters, grad=grad)
    exact, _ = both(
        x.double(), *(parameter.double() for parameter in parameters), grad=grad.double()
    )
    for one, true, kind in zip(narrow, exact, [dtype] * 2 + [torch.float32] * 3, strict=True):
        assert one.dtype == kind
        torch.testing.assert_close(one.double(), true, rtol=2 * torch.finfo(kind).eps, atol=1e-4)


FROZEN = [
    (True, False, False, False),
    (True, True, False, False),
    (True, False, True, False),
    (True, False, False, True),
    (False, True, True, True),
]


@pytest.mark.parametrize("learnt", FROZEN)
def test_what_is_frozen_has_no_gradient(learnt: tuple[bool, ...]) -> None:
    g = torch.Generator().manual_seed(1)
    x, omega, grad = (
        torch.rand(shape, dtype=torch.float64, generator=g) for shape in ((3, 70), (2, 3), (2, 70))
    )
    scalars = [torch.tensor(value, dtype=torch.float64) for value in (0.9, 0.6, 0.1)]
    plain, fused = both(x, omega, *scalars, grad=grad, learnt=learnt)
    assert [one is not None for one in fused[1:]] == list(learnt)
    torch.testing.assert_close(fused, plain)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the interpreter
def test_nan_is_propagated() -> None:
    """A training run that went wrong must show it."""
    x = torch.tensor([[float("nan"), float("inf"), -float("inf"), 1.0]])
    one = torch.tensor(1.0)
    plain, fused = both(x, torch.ones(1, 1), one, one, torch.tensor(0.0), grad=torch.ones(1, 4))
    torch.testing.assert_close(fused[0], plain[0], equal_nan=True)
    assert fused[0].isnan().tolist() == [[True, False, False, False]]


# ----------------------------------------------------------------------------------- within PyTorch


def small(path: Path, dtype: torch.dtype = torch.float32) -> SpikingModel:
    """Three neuron layers, channels-last; the same weights for every path."""
    torch.manual_seed(0)
    model = build_model(
        (Convolution(4), Residual(6)),  # with a stride, oneDNN would be wrong
        (2, 6, 6),
        3,
        lambda steps_in: LMHT(2, 2, steps_in),
        steps_in=3,
    )
    for module in model.modules():
        if isinstance(module, Neuron):
            module.path = path
    return model.to(DEVICE, dtype, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def learn(
    model: SpikingModel, run: Callable[[Tensor], Tensor], dtype: torch.dtype = torch.float32
) -> dict[str, Tensor]:
    """Logits of `model`, which `run` calls, and every gradient of a loss."""
    windows = torch.rand(4, 3, 2, 6, 6, generator=torch.Generator().manual_seed(1)) * 3
    model.zero_grad()
    logits = run(windows.to(DEVICE, dtype))
    logits.float().square().sum().backward()
    grads = {
        name: parameter.grad.clone()
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    assert sum(name.endswith(("neuron.m", "neuron.alpha")) for name in grads) == 6
    return {"logits": logits.detach(), **grads}


def test_whole_model() -> None:
    plain, fused = (
        learn(model, model, torch.float64)
        for model in (small("plain", torch.float64), small("fused", torch.float64))
    )
    torch.testing.assert_close(fused, plain)


@pytest.mark.parametrize("path", ["plain", "fused"])
def test_compiled(path: Path) -> None:
    """One graph without breaks, forward and backward, under autocast."""
    model = small(path)
    with torch.autocast(DEVICE, torch.bfloat16):
        found = learn(
            model, torch.compile(model, backend="aot_eager", fullgraph=True, dynamic=False)
        )
        torch.testing.assert_close(found, learn(model, model))


def test_compiled_for_any_shape() -> None:
    """Batch, height and width may be unknown to the graph; both paths find the layout alike."""
    neuron = LMHT(2, 2, 3).to(DEVICE)
    neuron.path = "fused"
    compiled = torch.compile(neuron, backend="aot_eager", fullgraph=True, dynamic=True)
    for shape in ((6, 4, 5, 7), (9, 5, 6, 4)):
        x = torch.rand(shape, device=DEVICE)
        for one in (x, x.to(memory_format=torch.channels_last)):
            torch.testing.assert_close(compiled(one), neuron(one))


@pytest.mark.parametrize("path", ["plain", "fused"])
def test_checkpointed(path: Path) -> None:
    model = small(path).eval()  # running statistics would be updated twice
    torch.testing.assert_close(
        learn(model, lambda windows: checkpoint(model, windows, use_reentrant=False)),
        learn(model, model),
    )


@pytest.mark.parametrize("path", ["plain", "fused"])
def test_autocast_narrows_what_passes_but_not_the_neurons(path: Path) -> None:
    """Currents and amplitudes are bfloat16; Ω is not rounded to it (1/3 would be)."""
    neuron = LMHT(1, 1, 3, v0=0.0).to(DEVICE)
    neuron.path = path
    current = torch.ones(3, 4, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast(DEVICE, torch.bfloat16):
        out = neuron(current)
    out.sum().backward()
    assert out.dtype == torch.bfloat16 and out.tolist() == [[1, 1, 1, 1]]
    assert current.grad is not None and current.grad.dtype == torch.bfloat16
    assert neuron.m.grad is not None and neuron.m.grad.dtype == torch.float32


@pytest.mark.parametrize("path", ["plain", "fused"])
def test_channels_last_is_neither_copied_nor_lost(path: Path) -> None:
    """The fused path saves the current itself for the backward pass."""
    neuron = LMHT(2, 2, 3).to(DEVICE)
    neuron.path = path
    x = (
        torch.rand(3 * 2, 5, 4, 4, device=DEVICE)
        .to(memory_format=torch.channels_last)
        .requires_grad_()
    )
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (kept.append(tensor.data_ptr()), tensor)[1], lambda tensor: tensor
    ):
        out = neuron(x)
    assert out.shape == (2 * 2, 5, 4, 4) and out.is_contiguous(memory_format=torch.channels_last)
    assert x.data_ptr() in kept
    out.sum().backward()
    assert x.grad is not None and x.grad.is_contiguous(memory_format=torch.channels_last)


def test_registration() -> None:
    """Schema, fake tensors, autograd and tracing, as PyTorch checks an operator."""
    x = torch.rand(2, 70, device=DEVICE, requires_grad=True)
    parameters = [
        torch.rand(shape, device=DEVICE, requires_grad=True) for shape in ((3, 2), (), ())
    ]
    v0 = torch.zeros((), device=DEVICE)
    import lmht_deploy.training._fused  # noqa: F401 (registers)

    torch.library.opcheck(torch.ops.lmht.amplitudes.default, (x, *parameters, v0, 2))
    detached = [tensor.detach() for tensor in (x, *parameters, v0)]
    torch.library.opcheck(
        torch.ops.lmht.amplitudes_backward.default,
        (torch.rand(3, 70, device=DEVICE), *detached, 2, True, True),
        test_utils=("test_schema", "test_faketensor"),
    )


# ------------------------------------------------------------------------------- choice of the path


def test_auto_is_plain_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neurons, "_fused", None)
    assert LMHT(2, 2)(torch.ones(4, 3)).shape == (4, 3)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU")
def test_auto_is_fused_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neurons, "_plain", None)
    assert LMHT(2, 2).cuda()(torch.ones(4, 3).cuda()).shape == (4, 3)
    monkeypatch.setattr(neurons, "_fused", None)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        LMHT(2, 2).cuda()(torch.ones(4, 3).cuda())


def test_one_setting_forces_every_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Neuron, "path", "fused")
    monkeypatch.setattr(neurons, "_plain", None)
    assert QCFS(2).to(DEVICE)(torch.ones(4, 3, device=DEVICE)).shape == (4, 3)


def test_fused_where_it_cannot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    import triton

    neuron = LMHT(2, 2)
    neuron.path = "fused"
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    with pytest.raises(
        TrainingError, match="fused neurons run on a GPU, not on cpu: use the path 'plain'"
    ):
        neuron(torch.ones(4, 3))
    monkeypatch.setattr(neurons, "_TRITON", False)
    with pytest.raises(TrainingError, match="need the package 'triton'"):
        neuron(torch.ones(4, 3))


# ------------------------------------------------------------------------------ compiled for Hopper


def compiled_for_hopper(cases: list[dict[str, object]]) -> list[list[int]]:
    """Reads and writes of 16 bytes, and bytes of spilled registers, of both kernels per case."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "tests.support.hopper", json.dumps(cases)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return [[int(figure) for figure in line.split()] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("dtype", "wide", "steps_in", "expected"),
    [  # 16 neurons per thread: 2 reads of 16 bytes for a step of 16 bits, 4 for one of 32
        ("*bf16", "float32", 1, [[2, 4, 0], [6, 2, 0]]),
        ("*bf16", "float32", 2, [[4, 4, 0], [8, 4, 0]]),
        ("*fp16", "float32", 2, [[4, 4, 0], [8, 4, 0]]),
        ("*fp32", "float32", 2, [[8, 8, 0], [16, 8, 0]]),
        ("*fp64", "float64", 2, [[0, 0, 0], [0, 0, 0]]),  # pairs are read
    ],
)
def test_compiles_for_hopper(
    dtype: str, wide: str, steps_in: int, expected: list[list[int]]
) -> None:
    """Without a GPU: machine code for an H100 reads and writes 16 bytes at once.

    No register is spilled.
    """
    case = {"dtype": dtype, "wide": wide, "steps": 2, "steps_in": steps_in}
    assert compiled_for_hopper([case]) == expected


def test_every_shape_compiles_for_hopper() -> None:
    """Many steps, any number of neurons, more than 32 bits of them, frozen parameters.

    The other tiles that the benchmark measures may spill registers.
    """
    from benchmarks.training.timing import GPU

    kind = {"dtype": "*bf16", "wide": "float32"}
    base = {**kind, "steps": 2, "steps_in": 2}
    shapes = [{**kind, "steps": t, "steps_in": i} for t, i in ((1, 1), (4, 10), (8, 8), (6, 16))]
    frozen = ({"mixing": False}, {"threshold": False}, {"mixing": False, "threshold": False})
    others = ({"aligned": False}, {"neurons": "i64"}, *frozen)
    found = compiled_for_hopper([*shapes, *({**base, **other} for other in others)])
    assert len(found) == 2 * 9 and all(spilled == 0 for *_, spilled in found)
    tiles = [{**base, "tile": tile} for tile in GPU.tiles]
    assert len(compiled_for_hopper(tiles)) == 2 * len(GPU.tiles)
