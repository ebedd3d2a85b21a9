"""Builds what is written in C++, in the one folder that all tests of it share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "native"
TOOLS = Path(sys.executable).parent
"""Has the CMake and Ninja of the dev extra."""
DEBUG = ["-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O1 -D_GLIBCXX_ASSERTIONS"]


def run(*command: str | Path, **environment: str) -> str:
    """Run a command and return its output, which is the message if it fails.

    Args:
        command: The program and its arguments.
        environment: Variables that differ from those of this process.
    """
    done = subprocess.run(
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": f"{TOOLS}:{os.environ['PATH']}"} | environment,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))} failed:\n{done.stdout}", pytrace=False)
    return done.stdout


def build(target: str) -> Path:
    """Build a target of CMake, one process at a time; the folder of all that is built."""
    BUILD.parent.mkdir(exist_ok=True)
    with FileLock(f"{BUILD}.lock"):
        run(ROOT / "tests" / "native" / "build", BUILD, target, "-DLMHT_LIBRARY=ON", *DEBUG)
    return BUILD
