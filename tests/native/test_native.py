"""The C++ tests: each `test_*.cpp` in this folder is a program that is built and run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "native"
DEBUG = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -g -D_GLIBCXX_ASSERTIONS"]

if shutil.which("c++") is None:
    pytest.skip("the C++ tests need a C++ compiler", allow_module_level=True)


def run(*command: str | Path) -> str:
    """Run a command and return its output, which is the message if it fails."""
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))} failed:\n{done.stdout}", pytrace=False)
    return done.stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("test_*.cpp")))
def test_native(name: str) -> None:
    run(HERE / "build", BUILD, name, *DEBUG)
    run(BUILD / "tests" / "native" / name)


@pytest.mark.parametrize("core", ["engine", "netx"])
def test_a_tier_shares_no_code_with_others(core: str) -> None:
    """An inline function of a tier could be linked in place of another tier's, and then run on a
    CPU that lacks its instructions."""
    run(HERE / "build", BUILD, f"lmht_{core}", *DEBUG)
    tiers = list((BUILD / "lmht_deploy" / core).rglob("kernels/*.o"))
    assert tiers
    for path in tiers:
        symbols = run("nm", "--defined-only", "--extern-only", path).splitlines()
        assert len(symbols) == 1, symbols
        assert f"kernels_{path.name.removesuffix('.cpp.o')}" in symbols[0]
