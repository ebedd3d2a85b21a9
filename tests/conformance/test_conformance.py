"""Every backend compared with the reference model: every integer of every network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from lmht_deploy import backends, reference
from lmht_deploy.errors import BackendError, ExportError
from lmht_deploy.ir import Network, Reset
from tests.support.networks import SPECIAL, float_network, networks, windows_for
from tests.support.requirements import NOT_APPLICABLE
from tests.support.results import assert_conforms, assert_equal

EXAMPLES = {"lava": 12, "openvino": 12}
"""Random graphs for a backend that starts or compiles one per graph; the others run 40."""


@pytest.fixture(params=[name for name in backends.NAMES if name != "reference"])
def backend(request: pytest.FixtureRequest) -> str:
    chosen = request.config.getoption("--backends")
    if chosen and request.param not in chosen.split(","):
        pytest.skip("not applicable: --backends leaves this backend out")
    if reason := backends.unavailable(request.param):
        pytest.skip(reason)
    return request.param


@pytest.mark.parametrize("name", SPECIAL)
def test_special_case(name: str, backend: str, tmp_path: Path) -> None:
    net = SPECIAL[name]()
    try:
        assert_conforms(net, backend, windows_for(net), tmp_path)
    except ExportError as error:  # tests/exporters asserts what each format refuses
        pytest.skip(f"{NOT_APPLICABLE}{error}")


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
        except BackendError as error:
            assert backend == "openvino" and "OpenVINO does not compile it" in str(error)
            reject()

    conforms()


# ------------------------------------------------------------------------------------- capabilities


@pytest.mark.parametrize("name", [*backends.NAMES, *backends.FOREIGN])
def test_capabilities_are_known(name: str) -> None:
    assert backends.capabilities(name) <= set(get_args(backends.Capability))


def test_backends_that_declare_events() -> None:
    """Only Lava, which adds up single spikes, cannot tell graded spikes apart."""
    declare = {name for name in backends.NAMES if "events" in backends.capabilities(name)}
    assert declare == set(backends.NAMES) - {"lava"}


def test_a_backend_that_drops_what_it_declares_is_noticed() -> None:
    """The comparison itself fails for missing events, missing traces and undeclared events."""
    net = SPECIAL["lm-ht"]()
    complete = reference.run(net, windows_for(net), trace=True)
    every: frozenset[backends.Capability] = frozenset({"events", "traces"})
    assert_equal(complete, complete, every)
    for fault, declared in (
        ({"events": {}}, every),
        ({"event_sops": {}}, every),
        ({"traces": None}, every),
        ({}, every - {"events"}),
    ):
        with pytest.raises(AssertionError):
            assert_equal(dataclasses.replace(complete, **fault), complete, declared)


def test_open_network_refuses_what_is_not_declared() -> None:
    net = SPECIAL["if"]()
    with pytest.raises(BackendError, match=r"'onnx' runs \.onnx files only; export"):
        backends.open_network("onnx", net)
    with pytest.raises(BackendError, match="'event' runs on the CPU, not on device 'cuda'"):
        backends.open_network("event", net, device="cuda")
    with pytest.raises(BackendError, match="'event' runs integer networks"):
        backends.open_network("event", float_network())
    with pytest.raises(BackendError, match="unknown backend 'gpu'; the backends are reference, "):
        backends.open_network("gpu", net)


@pytest.mark.parametrize("reset", get_args(Reset))
@pytest.mark.parametrize("floor", [None, np.full(12, -0.1)])
def test_float_networks_run_where_declared(
    reset: Reset, floor: np.ndarray | None, backend: str
) -> None:
    if "float" not in backends.capabilities(backend):
        return
    net = float_network(reset=reset, floor=floor)
    runner, windows = backends.open_network(backend, net), windows_for(net)
    found, expected = runner.run(windows), reference.run(net, windows)
    np.testing.assert_allclose(found.logits, expected.logits)
    assert found.spikes.keys() == expected.spikes.keys()


def test_incremental_backends_follow_the_protocol(backend: str) -> None:
    if "network" in backends.capabilities(backend):
        runner = backends.open_network(backend, SPECIAL["if"]())
        declared = "incremental" in backends.capabilities(backend)
        assert isinstance(runner, backends.Incremental) == declared
        runner.close()
