"""Signals that end a command. Each test has a process of its own, which the signals may end."""

from __future__ import annotations

import subprocess
import sys

import pytest

SETTING = """
import signal
import sys
import time

import pytest

from lmht_deploy.cli._signals import AGAIN, ctrl_c_like

signal.signal(signal.SIGINT, signal.default_int_handler)  # who started the tests may ignore it


class Fragile:
    # Raises in its finalizer, where Python cannot deliver an exception.
    def __init__(self, error):
        self.error = error

    def __del__(self):
        raise self.error
"""

AN_INTERRUPT_IN_A_FINALIZER_IS_NOT_LOST = """
with ctrl_c_like(), pytest.raises(KeyboardInterrupt):
    Fragile(KeyboardInterrupt)
    time.sleep(30)
"""

NO_INTERRUPT_COMES_AFTER_THE_COMMAND = """
with ctrl_c_like():
    Fragile(KeyboardInterrupt)
time.sleep(5 * AGAIN)
"""

OTHER_ERRORS_IN_A_FINALIZER_ARE_LEFT_TO_PYTHON = """
found = []
sys.unraisablehook = lambda error: found.append(error.exc_type)
with ctrl_c_like():
    Fragile(ValueError)
assert found == [ValueError]
"""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(AN_INTERRUPT_IN_A_FINALIZER_IS_NOT_LOST, id="not lost"),
        pytest.param(NO_INTERRUPT_COMES_AFTER_THE_COMMAND, id="not late"),
        pytest.param(OTHER_ERRORS_IN_A_FINALIZER_ARE_LEFT_TO_PYTHON, id="other errors"),
    ],
)
def test_interrupts_in_finalizers(script: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SETTING + script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
