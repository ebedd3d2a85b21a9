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


def run(command: list[str | Path]) -> None:
    """Run a command; its output is the message where it fails."""
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))} failed:\n{done.stdout}", pytrace=False)


@pytest.mark.parametrize("name", sorted(path.stem for path in HERE.glob("test_*.cpp")))
def test_native(name: str) -> None:
    if shutil.which("c++") is None:
        pytest.skip("the C++ tests need a C++ compiler")
    run([HERE / "build", BUILD, name, *DEBUG])
    run([BUILD / "tests" / "native" / name])
