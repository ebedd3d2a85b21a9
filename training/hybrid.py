"""Hybrid training: from a quantized ANN to LM-HT neurons (Hao et al. 2024, Theorem 4.4)."""

from __future__ import annotations

import torch
from torch import nn

from lmht_deploy._arguments import check_types
from lmht_deploy.errors import TrainingError

from .model import SpikingModel
from .neurons import QCFS, Neuron


@check_types(TrainingError, model=nn.Module, ann=nn.Module)
@torch.no_grad()
def start_from(model: SpikingModel, ann: SpikingModel) -> None:
    """Copy the weights and thresholds of a trained ANN into a new spiking model.

    With Ω = 1/T_in, λ = 1 and v0 = θ/2, as `LMHT(..., v0=0.5)` is initialized, the mean amplitude
    of every layer then equals the activation of the ANN in expectation, for any L, T and n (Theorem
    4.4). It equals it exactly if L·T = n and the input has one step.

    θ becomes ϑ/L: in the units of the ANN the amplitudes 0..L·θ of a time-step span its range 0..ϑ.
    (The paper keeps θ = ϑ, so the currents of the first layer carry the factor L. This gives the
    same spikes, with every bias times L.)

    With IF neurons (L = 1, Ω = I) this is the conversion of Bu et al. (2022). It is exact in layers
    whose current is the same at every step, such as the first one for a still image, and correct in
    expectation after them.

    Args:
        model: New model of LM-HT, M-HT or IF neurons.
        ann: Trained model of QCFS activations, with the same architecture.

    Raises:
        TrainingError: The two models do not match; names the module.
    """
    _copy_thresholds(model, ann)
    own = {
        f"{path}.{name}"
        for path, neuron in model.named_modules()
        if isinstance(neuron, Neuron)
        for name in neuron.state_dict()
    }
    wanted = model.state_dict().keys() - own
    weights = {name: value for name, value in ann.state_dict().items() if name in wanted}
    if missing := wanted - weights.keys():
        raise TrainingError(
            f"{min(missing)}: the ANN has no such weight; both need the same architecture"
        )
    try:
        model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise TrainingError(f"the ANN does not fit: {reason}") from None


def _copy_thresholds(model: SpikingModel, ann: SpikingModel) -> None:
    activations = dict(ann.named_modules())
    for path, neuron in model.named_modules():
        if not isinstance(neuron, Neuron) or isinstance(neuron, QCFS):
            continue
        if not isinstance(activation := activations.get(path), QCFS):
            found = "nothing" if activation is None else type(activation).__name__
            raise TrainingError(
                f"{path}: spiking neurons start from a QCFS activation, the ANN has {found} "
                "there; both need the same architecture"
            )
        if neuron.initial != 0.5:
            raise TrainingError(
                f"{path}: neurons that start from an ANN need v0 = 0.5 (of θ), "
                f"not {float(neuron.initial):g}"
            )
        neuron.threshold.copy_(activation.threshold * activation.levels / neuron.levels)
