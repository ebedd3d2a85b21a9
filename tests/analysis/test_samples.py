"""Samples: the windows that are closest to and farthest from a mistake, spike for spike."""

from __future__ import annotations

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.analysis import samples
from lmht_deploy.analysis.samples import choose, label_margins, list_samples
from tests.support.networks import SPECIAL, windows_for


def dense(entry: dict[str, object]) -> np.ndarray:
    k = np.zeros((entry["steps"], int(np.prod(entry["shape"]))), int)
    k[entry["step"], entry["neuron"]] = entry["value"]
    return k.reshape(entry["steps"], *entry["shape"])


@pytest.mark.parametrize("name", SPECIAL)
def test_every_spike_is_listed(name: str) -> None:
    net = SPECIAL[name]()
    windows = windows_for(net, 6)
    result = reference.run(net, windows, trace=True)
    found = list_samples(net, windows, [4, 1], np.arange(6))
    assert [(entry["window"], entry["label"]) for entry in found] == [(4, 4), (1, 1)]
    for entry in found:
        window = entry["window"]
        np.testing.assert_array_equal(dense(entry["input"]), windows[window])
        for layer, k in (result.traces or {}).items():
            np.testing.assert_array_equal(dense(entry["layers"][layer]), k[window])
        np.testing.assert_allclose(entry["logits"][-1], result.logits[window] * result.scale)
        assert entry["predicted"] == result.predictions[window]


def test_of_many_values_not_every_neuron_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MAX_VALUES", 20)
    net = SPECIAL["residual"]()
    windows = windows_for(net, 2)
    entry = list_samples(net, windows, [1])[0]["input"]
    assert entry["every"] > 1 and len(entry["step"]) <= 2 * 20
    kept = dense(entry).reshape(len(windows[1]), -1)[:, :: entry["every"]]
    np.testing.assert_array_equal(
        kept, windows[1].reshape(len(windows[1]), -1)[:, :: entry["every"]]
    )


def test_margins_and_choice() -> None:
    result = reference.run(SPECIAL["residual"](), windows_for(SPECIAL["residual"](), 9))
    labels = np.arange(9) % result.logits.shape[1]
    margins = label_margins(result, labels)
    assert ((margins > 0) <= (result.predictions == labels)).all()
    assert choose(np.array([3.0, 1.0, 2.0, 5.0, 4.0])) == [1, 2, 4, 3]
    assert choose(np.array([3.0, 1.0])) == [1, 0]
