"""Constants that Python and C++ both state."""

from __future__ import annotations

import importlib

from lmht_deploy import ir
from lmht_deploy.formats.netx import keys


def test_fractions_and_states_have_the_same_units() -> None:
    core = importlib.import_module("lmht_deploy.netx._core")
    assert core.STATE_ONE == keys.STATE_ONE == ir.LEAK_ONE
    assert core.STATE_UNIT == keys.STATE_UNIT
