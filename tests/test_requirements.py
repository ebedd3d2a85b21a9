"""A skip fails where `LMHT_TEST_REQUIRE` names what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import requirements
from tests.support.requirements import missing_requirement, required

LAVA = "Skipped: Lava's environment is not installed; run: lmht lava install"
GPU = "Skipped: needs a GPU"


@pytest.mark.parametrize(
    ("names", "reason", "expected"),
    [
        ("", LAVA, None),
        ("lava", LAVA, "lava"),
        ("tonic,tiers", LAVA, None),
        ("tonic", "Skipped: could not import 'tonic': No module named 'tonic'", "tonic"),
        ("tiers", "Skipped: tier generic is not available on this CPU", "tiers"),
        ("all", LAVA, "lava"),
        ("all", GPU, None),
        ("all", "Skipped: Chromium is not installed", "chromium"),
        ("chromium", "Skipped: Chromium is not installed", "chromium"),
        ("all,gpu", "Skipped: anything else", "all"),
        ("all", "Skipped: not applicable: sinabs has no neurons of this kind", None),
    ],
)
def test_reasons(
    names: str, reason: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LMHT_TEST_REQUIRE", names)
    assert missing_requirement(reason) == expected


def test_a_tier_may_be_skipped_only_on_a_cpu_that_lacks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMHT_TEST_REQUIRE", "all")
    monkeypatch.setattr(requirements, "_cpu_flags", lambda: requirements.AVX2)
    assert missing_requirement("Skipped: tier avx512vnni is not available on this CPU") is None
    assert missing_requirement("Skipped: tier avx2 is not available on this CPU") == "tiers"


def test_an_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LMHT_TEST_REQUIRE", "lava,loihi")
    with pytest.raises(ValueError, match="'loihi'"):
        required()


MODULE = """
import pytest

{module_skip}

@pytest.mark.skipif(True, reason="Lava is not installed")
def test_marked() -> None: ...

def test_called() -> None:
    pytest.skip("Lava is not installed")
"""


@pytest.mark.parametrize(
    ("module_skip", "failures"), [("", "1 failed, 1 error"), ("lava", "1 error")]
)
def test_skips_become_failures(module_skip: str, failures: str, tmp_path: Path) -> None:
    statement = (
        f'pytest.skip("Lava is absent", allow_module_level=True) if {bool(module_skip)} else 0'
    )
    (tmp_path / "test_skipping.py").write_text(MODULE.format(module_skip=statement))
    (tmp_path / "conftest.py").write_text(
        "from tests.conftest import pytest_make_collect_report, pytest_runtest_makereport\n"
    )
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(tmp_path)]
    environment = {"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "LMHT_TEST_REQUIRE": "lava"}
    found = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert failures in found.stdout, found.stdout + found.stderr
    assert found.returncode != 0
