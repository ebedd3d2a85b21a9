"""Every backend against the golden model: every spike, count and logit of every network of the suite."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

import exporters.netx
import exporters.onnx
from lmht_deploy import backends, reference, storage
from lmht_deploy.errors import ExportError
from lmht_deploy.network import Network
from lmht_deploy.result import Result

from .networks import SPECIAL, networks, windows_for

WRITERS: dict[str, Callable[[Network, Path], object]] = {
    ".lmht": storage.save,
    ".onnx": lambda net, path: exporters.onnx.export(net, path, trace=True),
    ".net": exporters.netx.export,
}
"""How a network becomes the artifact of each suffix. A new backend joins `lmht_deploy.backends.NAMES`; a new format, here."""

EXAMPLES = {"lava": 12}
"""Random graphs for a backend that starts a simulator for each; the others take 40."""


@pytest.fixture(params=[name for name in backends.NAMES if name != "reference"])
def backend(request: pytest.FixtureRequest) -> str:
    if reason := backends.missing(request.param):
        pytest.skip(reason)
    return request.param


def assert_conforms(net: Network, backend: str, windows: np.ndarray, folder: Path) -> None:
    """`backend` gives the golden model's integers for `windows`; says where the two part first."""
    suffix = backends.suffix(backend)
    path = folder / f"net{suffix}"
    WRITERS[suffix](net, path)
    runner = backends.load(backend, path)
    try:
        found = runner.run(windows, trace=True)
    finally:
        runner.close()
    assert_equal(found, reference.run(net, windows, trace=True))


def assert_equal(found: Result, expected: Result) -> None:
    assert found.traces is not None and expected.traces is not None
    for name, k in expected.traces.items():
        np.testing.assert_array_equal(found.traces[name], k, err_msg=f"spikes of layer {name!r}")
    np.testing.assert_array_equal(found.logits, expected.logits, err_msg="logits")
    assert found.logits.dtype == np.int64
    for counts in ("spikes", "sops", "events", "event_sops"):
        counted = getattr(found, counts)
        if counts in ("spikes", "sops") or counted:
            assert counted.keys() == getattr(expected, counts).keys()
        for name, values in counted.items():
            np.testing.assert_array_equal(values, getattr(expected, counts)[name], err_msg=f"{counts} of layer {name!r}")
            assert values.dtype == np.int64
    assert found.macs == expected.macs
    assert found.scale == expected.scale


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
    @settings(max_examples=EXAMPLES.get(backend, 40), deadline=None, suppress_health_check=list(HealthCheck))
    @given(net=networks(), batch=st.integers(1, 3), seed=st.integers(0, 99))
    def conforms(net: Network, batch: int, seed: int) -> None:
        try:
            assert_conforms(net, backend, windows_for(net, batch, seed), tmp_path_factory.mktemp("graph"))
        except ExportError:
            reject()

    conforms()
