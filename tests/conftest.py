"""Settings of every test run: no access to the hub, caches of its own, no silent skips in CI."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.support.requirements import missing_requirement, required

CACHE = tempfile.mkdtemp(prefix="lmht-cache-")
atexit.register(shutil.rmtree, CACHE, ignore_errors=True)
if "PYTEST_XDIST_WORKER" in os.environ:  # one process per core
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it would end the process
os.environ |= {
    "HF_HOME": f"{CACHE}/huggingface",
    "HF_HUB_OFFLINE": "1",
    "LMHT_CACHE": f"{CACHE}/windows",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--backends",
        help="backends that tests/conformance runs, separated by commas (default: all)",
    )


def pytest_configure() -> None:
    required()  # an unknown name in LMHT_TEST_REQUIRE stops the run


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport() -> Generator[None, Any, None]:
    outcome = yield
    _fail_if_required(outcome.get_result())


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, None]:
    outcome = yield
    _fail_if_required(outcome.get_result())


def _fail_if_required(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip into a failure where `LMHT_TEST_REQUIRE` names what is missing."""
    if not report.skipped or not isinstance(report.longrepr, tuple):
        return
    path, line, reason = report.longrepr
    if name := missing_requirement(reason):
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: {reason} (LMHT_TEST_REQUIRE requires {name!r})"


@pytest.fixture(autouse=True)
def _handlers_are_left() -> Generator[None, None, None]:
    """Fail a test that leaves other handlers of signals behind: they would end a later test."""
    before = _handlers()
    yield
    assert _handlers() == before


def _handlers() -> dict[str, object]:
    """Return the handlers of Python, and those of libraries, which Python does not know."""
    names = ("SIGINT", "SIGTERM", "SIGHUP")
    status = Path("/proc/self/status")
    bits = re.findall(r"Sig(?:Ign|Cgt):\s*(\w+)", status.read_text()) if status.exists() else []
    found: dict[str, object] = {}
    for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
        native = tuple(int(mask, 16) >> (number - 1) & 1 for mask in bits)
        found[number.name] = (signal.getsignal(number), native)
    return found
