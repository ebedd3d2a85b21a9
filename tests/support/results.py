"""Comparison of a backend's results with the golden model's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lmht_deploy import backends, reference
from lmht_deploy.exporters import netx, onnx
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.ir import Network
from lmht_deploy.result import Result

WRITERS: dict[str, Callable[[Network, Path], object]] = {
    ".lmht": save_network,
    ".onnx": lambda net, path: onnx.export_onnx(net, path, trace=True),
    ".net": netx.export_netx,
}
"""How a network becomes the artifact of each suffix. A new backend joins `lmht_deploy.backends.NAMES`; a new format, here."""


def assert_conforms(net: Network, backend: str, windows: np.ndarray, folder: Path) -> None:
    """`backend` gives the golden model's integers for `windows`; says where the two part first."""
    suffix = backends.artifact_suffix(backend)
    path = folder / f"net{suffix}"
    WRITERS[suffix](net, path)
    runner = backends.open_backend(backend, path)
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
            np.testing.assert_array_equal(
                values, getattr(expected, counts)[name], err_msg=f"{counts} of layer {name!r}"
            )
            assert values.dtype == np.int64
    assert found.macs == expected.macs
    assert found.scale == expected.scale
