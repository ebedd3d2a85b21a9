"""Hybrid training: from a quantised ANN to LM-HT neurons that start where it ended (Hao et al. 2024, Theorem 4.4)."""

from __future__ import annotations

import torch

from lmht_deploy.errors import TrainingError

from .model import SpikingModel
from .neurons import QCFS, Neuron


@torch.no_grad()
def start_from(model: SpikingModel, ann: SpikingModel) -> None:
    """Give `model` (LM-HT, M-HT or IF, new) the weights and thresholds of `ann` (QCFS, trained), both of one architecture.

    With Ω = 1/T_in, λ = 1 and v0 = θ/2, as `LMHT(..., v0=0.5)` begins, every layer's mean amplitude over time then is, in
    expectation, the activation of the ANN, for any L, T and n (Theorem 4.4); it is the very activation where L·T = n and the
    input is one step. θ is ϑ/L: in the units of the ANN a step's amplitude 0..L·θ spans its range 0..ϑ. (The paper keeps
    θ = ϑ and lets the currents of the first layer carry the factor L instead: the same spikes, with every bias times L.)

    IF neurons (L = 1, Ω = I) make it the conversion of Bu et al. (2022): exact in every layer whose current is the same at
    every step, as that of a still image is in the first, and in expectation behind it.

    Raises TrainingError where the two do not fit, naming the module.
    """
    theirs = dict(ann.named_modules())
    for path, neuron in model.named_modules():
        if isinstance(neuron, Neuron) and not isinstance(neuron, QCFS):
            if not isinstance(activation := theirs.get(path), QCFS):
                there = "nothing" if activation is None else type(activation).__name__
                raise TrainingError(
                    f"{path}: spiking neurons start from a QCFS activation, the ANN has {there} there; both must be of one architecture"
                )
            if neuron.initial != 0.5:
                raise TrainingError(
                    f"{path}: neurons that start from an ANN need v0 = 0.5 (of θ), not {float(neuron.initial):g}"
                )
            neuron.threshold.copy_(activation.threshold * activation.levels / neuron.levels)
    own = {
        f"{path}.{name}"
        for path, neuron in model.named_modules()
        if isinstance(neuron, Neuron)
        for name in neuron.state_dict()
    }
    weights = {
        name: value
        for name, value in ann.state_dict().items()
        if name in model.state_dict() and name not in own
    }
    if missing := model.state_dict().keys() - weights.keys() - own:
        raise TrainingError(
            f"{min(missing)}: the ANN has no such weight; both must be of one architecture"
        )
    try:
        model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise TrainingError(
            f"the ANN does not fit: {str(error).splitlines()[-1].strip()}"
        ) from None
