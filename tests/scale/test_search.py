"""Search: variants that stay integer networks, exact pruning, the best one under a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy import reference
from lmht_deploy.analysis.early import calibrate_stop, run_early
from lmht_deploy.engine import StepwiseEngine
from lmht_deploy.formats.windows import load_windows
from lmht_deploy.ir import Network, Neurons
from lmht_deploy.scale import SearchResult, Variant
from lmht_deploy.scale._evaluate import run_entries
from lmht_deploy.scale._search import silent_channels, variants
from lmht_deploy.scale._sweep import read_sweep
from lmht_deploy.scale._variants import prune
from tests.support.networks import SPECIAL, float_network, windows_for


def silenced(net: Network, channels: int = 2) -> Network:
    """The network, in which the first channels of every layer cannot fire."""

    def quiet(layer: Any) -> Any:
        if not isinstance(layer, Neurons):
            return layer
        threshold = layer.threshold.copy()
        threshold[:channels] = 2**26
        return dataclasses.replace(layer, threshold=threshold)

    return Network(tuple(map(quiet, net.layers)), metadata=net.metadata)


@pytest.mark.parametrize("name", ["if", "lm-ht", "pooled", "max-pooled", "geometry", "residual"])
def test_pruning_keeps_all_integers(name: str) -> None:
    net = silenced(SPECIAL[name]())
    windows = windows_for(net, 20)
    silent = silent_channels(net, windows)
    expected, pruned = reference.run(net, windows), prune(net, silent)
    found = reference.run(pruned, windows)
    assert found.logits.tolist() == expected.logits.tolist()
    for layer, spikes in expected.spikes.items():
        assert found.spikes[layer].tolist() == spikes.tolist()
    if name not in ("residual", "geometry"):  # shortcuts and groups bind channels
        pairs = zip(pruned.neurons, net.neurons, strict=True)
        assert all(len(layer.bias) < len(whole.bias) for layer, whole in pairs)
        assert sum(sum(s.tolist()) for s in found.sops.values()) < sum(
            sum(s.tolist()) for s in expected.sops.values()
        )


def test_a_network_that_is_silent_altogether_keeps_a_channel() -> None:
    net = SPECIAL["silent"]()
    windows = windows_for(net, 5)
    pruned = prune(net, silent_channels(net, windows))
    assert all(len(layer.bias) == 1 for layer in pruned.neurons)
    assert reference.run(pruned, windows).logits.tolist() == (
        reference.run(net, windows).logits.tolist()
    )


def test_a_step_less_is_the_first_steps_of_a_step_by_step_network() -> None:
    net = SPECIAL["if"]()
    windows = windows_for(net, 6)
    found = reference.run(Variant(steps=2).apply(net), windows[:, :2], trace=True).traces
    whole = reference.run(net, windows, trace=True).traces
    assert found is not None and whole is not None
    for name, k in found.items():
        assert k.tolist() == whole[name][:, :2].tolist()


def test_no_input_step_stays_that_reaches_nothing() -> None:
    """The remaining steps keep their integers; SOPs are those of the first steps alone."""
    net = SPECIAL["if"]()
    windows = windows_for(net, 6)
    whole, name = reference.run(net, windows, trace=True), net.neurons[0].name
    for steps in range(1, net.input.steps):
        cut = Variant(steps=steps).apply(net)
        assert cut.input.steps == steps and StepwiseEngine.supports(cut)
        assert cut.metadata["window_steps"] == str(net.input.steps)
        silent_after = windows.copy()
        silent_after[:, steps:] = 0
        found = reference.run(cut, windows[:, :steps])
        first = reference.run(net, silent_after)
        assert found.sops[name].tolist() == first.sops[name].tolist()
        assert whole.traces is not None
        assert found.spikes[name].tolist() == [int(k.sum()) for k in whole.traces[name][:, :steps]]
    assert Variant(steps=1).apply(Variant(steps=2).apply(net)).metadata["window_steps"] == "4"
    full = SPECIAL["lm-ht"]()  # one row of a full T-GIM reads every input step
    assert Variant(steps=1).apply(full).input.steps == full.input.steps
    assert Variant(steps=1).apply(full).metadata == full.metadata


@pytest.mark.parametrize("name", ["residual", "pooled", "max-pooled", "averaged", "image"])
def test_cut_input_steps_change_no_integer(name: str) -> None:
    """With as many input steps as before, a cut network gives the same integers."""
    net = SPECIAL[name]()
    windows = windows_for(net, 5)
    for steps in range(1, min(len(layer.omega) for layer in net.neurons)):
        cut = Variant(steps=steps).apply(net)
        (first,) = (layer for layer in net.neurons[:1])
        read = np.flatnonzero(first.omega[:steps].any(0))[-1] + 1
        assert cut.input.steps >= read
        longer = windows[:, : cut.input.steps]
        found = reference.run(cut, longer, trace=True).traces
        whole = reference.run(net, windows, trace=True).traces
        assert found is not None and whole is not None
        assert found[first.name].tolist() == whole[first.name][:, :steps].tolist()


def test_windows_that_end_early_are_candidates(tmp_path: Path) -> None:
    net = SPECIAL["if"]()
    windows = windows_for(net, 240)
    labels = reference.run(net, windows).predictions
    found = lmht.search(net, windows, labels, out=tmp_path, stop_risks=[0.05, 0.1], workers=1)
    measured = load_windows(found.measured)  # type: ignore[arg-type]
    assert measured.windows.tolist() == windows[1::2].tolist()
    assert measured.labels is not None and measured.labels.tolist() == labels[1::2].tolist()
    stopped = [candidate for candidate in found.candidates if candidate.stop]
    assert stopped and any(candidate.front for candidate in stopped)
    for candidate in stopped:
        changed = candidate.variant.apply(net)
        read = windows[:, : changed.input.steps]
        pruned = prune(changed, silent_channels(changed, read))
        assert candidate.stop is not None and candidate.stop.windows == 120
        expected = calibrate_stop(pruned, read[::2], candidate.stop.risk)
        assert candidate.stop == expected
        early = run_early(pruned, read[1::2], expected.stop_margin)
        assert candidate.row.sops == int(early.sops.sum())
        assert candidate.row.correct == int((early.answers == labels[1::2]).sum())
        assert candidate.mean_steps == early.steps.mean()
        assert candidate.differing == int((early.answers != early.whole_answers).sum())
        assert candidate.row.same_answers == candidate.row.correct  # labels: unchanged answers
    again = lmht.search(net, windows, labels, out=tmp_path, stop_risks=[0.05, 0.1], workers=1)
    assert again.evaluation.computed == 0
    with pytest.raises(lmht.DataError, match=r"0\.001 needs at least 999 calibration windows"):
        lmht.search(net, windows, labels, out=tmp_path, stop_risks=[0.001])
    with pytest.raises(lmht.DataError, match="stop_risks must be a Sequence"):
        lmht.search(net, windows, labels, out=tmp_path, stop_risks=0.1)  # type: ignore[arg-type]


def test_evaluate_cuts_windows_for_networks_that_read_their_first_steps(tmp_path: Path) -> None:
    net = SPECIAL["m-ht"]()
    windows = windows_for(net, 30)
    labels = reference.run(net, windows).predictions
    nets = {"whole": net, "cut": Variant(steps=2).apply(net)}
    found = lmht.evaluate(nets, windows, labels, out=tmp_path, workers=1)
    for row, changed in zip(found.rows, nets.values(), strict=True):
        expected = reference.run(changed, windows[:, : changed.input.steps])
        assert row.sops == sum(int(counts.sum()) for counts in expected.sops.values())
        assert row.correct == int((expected.predictions == labels).sum())


def test_a_float_network_and_one_with_sub_steps_are_refused(tmp_path: Path) -> None:
    windows = np.zeros((3, 4, 2, 8, 8), int)
    for net, message in (
        (float_network(), "made of integer networks"),
        (SPECIAL["single-threshold"](), "networks without sub-steps"),
    ):
        with pytest.raises(lmht.DataError, match=message):
            lmht.search(net, windows, np.zeros(3, int), out=tmp_path)


def test_variants_say_what_they_are() -> None:
    assert str(Variant(2, 1, 0.5)) == "T=2 L=1 v0=0.5" and str(Variant()) == ""
    net = SPECIAL["lm-ht"]()
    assert next(variants(net)) == Variant() and Variant().apply(net) == net
    for change, message in (
        ({"steps": 0}, "steps must be an integer >= 1, not 0"),
        ({"levels": "2"}, "levels must be an integer >= 1"),
        ({"initial_potential": 2}, "lies within -1..1, not 2"),
    ):
        with pytest.raises(lmht.DataError, match=message):
            Variant(**change)  # type: ignore[arg-type]
    with pytest.raises(lmht.DataError, match="time-steps, not 99"):
        Variant(steps=99).apply(net)
    with pytest.raises(lmht.DataError, match="levels, not 99"):
        Variant(levels=99).apply(net)


def test_the_best_under_a_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = silenced(SPECIAL["lm-ht"]())
    windows = windows_for(net, 60)
    labels = reference.run(net, windows).predictions
    free = lmht.search(net, windows, labels, out=tmp_path, workers=1)
    assert free.best is not None and free.best.row.correct == 60
    sops = [candidate.row.sops for candidate in free.front]
    correct = [candidate.row.correct for candidate in free.front]
    assert sops == sorted(set(sops)) and correct == sorted({*correct})  # type: ignore[type-var]

    def replaced(best: Network, path: Path) -> None:
        assert path.exists()  # another search into this folder may be about to read it
        lmht.save(best, path)

    monkeypatch.setattr("lmht_deploy.scale._search.save_network", replaced)
    budget = (free.best.costs["sops"] + free.candidates[0].costs["sops"]) / 2
    tight = lmht.search(net, windows, labels, out=tmp_path, budget_sops=budget, workers=1)
    assert tight.evaluation.computed == 0  # all variants were there
    assert tight.best is not None and tight.best.costs["sops"] <= budget and tight.path is not None
    best = lmht.load(tight.path)
    found = reference.run(best, windows[:, : best.input.steps])
    assert sum(int(counts.sum()) for counts in found.sops.values()) == tight.best.row.sops
    none = lmht.search(net, windows, labels, out=tmp_path, budget_spikes=1e-9, workers=1)
    assert none.best is None and none.path is None


def test_wrong_arguments_of_a_search(tmp_path: Path) -> None:
    net = SPECIAL["if"]()
    windows = windows_for(net, 3)
    with pytest.raises(lmht.DataError, match="needs the labels"):
        lmht.search(net, windows, out=tmp_path)
    with pytest.raises(lmht.DataError, match="budget_ms must be a number > 0, not -1"):
        lmht.search(net, windows, np.zeros(3, int), out=tmp_path, budget_ms=-1)
    missing = tmp_path / "missing.lmht"  # what is wrong is said before anything is read
    for risk in (0, 1, float("nan"), float("inf"), -0.1):
        with pytest.raises(lmht.DataError, match="risk must be above 0 and below 1, not"):
            lmht.search(missing, windows, np.zeros(3, int), out=tmp_path, stop_risks=[risk])
    with pytest.raises(lmht.DataError, match="their times do not compare"):
        lmht.search(missing, windows, out=tmp_path, stop_risks=[0.1], budget_ms=1)


def test_candidates_are_compared_with_complete_rows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the unchanged network fails, no other one takes its place in the comparison."""
    net = SPECIAL["if"]()
    windows = windows_for(net, 40)
    labels = reference.run(net, windows).predictions
    everything = lmht.search(net, windows, labels, out=tmp_path / "a", workers=1)
    assert len(everything.candidates) > 2

    def damaged(name: str) -> Any:
        """An evaluation in which one network cannot be read."""

        def evaluated(entries: Any, *rest: Any, **options: Any) -> Any:
            (entry,) = (entry for entry in entries if entry.name == name)
            entry.path.write_bytes(b"damaged")
            return run_entries(entries, *rest, **options)

        return evaluated

    def found(name: str, out: Path) -> SearchResult:
        monkeypatch.setattr("lmht_deploy.scale._search.run_entries", damaged(name))
        return lmht.search(net, windows, labels, out=out, workers=1)

    unchanged = found("unchanged", tmp_path / "b")
    assert unchanged.evaluation.failures and not unchanged.candidates and unchanged.best is None
    other = everything.candidates[0].row.network
    assert other != "unchanged"
    rest = found(other, tmp_path / "c")
    assert rest.candidates and rest.evaluation.failures
    expected = {c.row.network: c.row for c in everything.candidates if c.row.network != other}
    assert {c.row.network: c.row for c in rest.candidates} == expected


