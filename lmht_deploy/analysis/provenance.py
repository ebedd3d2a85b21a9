"""What computed a result: versions, commit and machine, as plain values for JSON."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lmht_deploy import __version__, engine

__all__ = ["PACKAGES", "commit", "cpu", "provenance", "versions"]

PACKAGES = ("numpy", "h5py", "torch", "onnx", "onnxruntime", "tonic", "aedat", "faery")
"""Packages that compute or read data; their versions are reported where they are installed."""


def provenance(threads: int) -> dict[str, Any]:
    """Return when, with what and where a result is computed.

    Args:
        threads: Maximum number of threads that were used.

    Returns:
        The keys of `provenance` in docs/reference/compare-json.md. A value is None where it is not
        known.
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "lmht_deploy": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": versions(PACKAGES),
        "system": platform.platform(),
        "cpu": cpu(),
        "cpus": os.cpu_count(),
        "isa": None if engine.unavailable() else engine.isas()[0],
        "memory_bytes": _memory(),
        "threads": threads,
    }


def commit() -> str | None:
    """Return the commit of the sources of lmht-deploy; None if they are no git repository."""
    try:
        # An installed package may lie inside the repository of another project.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("rev-parse", "--short=12", "HEAD").strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def cpu() -> str:
    """Return the name of the CPU."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = re.search(r"^model name\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those of `packages` that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _memory() -> int | None:
    """Return the memory of the machine in bytes; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
