"""Explanations: every counterfactual is what the reference model answers without the part."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lmht_deploy as lmht
from lmht_deploy import reference
from lmht_deploy.analysis import explain as room
from lmht_deploy.analysis.explain import Curve, Explanation, explain, to_content
from lmht_deploy.errors import DataError, LmhtError
from lmht_deploy.ir import Conv, Flatten, Input, Linear, Network, Neurons, Readout
from tests.support.networks import SPECIAL, float_network, networks, windows_for

NET = SPECIAL["residual"]()
WINDOW = windows_for(NET, 3)[2]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from more threads, and lose where the cores are shared."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def logits(net: Network, *windows: np.ndarray) -> np.ndarray:
    """Logits of the reference model, int64 `[B, K]`."""
    return reference.run(net, np.stack(windows)).logits


def masks(found: Explanation, kind: str) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Places of all parts of a kind, and which values of the window belong to each, one by one."""
    steps, channels = found.window.shape[:2]
    rows, columns = found.grid
    ranges = {
        "cell": (range(rows), range(columns)),
        "step": (range(steps),),
        "polarity": (range(channels),),
        "cell_step": (range(steps), range(rows), range(columns)),
    }[kind]
    for place in itertools.product(*ranges):
        mask = np.zeros(found.window.shape, bool)
        at: list[Any] = [slice(None)] * 4
        if kind in ("cell", "cell_step"):
            row, column = place[-2:]
            at[2] = slice(row * found.cell, (row + 1) * found.cell)
            at[3] = slice(column * found.cell, (column + 1) * found.cell)
        if kind in ("step", "cell_step"):
            at[0] = place[0]
        if kind == "polarity":
            at[1] = place[0]
        mask[tuple(at)] = True
        yield place, mask


def margin(values: np.ndarray, label: int) -> int:
    """Margin of class `label`, by a loop."""
    others = [int(value) for place, value in enumerate(values) if place != label]
    return int(values[label]) - max(others, default=0)


def check(net: Network, found: Explanation) -> None:
    """Compare every counterfactual with the reference model."""
    whole, empty = logits(net, found.window, np.zeros_like(found.window))
    assert np.array_equal(found.logits, whole) and np.array_equal(found.empty, empty)
    assert found.answer == whole.argmax() and found.margin == margin(whole, found.answer)
    for kind, parts in found.parts.items():
        places, parts_of = zip(*masks(found, kind), strict=True)
        expected = logits(net, *(np.where(mask, 0, found.window) for mask in parts_of))
        assert parts.events.size == len(places)
        for place, mask, without in zip(places, parts_of, expected, strict=True):
            inside = found.window[mask]
            events = inside.sum() if found.kind == "events" else np.count_nonzero(inside)
            assert parts.events[place] == events
            assert np.array_equal(parts.logits[place], without)
            assert np.array_equal(parts.deltas[place], without - whole)
            assert parts.margins[place] == margin(without, found.answer)
            assert parts.margin_deltas[place] == parts.margins[place] - found.margin
            assert parts.answers[place] == without.argmax()
            assert parts.changed[place] == (without.argmax() != found.answer)


# ------------------------------------------------------------------------------- counterfactuals


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.integers(0, 99), st.integers(1, 4), st.integers(1, 3))
def test_equal_to_the_reference_model(net: Network, seed: int, cell: int, threads: int) -> None:
    window = windows_for(net, 3, seed)[2]
    cell = min(cell, *window.shape[2:])
    check(net, explain(net, window, cell=cell, methods=(), flip=False, threads=threads))


@pytest.mark.parametrize("name", ["image", "image-at-every-step", "pooled", "single-threshold"])
def test_special_networks(name: str) -> None:
    net = SPECIAL[name]()
    check(net, explain(net, windows_for(net)[2], cell=5))


def test_leaving_out_nothing_changes_nothing() -> None:
    window = WINDOW.copy()
    window[:, :, :4, :4] = 0
    window[2] = 0
    found = explain(NET, window, cell=4)
    for parts in found.parts.values():
        empty = parts.events == 0
        assert not parts.deltas[empty].any() and not parts.changed[empty].any()
    assert found.parts["cell"].events[0, 0] == found.parts["step"].events[2] == 0
    for kind in found.parts:
        assert found.parts[kind].events.sum() == found.events == window.sum()