def test_a_sweep(tmp_path: Path) -> None:
    asked: list[tuple[str, list[str]]] = []

    def train(recipe: str, overrides: Sequence[str]) -> Path:
        asked.append((recipe, list(overrides)))
        return tmp_path / "a.lmht"

    lmht.save(SPECIAL["m-ht"](), tmp_path / "a.lmht")
    lmht.save(SPECIAL["lm-ht"](), tmp_path / "b.lmht")
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(
        'networks = ["*.lmht"]\n[options]\nsteps = [1, 2]\ninitial_potential = [0.5]\n'
    )
    assert list(read_sweep(sweep, train)) == [f"{n} T={t} v0=0.5" for n in "ab" for t in (1, 2)]
    sweep.write_text('networks = ["*.lmht"]\n')
    assert read_sweep(sweep, train) == {"a": tmp_path / "a.lmht", "b": tmp_path / "b.lmht"}
    keys = '"network.levels" = [1, 2]\n"data.name" = ["a b"]\nsteps = [1]'
    sweep.write_text(f'recipes = ["digits"]\n[options]\n{keys}')
    names = [f'digits network.levels={level} data.name="a b" T=1' for level in (1, 2)]
    assert list(read_sweep(sweep, train)) == names
    assert asked[1] == ("digits", ["network.levels=2", 'data.name="a b"'])
    for text, message in (
        ("network = 1", "there is no key 'network'|network"),
        ("networks = 1", "'networks' must be a list of texts"),
        ("recipes = []", "must name something to evaluate"),
        ("networks = []", r"sweep\.toml: 'networks' or 'recipes' must name something"),
        (
            'networks = ["*.lmht"]\n[options]\nlevels = []',
            r"sweep\.toml: option 'levels' must be a list of one value or more",
        ),
        (
            'recipes = ["digits"]\n[options]\n"network.levels" = []',
            r"sweep\.toml: option 'network.levels' must be a list of one value or more",
        ),
        ('networks = ["x*"]', r"no file fits 'x\*'"),
        ('networks = ["*.lmht"]\n[options]\nstep = [1]', "step"),
        ('networks = ["*.lmht"]\n[options]\nsteps = 1', "'steps' must be a list"),
        ('networks = ["*.lmht"]\n[options]\nsteps = [0]', "steps must be an integer"),
        ('networks = ["*.lmht"]\n[options]\n"a.b" = [1]', "'a.b' needs 'recipes' to train"),
        ("=", "is not TOML"),
    ):
        sweep.write_text(text)
        with pytest.raises(lmht.DataError, match=message):
            read_sweep(sweep, train)
