"""Where the figures of a report come from: versions, machine, data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import _text as texts
from ._document import Item, table


def provenance(found: Mapping[str, Any], first: Sequence[tuple[str, Any]]) -> Iterator[Item]:
    """Yield the table of versions and of the machine.

    Args:
        found: `provenance` of a JSON.
        first: Rows above.
    """
    packages = ", ".join(f"{name} {version}" for name, version in found["packages"].items())
    rows: list[tuple[str, Any]] = [
        *first,
        ("created", found["created"]),
        ("lmht-deploy", found["lmht_deploy"]),
        ("commit", found.get("commit")),
        ("Python", found["python"]),
        ("packages", packages),
        ("system", found["system"]),
        ("CPU", f"{found['cpu']}, {found['cpus']} CPUs"),
        ("tier of the event engine", found["isa"]),
        ("memory", texts.size(found["memory_bytes"])),
        ("threads", found["threads"]),
    ]
    columns = [("what", texts.text), ("value", texts.text)]
    yield table("provenance", "What ran, and where.", columns, rows)


def dump(value: Any) -> str:
    """Return plain data as indented JSON."""
    return json.dumps(value, indent=1, ensure_ascii=False)
