"""The functions of the public API that are not defined by one package alone."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from lmht_deploy.errors import LoweringError

if TYPE_CHECKING:
    from lmht_deploy.ir import Input, Network
    from lmht_deploy.training import SpikingModel

__all__ = ["lower"]


def lower(model: SpikingModel, input: Input) -> Network:
    """Lower a trained PyTorch model to a float network.

    Batch norm is folded, and layers are named by the paths of their modules. The network computes
    what the model computes in evaluation mode.

    Args:
        model: A `lmht_deploy.training.SpikingModel`.
        input: Name, shape, steps, range and kind of the input.

    Raises:
        LoweringError: PyTorch is not installed, or a module cannot be expressed as a `Network`.
            The message names the module.

    Example:
        >>> input = lmht.Input(name="input", shape=(2, 16, 16), steps=4)
        >>> net = lmht.quantize(lmht.lower(model, input))
    """
    if importlib.util.find_spec("torch") is None:
        raise LoweringError("lowering needs PyTorch; run: pip install 'lmht-deploy[train]'")
    from lmht_deploy.training import lowering

    return lowering.lower(model, input)
