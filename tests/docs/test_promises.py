"""The page of promises names tests that exist."""

from __future__ import annotations

import ast
import re

import pytest

from .pages import ROOT

PAGE = ROOT / "docs" / "explanation" / "trust.md"
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE.read_text(encoding="utf-8"))))


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_the_test_exists(file: str, name: str) -> None:
    functions = ast.parse((ROOT / file).read_text(encoding="utf-8")).body
    assert name in {node.name for node in functions if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_a_test() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    promises = [row for row in rows if not row.startswith(("| promise", "| ---"))]
    assert len(promises) > 20
    assert all("`tests/" in row.split(" | ")[1] for row in promises)
