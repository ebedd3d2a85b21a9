"""Stop when sure: the engine ends early with the logits of its steps, and the risk is bounded."""

from __future__ import annotations

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy import reference
from lmht_deploy.analysis.early import calibrate_stop, run_early
from lmht_deploy.engine import StepwiseEngine, StepwiseRing
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, Builder, windows_for


@pytest.fixture(scope="module")
def net() -> Network:
    """A network that computes step by step, with eight time-steps."""
    builder = Builder(3, steps=8)
    hidden = builder.neurons("hidden", builder.conv("input", 6), steps=8, leak=3900)
    return builder.finish(hidden)


@pytest.fixture(scope="module")
def windows(net: Network) -> np.ndarray:
    return windows_for(net, 600)


def answers_by_step(net: Network, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits after each time-step, int64 [B, T, K], and the margins, by the reference model."""
    traces = reference.run(net, windows, trace=True).traces
    assert traces is not None
    weight, bias = net.readout.synapses[0].weight, net.readout.bias
    spikes = traces["hidden"].reshape(len(windows), 8, -1).astype(np.int64)
    logits = np.cumsum(spikes @ weight.T.astype(np.int64) + bias, axis=1)
    ordered = np.sort(logits, axis=2)
    return logits, ordered[..., -1] - ordered[..., -2]


@pytest.mark.parametrize("stop_margin", [0, 200, 1000, 10**9])
def test_the_engine_ends_where_the_rule_says(
    net: Network, windows: np.ndarray, stop_margin: int
) -> None:
    engine = StepwiseEngine(net)
    logits, margins = answers_by_step(net, windows[:40])
    for window, expected, margin in zip(windows[:40], logits, margins, strict=True):
        steps = next(t for t in range(1, 9) if t == 8 or margin[t - 1] > stop_margin * (8 - t))
        found = engine.run(window, stop_margin)
        assert found.steps is not None and found.steps.tolist() == [steps]
        assert found.logits[0].tolist() == expected[steps - 1].tolist()
    whole = engine.run(windows[0])
    assert whole.steps is not None and whole.steps.tolist() == [8]
    assert whole.logits.tolist() == reference.run(net, windows[:1]).logits.tolist()


def test_a_run_that_ends_early_saves_operations(net: Network, windows: np.ndarray) -> None:
    found = run_early(net, windows[:50], 0)
    assert (found.steps >= 1).all() and found.steps.min() < 8
    assert (found.sops <= found.whole_sops).all() and found.saved_sops > 0.2
    expected = reference.run(net, windows[:50])
    assert found.whole_answers.tolist() == expected.predictions.tolist()
    assert found.whole_sops.tolist() == sum(expected.sops.values()).tolist()  # type: ignore[union-attr]


@pytest.mark.parametrize("risk", [0.02, 0.05, 0.2])
def test_the_empirical_risk_holds(net: Network, windows: np.ndarray, risk: float) -> None:
    """Over many divisions, the mean risk is at most that asked for, but for chance."""
    rng, found = np.random.default_rng(0), []
    for _ in range(4):
        order = rng.permutation(len(windows))
        rule = calibrate_stop(net, windows[order[:300]], risk)
        found.append(run_early(net, windows[order[300:]], rule.stop_margin).risk)
    assert np.mean(found) <= risk + 2 * (2 * risk / (4 * 300)) ** 0.5


def test_a_smaller_risk_stops_later(net: Network, windows: np.ndarray) -> None:
    margins = [calibrate_stop(net, windows[:300], risk).stop_margin for risk in (0.3, 0.1, 0.02)]
    assert margins == sorted(margins)


def test_too_few_windows_for_a_risk(net: Network, windows: np.ndarray) -> None:
    with pytest.raises(lmht.DataError, match=r"0\.01 needs at least 99 .* 98 windows"):
        calibrate_stop(net, windows[:98], 0.01)
    assert calibrate_stop(net, windows[:99], 0.01).windows == 99
    with pytest.raises(lmht.DataError, match=r"the risk must be above 0 and below 1, not 2"):
        calibrate_stop(net, windows, 2)


def test_a_network_that_needs_its_whole_window(windows: np.ndarray) -> None:
    net = SPECIAL["residual"]()
    if StepwiseEngine.supports(net):
        pytest.skip("not applicable: computes step by step")
    with pytest.raises(lmht.BackendError, match="depends on later ones"):
        calibrate_stop(net, windows_for(net, 100), 0.05)


def test_a_ring_skips_the_steps_after_a_sure_one(net: Network, windows: np.ndarray) -> None:
    engine = StepwiseEngine(net)
    ring = StepwiseRing(StepwiseEngine(net), stop_margin=0)
    for window in windows[:20]:
        for slot, counts in enumerate(window):
            ring.put(slot, counts)
        found, expected = ring.run(0), engine.run(window, 0)
        assert found.logits.tolist() == expected.logits.tolist()
        assert {k: v.tolist() for k, v in found.sops.items()} == {
            k: v.tolist() for k, v in expected.sops.items()
        }
