"""`lmht doctor`: what runs on this machine, and what is missing."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lmht_deploy._packages import install_command
from lmht_deploy.errors import LmhtError

from . import _options as options
from ._console import good, say, show, table, write_json

EXTRAS = {
    "train": "training and lowering",
    "events": "recordings and event data sets",
    "images": "image data sets",
    "onnx": "export to ONNX, backend onnx",
    "openvino": "backend openvino",
    "plot": "charts from Python",
    "report": "options --report and --figures",
    "tensorboard": "lmht train --tensorboard",
    "demo": "lmht demo, data set digits",
}
"""Extras for users, and what each is for."""


@dataclass(frozen=True)
class Package:
    """One optional package.

    Attributes:
        name: Name of the distribution.
        version: Installed version; None if it is missing.
        extra: Extra of lmht-deploy that installs it.
    """

    name: str
    version: str | None
    extra: str


def doctor(json: options.Json = None) -> None:
    """Report what runs here: Python, CPU tiers, every backend and every optional package.

    For what is missing, it names the command that installs it. Exits with 0.
    """
    from lmht_deploy import __version__

    packages = list(_packages())
    content: dict[str, Any] = {
        "lmht-deploy": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "tiers": _tiers(),
        "backends": _backends(),
        "packages": [dataclasses.asdict(package) for package in packages],
        "install": _install(packages),
    }
    _show(content, packages)
    write_json(json, content)


# ------------------------------------------------------------------------------------- findings


def _tiers() -> dict[str, list[str] | str]:
    """Instruction sets in use, the best first, by C++ core; or why the core does not run."""
    from lmht_deploy import engine, netx

    return {"engine": _try(engine.isas), "netx": _try(netx.isas)}


def _try(names: Callable[[], list[str]]) -> list[str] | str:
    try:
        return list(names())
    except LmhtError as error:
        return str(error)


def _backends() -> dict[str, str | None]:
    """Why a backend cannot run here, by name; None if it can."""
    from lmht_deploy import backends

    return {name: backends.unavailable(name) for name in (*backends.NAMES, *backends.FOREIGN)}


def _packages() -> Iterator[Package]:
    """Every optional package of the extras for users, from the metadata of lmht-deploy."""
    try:
        requirements = importlib.metadata.requires("lmht-deploy") or []
    except importlib.metadata.PackageNotFoundError:  # a source tree that is not installed
        requirements = []
    for requirement in requirements:
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", requirement)
        if name and extra and extra[1] in EXTRAS and name[0] != "lmht-deploy":
            yield Package(name[0], _version(name[0]), extra[1])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _install(packages: list[Package]) -> str | None:
    """Return the command that installs all missing packages; None if there are none."""
    extras = dict.fromkeys(package.extra for package in packages if package.version is None)
    return install_command(",".join(extras)) if extras else None


# ------------------------------------------------------------------------------------- output


def _show(content: dict[str, Any], packages: list[Package]) -> None:
    say(f"lmht-deploy {content['lmht-deploy']}, Python {content['python']}, {content['platform']}")
    for core, tiers in content["tiers"].items():
        found = tiers if isinstance(tiers, str) else f"{', '.join(tiers)} (best first)"
        say(f"CPU tiers of {core}: {found}; {content['cpus']} CPUs")
    rows = table("backends", ("backend", "state"), left=("backend", "state"))
    for name, reason in content["backends"].items():
        rows.add_row(name, good("runs") if reason is None else reason)
    show(rows)
    columns = ("package", "version", "needed for", "to install")
    rows = table("optional packages", columns, left=columns)
    for package in packages:
        command = "" if package.version else install_command(package.extra)
        rows.add_row(package.name, package.version or "-", EXTRAS[package.extra], command)
    show(rows)
    missing = content["install"]
    say(f"To install what is missing: {missing}" if missing else "No package is missing.")
