"""Lava's own Python environment: lava-nc 0.10 and lava-dl 0.6 need NumPy < 2, and know Python 3.10 best.

It lies in the user's cache folder, is built once with pip, and holds only what a simulation imports (no PyTorch).
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from lmht_deploy.errors import BackendError

PACKAGES = (
    "lava-nc==0.10.0",
    "lava-dl==0.6.0",
    "numpy==1.26.4",
    "scipy==1.15.3",
    "h5py==3.16.0",
    "networkx==2.8.7",
    "asteval==0.9.33",
)
"""Everything that importing the simulator takes; installed without dependencies, so that nothing else comes along."""
VERSIONS = ("3.10", "3.11", "3.12")
"""Pythons that Lava was seen to run on, the best one first: beyond 3.10 it needs `worker/shims.py`."""
IMPORTS = "import h5py, lava.lib.dl.netx.hdf5, lava.proc.conv.models, lava.proc.dense.models, lava.proc.io, lava.proc.lif.models"


def default_folder() -> Path:
    """Where the environment lies unless told otherwise: in the user's cache folder, one for each set of packages."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (
        cache
        / "lmht-deploy"
        / f"lava-{hashlib.sha256(' '.join(PACKAGES).encode()).hexdigest()[:12]}"
    )


def python_of(folder: Path | None = None) -> Path | None:
    """The Python of the environment in `folder`; None where there is none, or not a whole one."""
    python = (folder or default_folder()) / "bin" / "python"
    return python if python.exists() else None


def version_of(python: Path) -> str:
    """The version of an interpreter, as "3.10"; "" where it does not run, as pyenv's placeholders do not."""
    ask: list[str | Path] = [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        said = subprocess.run(
            ask, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.decode().strip() if re.fullmatch(rb"\d+\.\d+\s*", said) else ""


def install(
    folder: Path | None = None,
    python: Path | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Path:
    """Build the environment in `folder` with the interpreter `python`, unless it is there; returns its Python.

    It is built beside, proved by importing Lava, and renamed: a half-built one is never taken for a whole one.
    `progress` is told each step. Raises BackendError where no suitable Python is found, `python` is of another version
    than what is there, or a step fails.
    """
    folder = folder or default_folder()
    version = None if python is None else _suitable(python)
    if found := python_of(folder):
        if version and version != (there := version_of(found)):
            raise BackendError(
                f"{folder}: Lava is installed there already, with Python {there}; remove that folder to install it with Python {version}"
            )
        return found
    python = python or _find_python()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.",
            suffix=".partial",
            dir=folder.parent,
            ignore_cleanup_errors=True,
        )
    except OSError as error:
        raise BackendError(f"{folder}: cannot be made ({error.strerror})") from None
    with beside as name:
        partial = Path(name) / "environment"
        progress(f"making an environment of Python {version_of(python)} ({python})")
        _run([python, "-m", "venv", partial])
        inside = partial / "bin" / "python"
        progress(f"installing {', '.join(PACKAGES)}")
        # lava-nc declares Python < 3.11; what it lacks beyond is in worker/shims.py
        _run(
            [
                inside,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--ignore-requires-python",
                *PACKAGES,
            ]
        )
        progress("importing Lava")
        worker = Path(__file__).parent
        shims = f"import sys; sys.path.append({str(worker)!r}); from worker import shims; shims.newer_python(); shims.without_torch(); {IMPORTS}"
        _run([inside, "-I", "-c", shims])
        try:
            partial.rename(folder)
        except OSError as error:  # another process was faster, or something else is in the way
            if python_of(folder) is None:
                raise BackendError(
                    f"{folder}: cannot be put in place ({error.strerror}); remove what is there"
                ) from None
    return folder / "bin" / "python"


def _find_python() -> Path:
    """The best interpreter at hand: Python 3.10 on the path or from pyenv, else a later one that will do."""
    for python in _candidates():
        if version_of(python) in VERSIONS:
            return python
    raise BackendError(
        f"found no Python {_any_version()} for Lava; install one, or name it with --python"
    )


def _candidates() -> Iterator[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for version in VERSIONS:
        if found := shutil.which(f"python{version}"):
            yield Path(found)
        yield from sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)
        if version == "{}.{}".format(*sys.version_info):
            yield Path(sys.executable)


def _suitable(python: Path) -> str:
    """The version of an interpreter that was asked for; BackendError where Lava does not run on it."""
    version = version_of(python)
    if not version:
        raise BackendError(f"{python}: is no Python that runs")
    if version not in VERSIONS:
        raise BackendError(f"{python} is Python {version}; Lava runs on Python {_any_version()}")
    return version


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise BackendError(
            f"Lava's environment could not be built: {lines[-1].strip() if lines else f'{command[0]} failed'}"
        )


def _any_version() -> str:
    return ", ".join(VERSIONS[:-1]) + " or " + VERSIONS[-1]
