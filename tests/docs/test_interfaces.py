"""The reference of the C and JavaScript interfaces names everything."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tests.library.bindings import SIGNATURES

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "hooks"))

import interfaces  # noqa: E402


def test_every_function_of_the_library() -> None:
    page = interfaces.c_to_markdown()
    assert set(re.findall(r"lmht_(\w+)\(", page)) >= SIGNATURES.keys()
    header = interfaces.HEADER.read_text()
    assert set(re.findall(r"^LMHT_API .*?\blmht_(\w+)\(", header, re.M)) == SIGNATURES.keys()
    titles = re.findall(r"^## (.+)$", page, re.M)
    assert {"Networks", "Engines", "Steppers", "Recordings", "Streams"} <= set(titles)


def test_every_class_of_the_package() -> None:
    page = interfaces.javascript_to_markdown()
    script = (ROOT / "web" / "package" / "lmht.js").read_text()
    classes = re.findall(r"^export class (\w+)", script, re.M)
    titles = re.findall(r"^## (\w+)$", page, re.M)
    assert set(classes) <= set(titles)
    types = interfaces.TYPES.read_text()
    assert titles == re.findall(r"^export (?:class|interface|type) (\w+)", types, re.M)
    for name in re.findall(r"^  (?:static |readonly |get )*(\w+)[(:]", types, re.M):
        assert re.search(rf"\b{name}\b", page), name
