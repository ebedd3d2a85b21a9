"""The check that ends every lowering: model and network agree on probe windows.

Tracing records the operations of a model. A module can also do what tracing does not record, for
example change a tensor in a hook. So the model runs in float64, and each layer of the network is
compared with it, see `lmht_deploy._agreement`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lmht_deploy._agreement import Call, Run, first_difference, probes
from lmht_deploy.errors import LoweringError
from lmht_deploy.ir import Network

from .model import SpikingModel
from .neurons import Neuron


def verify(model: SpikingModel, net: Network) -> None:
    """Compare `net` with the model that it was lowered from.

    Args:
        model: The model in float64, on the CPU and in evaluation mode.
        net: Its network.

    Raises:
        LoweringError: They differ on a probe window (the message names the first layer that
            differs), the model cannot run, or it calls other neurons than it did when traced.
    """
    rng = np.random.default_rng(0)
    zeros, sparse, dense, full = probes(net.input, rng)
    _compare(net, _record(model, np.stack([zeros, full]), None))
    _compare(net, _record(model, np.stack([sparse, dense]), rng))


# ----------------------------------------------------------------------------------------- model


def _record(model: SpikingModel, windows: np.ndarray, rng: np.random.Generator | None) -> Run:
    """Run the model. With `rng`, neurons pass on random spikes, so that no layer stays silent."""
    calls: list[Call] = []

    def hook(neuron: Neuron, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        spikes, current = out / neuron.amplitude, inputs[0] * neuron.gain + neuron.offset
        passed = spikes if rng is None else _random_spikes(neuron, spikes, rng)
        calls.append(Call(*(_per_window(x, len(windows)) for x in (current, spikes, passed))))
        return None if rng is None else passed * neuron.amplitude

    neurons = [module for module in model.modules() if isinstance(module, Neuron)]
    handles = [neuron.register_forward_hook(hook) for neuron in neurons]
    try:
        logits: np.ndarray = model(torch.tensor(windows, dtype=torch.float64, device="cpu")).numpy()
    except Exception as error:  # of the user's forward
        raise LoweringError(
            f"the model cannot run on probe windows in float64 on the CPU: {error}; register its "
            "tensors as parameters or buffers"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return Run(windows, calls, logits)


def _random_spikes(neuron: Neuron, like: Tensor, rng: np.random.Generator) -> Tensor:
    k = rng.integers(0, neuron.levels + 1, tuple(like.shape))
    return torch.tensor(k, dtype=torch.float64, device="cpu")


def _per_window(x: Tensor, batch: int) -> np.ndarray:
    """Copy [T·B, ...] to [B, T, ...]; the model may change `x` in place afterwards."""
    return torch.unflatten(x, 0, (-1, batch)).transpose(0, 1).numpy().copy()


# ------------------------------------------------------------------------------------ comparison


def _compare(net: Network, run: Run) -> None:
    if len(run.calls) != len(net.neurons):
        raise LoweringError(
            f"the model calls neurons {len(run.calls)} times when it runs, and {len(net.neurons)} "
            "times when it is traced; its forward must be the same for every window"
        )
    found = first_difference(net, run)
    if found:
        raise _difference(found)


def _difference(what: str) -> LoweringError:
    return LoweringError(
        f"{what} of the network differ from those of the model on probe windows; probably a module "
        "of the model changes them in a way that tracing does not see. Use modules of PyTorch and "
        "of lmht_deploy.training unchanged, and functions of tensors without side effects"
    )
