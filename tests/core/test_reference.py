"""The reference model against literal sequences, and against the definition as plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from lmht_deploy import reference
from lmht_deploy.errors import DataError
from lmht_deploy.ir import (
    Conv,
    Flatten,
    Linear,
    MaxPool,
    Network,
    Neurons,
    Readout,
    Scale,
    SumPool,
    Synapse,
)
from tests.support.networks import SPECIAL, networks, windows_for


def one_neuron(
    current: list[float],
    *,
    threshold=10,
    levels=1,
    leak=4096,
    v0=0,
    omega=None,
    integer=True,
    floor=None,
    **form,
) -> list[int]:
    """Return the spikes of one neuron for the currents X[1..T_in]."""
    steps = len(current)
    kind = int if integer else float
    layer = Neurons(
        name="n",
        synapses=(Linear(source="in", weight=np.ones((1, 1), kind)),),
        bias=np.zeros(1, kind),
        threshold=np.full(1, threshold, kind),
        omega=np.eye(steps, dtype=kind) if omega is None else np.array(omega, kind),
        leak=leak,
        v0=np.full(1, v0, kind),
        levels=levels,
        floor=None if floor is None else np.array(floor, kind),
        **form,
    )
    drive = layer.unrolled_omega() @ np.array(current, kind)
    return reference.fire(layer, drive.reshape(1, -1, 1)).ravel().tolist()


@pytest.mark.parametrize(
    ("currents", "neuron", "spikes"),
    [
        ([4, 4, 4, 4], {}, [0, 0, 1, 0]),  # IF: 4, 8, 12 -> 2, 6
        ([25, 0, 0, 0], {}, [1, 1, 0, 0]),  # soft reset keeps what is left: 25 -> 15 -> 5
        ([25, 0, 3, 2], {"levels": 2}, [2, 0, 0, 1]),  # M-HT: 25 -> 5, 5, 8, 10 -> 0
        ([45, 0, 0, 0], {"levels": 2}, [2, 2, 0, 0]),  # saturation carries over: 45 -> 25 -> 5
        ([-25, 30, 10, 0], {}, [0, 0, 1, 0]),  # a negative potential is kept: -25, 5, 15 -> 5
        ([9, 2, 0, 0], {"leak": 2048}, [0, 0, 0, 0]),  # 9, trunc(4.5) + 2 = 6, 3, 1
        ([-9, 14, 0, 0], {"leak": 2048}, [0, 1, 0, 0]),  # trunc(-4.5) = -4, not -5: 10 fires
        ([8, 0, 0, 0], {"leak": 6144}, [0, 1, 0, 0]),  # 8, 12 -> 2, 3, 4
        (
            [0, 0, 0, 20],
            {"omega": [[1, 1, 1, 1]] * 2, "levels": 4},
            [2, 2],
        ),  # T-GIM: later input counts at once
        (
            [10, 20],
            {"omega": [[1, 0], [0, 1], [-1, 1]], "levels": 4},
            [1, 2, 1],
        ),  # rectangular: T = 3, T_in = 2
        ([5, 5, 5, 5], {"v0": 5}, [1, 0, 1, 0]),
        ([25, 0, 0, 0], {"reset": "zero"}, [1, 0, 0, 0]),  # nothing is left of 25
        ([25, 9, 1, 10], {"reset": "zero", "levels": 2}, [2, 0, 1, 1]),  # 25 -> 0, 9, 10 -> 0, 10
        ([24, 0, 0, 0], {"reset": "subtract-late"}, [1, 1, 0, 0]),  # 24, 24 - 10, 14 - 10, 4
        # The leak acts on 24, not on 14: 24, 12 - 10 + 8 = 10, 5 - 10 = -5, -2 + 12.
        ([24, 8, 0, 12], {"reset": "subtract-late", "leak": 2048}, [1, 1, 0, 1]),
        ([45, 0, 0, 0], {"reset": "subtract-late", "levels": 2}, [2, 2, 0, 0]),  # 45, 25, 5
        ([0, 0, 0, 0], {"reset": "subtract-late", "v0": 25}, [1, 0, 0, 0]),  # 25 - 10, 5
        ([-90, 14, 5, 0], {"floor": [-4]}, [0, 1, 0, 0]),  # -4, 10 -> 0, 5
        ([-90, 14, 0, 0], {"floor": [-5]}, [0, 0, 0, 0]),  # -5, 9
        ([-90, 14, 0, 0], {"floor": [-8], "leak": 2048}, [0, 1, 0, 0]),  # -8, -4 + 14
        ([12, -9, 12, 0], {"floor": [0], "reset": "subtract-late"}, [1, 0, 1, 0]),  # 12, 0, 12, 2
    ],
)
def test_literal_sequences(currents: list[float], neuron: dict, spikes: list[int]) -> None:
    assert one_neuron(currents, **neuron) == spikes
    leak = neuron.get("leak", 4096)
    if leak == 4096:  # the float model is the same one, where no leak is rounded
        assert one_neuron(currents, integer=False, **(neuron | {"leak": 1.0})) == spikes


def test_single_threshold_sequences() -> None:
    assert one_neuron([25, 0, 3], substeps=3) == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    assert one_neuron([25, -30, 50], substeps=2) == [1, 1, 0, 0, 1, 1]
    # the paper's form, everything three times larger: 8 1/3 at every sub-step
    assert one_neuron([25, 0, 3], substeps=3, threshold=30, injection="uniform") == [
        0,
        1,
        1,
        0,
        0,
        0,
        0,
        0,
        0,
    ]


def test_qcfs_is_a_quantized_relu() -> None:
    """Theorem 4.2 (ii), with T_q = L·T:

    Ω = 1/T, λ = 1, v0 = θ/2 gives Σ k = clip(floor(x·T_q/θ' + 1/2), 0, T_q).
    """
    for x in np.linspace(-3, 12, 61):
        k = one_neuron(
            [x] * 4,
            threshold=2.0,
            levels=3,
            v0=1.0,
            leak=1.0,
            omega=np.full((4, 4), 0.25),
            integer=False,
        )
        assert sum(k) == np.clip(np.floor(4 * x / 2.0 + 0.5), 0, 12)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks())
def test_equals_the_definition_in_loops(net: Network) -> None:
    window = windows_for(net, 3, density=0.5)[2:]
    found = reference.run(net, window, trace=True)
    spikes, logits, sops = by_definition(net, window[0].tolist())
    assert found.traces is not None
    for name, k in spikes.items():
        np.testing.assert_array_equal(
            found.traces[name][0], np.array(k).reshape(found.traces[name].shape[1:])
        )
    assert found.logits[0].tolist() == logits
    assert {name: int(count[0]) for name, count in found.sops.items()} == sops


def by_definition(net: Network, window: list) -> tuple[dict, list[int], dict[str, int]]:
    """Compute docs/semantics.md with dictionaries and integers, one synapse at a time."""
    k: dict[str, list[dict]] = {
        net.input.name: [dict(np.ndenumerate(np.array(step, object))) for step in window]
    }
    spikes, sops, logits = {}, {}, []
    for layer in net.layers[1:]:
        places = list(np.ndindex(*net.shapes[layer.name]))
        match layer:
            case Neurons() | Readout():
                sops[layer.name] = 0
                blocks = net.blocks(layer.synapses[0].source)
                X = [dict.fromkeys(places, 0) for _ in range(blocks)]
                for j, place in ((j, place) for j in range(blocks) for place in places):
                    X[j][place] = int(layer.bias[place[0]])
                for synapse in layer.synapses:
                    size = net.substeps[synapse.source]
                    crossings = list(crossed(synapse, net.shapes[synapse.source], places))
                    for step, now in enumerate(k[synapse.source]):
                        for source, place, weight in crossings:
                            X[step // size][place] += weight * now[source] << synapse.exponent
                            image = synapse.source == net.input.name and net.input.kind == "image"
                            sops[layer.name] += 0 if image else now[source]
                if isinstance(layer, Readout):
                    logits = [sum(x[place] for x in X) for place in places]
                else:
                    k[layer.name] = spikes_by_definition(layer, X, places)
                    spikes[layer.name] = [[now[place] for place in places] for now in k[layer.name]]
            case Flatten():
                shape = net.shapes[layer.source]
                k[layer.name] = [
                    {(int(np.ravel_multi_index(p, shape)),): n for p, n in now.items()}
                    for now in k[layer.source]
                ]
            case SumPool() | MaxPool():
                reduce = sum if isinstance(layer, SumPool) else max
                (kh, kw), (sh, sw), (ph, pw) = layer.kernel, layer.stride, layer.padding
                k[layer.name] = [
                    {
                        (c, y, x): reduce(
                            now[c, y * sh + i - ph, x * sw + j - pw]
                            for i in range(kh)
                            for j in range(kw)
                            if (c, y * sh + i - ph, x * sw + j - pw) in now
                        )
                        for c, y, x in places
                    }
                    for now in k[layer.source]
                ]
    return spikes, logits, sops


def crossed(synapse: Synapse, shape: tuple[int, ...], places: list):
    """Yield every synapse: (source position, target position, weight)."""
    match synapse:
        case Linear():
            yield from (
                ((i,), (o,), int(synapse.weight[o, i])) for (o,) in places for i in range(shape[0])
            )
        case Scale():
            yield from ((place, place, int(synapse.weight[place[0]])) for place in places)
        case Conv():
            outputs, inputs, kh, kw = synapse.weight.shape
            (sh, sw), (ph, pw), (dh, dw) = synapse.stride, synapse.padding, synapse.dilation
            for (o, y, x), c, i, j in (
                (p, c, i, j)
                for p in places
                for c in range(inputs)
                for i in range(kh)
                for j in range(kw)
            ):
                source = (
                    o // (outputs // synapse.groups) * inputs + c,
                    y * sh + i * dh - ph,
                    x * sw + j * dw - pw,
                )
                if 0 <= source[1] < shape[1] and 0 <= source[2] < shape[2]:
                    yield source, (o, y, x), int(synapse.weight[o, c, i, j])


def spikes_by_definition(layer: Neurons, X: list[dict], places: list) -> list[dict]:
    out = []
    v = {place: int(layer.v0[place[0]]) for place in places}
    late = dict.fromkeys(places, 0)
    if layer.reset == "subtract-late":
        for place in places:
            theta = int(layer.threshold[place[0]])
            late[place] = min(max(v[place] // theta, 0), layer.levels) * theta
    for row in layer.omega.tolist():
        for place in places:
            v[place] = int(v[place] * layer.leak / 4096)  # int() truncates toward zero
            v[place] -= late[place]
        for substep in range(layer.substeps):
            now = {}
            for place in places:
                if substep == 0 or layer.injection == "uniform":
                    v[place] += sum(omega * x[place] for omega, x in zip(row, X, strict=True))
                theta = int(layer.threshold[place[0]])
                if layer.floor is not None:
                    v[place] = max(v[place], int(layer.floor[place[0]]))
                now[place] = min(max(v[place] // theta, 0), layer.levels)
                if layer.reset == "subtract-late":
                    late[place] = now[place] * theta
                elif layer.reset == "subtract":
                    v[place] -= now[place] * theta
                elif now[place]:
                    v[place] = 0
            out.append(now)
    return out


def test_counts_graded_spikes_once_in_events() -> None:
    net = SPECIAL["m-ht"]()
    result = reference.run(net, windows_for(net), trace=True)
    assert result.traces is not None
    for name, k in result.traces.items():
        assert result.spikes[name].tolist() == [window.sum() for window in k]
        assert result.events[name].tolist() == [np.count_nonzero(window) for window in k]


def test_image_input_counts_macs_not_sops() -> None:
    net = SPECIAL["image"]()
    result = reference.run(net, windows_for(net))
    borders = 3 * 8 - 2  # of 8 rows, the outer two have two of the three taps
    assert result.macs == {"a": borders * borders * 3 * 6}
    assert result.sops["a"].tolist() == [0, 0, 0]
    assert result.sops["c"].any()


@pytest.mark.parametrize(
    ("windows", "message"),
    [
        (
            np.zeros((1, 4, 2, 8, 7), int),
            "must have shape \\[batch, 4, 2, 8, 8\\], not \\[1, 4, 2, 8, 7\\]",
        ),
        (np.zeros((0, 4, 2, 8, 8), int), "no window"),
        (np.zeros((1, 4, 2, 8, 8)), "must hold integers, not float64"),
        (np.full((1, 4, 2, 8, 8), 4), "within 0..3; window 0 holds 4 at"),
        (np.full((1, 4, 2, 8, 8), -1), "within 0..3; window 0 holds -1 at"),
    ],
)
def test_refuses_windows(windows: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        reference.run(SPECIAL["if"](), windows)
