"""The benchmark for GPUs in its small form: every part runs, and a failing part is isolated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed")
from benchmarks import training as benchmark

pytestmark = pytest.mark.skipif(not benchmark.CPU.fused, reason="Triton compiles for the GPU here")


def test_every_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark.torch.cuda, "is_available", lambda: False)
    assert benchmark.main(["--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["correctness"] == dict.fromkeys(
        ("float64", "float32", "bfloat16", "float16"), "equal"
    )
    assert [(row["layers"], row["steps_in"], row["neurons"]) for row in found["neurons"]] == [
        (1, 1, 2 * 4 * 8 * 8),
        (2, 2, 2 * 6 * 4 * 4),
    ]
    assert [row["forward"]["bytes"] for row in found["neurons"]] == [
        2 * 512 * (1 + 2),
        2 * 192 * (2 + 2),
    ]
    assert [(row["neurons"], row["warps"]) for row in found["tiles"]] == [(512, 4), (1024, 4)]
    assert list(found["step"]) == [
        "step loop, float32",
        "step loop, bfloat16",
        "ours, bfloat16",
        "ours, bfloat16, compiled",
    ]
    assert (
        found["verdict"].keys() == benchmark.TARGETS.keys() and min(found["verdict"].values()) > 0
    )
    assert list(found["took"]) == ["copy", "correctness", "neurons", "step", "tiles"]
    assert "the figures mean nothing" in capsys.readouterr().out


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may stop in the middle of it."""

    def gone(scale: benchmark.Scale) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "whole_step", gone)
    monkeypatch.setattr(benchmark.torch.cuda, "is_available", lambda: False)
    with pytest.raises(KeyboardInterrupt):
        benchmark.main(["--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["verdict"].keys() == {"forward", "backward"} and "step" not in found


def test_step_loop_learns_what_ours_learns() -> None:
    """The rival is the same network: one step leaves the same weights."""
    after = []
    for kind in (benchmark.StepLoop, benchmark.LMHT):
        model, windows, labels = benchmark.network(benchmark.CPU, kind)
        benchmark.functional.cross_entropy(model(windows), labels).backward()
        after.append({name: parameter.grad for name, parameter in model.named_parameters()})
    benchmark.torch.testing.assert_close(*after)


def test_what_fails_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(scale: benchmark.Scale) -> float:
        raise RuntimeError("out of memory")

    for part in ("copy_bandwidth", "whole_step", "all_layers", "other_tiles"):
        monkeypatch.setattr(benchmark, part, fail)
    monkeypatch.setattr(benchmark, "correctness", lambda scale: {"float32": "equal"})
    monkeypatch.setattr(benchmark.torch.cuda, "is_available", lambda: False)
    assert benchmark.main([]) == 1
    assert "FAILED: copy: RuntimeError: out of memory" in capsys.readouterr().out
