"""The files of hashes agree with the pinned versions, and hold every package of development."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
BY_VERSION = {"torch", "triton"}
"""Packages without a hash: their wheels differ between indexes."""


def _versions(text: str) -> dict[str, set[str]]:
    """Versions by package; some depend on the Python version."""
    found: dict[str, set[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([\w.+!]+)", text, re.MULTILINE):
        found.setdefault(name.lower().replace("_", "-"), set()).add(version)
    return found


def _locked() -> str:
    names = ("requirements-dev.lock", "requirements-spikingjelly.lock")
    return "".join((ROOT / name).read_text() for name in names)


def test_every_entry_has_hashes() -> None:
    entries = re.split(r"^(?=[\w.-]+==)", _locked(), flags=re.MULTILINE)[1:]
    assert len(entries) > 100
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry) for entry in entries)


def test_versions_are_those_of_the_constraints() -> None:
    pinned, locked = _versions((ROOT / "constraints.txt").read_text()), _versions(_locked())
    assert locked.keys().isdisjoint(BY_VERSION)
    for name in pinned.keys() - BY_VERSION:
        assert locked.get(name) == pinned[name], f"run tests/release/lock: {name}"


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    wanted, pending = (
        [*project["project"]["dependencies"], *project["build-system"]["requires"]],
        ["dev"],
    )
    while pending:
        for requirement in extras[pending.pop()]:
            nested = re.match(r"lmht-deploy\[(.*)\]", requirement)
            pending += nested[1].split(",") if nested else []
            wanted += [] if nested else [requirement]
    names = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in wanted}
    assert names - _versions(_locked()).keys() <= BY_VERSION
