"""The 32-bit proof at its limit: networks that reach 2^31 - 1 run exactly on every backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import engine, reference
from lmht_deploy.errors import ExportError, NetworkError
from lmht_deploy.ir import INT32_MAX
from tests.conformance.test_conformance import backend  # noqa: F401, a fixture
from tests.support.limits import LIMITS, WINDOWS
from tests.support.results import assert_conforms, assert_equal


def largest(name: str) -> int:
    """Largest bound of the network at its limit."""
    return max(max(vars(bounds).values()) for bounds in LIMITS[name](0).bounds.values())


@pytest.mark.parametrize("name", LIMITS)
def test_every_backend_is_exact_at_the_limit(
    name: str,
    backend: str,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert largest(name) == INT32_MAX
    if backend == "openvino":  # it computes in float32
        with pytest.raises(ExportError, match=f"reach {INT32_MAX}, and OpenVINO computes"):
            assert_conforms(LIMITS[name](0), backend, WINDOWS, tmp_path)
    else:
        assert_conforms(LIMITS[name](0), backend, WINDOWS, tmp_path)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("isa", engine.TIERS)
def test_every_tier_is_exact_at_the_limit(name: str, isa: str) -> None:
    if isa not in engine.isas():
        pytest.skip(f"tier {isa} is not available on this CPU")
    net = LIMITS[name](0)
    found = engine.Engine(engine.Model(net, isa=isa)).run(WINDOWS, trace=True)
    assert_equal(found, reference.run(net, WINDOWS, trace=True))


@pytest.mark.parametrize("name", LIMITS)
def test_one_unit_beyond_the_limit_is_refused(name: str) -> None:
    with pytest.raises(NetworkError, match=rf"can reach {INT32_MAX + 1}, beyond 32 bits"):
        LIMITS[name](1)


def test_the_limit_is_reached() -> None:
    """The largest input gives the largest values, of both signs."""
    net = LIMITS["a synaptic current"](0)
    found = reference.currents(net, net["a"], {"in": WINDOWS.astype(np.int64)})
    assert found.max() == INT32_MAX and found.min() == -INT32_MAX
    result = reference.run(LIMITS["a read-out"](0), WINDOWS)
    assert result.logits.max() == INT32_MAX and result.logits.min() == -INT32_MAX
