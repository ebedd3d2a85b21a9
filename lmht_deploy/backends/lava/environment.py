"""The Python environment of Lava: lava-nc 0.10 and lava-dl 0.6 need NumPy < 2, best Python 3.10.

It is built once with pip and holds only what a simulation imports (no PyTorch).
"""

from __future__ import annotations

import hashlib
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
"""Everything that the simulator imports; installed without further dependencies."""
VERSIONS = ("3.10", "3.11", "3.12")
"""Versions of Python on which Lava runs, the best one first; from 3.11 on with shims."""
IMPORTS = (
    "import h5py, lava.lib.dl.netx.hdf5, lava.proc.conv.models, lava.proc.dense.models, "
    "lava.proc.io, lava.proc.lif.models"
)
CHECK = (
    "import sys; sys.path.append({folder!r}); from worker import shims; "
    f"shims.newer_python(); shims.without_torch(); {IMPORTS}"
)
"""Program that imports Lava in its environment."""


def default_folder() -> Path:
    """Return `~/.cache/lmht-deploy/lava-<hash of the packages>`."""
    packages = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12]
    return Path.home() / ".cache" / "lmht-deploy" / f"lava-{packages}"


def python_of(folder: Path | None = None) -> Path | None:
    """Return the Python of the environment in `folder`; None where it is missing or incomplete.

    Args:
        folder: Folder of the environment; None for `default_folder()`.
    """
    python = (folder or default_folder()) / "bin" / "python"
    return python if python.exists() else None


def version_of(python: Path) -> str:
    """Return the version of an interpreter, as in "3.10"; "" where it does not run."""
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
    """Build the environment, unless it exists.

    It is built in a temporary folder, checked by importing Lava, and renamed, so that an
    incomplete environment is never used.

    Args:
        folder: Folder of the environment; None for `default_folder()`.
        python: Interpreter to build with; None for the best one found.
        progress: Called with a description of each step.

    Returns:
        The Python of the environment.

    Raises:
        BackendError: No suitable Python was found, the environment exists with another version of
            Python than `python`, or a step failed.
    """
    folder = folder or default_folder()
    version = None if python is None else _suitable(python)
    occupied = folder.is_file() or (folder.is_dir() and any(folder.iterdir()))
    if found := python_of(folder):  # looked for last: another process may just have built it
        _check_version(folder, version_of(found), version)
        return found
    if occupied:
        raise BackendError(f"{folder}: cannot be created (it exists); remove what is there")
    python = python or _find_python()
    with _beside(folder) as name:
        partial = Path(name) / "environment"
        _build(partial, python, progress)
        try:
            partial.rename(folder)
        except OSError as error:  # another process was faster, or the folder is in use
            if python_of(folder) is None:
                raise BackendError(
                    f"{folder}: cannot be created ({error.strerror}); remove what is there"
                ) from None
    return folder / "bin" / "python"


def _check_version(folder: Path, found: str, wanted: str | None) -> None:
    if wanted and wanted != found:
        raise BackendError(
            f"{folder}: Lava is installed there already, with Python {found}; remove that folder "
            f"to install it with Python {wanted}"
        )


def _beside(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """Create a temporary folder beside `folder`."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.",
            suffix=".partial",
            dir=folder.parent,
            ignore_cleanup_errors=True,
        )
    except OSError as error:
        raise BackendError(f"{folder}: cannot be created ({error.strerror})") from None


def _build(environment: Path, python: Path, progress: Callable[[str], None]) -> None:
    """Build the environment and import Lava in it."""
    progress(f"creating an environment of Python {version_of(python)} ({python})")
    _run([python, "-m", "venv", environment])
    inside = environment / "bin" / "python"
    progress(f"installing {', '.join(PACKAGES)}")
    # lava-nc declares Python < 3.11; worker/shims.py supplies what later versions need
    options = ("--quiet", "--disable-pip-version-check", "--no-deps", "--ignore-requires-python")
    _run([inside, "-m", "pip", "install", *options, *PACKAGES])
    progress("importing Lava")
    _run([inside, "-I", "-c", CHECK.format(folder=str(Path(__file__).parent))])


def _find_python() -> Path:
    """Return the best interpreter found."""
    for python in _candidates():
        if version_of(python) in VERSIONS:
            return python
    raise BackendError(
        f"found no Python {_any_version()} for Lava; install one, or name it with --python"
    )


def _candidates() -> Iterator[Path]:
    """Yield interpreters, the best version first: on the path, from pyenv, then this one."""
    pyenv = Path.home() / ".pyenv" / "versions"
    for version in VERSIONS:
        if found := shutil.which(f"python{version}"):
            yield Path(found)
        yield from sorted(pyenv.glob(f"{version}.*/bin/python"), reverse=True)
        if version == "{}.{}".format(*sys.version_info):
            yield Path(sys.executable)


def _suitable(python: Path) -> str:
    """Return the version of an interpreter; BackendError where Lava does not run on it."""
    version = version_of(python)
    if not version:
        raise BackendError(f"{python}: is not a Python interpreter that runs")
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
        reason = lines[-1].strip() if lines else f"{command[0]} failed"
        raise BackendError(f"Lava's environment could not be built: {reason}")


def _any_version() -> str:
    return ", ".join(VERSIONS[:-1]) + " or " + VERSIONS[-1]
