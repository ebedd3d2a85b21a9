"""The C++ tests: each `test_*.cpp` in this folder is a program that is built and run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.native_build import build, run

HERE = Path(__file__).parent

if shutil.which("c++") is None:
    pytest.skip("the C++ tests need a C++ compiler", allow_module_level=True)


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("test_*.cpp")))
def test_native(name: str) -> None:
    run(build(name) / "tests" / "native" / name)


@pytest.mark.parametrize("core", ["engine", "netx"])
def test_a_tier_shares_no_code_with_others(core: str) -> None:
    """An inline function of a tier could be linked in place of another tier's, and then run on a
    CPU that lacks its instructions."""
    tiers = list((build(f"lmht_{core}") / "lmht_deploy" / core).rglob("kernels/*.o"))
    assert tiers
    for path in tiers:
        symbols = run("nm", "--defined-only", "--extern-only", path).splitlines()
        assert len(symbols) == 1, symbols
        assert f"kernels_{path.name.removesuffix('.cpp.o')}" in symbols[0]
