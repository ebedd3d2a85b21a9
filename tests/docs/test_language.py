"""Pages and docstrings keep the rules of language that a machine can check."""

from __future__ import annotations

from pathlib import Path

import pytest

from .language import check, docstrings, markdown_prose
from .pages import ROOT, pages

OTHER_PAGES = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
PACKAGES = ("lmht_deploy", "training", "exporters")


def _name(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("page", [*pages(), *OTHER_PAGES], ids=_name)
def test_page(page: Path) -> None:
    assert not check(markdown_prose(page))


def test_docstrings() -> None:
    faults = [
        f"{file.relative_to(ROOT)}:{line}: {fault}"
        for package in PACKAGES
        for file in sorted((ROOT / package).rglob("*.py"))
        for line, text in docstrings(file)
        for fault in check(text)
    ]
    assert not faults


def test_the_checks_find_something() -> None:
    assert check("Compared: we hold it against the model, and 3 spikes a window part.")
    assert check(" ".join(["word"] * 41) + ".")
    assert not check("The backend returns the same integers. It differs from the rest.")
