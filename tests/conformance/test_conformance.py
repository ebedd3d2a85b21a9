"""Every backend against the golden model: every spike, count and logit of every network of the suite."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from lmht_deploy import backends
from lmht_deploy.errors import ExportError
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, networks, windows_for
from tests.support.results import assert_conforms

EXAMPLES = {"lava": 12}
"""Random graphs for a backend that starts a simulator for each; the others take 40."""


@pytest.fixture(params=[name for name in backends.NAMES if name != "reference"])
def backend(request: pytest.FixtureRequest) -> str:
    if reason := backends.unavailable(request.param):
        pytest.skip(reason)
    return request.param


@pytest.mark.parametrize("name", SPECIAL)
def test_special_case(name: str, backend: str, tmp_path: Path) -> None:
    net = SPECIAL[name]()
    try:
        assert_conforms(net, backend, windows_for(net), tmp_path)
    except ExportError as error:  # tests/exporters pins what each format refuses
        pytest.skip(str(error))


@pytest.mark.parametrize("batch", [1, 2, 17])
def test_any_batch(batch: int, backend: str, tmp_path: Path) -> None:
    net = SPECIAL["residual"]()
    assert_conforms(net, backend, windows_for(net, batch, seed=batch), tmp_path)


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 1.0])
def test_any_density(density: float, backend: str, tmp_path: Path) -> None:
    net = SPECIAL["lm-ht"]()
    assert_conforms(net, backend, windows_for(net, 4, density=density), tmp_path)


def test_random_graph(backend: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    @settings(
        max_examples=EXAMPLES.get(backend, 40),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(net=networks(), batch=st.integers(1, 3), seed=st.integers(0, 99))
    def conforms(net: Network, batch: int, seed: int) -> None:
        try:
            assert_conforms(
                net, backend, windows_for(net, batch, seed), tmp_path_factory.mktemp("graph")
            )
        except ExportError:
            reject()

    conforms()
