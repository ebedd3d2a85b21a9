"""Speed in processes of their own, and the RAPL counters of a made-up machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from lmht_deploy import engine, exporters
from lmht_deploy.analysis import rapl
from lmht_deploy.analysis.speed import measure
from lmht_deploy.errors import BackendError
from lmht_deploy.formats.lmht import save_network
from tests.support.networks import SPECIAL, windows_for

NET = SPECIAL["dense"]()


def machine(folder: Path, name: str, microjoules: int, largest: int = 1000) -> Path:
    """Make the files of one RAPL zone, and return that of its energy."""
    zone = folder / name
    zone.mkdir()
    for file, text in {"name": "package-0", "max_energy_range_uj": largest}.items():
        (zone / file).write_text(f"{text}\n")
    (zone / "energy_uj").write_text(f"{microjoules}\n")
    return zone / "energy_uj"


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
        assert speed.start_ms > speed.open_ms > 0 and speed.batch == 32 and speed.threads == 1
        assert speed.peak_memory_bytes is None or speed.peak_memory_bytes > 2**20
        assert speed.artifact_bytes == artifacts[label].stat().st_size
        assert {"lmht-deploy", "numpy"} <= speed.versions.keys()
    assert found["event"].tier == engine.isas()[0] and found["onnx/net.onnx"].tier is None
    assert "onnxruntime" in found["onnx/net.onnx"].versions
    assert "reason" in energy or energy["joules"] >= 0


def test_a_backend_that_fails_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.lmht"
    path.write_text("no network")
    with pytest.raises(BackendError, match="the speed of backend 'event' cannot be measured: "):
        measure({"event": path}, windows_for(NET, 2), rounds=1, seconds=0.01)


def test_counters_of_a_machine(tmp_path: Path) -> None:
    assert rapl.counters(tmp_path) == ([], "the system shows no RAPL counter of the processor")
    energy = machine(tmp_path, "intel-rapl:0", 900)
    machine(tmp_path, "intel-rapl:1", 5)
    machine(tmp_path, "intel-rapl:0:0", 7)  # a part of package 0: it would count twice
    found, reason = rapl.counters(tmp_path)
    assert len(found) == 2 and reason == "" and found[0].name == "package-0"
    before = [counter.read() for counter in found]
    energy.write_text("100\n")
    after = [counter.read() for counter in found]
    assert rapl.joules_between(found, before, after) == pytest.approx(200e-6)
    assert rapl.idle_watts(found, 0.01) == 0


def test_counters_that_cannot_be_read(tmp_path: Path) -> None:
    machine(tmp_path, "intel-rapl:0", 900).unlink()
    found, reason = rapl.counters(tmp_path)
    assert found == [] and "cannot be read without permission" in reason
