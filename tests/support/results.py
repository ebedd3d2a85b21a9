"""Compare the results of a backend with those of the reference model."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np

from lmht_deploy import backends, reference
from lmht_deploy.errors import ExportError
from lmht_deploy.exporters import netx, onnx
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.ir import Network
from lmht_deploy.result import Result

WRITERS: dict[str, Callable[..., object]] = {
    ".lmht": save_network,
    ".onnx": partial(onnx.export_onnx, trace=True),
    ".net": netx.export_netx,
}
"""Writer of the artifact of each file name extension.

A new backend is added to `lmht_deploy.backends.NAMES`, a new format here.
"""


def open_exported(backend: str, net: Network, folder: Path) -> backends.Backend:
    """Export `net` to `folder` and open the file with `backend`."""
    suffix = backends.artifact_suffix(backend)
    path = folder / f"net{suffix}"
    options = backends.export_options(backend)
    WRITERS[suffix](net, path, **options)
    if reason := backends.refusal(backend, path):
        raise ExportError(reason)
    return backends.open_backend(backend, path)


def assert_conforms(net: Network, backend: str, windows: np.ndarray, folder: Path) -> None:
    """Assert that `backend` gives the reference model's integers, from a file and directly."""
    capabilities = backends.capabilities(backend)
    expected = reference.run(net, windows, trace=True)
    runners = [open_exported(backend, net, folder)]
    if "network" in capabilities:
        runners.append(backends.open_network(backend, net))
    for runner in runners:
        with closing(runner):
            found = runner.run(windows, trace="traces" in capabilities)
        assert_equal(found, expected, capabilities)


def assert_equal(
    found: Result,
    expected: Result,
    capabilities: frozenset[backends.Capability] = frozenset({"events", "traces"}),
) -> None:
    """Assert that all integers are equal, and that `found` has what its backend declares."""
    assert (found.traces is not None) == ("traces" in capabilities)
    for name, k in (found.traces or {}).items():
        assert expected.traces is not None
        np.testing.assert_array_equal(k, expected.traces[name], err_msg=f"spikes of {name!r}")
    if found.traces is not None and expected.traces is not None:
        assert found.traces.keys() == expected.traces.keys()
    np.testing.assert_array_equal(found.logits, expected.logits, err_msg="logits")
    assert found.logits.dtype == np.int64
    for kind in ("spikes", "sops", "events", "event_sops"):
        if kind in ("spikes", "sops") or "events" in capabilities:
            _assert_equal_counts(kind, getattr(found, kind), getattr(expected, kind))
        else:
            assert getattr(found, kind) == {}, f"{kind} is filled, but 'events' is not declared"
    assert found.macs == expected.macs
    assert found.scale == expected.scale


def _assert_equal_counts(
    kind: str, found: dict[str, np.ndarray], expected: dict[str, np.ndarray]
) -> None:
    assert found.keys() == expected.keys(), f"{kind} misses layers"
    for name, values in found.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=f"{kind} of layer {name!r}")
        assert values.dtype == np.int64