def test_leaving_out_everything_is_an_empty_window() -> None:
    (empty,) = logits(NET, np.zeros_like(WINDOW))
    found = explain(NET, WINDOW, cell=8)
    assert found.grid == (1, 1)
    assert np.array_equal(found.empty, empty)
    assert np.array_equal(found.parts["cell"].logits[0, 0], empty)
    for curve in found.curves:
        whole = curve.direction == "deletion"
        first, last = (found.logits, empty) if whole else (empty, found.logits)
        assert (curve.logits[:, 0] == first[found.answer]).all()
        assert (curve.logits[:, -1] == last[found.answer]).all()


def test_a_window_without_events() -> None:
    found = explain(NET, np.zeros_like(WINDOW), methods=room.METHODS)
    assert found.events == 0 and found.curves == ()
    assert found.flip is not None and found.flip.status == "none"
    assert np.array_equal(found.logits, found.empty)
    assert not any(parts.deltas.any() for parts in found.parts.values())


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_do_not_matter(threads: int) -> None:
    def content(threads: int) -> dict[str, Any]:
        found = to_content(explain(NET, WINDOW, cell=3, threads=threads))
        return {key: value for key, value in found.items() if key != "seconds"}

    assert content(threads) == content(1)


def test_the_content_is_plain_data() -> None:
    content = to_content(explain(NET, WINDOW, methods=room.METHODS))
    assert json.loads(json.dumps(content)) == content


# ------------------------------------------------------------------------------------- planted


def planted(*cells: tuple[int, int, int], bias: int = 10) -> Network:
    """One IF neuron per entry (y, x, weight), which feeds class 0; class 1 has the logit `bias`."""
    weight = np.zeros((len(cells), 2, 8, 8), int)
    for neuron, (y, x, strength) in enumerate(cells):
        weight[neuron, 1, y, x] = strength
    number = len(cells)
    neurons = Neurons(
        name="n",
        synapses=(Conv(source="in", weight=weight),),
        bias=np.zeros(number, int),
        threshold=np.ones(number, int),
        omega=np.eye(2, dtype=int),
        leak=4096,
        v0=np.zeros(number, int),
        levels=20,
    )
    readout = Readout(
        name="out",
        synapses=(Linear(source="flat", weight=[[1] * number, [0] * number]),),
        bias=[0, bias // 2],  # a bias counts at each of the two steps
        scale=0.5,
    )
    source = Input(name="in", shape=(2, 8, 8), steps=2, max_value=20)
    return Network((source, neurons, Flatten(name="flat", source="n"), readout))


def test_one_cell_decides() -> None:
    net = planted((5, 2, 1), bias=10)
    rng = np.random.default_rng(0)
    window = rng.integers(0, 4, (2, 2, 8, 8))
    window[:, 1, 5, 2] = 20, 3  # 23 spikes against 10
    found = explain(net, window, cell=2, methods=("counterfactual", "gradient", "integrated"))
    assert found.answer == 0 and found.margin == 13 and found.runner_up == 1
    cells = found.parts["cell"]
    assert np.argwhere(cells.changed).tolist() == [[2, 1]]
    assert np.argwhere(cells.deltas.any(-1)).tolist() == [[2, 1]]
    assert cells.deltas[2, 1].tolist() == [-23, 0] and cells.margins[2, 1] == -10
    assert cells.ranking()[0] == 2 * 4 + 1
    assert found.parts["step"].deltas[:, 0].tolist() == [-20, -3]
    assert found.parts["step"].changed.tolist() == [True, False]
    assert found.parts["polarity"].deltas[:, 0].tolist() == [0, -23]
    assert found.parts["cell_step"].deltas[:, 2, 1, 0].tolist() == [-20, -3]
    flip = found.flip
    assert flip is not None and flip.status == "found" and flip.smallest
    assert flip.cells.tolist() == [[2, 1]] and flip.answer == 1
    assert flip.logits is not None and flip.logits.tolist() == [0, 10]
    for curve in found.curves:  # every method finds the cell
        assert curve.margins[0, :2].tolist() == (
            [13, -10] if curve.direction == "deletion" else [-10, 13]
        )


def test_the_smallest_of_two_cells() -> None:
    net = planted((0, 0, 1), (7, 7, 1), bias=4)
    window = np.zeros((2, 2, 8, 8), int)
    window[0, 1, 0, 0] = window[0, 1, 7, 7] = 6
    window[1, 0] = 1  # events that no neuron reads
    flip = explain(net, window, cell=2, methods=()).flip
    assert flip is not None and flip.smallest
    assert sorted(flip.cells.tolist()) == [[0, 0], [3, 3]]
    assert flip.events == 12 + 2 * 4


def test_three_cells_are_found_greedily() -> None:
    net = planted((0, 0, 1), (7, 7, 1), (0, 7, 1), bias=4)
    window = np.zeros((2, 2, 8, 8), int)
    window[0, 1, 0, 0], window[0, 1, 7, 7], window[0, 1, 0, 7] = 8, 6, 5
    flip = explain(net, window, cell=2, methods=()).flip
    assert flip is not None and flip.status == "found" and not flip.smallest
    assert flip.cells.tolist() == [[0, 0], [3, 3], [0, 3]]


def test_cells_that_are_not_needed_are_put_back() -> None:
    # Two neurons that cancel: the greedy search takes (0, 0) first, and needs (7, 7) and (0, 7).
    parts = room.Parts(np.arange(3).reshape(1, 1, 1, 3), (1, 3))
    values = {(): 9, (0,): 5, (1,): 6, (2,): 6, (0, 1): 2, (0, 2): 2, (1, 2): -1, (0, 1, 2): -2}

    class Runner:
        classes = 2

        def logits(self, parts: object, left_out: np.ndarray, progress: object = None) -> Any:
            sets = [tuple(np.flatnonzero(row).tolist()) for row in left_out]
            return np.array([[values[cells], 0] for cells in sets])

    flip = room.find_flip(Runner(), parts, np.ones(3, np.int64), 0)  # type: ignore[arg-type]
    assert flip.cells.tolist() == [[0, 1], [0, 2]] and flip.smallest
    assert flip.logits is not None and flip.logits.tolist() == [-1, 0]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks(), st.integers(0, 99))
