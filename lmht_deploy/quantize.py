"""Float network -> int8 / int32 network, with the proof that 32-bit accumulators suffice.

For output channel c of a layer, one unit of current stands for the real value s_c (docs/semantics.md):

    Wq = round(W / (s_c · 2^e))     Bq = round(b / s_c)     θq = round(θ·D / s_c)     v0q = round(v0·D / s_c)
    Ωq = round(Ω·D)                 λq = round(λ·4096)

s_c is the finest scale at which the weights fit int8. Where several synapses end in one layer they share s_c, and each
has the exponent e that suits its size. D is exact where Ω is uniform (1/Ω) or holds integers only (1); otherwise it is
the largest power of two up to 2^8 for which the bounds of the layer can be proved.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from .errors import NetworkError, QuantizationError
from .ir import LEAK_ONE, MAX_EXPONENT, Network, Neurons, Readout, Synapse

WEIGHT_MAX = 127
MAX_D = 2**8


def quantize(net: Network) -> Network:
    """The integer network of the float network `net`; an integer one is returned as it is.

    Raises QuantizationError, naming the layer, where no D makes the 32-bit bounds provable or a value leaves int32.
    """
    if net.integer:
        return net
    layers = [
        _quantize_layer(net, layer) if isinstance(layer, Neurons | Readout) else layer
        for layer in net.layers
    ]
    return Network(tuple(layers), net.metadata)


def _quantize_layer(net: Network, layer: Neurons | Readout) -> Neurons | Readout:
    scale, exponents = _scales(layer)
    synapses = tuple(
        _quantize_synapse(synapse, scale, e)
        for synapse, e in zip(layer.synapses, exponents, strict=True)
    )
    try:
        bias = _round(layer.bias / scale)
        if isinstance(layer, Readout):
            unit = float(scale[0])
            quantized = dataclasses.replace(
                layer, synapses=synapses, bias=bias, scale=layer.scale * unit
            )
            net.prove(quantized)
            return quantized
        return _quantize_neurons(net, layer, scale, {"synapses": synapses, "bias": bias})
    except NetworkError as error:
        raise QuantizationError(
            f"layer {layer.name!r} has no integer form that can be proved: {error}"
        ) from None


def _quantize_neurons(net: Network, layer: Neurons, scale: np.ndarray, fields: dict) -> Neurons:
    leak = round(layer.leak * LEAK_ONE)
    candidates = _exact_d(layer.omega) or [float(2**n) for n in reversed(range(MAX_D.bit_length()))]
    refusal = NetworkError(f"layer {layer.name!r}")
    for d in candidates:
        try:
            quantized = dataclasses.replace(
                layer,
                **fields,
                leak=leak,
                omega=_round(layer.omega * d),
                threshold=np.maximum(1, _round(layer.threshold * d / scale)),
                v0=_round(layer.v0 * d / scale),
            )
            net.prove(quantized)
            return quantized
        except NetworkError as error:
            refusal = error
    raise refusal


def _exact_d(omega: np.ndarray) -> list[float]:
    """The D that represents Ω without rounding, where there is one: 1/Ω for a uniform matrix, 1 for integers."""
    first = omega.flat[0]
    if first > 0 and (omega == first).all():
        return [1 / first]
    return [1.0] if (omega == np.rint(omega)).all() else []


def _scales(layer: Neurons | Readout) -> tuple[np.ndarray, list[int]]:
    """The unit s_c of each channel, float64 [C], and the exponent of each synapse.

    An exponent says by how many powers of two a synapse is typically larger than the smallest of the sum; s_c is
    then the least scale at which every synapse fits.
    """
    largest = np.stack([np.abs(s.weight).reshape(len(s.weight), -1).max(1) for s in layer.synapses])
    if isinstance(layer, Readout):
        largest = np.broadcast_to(
            largest.max(1, keepdims=True), largest.shape
        )  # one scale for all logits
    exponents = _exponents(largest)
    scale = (largest / (WEIGHT_MAX * 2.0 ** np.array(exponents)[:, None])).max(0)
    return np.where(scale > 0, scale, _scale_without_weights(layer)), exponents


def _exponents(largest: np.ndarray) -> list[int]:
    """One exponent a synapse, from the largest weights [synapses, C]."""
    alive = largest[:, (largest > 0).all(0)]
    if len(largest) == 1 or not alive.size:
        return [0] * len(largest)
    typical = np.median(np.log2(alive / alive.min(0)), axis=1)
    return [int(e) for e in np.clip(np.rint(typical - typical.min()), 0, MAX_EXPONENT)]


def _scale_without_weights(layer: Neurons | Readout) -> np.ndarray:
    """A unit for channels whose weights are all zero: bias and threshold alone decide, to 12 bits."""
    size = np.maximum(np.abs(layer.bias), layer.threshold if isinstance(layer, Neurons) else 0)
    return np.where(size > 0, size, 1.0) / 2**12


def _quantize_synapse(synapse: Synapse, scale: np.ndarray, exponent: int) -> Synapse:
    unit = (scale * 2.0**exponent).reshape(-1, *(1,) * (synapse.weight.ndim - 1))
    return dataclasses.replace(synapse, weight=_round(synapse.weight / unit), exponent=exponent)


def _round(values: np.ndarray) -> np.ndarray:
    """Nearest integers, int64; NetworkError where they leave int64 (the network then checks the narrower types)."""
    rounded = np.rint(values)
    if np.abs(rounded).max(initial=0) >= 2.0**62:
        raise NetworkError(
            f"a quantised value of {np.abs(rounded).max():.3g} does not fit an integer"
        )
    return rounded.astype(np.int64)
