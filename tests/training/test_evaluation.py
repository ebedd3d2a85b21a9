"""Testing of a model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.training import evaluate, lower, runs
from tests.support.training import DATA


def test_density_is_mean_spikes(finished: Path) -> None:
    """As the reference counts them, per neuron and time-step, on the test data."""
    run = runs.load_run(finished)
    net = lower(run.model.double(), run.input)
    spikes = reference.run(net, DATA.test.windows).spikes
    density = evaluate(runs.load_run(finished).model, DATA.test, batch_size=7).density
    assert density.keys() == spikes.keys()
    for name, count in spikes.items():
        assert density[name] == pytest.approx(
            count.mean() / (2 * np.prod(net.shapes[name])), rel=1e-4
        )
