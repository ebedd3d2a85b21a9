"""Operation counts -> energy, under named and cited models. Estimates: compare them under one model only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmht_deploy.errors import LmhtError
from lmht_deploy.result import Result


@dataclass(frozen=True)
class EnergyModel:
    """Joules of one synaptic operation and of one multiply-accumulate, and where the figures come from."""

    name: str
    joules_per_sop: float
    joules_per_mac: float
    source: str


MODELS = {
    model.name: model
    for model in (
        EnergyModel(
            "45nm",
            0.9e-12,
            4.6e-12,
            "32-bit float addition and MAC in 45 nm (Horowitz, ISSCC 2014, as cited by Hao et al. 2024)",
        ),
        EnergyModel(
            "loihi1",
            23.6e-12,
            23.6e-12,
            "synaptic operations of Loihi 1 (Davies et al., IEEE Micro 2018); neuron updates not included",
        ),
    )
}
DEFAULT = "45nm"


def model(name: str) -> EnergyModel:
    """The energy model called `name`; LmhtError where there is none."""
    if name not in MODELS:
        raise LmhtError(f"unknown energy model {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name]


def estimate(result: Result, using: EnergyModel) -> np.ndarray:
    """Joules of each window, float64 [B]: SOPs and MACs at the model's prices."""
    sops = sum(result.sops.values(), np.zeros(len(result.logits)))
    return sops * using.joules_per_sop + sum(result.macs.values()) * using.joules_per_mac
