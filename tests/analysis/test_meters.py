"""Measured energy: the counters of made-up machines."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from lmht_deploy.analysis.meters import Counter, Meter, nvml, rapl
from lmht_deploy.analysis.speed import measure_energy

UUID = "12345678-aaaa-bbbb-cccc-1234567890ab"


def machine(folder: Path, name: str, microjoules: int, largest: int = 1000) -> Path:
    """Make the files of one RAPL zone, and return that of its energy."""
    zone = folder / name
    zone.mkdir()
    for file, text in {"name": "package-0", "max_energy_range_uj": largest}.items():
        (zone / file).write_text(f"{text}\n")
    (zone / "energy_uj").write_text(f"{microjoules}\n")
    return zone / "energy_uj"


def test_rapl(tmp_path: Path) -> None:
    none = rapl.open_meter(tmp_path)
    assert none == Meter("RAPL", (), "the system shows no RAPL counter of the processor")
    energy = machine(tmp_path, "intel-rapl:0", 900)
    machine(tmp_path, "intel-rapl:1", 5)
    machine(tmp_path, "intel-rapl:0:0", 7)  # a part of package 0: it would count twice
    meter = rapl.open_meter(tmp_path)
    assert meter.source == "RAPL package-0, package-0" and meter.reason == ""
    before = meter.read()
    energy.write_text("100\n")  # it overflowed at 1000
    assert meter.joules(before, meter.read()) == pytest.approx(200e-6)
    assert meter.idle_watts(0.01) == 0


def test_rapl_that_cannot_be_read(tmp_path: Path) -> None:
    machine(tmp_path, "intel-rapl:0", 900).unlink()
    meter = rapl.open_meter(tmp_path)
    assert not meter.counters and "cannot be read without permission" in meter.reason


class FakeNvml(ModuleType):
    """The functions of pynvml that are used, for one GPU that counts 250 mJ per reading."""

    class NVMLError(Exception):
        pass

    def __init__(self, fails: str = "") -> None:
        super().__init__("pynvml")
        self.fails, self.energy, self.calls = fails, 10_000, list[str]()

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name == self.fails:
            raise self.NVMLError("Not Supported")

    def nvmlInit(self) -> None:  # noqa: N802
        self._call("init")

    def nvmlShutdown(self) -> None:  # noqa: N802
        self._call("shutdown")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        self._call("handle")
        return uuid

    def nvmlDeviceGetName(self, handle: str) -> bytes:  # noqa: N802
        assert handle == f"GPU-{UUID}"
        return b"a GPU"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        self._call("energy")
        self.energy += 250
        return self.energy


@pytest.mark.parametrize("uuid", [UUID, f"GPU-{UUID}"])
def test_nvml(uuid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr("lmht_deploy.analysis.meters._meter.IDLE_SECONDS", 0.01)
    with nvml.open_meter(uuid) as meter:
        assert (meter.kind, meter.source, meter.reason) == ("NVML", "NVML a GPU", "")
        found = measure_energy(meter, "torch", lambda: 10)
    assert found["joules"] == pytest.approx(0.250 / 10)
    assert (found["meter"], found["backend"]) == ("NVML", "torch") and found["joules_idle"] > 0
    assert fake.calls[-1] == "shutdown"


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        ("init", "the driver of the GPU does not answer (Not Supported)"),
        ("handle", "the GPU has no counter of energy (Not Supported)"),
        ("energy", "the GPU has no counter of energy (Not Supported)"),
    ],
)
def test_a_gpu_without_a_counter(fails: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeNvml(fails)
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    with nvml.open_meter(UUID) as meter:
        assert measure_energy(meter, "torch", lambda: 1) == {"meter": "NVML", "reason": reason}
    assert ("shutdown" in fake.calls) == (fails != "init")


def test_nvml_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with nvml.open_meter(UUID) as meter:
        assert "run: pip install 'lmht-deploy[nvml]'" in meter.reason
    with nvml.open_meter(None) as meter:
        assert meter.reason == "no backend ran on a GPU; --device chooses one"


def test_a_counter_without_overflow_never_runs_backwards() -> None:
    assert Counter("a", lambda: 0).between(5, 9) == 4
    assert Counter("a", lambda: 0, 10).between(9, 2) == 3