def test_sets_of_cells_against_all_sets(net: Network, seed: int) -> None:
    """At most 3 x 3 cells: every set of them is tried."""
    window = windows_for(net, 3, seed)[2]
    side = min(-(-max(window.shape[2:]) // 3), *window.shape[2:])
    found = explain(net, window, cell=side, methods=())
    cells = [mask for _, mask in masks(found, "cell")]
    flip = found.flip
    assert flip is not None and flip.status != "limit"
    if flip.status == "found":
        chosen = [row * found.grid[1] + column for row, column in flip.cells.tolist()]
        (without,) = logits(net, without_cells(window, cells, chosen))
        assert flip.logits is not None and np.array_equal(flip.logits, without)
        assert flip.answer == without.argmax() != found.answer
    limit = len(flip.cells) - 1 if flip.smallest else 1 if flip.status == "none" else 0
    for number in range(1, limit + 1):
        for smaller in itertools.combinations(range(len(cells)), number):
            (without,) = logits(net, without_cells(window, cells, list(smaller)))
            assert without.argmax() == found.answer


def without_cells(window: np.ndarray, cells: list[np.ndarray], chosen: list[int]) -> np.ndarray:
    """The window without some of its cells."""
    left_out = np.any([cells[cell] for cell in chosen], axis=0)
    return np.where(left_out, 0, window)


def test_no_set_of_cells_changes_the_answer() -> None:
    window = np.zeros((2, 2, 8, 8), int)
    window[0, 1, 0, 0] = 1
    net = planted((0, 0, 1), bias=10)
    flip = explain(net, window, cell=2).flip
    assert flip is not None and flip.status == "none"
    assert flip.cells.shape == (0, 2) and flip.logits is None and flip.answer is None
    assert explain(net, window, flip=False).flip is None


def test_a_long_search_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmht_deploy.analysis.explain._greedy.MAX_RUNS", 1)
    flip = explain(planted((0, 0, 1)), np.ones((2, 2, 8, 8), int), cell=2).flip
    assert flip is not None and flip.status == "limit" and flip.runs == 16


# ------------------------------------------------------------------------------------- curves


@pytest.mark.parametrize("method", room.METHODS)
def test_curves_are_exact(method: str) -> None:
    found = explain(NET, WINDOW, cell=3, methods=[method])  # type: ignore[list-item]
    events = found.parts["cell"].events.ravel()
    cells = [mask for _, mask in masks(found, "cell")]
    assert [curve.direction for curve in found.curves] == ["deletion", "insertion"]
    for curve in found.curves:
        assert len(curve.order) == (room.ORDERS if method == "random" else 1)
        for row, order in enumerate(curve.order.tolist()):
            assert sorted(order) == np.flatnonzero(events).tolist()
            assert curve.cells.tolist() == list(range(len(order) + 1))
            assert curve.events[row].tolist() == [0, *np.cumsum(events[order])]
            assert (np.diff(curve.shares[row]) > 0).all() and curve.shares[row, -1] == 1
            expected = list(follow(found, curve.direction, [cells[cell] for cell in order]))
            assert curve.logits[row].tolist() == [values[found.answer] for values in expected]
            assert curve.margins[row].tolist() == [margin(v, found.answer) for v in expected]
            assert curve.answers[row].tolist() == [values.argmax() for values in expected]


def follow(found: Explanation, direction: str, cells: list[np.ndarray]) -> np.ndarray:
    """Logits while `cells` are left out, or added, one after another."""
    chosen = np.zeros(found.window.shape, bool)
    steps = [chosen]
    for cell in cells:
        chosen = chosen | cell
        steps.append(chosen)
    keep = direction == "insertion"
    return logits(NET, *(np.where(chosen == keep, found.window, 0) for chosen in steps))


def test_orders_of_the_cells() -> None:
    found = explain(NET, WINDOW, cell=3)
    by_method = {curve.method: curve.order for curve in found.curves}
    changes = found.parts["cell"].margin_deltas.ravel()
    (order,) = by_method["counterfactual"]
    assert (np.diff(changes[order]) >= 0).all()
    assert len({tuple(order) for order in by_method["random"].tolist()}) > 1


def test_area_of_a_curve() -> None:
    curve = Curve(
        method="random",
        direction="deletion",
        order=np.array([[0, 1], [1, 0]]),
        cells=np.array([0, 1, 2]),
        events=np.array([[0, 1, 4], [0, 3, 4]]),
        logits=np.zeros((2, 3), np.int64),
        margins=np.array([[8, 0, -4], [8, 4, -4]]),
        answers=np.zeros((2, 3), np.int64),
        scale=0.5,
    )
    assert curve.shares.tolist() == [[0, 0.25, 1], [0, 0.75, 1]]
    assert curve.areas.tolist() == [0.5 * (4 * 0.25 - 2 * 0.75), 0.5 * (6 * 0.75 + 0 * 0.25)]


def test_many_cells_make_few_points() -> None:
    net = SPECIAL["pooled"]()
    window = windows_for(net, 3, density=1)[1]
    found = explain(net, window, cell=1, methods=("counterfactual",), flip=False)
    for curve in found.curves:
        assert len(curve.cells) == 101 and curve.cells[0] == 0 and curve.cells[-1] == 13 * 11
        assert (np.diff(curve.cells) > 0).all() and (np.diff(curve.events) > 0).all()


def test_random_orders_have_a_seed() -> None:
    def orders(seed: int) -> list[list[int]]:
        found = explain(NET, WINDOW, methods=("random",), seed=seed, flip=False)
        return found.curves[0].events.tolist()

    assert orders(1) == orders(1) != orders(2)


# ------------------------------------------------------------------------------------- gradients


EXACT = [name for name in SPECIAL if not name.startswith("single-threshold-uniform")]


@pytest.mark.parametrize("name", EXACT)
def test_the_gradient_is_of_the_integer_network(name: str) -> None:
    torch = pytest.importorskip("torch")
    from lmht_deploy.analysis.explain._gradient import fire
    from lmht_deploy.backends.torch import forward

    net = SPECIAL[name]()
    windows = windows_for(net)
    outputs = forward(net, torch.from_numpy(windows.astype(np.float64)), fire)
    assert np.array_equal(outputs[net.readout.name].numpy(), reference.run(net, windows).logits)


def test_the_gradient_is_that_of_training() -> None:
    """The surrogate of `lmht_deploy.training`, for a network of one layer with θ = 1."""
    torch = pytest.importorskip("torch")
    from lmht_deploy.analysis.explain._gradient import fire
    from lmht_deploy.training.neurons import lmht as amplitudes

    rng = np.random.default_rng(0)
    omega = rng.integers(-2, 4, (3, 3))
    neuron = Neurons(
        name="n",
        synapses=(Linear(source="in", weight=np.ones((1, 1), int)),),
        bias=[0],
        threshold=[40],
        omega=omega,
        leak=4096,
        v0=[20],
        levels=2,
    )
    current = torch.from_numpy(rng.integers(-60, 60, (50, 3, 1)).astype(np.float64))
    weights = torch.from_numpy(rng.normal(size=(50, 3, 1)))
    first, second = (current.clone().requires_grad_() for _ in range(2))
    spikes = fire(neuron, first)
    (spikes * 40 * weights).sum().backward()
    real = [torch.tensor(float(value), dtype=torch.float64) for value in (1, 40, 20)]
    out = amplitudes(
        second.transpose(0, 1), torch.from_numpy(omega.astype(np.float64)), *real, 2, "plain"
    )
    (out.transpose(0, 1) * weights).sum().backward()
    assert torch.equal(spikes * 40, out.transpose(0, 1))
    torch.testing.assert_close(first.grad, second.grad)


def test_a_linear_network_needs_no_method() -> None:
    """Without a threshold in the way, gradients are the exact changes."""
    net = planted((0, 0, 1), (3, 4, 1), (6, 6, 1), bias=2)
    window = np.zeros((2, 2, 8, 8), int)
    window[0, 1, 0, 0], window[0, 1, 3, 4], window[0, 1, 6, 6] = 9, 12, 5
    found = explain(net, window, cell=2, methods=room.METHODS[:3])
    curves = {curve.method: curve for curve in found.curves if curve.direction == "deletion"}
    expected = curves["counterfactual"].margins
    assert np.array_equal(curves["gradient"].margins, expected)
    assert np.array_equal(curves["integrated"].margins, expected)


# ------------------------------------------------------------------------------------- mistakes


def refused(net: Any, window: Any, **options: Any) -> str:
    with pytest.raises(LmhtError) as caught:
        explain(net, window, **options)
    return str(caught.value)


def test_mistakes(tmp_path: Path) -> None:
    assert "must have shape [4, 2, 8, 8], not [4, 2, 8, 7]" in refused(NET, WINDOW[..., 1:])
    assert "must have shape" in refused(NET, WINDOW[None])
    assert "must lie within 0..3" in refused(NET, WINDOW + 9)
    assert "must hold integers" in refused(NET, WINDOW / 2)
    assert "must be an array of numbers" in refused(NET, [[1], [2, 3]])
    assert "a cell of 9 x 9 pixels is larger than the network's input of 8 x 8 pixels" in refused(
        NET, WINDOW, cell=9
    )
    assert "at least 1, not 0" in refused(NET, WINDOW, cell=0)
    assert "cell must be" in refused(NET, WINDOW, cell="3")
    assert "there is no method 'saliency'" in refused(NET, WINDOW, methods=["saliency"])
    assert "methods must be a list of names" in refused(NET, WINDOW, methods="random")
    assert "methods must be a list of names" in refused(NET, WINDOW, methods=3)
    assert "there is no method []" in refused(NET, WINDOW, methods=[[]])
    assert "seed must be a number >= 0, not -1" in refused(NET, WINDOW, seed=-1)
    assert "threads" in refused(NET, WINDOW, threads=0)
    assert "net must be" in refused(3, WINDOW)
    assert "not float ones" in refused(float_network(), WINDOW)
    assert "no such file" in refused(tmp_path / "net.lmht", WINDOW).lower()
    dense = SPECIAL["dense"]()
    assert "without pixels" in refused(dense, windows_for(dense)[0])
    uniform = SPECIAL["single-threshold-uniform"]()
    window = windows_for(uniform)[2]
    assert "spreads its currents over sub-steps" in refused(uniform, window, methods=["gradient"])
    assert explain(uniform, window).curves


def test_an_input_without_zero() -> None:
    net = planted((0, 0, 1))
    source = Input(name="in", shape=(2, 8, 8), steps=2, min_value=1, max_value=20)
    shifted = Network((source, *net.layers[1:]))
    assert "which the network's input of 1..20 does not take" in refused(
        shifted, np.ones((2, 2, 8, 8), int)
    )


def test_too_many_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lmht_deploy.analysis.explain._parts.MAX_PARTS", 255)
    assert "make 256 cells in all steps; choose a larger cell" in refused(NET, WINDOW, cell=1)


def test_a_path_of_a_network(tmp_path: Path) -> None:
    lmht.save(NET, tmp_path / "net.lmht")
    calls: list[tuple[str, int, int]] = []
    found = lmht.explain(
        tmp_path / "net.lmht", WINDOW.tolist(), progress=lambda *call: calls.append(call)
    )
    assert isinstance(found, lmht.Explanation)
    assert {what for what, _, _ in calls} >= {"cell", "cell x step", "curves by random"}
    assert all(0 < done <= total for _, done, total in calls)
    assert found.runs > 0 and found.seconds > 0


def test_torch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match="the package 'torch' is not installed"):
        explain(NET, WINDOW, methods=["gradient"])
