"""The benchmark for GPUs in its small form: order, budget, resuming, report."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="Triton is not installed")
import torch
from torch.nn import functional

from benchmarks.training import __main__ as benchmark
from benchmarks.training import profile, step
from benchmarks.training.network import StepLoop, network
from benchmarks.training.report import TARGETS, read_results, to_text, verdict
from benchmarks.training.session import OutOfTimeError
from benchmarks.training.timing import CPU
from lmht_deploy.training import LMHT, loop

pytestmark = pytest.mark.skipif(not CPU.fused, reason="Triton compiles for the GPU here")


@pytest.fixture(autouse=True)
def without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small form, and no end of this process with the budget."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(benchmark, "hard_limit", lambda seconds, stop: nullcontext())


def measure(folder: Path, *only: str, budget: float = 600.0) -> int:
    names = ["--folder", str(folder), "--budget", str(budget), "--keep", str(folder / "kept")]
    return benchmark.main([*names, "--only", *only])


def results(folder: Path) -> dict[str, Any]:
    return {name: one["result"] for name, one in read_results(folder).items()}


# ------------------------------------------------------------------------------------------- speed


def test_parts_of_speed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = ["copy", "correctness", "kernels", "step", "epochs", "average", "tiles"]
    assert measure(tmp_path, *reversed(parts)) == 0
    found = results(tmp_path)
    assert found.keys() == set(parts)
    assert found["correctness"] == dict.fromkeys(
        ("float64", "float32", "bfloat16", "float16"), "equal"
    )
    assert [(row["layers"], row["steps_in"], row["neurons"]) for row in found["kernels"]] == [
        (1, 1, 2 * 4 * 8 * 8),
        (2, 2, 2 * 6 * 4 * 4),
    ]
    assert [row["forward"]["bytes"] for row in found["kernels"]] == [
        2 * 512 * (1 + 2),
        2 * 192 * (2 + 2),
    ]
    assert [(row["neurons"], row["warps"]) for row in found["tiles"]] == [(512, 4), (1024, 4)]
    assert list(found["step"]) == [
        "step loop, float32",
        "step loop, bfloat16",
        "ours",
        "ours, one CUDA graph",
        "ours, one CUDA graph, augmentation and average",
    ]
    assert len(found["epochs"]["seconds"]) == len(found["epochs"]["test_accuracy"]) == step.EPOCHS
    assert 0 <= found["average"]["average"] <= 1
    assert verdict(found).keys() == TARGETS.keys()
    said = capsys.readouterr()
    order = [line.split("] ")[1].split(":")[0] for line in said.err.splitlines() if "] " in line]
    assert order == parts
    assert "the figures mean nothing" in said.out and said.out.strip() == to_text(tmp_path).strip()


def test_step_loop_learns_what_ours_learns() -> None:
    """The rival is the same network: one step leaves the same weights."""
    after = []
    for kind in (StepLoop, LMHT):
        model, windows, labels = network(CPU, kind)
        functional.cross_entropy(model(windows), labels).backward()
        after.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(*after)


def test_kernels_by_kind() -> None:
    """Times are per step; the GPU is idle while no kernel runs."""
    kernels = [
        ("_forward", 0.0, 100.0),
        ("void cudnn::bn_bw_1C11_singleread<float>", 200.0, 300.0),
        ("sm90_xmma_fprop_implicit_gemm_bf16", 300.0, 700.0),
        ("void at::native::multi_tensor_apply_kernel<FusedSgd>", 900.0, 1000.0),
    ]
    found = profile.summarize(kernels)
    assert found["milliseconds"] == pytest.approx(
        {"convolution": 0.08, "neurons": 0.02, "batch norm": 0.02, "optimizer and average": 0.02}
    )
    assert (found["wall"], found["idle"]) == pytest.approx((0.2, 0.3))


# ------------------------------------------------------------------------------------- experiments


def test_experiments_are_resumed_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training that the budget stops is continued with its number of epochs."""
    run_epoch, calls = loop._Session.run_epoch, []

    def stopped(session: Any) -> None:
        if calls:
            raise OutOfTimeError
        calls.append(session)
        run_epoch(session)

    assert measure(tmp_path, "epochs") == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop._Session, "run_epoch", stopped)
        assert measure(tmp_path, "lmht") == 0
    metrics = tmp_path / "runs" / "lmht" / "metrics.jsonl"
    first = metrics.read_text()
    assert first.count("\n") == 1 and not (tmp_path / "lmht.json").exists()
    assert measure(tmp_path, "lmht") == 0
    assert metrics.read_text().startswith(first) and metrics.read_text().count("\n") == 2
    found = results(tmp_path)
    assert found["lmht"]["epochs"] == found["epochs-of-twins"] == 2
    assert 0 <= found["integers-lmht"]["accuracy"] <= 1 and found["integers-lmht"]["sops"] > 0
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"lmht.lmht", "results.tar.gz"}
    monkeypatch.setattr(loop._Session, "run_epoch", stopped)
    assert measure(tmp_path, "lmht") == 0  # nothing is trained again


def test_hybrid_and_recordings(tmp_path: Path) -> None:
    """The hybrid starts from its ANN; recordings are emulated and said to be."""
    assert measure(tmp_path, "hybrid", "qcfs", "conversion", "dvs-small") == 0
    found = results(tmp_path)
    assert found["conversion"]["ann"] == found["qcfs"]["accuracy"]
    assert found["dvs-small"]["emulated"] and not found["hybrid"]["emulated"]
    assert found["integers-dvs-small"]["windows"] == 10
    assert "emulated from images" in to_text(tmp_path)


# ------------------------------------------------------------------------------------------ budget


def test_what_does_not_fit_is_not_begun(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert measure(tmp_path, "copy", "step", "lmht", budget=0.4) == 0
    assert not list(tmp_path.glob("*.json"))
    assert "step: not begun, it needs 1 s, " in capsys.readouterr().err


def test_what_was_measured_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine may stop in the middle of it."""

    def gone(session: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setitem(benchmark.PARTS, "step", benchmark.Part(gone, 1))
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path, "copy", "step")
    assert results(tmp_path).keys() == {"copy"}
    assert json.loads((tmp_path / "copy.json").read_text())["versions"]["torch"]


def test_what_fails_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that fails is tried again the next time."""

    def fail(session: object) -> float:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setitem(benchmark.PARTS, "copy", benchmark.Part(fail, 1))
        assert measure(tmp_path, "copy") == 1
    assert "FAILED: copy: RuntimeError: out of memory" in capsys.readouterr().out
    assert measure(tmp_path, "copy") == 0


def test_the_budget_is_hard() -> None:
    """A process ends with its budget, even where nothing else can stop it."""
    program = (
        "import time; from benchmarks.training.session import hard_limit\n"
        "with hard_limit(0.2, lambda: print('stopped')): time.sleep(60)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 3 and ended.stdout == "stopped\n"
    assert "the budget is spent" in ended.stderr
