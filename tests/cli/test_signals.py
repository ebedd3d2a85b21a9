"""Signals that end a command."""

from __future__ import annotations

import sys
import time

import pytest

from lmht_deploy.cli._signals import AGAIN, ctrl_c_like


class Fragile:
    """Raises in its finalizer, where Python cannot deliver an exception."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


def test_an_interrupt_in_a_finalizer_is_not_lost() -> None:
    with ctrl_c_like(), pytest.raises(KeyboardInterrupt):
        Fragile(KeyboardInterrupt)
        time.sleep(30)


def test_no_interrupt_comes_after_the_command() -> None:
    with ctrl_c_like():
        Fragile(KeyboardInterrupt)
    time.sleep(5 * AGAIN)


def test_other_errors_in_a_finalizer_are_left_to_python(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda error: found.append(error.exc_type))
    with ctrl_c_like():
        Fragile(ValueError)
    assert found == [ValueError]
