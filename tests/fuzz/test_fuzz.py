"""A bounded run of the fuzzer; `python -m tests.fuzz` is the long one."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import pytest

from tests.fuzz.__main__ import chosen
from tests.fuzz._runner import MAX_MEMORY, run_inputs
from tests.fuzz.targets import targets

TARGETS = targets()
RUNS = 300


@pytest.mark.parametrize("name", TARGETS)
def test_readers_succeed_or_raise_our_error(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    if target.missing:
        pytest.skip(target.missing)
    inputs = [*target.seeds, *target.inputs(RUNS, seed=1)]
    findings = list(run_inputs(target.read, inputs, tmp_path, target.suffix))
    assert not findings, f"{len(findings)} of {RUNS}; the first: {findings[0].what}"


def crash(path: Path) -> None:
    if path.read_bytes() == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.read_bytes() == b"exit":
        os._exit(3)
    if path.read_bytes() == b"raise":
        raise ValueError("not one of ours")
    if path.read_bytes() == b"grow":
        bytearray(b"x") * (8 * MAX_MEMORY)


def test_findings_are_found_and_the_rest_still_runs(tmp_path: Path) -> None:
    inputs = [b"fine", b"crash", b"fine", b"exit", b"raise", b"grow", b"fine"]
    findings = list(run_inputs(crash, inputs, tmp_path, ".bin"))
    expected = {
        b"crash": "SIGSEGV", b"exit": "status 3", b"raise": "ValueError", b"grow": "MemoryError",
    }  # fmt: skip
    assert [finding.content for finding in findings] == list(expected)
    for finding in findings:
        assert expected[finding.content] in finding.what


def test_targets_are_found_by_pattern(capsys: pytest.CaptureFixture[str]) -> None:
    """So `tests/sanitize` runs every target of liblmht, whatever is added."""
    known, parser = targets(), argparse.ArgumentParser()
    found = chosen(["liblmht-*", "lmht", "liblmht-flat"], known, parser)
    assert found == [*(name for name in known if name.startswith("liblmht-")), "lmht"]
    assert {"liblmht-flat", "liblmht-stepper", "liblmht-raw"} < set(found)
    with pytest.raises(SystemExit):
        chosen(["liblmth-*"], known, parser)
    assert "there is no target 'liblmth-*'; there are" in capsys.readouterr().err
    assert "tests.fuzz 'liblmht-*'" in Path("tests/sanitize").read_text()
