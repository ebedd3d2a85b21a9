"""What docs/events.md shows is what runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCUMENT = (Path(__file__).parents[2] / "docs" / "events.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet(snippet: str) -> None:
    if "digits" in snippet:
        pytest.importorskip("sklearn")
    exec(compile(snippet, "docs/events.md", "exec"), {})


def test_every_format_and_data_set_is_documented() -> None:
    from lmht_deploy.data._tonic import KNOWN
    from lmht_deploy.events.recordings import SUFFIXES

    assert len(SNIPPETS) >= 2
    for name in (*SUFFIXES, *KNOWN):
        assert f"`{name}`" in DOCUMENT or f"`tonic:{name}`" in DOCUMENT, name
