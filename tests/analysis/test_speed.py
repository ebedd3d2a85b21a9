"""Speed in processes of their own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import engine, exporters
from lmht_deploy.analysis.speed import _Worker, measure
from lmht_deploy.errors import BackendError
from lmht_deploy.formats.lmht import save_network
from tests.support.networks import SPECIAL, windows_for

NET = SPECIAL["dense"]()


def test_every_backend_is_measured(tmp_path: Path) -> None:
    save_network(NET, tmp_path / "net.lmht")
    exporters.export(NET, tmp_path / "net.onnx")
    artifacts = {"event": tmp_path / "net.lmht", "onnx/net.onnx": tmp_path / "net.onnx"}
    windows = windows_for(NET, 40)
    found, energy = measure(artifacts, windows, rounds=2, seconds=0.02)
    assert list(found) == list(artifacts)
    for label, speed in found.items():
        latency = speed.latency
        assert 0 < latency["p50_ms"] <= latency["p90_ms"] <= latency["p99_ms"]
        assert latency["windows"] >= 2 and speed.throughput["windows_per_s"] > 0
        assert speed.start_ms > speed.open_ms > 0 and speed.threads == 1
        assert speed.batch == 32 if label == "event" else 1 <= speed.batch <= 40
        assert speed.peak_memory_bytes is None or speed.peak_memory_bytes > 2**20
        assert speed.artifact_bytes == artifacts[label].stat().st_size
        assert {"lmht-deploy", "numpy"} <= speed.versions.keys()
    assert found["event"].tier == engine.isas()[0] and found["onnx/net.onnx"].tier is None
    assert "onnxruntime" in found["onnx/net.onnx"].versions
    rapl, nvml = energy
    assert rapl["meter"] == "RAPL" and ("reason" in rapl or rapl["joules"] >= 0)
    assert nvml["meter"] == "NVML" and "no backend ran on a GPU" in nvml["reason"]


def test_a_backend_that_fails_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.lmht"
    path.write_text("no network")
    with pytest.raises(BackendError, match="the speed of backend 'event' cannot be measured: "):
        measure({"event": path}, windows_for(NET, 2), rounds=1, seconds=0.01)


def test_a_worker_that_is_killed_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "net.lmht"
    save_network(NET, path)
    np.save(tmp_path / "windows.npy", windows_for(NET, 2))
    with (
        _Worker("event", path, tmp_path / "windows.npy", 1, "cpu") as worker,
        pytest.raises(BackendError, match="cannot be measured: its process ended"),
    ):
        worker._process.kill()
        worker._process.wait()
        worker.run("latency", 0.01)
