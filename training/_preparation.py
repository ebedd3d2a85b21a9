"""What happens to a model before it is lowered: checks of its modules, and a copy to read.

Lowering must see what the model computes. So wrappers and forward hooks, which change it, are
refused. Weights that a known pre-hook recomputes before every forward are recomputed first.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from lmht_deploy.errors import LoweringError, show

from .model import SpikingModel
from .neurons import Neuron

RECOMPUTES = (prune.BasePruningMethod, WeightNorm, SpectralNorm)
"""Forward pre-hooks that recompute one parameter and change nothing else."""

_WRAPPERS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "FullyShardedDataParallel": "module",
    "AveragedModel": "module",
    "OptimizedModule": "_orig_mod",
}
"""Where wrappers of PyTorch keep the module that they wrap."""

_WITHOUT_ORIGINAL = ("FunctionalModule", "FunctionalModuleWithBuffers", "ExportedProgram")


# ---------------------------------------------------------------------------------------- checks


def require_spiking_model(model: object) -> SpikingModel:
    """Return `model`.

    Raises:
        LoweringError: It is not a `SpikingModel`, or it is wrapped or changed.
    """
    if not isinstance(model, nn.Module):
        raise LoweringError(
            "lowering needs a SpikingModel, or a module of layers of sinabs, snnTorch or "
            f"SpikingJelly, not {show(model)}"
        )
    if not isinstance(model, SpikingModel):
        raise LoweringError(
            f"lowering needs a SpikingModel, not {type(model).__name__}; {_advice(model)}"
        )
    if not unchanged(model, SpikingModel):
        raise LoweringError(
            f"{type(model).__name__} has a forward of its own, which cannot be lowered; "
            "use SpikingModel, and put the layers into its body"
        )
    _check_hooks("the model", model)
    for path, module in model.body.named_modules():
        _check_module(path or "the body of the model", module)
    return model


def unchanged(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether `module` computes what the class `kind` computes: nothing overrides its forward."""
    return all(
        getattr(type(module), name, None) is getattr(kind, name, None) and name not in vars(module)
        for name in ("__call__", "_call_impl", "forward", "_conv_forward")
    )


def _advice(model: nn.Module) -> str:
    name = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule | fx.GraphModule) or name in _WITHOUT_ORIGINAL:
        return "lower the SpikingModel that it was made from"
    for path, module in model.named_modules():
        if isinstance(module, SpikingModel):
            return f"lower the SpikingModel that it contains: model.{path}"
    inner = f"module.{_WRAPPERS[name]}" if name in _WRAPPERS else "module"
    return f"wrap the module: SpikingModel({inner}, steps_in)"


def _check_module(where: str, module: nn.Module) -> None:
    name = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule) or name in _WITHOUT_ORIGINAL:
        raise LoweringError(
            f"{where}: {name} cannot be lowered; use the module that it was made from"
        )
    if name in _WRAPPERS:
        raise LoweringError(
            f"{where}: the wrapper {name} cannot be lowered; use the module that it contains, "
            f"its attribute {_WRAPPERS[name]!r}"
        )
    if isinstance(module, SpikingModel):
        raise LoweringError(
            f"{where}: a SpikingModel within a SpikingModel cannot be lowered; use its body"
        )
    if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
        raise LoweringError(
            f"{where}: {name} has no weights yet; run the model on one window before lowering"
        )
    _check_hooks(where, module)


def _check_hooks(where: str, module: nn.Module) -> None:
    before = [h for h in module._forward_pre_hooks.values() if not isinstance(h, RECOMPUTES)]
    for kind, hooks in (("forward pre-hook", before), ("forward hook", module._forward_hooks)):
        if hooks:
            raise LoweringError(
                f"{where}: {type(module).__name__} has a {kind}, which cannot be lowered; remove "
                "the hook, and put what it computes into weights or layers"
            )


# ------------------------------------------------------------------------------------------ copy


def evaluation_copy(model: SpikingModel) -> SpikingModel:
    """A copy of `model` in float64, on the CPU and in evaluation mode.

    Parameters that pre-hooks recompute are up to date.

    Raises:
        LoweringError: The model cannot be copied.
    """
    try:
        copied = _copied(model).cpu().double().eval()
        for module in copied.modules():
            _recompute(module)
    except Exception as error:  # of modules that the user wrote
        raise LoweringError(
            f"the model cannot be copied to the CPU in float64: {error}; its weights must be in "
            "memory, and copy.deepcopy must be able to copy its modules"
        ) from error
    return copied


def _copied(model: SpikingModel) -> SpikingModel:
    """A deep copy, which shares attributes that cannot be copied, such as loggers."""
    detached = _detached(model)
    try:
        return copy.deepcopy(model, dict(detached))
    except Exception:
        return copy.deepcopy(model, dict(detached) | _not_copyable(model))


def _detached(model: nn.Module) -> dict[int, Any]:
    """Copies, by id, of the tensors that `copy.deepcopy` refuses: those that have a graph."""
    held = (tensor for module in model.modules() for tensor in _tensors(vars(module)))
    return {id(tensor): tensor.detach().clone() for tensor in held if not tensor.is_leaf}


def _not_copyable(model: nn.Module) -> dict[int, Any]:
    own = ("_parameters", "_buffers", "_modules")
    held = [
        value
        for module in model.modules()
        for name, value in vars(module).items()
        if name not in own
    ]
    return {id(value): value for value in held if not _is_copyable(value)}


def _is_copyable(value: object) -> bool:
    try:
        copy.deepcopy(value)
    except Exception:
        return False
    return True


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from (tensor for item in value.values() for tensor in _tensors(item))
    elif isinstance(value, list | tuple):
        yield from (tensor for item in value for tensor in _tensors(item))


def _recompute(module: nn.Module) -> None:
    for hook in module._forward_pre_hooks.values():
        hook(module, ())
    module._backward_hooks.clear()
    module._backward_pre_hooks.clear()
    if isinstance(module, Neuron):
        module.path = "plain"


@contextmanager
def undisturbed() -> Iterator[None]:
    """Keep the state of the random generators, and switch gradients and autocast off."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with (
        torch.random.fork_rng(devices=[]),
        torch.no_grad(),
        torch.autocast("cpu", enabled=False),
    ):
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
