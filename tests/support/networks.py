"""Networks of the conformance suite: special cases by name, and random graphs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from lmht_deploy.errors import NetworkError
from lmht_deploy.ir import (
    LEAK_ONE,
    Conv,
    Flatten,
    Input,
    Layer,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Readout,
    Scale,
    Shape,
    SumPool,
    Synapse,
)
from lmht_deploy.reparameterize import reparameterize


class Builder:
    """Builds a network of random integers, layer by layer.

    The ranges of the thresholds are such that neurons fire at some steps and not at others.
    """

    def __init__(
        self,
        seed: int,
        shape: Shape = (2, 8, 8),
        steps: int = 4,
        min_value: int = 0,
        max_value: int = 3,
        kind: str = "events",
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.layers: list[Layer] = [
            Input(
                name="input",
                shape=shape,
                steps=steps,
                min_value=min_value,
                max_value=max_value,
                kind=kind,
            )
        ]
        self.shapes: dict[str, Shape] = {"input": shape}
        self.steps: dict[str, int] = {"input": steps}

    def weights(self, *shape: int) -> np.ndarray:
        return self.rng.integers(-127, 128, shape)

    def conv(
        self,
        source: str,
        channels: int,
        kernel: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 1,
        **more: int,
    ) -> Conv:
        kernel = (kernel, kernel) if isinstance(kernel, int) else kernel
        inputs = self.shapes[source][0] // more.get("groups", 1)
        return Conv(
            source=source,
            weight=self.weights(channels, inputs, *kernel),
            stride=stride,
            padding=padding,
            **more,
        )

    def linear(self, source: str, units: int, exponent: int = 0) -> Linear:
        return Linear(
            source=source, weight=self.weights(units, self.shapes[source][0]), exponent=exponent
        )

    def scale(self, source: str, exponent: int = 0) -> Scale:
        return Scale(source=source, weight=self.weights(self.shapes[source][0]), exponent=exponent)

    def neurons(
        self,
        name: str,
        *synapses: Synapse,
        steps: int = 4,
        levels: int = 2,
        omega: ArrayLike = "identity",
        leak: int = LEAK_ONE,
        threshold: tuple[int, int] = (100, 900),
        bias: tuple[int, int] = (-60, 90),
        v0: tuple[int, int] = (0, 100),
        reset: str = "subtract",
        floor: tuple[int, int] | None = None,
    ) -> str:
        shape = synapses[0].output_shape(self.shapes[synapses[0].source])
        steps_in = self.steps[synapses[0].source]
        self.layers.append(
            Neurons(
                name=name,
                synapses=synapses,
                bias=self.rng.integers(*bias, shape[0]),
                threshold=self.rng.integers(*threshold, shape[0]),
                omega=self.omega(omega, steps, steps_in),
                leak=leak,
                v0=self.rng.integers(*v0, shape[0]),
                levels=levels,
                reset=reset,
                floor=floor and self.rng.integers(*floor, shape[0]),
            )
        )
        self.shapes[name], self.steps[name] = shape, steps
        return name

    def omega(self, omega: ArrayLike, steps: int, steps_in: int) -> np.ndarray:
        match omega:
            case "identity":
                return np.eye(steps, steps_in, dtype=int)
            case "uniform":
                return np.ones((steps, steps_in), int)
            case "random":
                return self.rng.integers(-3, 6, (steps, steps_in))
        return np.asarray(omega)

    def add(self, layer: SumPool | MaxPool | Flatten) -> str:
        self.layers.append(layer)
        self.shapes[layer.name], self.steps[layer.name] = (
            layer.output_shape(self.shapes[layer.source]),
            self.steps[layer.source],
        )
        return layer.name

    def sum_pool(self, source: str, kernel: int = 2, stride: int = 2, padding: int = 0) -> str:
        return self.add(
            SumPool(
                name=f"{source}-sum", source=source, kernel=kernel, stride=stride, padding=padding
            )
        )

    def max_pool(self, source: str, kernel: int = 2, stride: int = 2, padding: int = 0) -> str:
        return self.add(
            MaxPool(
                name=f"{source}-max", source=source, kernel=kernel, stride=stride, padding=padding
            )
        )

    def finish(self, source: str, classes: int = 5) -> Network:
        if len(self.shapes[source]) == 3:
            source = self.add(Flatten(name="flatten", source=source))
        bias = self.rng.integers(-100, 100, classes)
        return Network(
            (
                *self.layers,
                Readout(
                    name="logits", synapses=(self.linear(source, classes),), bias=bias, scale=0.01
                ),
            )
        )


# ------------------------------------------------------------------------------- special cases


def chain(seed: int = 0, **neuron: object) -> Network:
    """Return two convolutional layers of neurons with the given fields, and a read-out."""
    b = Builder(seed)
    a = b.neurons("a", b.conv("input", 6), **neuron)  # type: ignore[arg-type]
    c = b.neurons("c", b.conv(a, 7, stride=2), **neuron)  # type: ignore[arg-type]
    return b.finish(c)


def residual() -> Network:
    """Identity, projection and long shortcuts, each with its own exponent."""
    b = Builder(1)
    a = b.neurons("a", b.conv("input", 6), omega="random")
    c = b.neurons("c", b.conv(a, 6), omega="random", leak=3500)
    d = b.neurons("d", b.conv(c, 6), b.scale(a, 1), omega="random")
    e = b.neurons("e", b.conv(d, 8, stride=2), omega="uniform")
    f = b.neurons(
        "f",
        b.conv(e, 8),
        b.conv(d, 8, 1, 2, 0, exponent=2),
        b.conv(a, 8, 2, 2, 0, exponent=1),
        omega="random",
    )
    return b.finish(f)


def pooled() -> Network:
    """Sum and max pooling, overlapping, padded, global, of spikes and of the input."""
    b = Builder(2, shape=(2, 13, 11))
    a = b.neurons("a", b.conv(b.sum_pool("input"), 5), levels=3)
    c = b.neurons("c", b.conv(b.max_pool(a, 3, 2, 1), 6), levels=3, omega="random")
    d = b.neurons("d", b.conv(b.sum_pool(c, 3, 1, 1), 6), levels=3, threshold=(800, 3000))
    return b.finish(b.sum_pool(d, 2, 1))


def max_pooled() -> Network:
    """Max pooling of signed pixels with a border, of spikes, after and before sum pooling."""
    b = Builder(13, shape=(2, 13, 11), steps=2, min_value=-9, max_value=9, kind="image")
    a = b.neurons("a", b.conv(b.max_pool("input", 3, 2, 1), 5), levels=3)
    c = b.neurons("c", b.conv(b.max_pool(a, 3, 1, 1), 6), levels=1, omega="random")
    both = b.max_pool(b.sum_pool(c, 3, 1, 1), 2, 1)
    d = b.neurons("d", b.conv(both, 6), b.conv(c, 6, 2, 1, 0), levels=3, threshold=(800, 3000))
    return b.finish(b.sum_pool(b.max_pool(d), 2, 1))


def averaged() -> Network:
    """Sum pooling only.

    Of an input of odd size, overlapping, padded, twice in a row, before a shortcut and before the
    read-out.
    """
    b = Builder(11, shape=(2, 15, 13))
    a = b.neurons("a", b.conv(b.sum_pool("input"), 5), levels=3)
    c = b.neurons("c", b.conv(b.sum_pool(a, 2, 2, 1), 6), levels=3, omega="random")
    twice = b.sum_pool(b.sum_pool(c, 2, 1), 1, 2)
    d = b.neurons(
        "d", b.conv(c, 6, 2, 2, 0), b.conv(twice, 6, 1, 1, 0, exponent=1), threshold=(400, 2000)
    )
    e = b.neurons("e", b.conv(d, 6, 2), b.scale(b.sum_pool(d, 2, 1, 1)))
    return b.finish(b.sum_pool(e, 2, 1, 1))


def geometry() -> Network:
    """Groups, depthwise, dilation, unequal strides, kernels and paddings, odd sizes."""
    b = Builder(3, shape=(3, 17, 9))
    a = b.neurons("a", b.conv("input", 6, (3, 2), (2, 1), (0, 1), groups=3))
    c = b.neurons("c", b.conv(a, 6, 3, 1, 2, dilation=2, groups=6), threshold=(20, 200))
    d = b.neurons("d", b.conv(c, 10, (1, 5), (1, 3), (0, 2), groups=2))
    return b.finish(d)


def dense() -> Network:
    """Linear layers only, with a shortcut, from a flat input."""
    b = Builder(4, shape=(37,), steps=3)
    a = b.neurons("a", b.linear("input", 20), steps=3, leak=2048)
    c = b.neurons("c", b.linear(a, 20), b.scale(a, 3), steps=3, omega="random")
    return b.finish(c)


def steps_differ() -> Network:
    """T_in != T at the input and between layers; each layer has another number of levels."""
    b = Builder(5, steps=7)
    a = b.neurons("a", b.conv("input", 4), steps=3, levels=4, omega="random")
    c = b.neurons("c", b.conv(a, 4), steps=5, levels=1, omega="random", leak=5000)
    d = b.neurons("d", b.conv(c, 4), steps=2, levels=3, omega="uniform")
    return b.finish(d)


def image() -> Network:
    """A still image: one input step of signed pixels."""
    b = Builder(6, shape=(3, 8, 8), steps=1, min_value=-128, max_value=127, kind="image")
    a = b.neurons("a", b.conv("input", 6), omega=[[1], [2], [1], [1]], threshold=(5000, 40000))
    c = b.neurons("c", b.conv(a, 6), omega="uniform")
    return b.finish(c)


def image_at_every_step() -> Network:
    """A still image that enters at every step, also by a shortcut, as in MS-ResNet."""
    b = Builder(12, shape=(3, 8, 8), steps=4, min_value=-128, max_value=127, kind="image")
    a = b.neurons("a", b.conv("input", 6), omega="random", threshold=(5000, 40000))
    c = b.neurons("c", b.conv("input", 6), b.conv(a, 6), omega="random", threshold=(5000, 40000))
    return b.finish(c)


def pooled_image() -> Network:
    """Pixels that are pooled first: what they cross counts as MACs."""
    b = Builder(11, shape=(3, 9, 8), steps=1, min_value=-9, max_value=20, kind="image")
    small = b.sum_pool("input")
    a = b.neurons("a", b.conv(small, 6), omega=[[1], [2]], steps=2, threshold=(5000, 20000))
    c = b.neurons("c", b.conv(a, 6), steps=2)
    return b.finish(c)


def saturating() -> Network:
    """Low thresholds: most neurons fire L spikes; currents are large, positive and negative."""
    return chain(7, levels=3, threshold=(1, 40), omega="random")


def silent() -> Network:
    """Currents so negative that the second layer never fires."""
    return chain(8, bias=(-9000, -8000))


def qcfs() -> Network:
    """Uniform T-GIM, no leak, v0 = θ/2: a quantized ANN with L·T levels."""
    net = chain(9, omega="uniform", bias=(-20, 40))
    layers = [
        layer
        if not isinstance(layer, Neurons)
        else Neurons(
            **{f: getattr(layer, f) for f in layer.__dataclass_fields__}
            | {"v0": layer.threshold // 2}
        )
        for layer in net.layers
    ]
    return Network(tuple(layers))


def uniform_without_substeps() -> Network:
    """A current that enters at every sub-step of a time-step that has only one; several levels."""
    layers = chain(15, levels=3).layers
    return Network(
        tuple(
            dataclasses.replace(layer, injection="uniform") if isinstance(layer, Neurons) else layer
            for layer in layers
        )
    )


def wide() -> Network:
    """More channels than a register holds, and not a multiple of that number."""
    b = Builder(10, shape=(2, 5, 5), steps=2)
    a = b.neurons("a", b.conv("input", 70), steps=2)
    c = b.neurons("c", b.conv(a, 129), steps=2, omega="random", threshold=(1000, 4000))
    return b.finish(c, classes=11)


def resets_mixed() -> Network:
    """Every reset in one network, with shortcuts, T-GIMs, leaks, floors and many channels."""
    b = Builder(14, shape=(2, 7, 6), steps=3)
    a = b.neurons("a", b.conv("input", 70), steps=3, leak=3500, reset="zero", levels=1)
    c = b.neurons("c", b.conv(a, 70), b.scale(a, 1), steps=3, leak=3000, reset="subtract-late")
    d = b.neurons("d", b.conv(c, 5), steps=4, omega="random", floor=(-300, 1), v0=(-900, 900))
    e = b.neurons("e", b.conv(d, 5), steps=2, omega="uniform", reset="zero", levels=9)
    f = b.neurons("f", b.conv(e, 6), steps=2, reset="subtract-late", levels=9, leak=5000)
    return b.finish(f)


SPECIAL = {
    "if": lambda: chain(levels=1),
    "m-ht": lambda: chain(levels=3),
    "lm-ht": lambda: chain(levels=2, omega="random", leak=3000),
    "uniform": lambda: chain(levels=2, omega="uniform"),
    "leak-below-one": lambda: chain(leak=2048),
    "leak-above-one": lambda: chain(leak=6144, omega="random"),
    "leak-zero": lambda: chain(leak=0),
    "qcfs": qcfs,
    "levels-4": lambda: chain(levels=4, omega="random"),
    "negative-v0": lambda: chain(v0=(-500, 0), leak=5000),
    "residual": residual,
    "pooled": pooled,
    "max-pooled": max_pooled,
    "averaged": averaged,
    "geometry": geometry,
    "dense": dense,
    "steps-differ": steps_differ,
    "image": image,
    "image-at-every-step": image_at_every_step,
    "pooled-image": pooled_image,
    "saturating": saturating,
    "silent": silent,
    "without-neurons": lambda: Builder(16).finish("input"),
    "wide": wide,
    "single-threshold": lambda: reparameterize(chain(levels=3, omega="random", leak=3000)),
    "single-threshold-residual": lambda: reparameterize(residual()),
    "single-threshold-uniform": lambda: reparameterize(pooled(), "uniform"),
    "uniform-without-substeps": uniform_without_substeps,
    "single-threshold-uniform-averaged": lambda: reparameterize(averaged(), "uniform"),
    "late": lambda: chain(levels=1, leak=3000, reset="subtract-late"),
    "late-levels": lambda: chain(
        levels=3, leak=5000, reset="subtract-late", omega="random", v0=(-900, 3000)
    ),
    "late-no-leak": lambda: chain(reset="subtract-late"),
    "zero": lambda: chain(levels=1, leak=3500, reset="zero"),
    "zero-levels": lambda: chain(levels=3, reset="zero", omega="random", v0=(-900, 900)),
    "zero-uniform": lambda: chain(reset="zero", omega="uniform"),
    "floor": lambda: chain(levels=1, floor=(-100, 1)),
    "floor-levels": lambda: chain(levels=3, floor=(-200, 1), omega="random", leak=3000),
    "floor-uniform": lambda: chain(floor=(-200, 1), omega="uniform"),
    "floor-late": lambda: chain(floor=(-200, 1), leak=3000, reset="subtract-late"),
    "floor-zero": lambda: chain(floor=(-200, 1), leak=3000, reset="zero", bias=(-200, 90)),
    "resets-mixed": resets_mixed,
    "single-threshold-floor": lambda: reparameterize(
        chain(levels=3, floor=(-200, 1), omega="random", leak=3000)
    ),
    "single-threshold-uniform-floor": lambda: reparameterize(
        chain(levels=3, floor=(-200, 1), omega="random", leak=3000), "uniform"
    ),
}


def has_single_threshold_form(net: Network) -> bool:
    """Whether `reparameterize` takes `net`."""
    return all(
        layer.levels == 1 or (layer.substeps == 1 and layer.reset == "subtract")
        for layer in net.neurons
    )


def windows_for(net: Network, batch: int = 3, seed: int = 0, density: float = 0.3) -> np.ndarray:
    """Return random windows [batch, T_in, ...].

    The first holds the smallest value everywhere, the second the largest; the others are sparse.
    """
    rng = np.random.default_rng(seed)
    low, high = net.input.min_value, net.input.max_value
    shape = (batch, *net.window_shape)
    windows = rng.integers(low, high + 1, shape) * (rng.random(shape) < density)
    windows[0] = low
    if batch > 1:
        windows[1] = high
    return np.clip(windows, low, high).astype(np.int32)


# ------------------------------------------------------------------------------ float networks


def float_network(
    seed: int = 0, omega: np.ndarray | None = None, channels: int = 12, **neuron: object
) -> Network:
    """Return a float network of two layers with a shortcut; `neuron` replaces fields of both."""
    rng = np.random.default_rng(seed)
    omega = rng.random((4, 4)) * 0.5 if omega is None else omega

    def layer(name: str, *synapses: Synapse) -> Neurons:
        values: dict[str, Any] = {
            "bias": rng.normal(0, 0.1, channels),
            "threshold": np.ones(channels),
            "v0": np.full(channels, 0.25),
            "leak": 0.9,
            "levels": 2,
        }
        return Neurons(name=name, synapses=synapses, omega=omega, **(values | neuron))

    return Network(
        (
            Input(name="in", shape=(2, 8, 8), steps=4, max_value=4),
            layer(
                "a", Conv(source="in", weight=rng.normal(0, 0.3, (channels, 2, 3, 3)), padding=1)
            ),
            layer(
                "b",
                Conv(source="a", weight=rng.normal(0, 0.08, (channels, channels, 3, 3)), padding=1),
                Scale(source="a", weight=np.ones(channels)),
            ),
            Flatten(name="f", source="b"),
            Readout(
                name="out",
                synapses=(Linear(source="f", weight=rng.normal(0, 0.1, (5, channels * 64))),),
                bias=rng.normal(0, 0.1, 5),
                scale=0.25,
            ),
        ),
        {"made by": "test"},
    )


# ------------------------------------------------------------------------------- random graphs


@st.composite
def networks(draw: st.DrawFn, plain: bool = False) -> Network:
    """Random directed acyclic graphs; a layer reads any earlier one that fits.

    In half of the graphs, but not if they shall be `plain`, neurons have any reset and a floor.
    """
    resets = not plain and draw(st.booleans())
    signed = draw(st.booleans())
    shape = draw(st.tuples(st.integers(1, 5), st.integers(3, 9), st.integers(3, 9)))
    b = Builder(
        draw(st.integers(0, 2**20)),
        shape=shape,
        steps=draw(st.integers(1, 4)),
        min_value=-draw(st.integers(0, 9)) if signed else 0,
        max_value=draw(st.integers(1, 9)),
        kind="image" if signed else "events",
    )
    last = "input"
    for index in range(draw(st.integers(1, 5))):
        last = _grow(draw, b, last, index, resets)
    net = b.finish(last, classes=draw(st.integers(1, 12)))
    if draw(st.booleans()):
        try:
            return reparameterize(net, draw(st.sampled_from(["block-start", "uniform"])))
        except NetworkError:  # needs a larger range of potentials, or has no single-threshold form
            return net
    return net


def _grow(draw: st.DrawFn, b: Builder, last: str, index: int, resets: bool) -> str:
    (channels, height, width) = b.shapes[last]
    what = draw(st.sampled_from(["neurons"] * 4 + ["sum", "max"]))
    if what != "neurons" and last != "input" and min(height, width) >= 2:
        kernel = draw(st.integers(1, min(3, height, width)))
        pool = b.sum_pool if what == "sum" else b.max_pool
        if f"{last}-{what}" not in b.shapes:
            return pool(last, kernel, draw(st.integers(1, 3)), draw(st.integers(0, kernel // 2)))
    groups = draw(st.sampled_from([g for g in (1, 2, 3, channels) if channels % g == 0]))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    synapses: list[Synapse] = [
        b.conv(
            last,
            groups * draw(st.integers(1, 4)),
            kernel,
            (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
            (draw(st.integers(0, 2)), draw(st.integers(0, 2))),
            dilation=draw(st.integers(1, 1 + (min(height, width) >= 5))),
            groups=groups,
            exponent=draw(st.integers(0, 2)),
        )
    ]
    try:
        shape = synapses[0].output_shape(b.shapes[last])
    except NetworkError:  # the kernel is larger than what is left of the image
        reject()
    for other in b.shapes:
        if (
            b.shapes[other][1:] == shape[1:]
            and b.steps[other] == b.steps[last]
            and draw(st.booleans())
        ):
            same = b.shapes[other] == shape
            synapses.append(
                b.scale(other, draw(st.integers(0, 3)))
                if same and draw(st.booleans())
                else b.conv(other, shape[0], 1, 1, 0)
            )
    top = draw(st.sampled_from([40, 900, 9000]))
    return b.neurons(
        f"n{index}",
        *synapses,
        steps=draw(st.integers(1, 4)),
        levels=draw(st.integers(1, 4)),
        omega=draw(st.sampled_from(["identity", "uniform", "random"])),
        leak=draw(st.sampled_from([LEAK_ONE, 0, 2048, 4000, 6144])),
        threshold=(1, top),
        bias=(-top, top),
        v0=(-top, top),
        **(draw(_resets(top)) if resets else {}),
    )


def _resets(top: int) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "reset": st.sampled_from(["subtract", "subtract-late", "zero"]),
            "floor": st.sampled_from([None, (-top, 1), (-3 * top, 1), (0, 1)]),
        }
    )
