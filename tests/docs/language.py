"""Check prose for what a machine can find: long sentences and words that we do not use."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

LONGEST = 40
"""Words that a sentence may have."""

RATE = (
    r"(?:means?|spikes|SOPs|MACs|ms|operations|accumulates|events|bits) an? "
    r"(?:window|layer|neuron|pixel|channel|image|step|class|second)\b"
)
"""A rate with an article: "spikes a window"."""

FORBIDDEN = {
    r"\bhold(?:s|ing)? (?:\w+ ){0,4}against\b|\bheld (?:\w+ ){0,2}against\b": "compare with",
    r"\bparts? from\b(?! the)": "differs from",
    r"\bthey part\b|\bit parts\b|\bwhere (?:they|it|backends) parts?\b": "the first mismatch",
    r"\bto be had\b": "available",
    r"\bfor it (?:is|has|was)\b": "because",
    RATE: "per",
    r"\bentrance\b": "input",
    r"\bin silence\b": "silently",
    r"\bwho(?:ever)? (?:runs|reads|writes)\b": "name the subject",
    r"\bmends?\b": "fixes",
    r"\bnobody wants\b|\bsomebody's\b|\banyone's concern\b": "plain words",
    r"\boftener\b": "more often",
    r"\bbeside its place\b": "next to",
    r"\bthe golden model\b": "the reference model",
}
"""Patterns that do not belong in the documentation, and what to write instead."""


def check(text: str) -> list[str]:
    """Return what is wrong with prose: long sentences and forbidden words."""
    found = []
    for sentence in sentences(text):
        if len(words := sentence.split()) > LONGEST:
            found.append(f"{len(words)} words: {sentence[:90]}...")
    for pattern, better in FORBIDDEN.items():
        found += [f"{hit[0]!r}: {better}" for hit in re.finditer(pattern, text, re.I)]
    return found


def sentences(text: str) -> Iterator[str]:
    """Split prose into sentences; a blank line, a list item and a table cell also end one."""
    for block in re.split(r"\n\s*\n|\n\s*(?=[*+-] |\d+\. |\|)|\|", text):
        joined = " ".join(block.split())
        yield from re.split(r"(?<=[.!?:;])\s+(?=[^a-z])", joined)


def markdown_prose(page: Path) -> str:
    """Return the prose of a page: no code, no HTML, no link targets."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
    text = re.sub(r"<svg.*?</svg>|<!--.*?-->|</?[a-z][^>]*>", "", text, flags=re.S | re.I)
    text = re.sub(r"^(?: {4}|\t).*$", "", text, flags=re.M)
    text = re.sub(r"\]\([^)]*\)|\]\[[^\]]*\]", "]", text)
    return re.sub(r"`[^`]*`", "CODE", text)


def docstrings(file: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of every docstring of a Python file, without its examples."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                text = re.sub(r"`[^`]*`", "CODE", text)
                text = re.sub(r"^ {4,}.*$", "", text, flags=re.M)  # formulas and examples
                text = re.sub(r"^(?=\S+ {2,})", "\n\n", text, flags=re.M)  # tables
                yield getattr(node, "lineno", 1), text
