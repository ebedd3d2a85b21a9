"""Every key of NetX that lava-dl 0.6 knows, and what Lava's fixed-point simulation can hold.

The keys of lmht-deploy, `lmht_*`, are declared in the records that hold them: `network`, `exact`.
"""

from __future__ import annotations

from lmht_deploy.formats.schema import Field, Group

from ._records import DATA_SET

STATE_ONE = 4096
"""Decay of 1: the state forgets everything."""
STATE_UNIT = 64
"""Currents and potentials have 6 bits below the unit of a weight."""
MAX_DELAY = 62
"""Largest delay of a synapse, in steps."""
MAX_BIAS = 2**15 - 1
"""lava-nc 0.10 keeps the bias of a neuron in 16 bits."""
MAX_THRESHOLD = 2**17 - 1
"""Largest `vThMant`: potentials have 24 bits, 6 of them below the unit of a weight."""
DENSE_WEIGHTS = (-256, 254)
"""Range to which lava-dl 0.6 clips dense weights (`utils.optimize_weight_bits` of its netx)."""
MAX_GEOMETRY = 127
"""lava-nc 0.10 keeps kernel size, stride, padding, dilation and groups in 8 bits."""

MAX_STEPS = 2**24
"""Largest number of steps of one sample; lava-dl itself states none."""

INPUT, FLATTEN, CONV, DENSE, RECURRENT = "input", "flatten", "conv", "dense", "dense_rec"
AVERAGE = "average"
"""Layer that lava-dl 0.6 exports and does not run: the mean of groups of neurons."""
"""Types of layers that lava-dl 0.6 runs."""
SIGMA_DELTA_TYPE = "SDNN"
"""Type of sigma-delta neurons."""
CUBA_TYPES = ("CUBA", "LOIHI")
"""Types of neurons that are current-based leaky integrate-and-fire neurons; both mean the same."""

LAYERS = "layer"
"""Group that holds one group per layer, named 0, 1, ..."""
NEURON = "neuron"
"""Group of a layer that holds its neurons."""
SIMULATION = "simulation"
"""Group that says how long a sample takes."""


def _key(name: str, dtype: str, meaning: str, *, optional: bool = False) -> Field:
    return Field(name, dtype, meaning, DATA_SET, optional)


STEP_TIME = _key("Ts", "int64", "Length of a step; ignored.", optional=True)
SAMPLE_STEPS = _key("tSample", "int64", "Steps of one sample; ignored by lava-dl.")

TYPE = _key("type", "bytes S10 [1]", "`input`, `flatten`, `conv`, `dense` or `dense_rec`.")
SHAPE = _key(
    "shape",
    "int64 [3] or [1]",
    "Shape of the output: (C, H, W) or (N,); of a dense layer also (N, 1, 1). "
    "Lava itself works in (W, H, C).",
)
WEIGHT = _key(
    "weight",
    "[C_out, C_in/groups, kh, kw] or [N_out, N_in]",
    "Integers of any number type; fractions are cut. Order and orientation are PyTorch's. "
    "Further axes of size 1 and a flat dense matrix are accepted. In an `input` layer: a scalar by "
    "which the caller turns pixels into biases, 64 by default.",
)
BIAS = _key(
    "bias",
    "[C_out] or [N_out]",
    "Integers, added at every step. In an `input` layer: a scalar, 0 by default.",
    optional=True,
)
STRIDE = _key("stride", "int64 [2] or scalar", "(vertical, horizontal), of `conv`.", optional=True)
PADDING = _key(
    "padding", "int64 [2] or scalar", "(vertical, horizontal), of `conv`.", optional=True
)
DILATION = _key(
    "dilation", "int64 [2] or scalar", "(vertical, horizontal), of `conv`.", optional=True
)
GROUPS = _key("groups", "int64", "Groups of a `conv`.", optional=True)
RECURRENT_WEIGHT = _key(
    "weight_rec",
    "[N, N]",
    "Weights of `dense_rec` from the layer's own spikes. They are shifted and cut together with "
    "`weight`. Not together with `delay`, for which lava-dl loses the exponent.",
    optional=True,
)
DELAY = _key(
    "delay",
    "scalar, [N_out], [N_in] or [N_out, N_in]",
    "Steps 0..62 of `dense`, in addition to the one step of every synapse; clipped, fractions cut.",
    optional=True,
)

IN_CHANNELS = _key("inChannels", "int64", "Input channels of a `conv`; ignored.", optional=True)
OUT_CHANNELS = _key("outChannels", "int64", "Output channels of a `conv`; ignored.", optional=True)
KERNEL_SIZE = _key("kernelSize", "int64 [2]", "Kernel of a `conv`; ignored.", optional=True)
IN_FEATURES = _key("inFeatures", "int64", "Inputs of a `dense` layer; ignored.", optional=True)
OUT_FEATURES = _key("outFeatures", "int64", "Outputs of a `dense` layer; ignored.", optional=True)
IGNORED = (IN_CHANNELS, OUT_CHANNELS, KERNEL_SIZE, IN_FEATURES, OUT_FEATURES)

NEURON_TYPE = _key("type", "text", "`CUBA` or `LOIHI` (the same), `SDNN` or `RF...`.")
CURRENT_DECAY = _key("iDecay", "int64", "Loss of the current per step, in units of 1/4096.")
VOLTAGE_DECAY = _key("vDecay", "int64", "Loss of the potential per step, in units of 1/4096.")
THRESHOLD = _key("vThMant", "int64", "Threshold, in units of a weight; a neuron fires above it.")
REFRACTORY = _key("refDelay", "int64", "Ignored by Lava's simulation.", optional=True)
GRADED = _key("gradedSpike", "bool", "Ignored by Lava's simulation.", optional=True)
SIGMA_OUTPUT = _key(
    "sigma_output",
    "bool",
    "Of `SDNN`: its presence makes neurons that sum and send the sum.",
    optional=True,
)
ACTIVATION = _key("activation", "text", "Of `SDNN`: `relu`; ignored by lava-dl.", optional=True)
MESSAGE_BITS = _key(
    "messageBits", "int64", "Bits of graded spikes, with which lava-dl 0.6 hangs.", optional=True
)

LAYER_GROUP = Group(
    "/layer/<i>",
    "One layer of a chain, in order of its number.",
    (
        *(TYPE, SHAPE, WEIGHT, BIAS, STRIDE, PADDING, DILATION, GROUPS, RECURRENT_WEIGHT, DELAY),
        *IGNORED,
    ),
)
NEURON_GROUP = Group(
    "/layer/<i>/neuron",
    "Neurons of the layer. A `dense` layer without them integrates its current and does not fire.",
    (
        *(NEURON_TYPE, CURRENT_DECAY, VOLTAGE_DECAY, THRESHOLD, REFRACTORY, GRADED, MESSAGE_BITS),
        *(SIGMA_OUTPUT, ACTIVATION),
    ),
)
SIMULATION_GROUP = Group("/simulation", "How long a sample takes.", (STEP_TIME, SAMPLE_STEPS))
