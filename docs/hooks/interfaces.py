"""Render the interfaces for C and JavaScript: the header and the types state every function."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEADER = ROOT / "lmht_deploy" / "library" / "include" / "lmht.h"
TYPES = ROOT / "web" / "package" / "lmht.d.ts"

SECTION = re.compile(r"^/\* -{20,} (.+) \*/\n", re.MULTILINE)
DECLARATION = re.compile(
    r"^(?:/\*\*(?:(?!\*/).)*\*/\n)?export (?:class|interface|type) (\w+).*?^}?;?$", re.M | re.S
)


def c_to_markdown() -> str:
    """Return what lmht.h says of itself, and one section per part of it."""
    about, *parts = SECTION.split(HEADER.read_text(encoding="utf-8"))
    text = about[: about.index("#ifndef")].strip().removeprefix("/*").removesuffix("*/")
    lines = [line.removeprefix(" *").removeprefix(" ") for line in text.strip().splitlines()]
    found = ["```text", *lines, "```", ""]
    for title, code in zip(parts[::2], parts[1::2], strict=True):
        body = code.partition("#ifdef __cplusplus")[0].strip()
        found += [f"## {title.capitalize()}", "", "```c", body, "```", ""]
    return "\n".join(found)


def javascript_to_markdown() -> str:
    """Return one section per class and interface of lmht.d.ts."""
    found = []
    for declaration in DECLARATION.finditer(TYPES.read_text(encoding="utf-8")):
        found += [f"## {declaration[1]}", "", "```ts", declaration[0].strip(), "```", ""]
    return "\n".join(found)
