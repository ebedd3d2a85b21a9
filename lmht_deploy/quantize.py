"""Quantization: float network to int8 weights and int32 states, proved to fit 32 bits.

For output channel c of a layer, one unit of current stands for the real value s_c:

    Wq = round(W / (s_c · 2^e))     Bq = round(b / s_c)     θq = round(θ·D / s_c)
    Ωq = round(Ω·D)                 λq = round(λ·4096)      v0q = round(v0·D / s_c)

s_c is the smallest scale at which the weights fit int8. Synapses that end in one layer share s_c,
and each has an exponent e that suits the size of its weights. D is exact where Ω is uniform (1/Ω)
or integer (1). Otherwise D is the largest power of two up to 2^8 for which the bounds of the layer
can be proved (docs/semantics.md).
"""

from __future__ import annotations

import dataclasses
from typing import TypedDict

import numpy as np

from .errors import NetworkError, QuantizationError
from .ir import LEAK_ONE, MAX_EXPONENT, Network, Neurons, Readout, Synapse, require_network

__all__ = ["quantize"]

WEIGHT_MAX = 127
"""Largest magnitude of a quantized weight."""
MAX_D = 2**8
"""Largest factor D of the T-GIM."""


class _Quantized(TypedDict):
    """Fields that neurons and read-outs share."""

    synapses: tuple[Synapse, ...]
    bias: np.ndarray


def quantize(net: Network) -> Network:
    """Return the integer form of a float network.

    Args:
        net: Network; an integer network is returned as it is.

    Returns:
        Network with int8 weights and int32 biases, thresholds and potentials.

    Raises:
        QuantizationError: If a value does not fit its integer type, or if no D makes the 32-bit
            bounds provable; the message names the layer.
    """
    require_network(net)
    if net.integer:
        return net
    with np.errstate(all="ignore"):  # values that leave the range are refused when rounded
        layers = [
            _quantize_layer(net, layer) if isinstance(layer, Neurons | Readout) else layer
            for layer in net.layers
        ]
    return Network(tuple(layers), net.metadata)


def _quantize_layer(net: Network, layer: Neurons | Readout) -> Neurons | Readout:
    scale, exponents = _scales(layer)
    pairs = zip(layer.synapses, exponents, strict=True)
    try:
        fields = _Quantized(
            synapses=tuple(_quantize_synapse(synapse, scale, e) for synapse, e in pairs),
            bias=_round(layer.bias / scale),
        )
        if isinstance(layer, Readout):
            return _quantize_readout(net, layer, float(scale[0]), fields)
        return _quantize_neurons(net, layer, scale, fields)
    except NetworkError as error:
        raise QuantizationError(
            f"layer {layer.name!r} has no integer form that can be proved: {error}"
        ) from None


def _quantize_readout(net: Network, layer: Readout, unit: float, fields: _Quantized) -> Readout:
    quantized = dataclasses.replace(layer, **fields, scale=layer.scale * unit)
    net.prove(quantized)
    return quantized


def _quantize_neurons(
    net: Network, layer: Neurons, scale: np.ndarray, fields: _Quantized
) -> Neurons:
    """Quantize with the largest D that can be proved."""
    refusal = NetworkError(f"layer {layer.name!r}")
    for d in _candidates(layer.omega):
        try:
            quantized = dataclasses.replace(
                layer,
                **fields,
                leak=round(layer.leak * LEAK_ONE),
                omega=_round(layer.omega * d),
                threshold=np.maximum(1, _round(layer.threshold * d / scale)),
                v0=_round(layer.v0 * d / scale),
                floor=None if layer.floor is None else _round(layer.floor * d / scale),
            )
            net.prove(quantized)
            return quantized
        except NetworkError as error:
            refusal = error
    raise refusal


def _candidates(omega: np.ndarray) -> list[float]:
    """Return the values of D to try: the exact one, otherwise powers of two, largest first."""
    first = omega.flat[0]
    if first > 0 and (omega == first).all():
        return [1 / first]
    if (omega == np.rint(omega)).all():
        return [1.0]
    return [float(2**n) for n in reversed(range(MAX_D.bit_length()))]


def _scales(layer: Neurons | Readout) -> tuple[np.ndarray, list[int]]:
    """Return s_c, float64 `[C]`, and the exponent of each synapse.

    An exponent is the typical ratio, as a power of two, to the smallest synapse of the sum. s_c is
    then the smallest scale at which every synapse fits int8.
    """
    largest = np.stack([np.abs(s.weight).reshape(len(s.weight), -1).max(1) for s in layer.synapses])
    if isinstance(layer, Readout):  # all logits have one scale
        largest = np.broadcast_to(largest.max(1, keepdims=True), largest.shape)
    exponents = _exponents(largest)
    scale = (largest / (WEIGHT_MAX * 2.0 ** np.array(exponents)[:, None])).max(0)
    return np.where(scale > 0, scale, _scale_without_weights(layer)), exponents


def _exponents(largest: np.ndarray) -> list[int]:
    """Return one exponent per synapse, from the largest weights `[synapses, C]`."""
    nonzero = largest[:, (largest > 0).all(0)]
    if len(largest) == 1 or not nonzero.size:
        return [0] * len(largest)
    size = np.log2(nonzero)
    typical = np.median(size - size.min(0), axis=1)
    return [int(e) for e in np.clip(np.rint(typical - typical.min()), 0, MAX_EXPONENT)]


def _scale_without_weights(layer: Neurons | Readout) -> np.ndarray:
    """Return a unit for channels whose weights are zero: bias and threshold have 12 bits."""
    threshold = layer.threshold if isinstance(layer, Neurons) else 0.0
    size = np.maximum(np.abs(layer.bias), threshold)
    unit: np.ndarray = np.where(size > 0, size, 1.0) / 2**12
    return unit


def _quantize_synapse(synapse: Synapse, scale: np.ndarray, exponent: int) -> Synapse:
    unit = (scale * 2.0**exponent).reshape(-1, *(1,) * (synapse.weight.ndim - 1))
    return dataclasses.replace(synapse, weight=_round(synapse.weight / unit), exponent=exponent)


def _round(values: np.ndarray) -> np.ndarray:
    """Return the nearest integers, int64; the network then checks the narrower types.

    Raises:
        NetworkError: If a value is not finite or does not fit int64.
    """
    rounded = np.rint(values)
    largest = np.abs(rounded).max(initial=0)
    if not largest < 2.0**62:  # also true for NaN
        raise NetworkError(f"a quantized value of {largest:.3g} does not fit an integer")
    integers: np.ndarray = rounded.astype(np.int64)
    return integers
