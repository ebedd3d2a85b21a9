"""Render the recorded benchmark results."""

from __future__ import annotations

import re
from pathlib import Path

NAME = re.compile(r"(?P<topic>.+?)-(?P<date>\d{4}-\d\d-\d\d)(?:-(?P<device>.+))?")


def to_markdown(folder: Path) -> str:
    """Return one section per file of `folder`, the newest first within each topic."""
    files = sorted(folder.glob("*.txt"), key=lambda file: (_parts(file)[0], _reverse(file)))
    return "\n\n".join(_section(file) for file in files)


def _section(file: Path) -> str:
    topic, date, device = _parts(file)
    text = file.read_text(encoding="utf-8").rstrip()
    link = f"Recorded {date}" + (f" on {device}" if device else "") + f"; file `{file.name}`."
    title = f'??? note "{topic}, {date}{f", {device}" if device else ""}"'
    body = "\n".join("    " + line for line in [link, "", "```text", *text.splitlines(), "```"])
    return f"{title}\n\n{body}\n"


def _parts(file: Path) -> tuple[str, str, str]:
    found = NAME.fullmatch(file.stem)
    if found is None:
        raise ValueError(f"{file.name}: expected TOPIC-YYYY-MM-DD[-DEVICE].txt")
    return found["topic"], found["date"], (found["device"] or "").replace("-", " ")


def _reverse(file: Path) -> int:
    return -int(_parts(file)[1].replace("-", ""))
