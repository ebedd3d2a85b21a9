"""Estimate energy from operation counts, under named and cited models.

The results are estimates. Compare them under one model only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lmht_deploy._arguments import check_types
from lmht_deploy._suggest import unknown
from lmht_deploy.errors import LmhtError
from lmht_deploy.result import Result

__all__ = ["DEFAULT", "MODELS", "EnergyModel", "energy_model", "estimate"]


@dataclass(frozen=True)
class EnergyModel:
    """Energy of single operations.

    Attributes:
        name: Name of the model.
        joules_per_sop: Energy of one synaptic operation, in joules.
        joules_per_mac: Energy of one multiply-accumulate, in joules.
        source: Where the figures come from.
    """

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
            "32-bit float addition and MAC in 45 nm "
            "(Horowitz, ISSCC 2014, as cited by Hao et al. 2024)",
        ),
        EnergyModel(
            "loihi1",
            23.6e-12,
            23.6e-12,
            "synaptic operations of Loihi 1 "
            "(Davies et al., IEEE Micro 2018); neuron updates not included",
        ),
    )
}
"""All energy models, by name."""
DEFAULT = "45nm"
"""Name of the energy model that the paper uses."""


def energy_model(name: str) -> EnergyModel:
    """Return the energy model called `name`.

    Raises:
        LmhtError: There is no such model.
    """
    if not isinstance(name, str) or name not in MODELS:
        raise LmhtError(unknown("energy model", name, MODELS))
    return MODELS[name]


@check_types(LmhtError, result=Result, model=EnergyModel)
def estimate(result: Result, model: EnergyModel) -> np.ndarray:
    """Estimate the energy of every window from its SOPs and MACs.

    Args:
        result: Result of a run.
        model: Energy of single operations.

    Returns:
        Joules per window.

    Shape:
        float64 `[B]`
    """
    sops = sum(result.sops.values(), np.zeros(len(result.logits)))
    return sops * model.joules_per_sop + sum(result.macs.values()) * model.joules_per_mac
