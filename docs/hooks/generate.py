"""Insert generated text into pages of the documentation.

* `<!-- generate: NAME -->` becomes the Markdown that the function NAME of `GENERATORS` returns. The
  source of that text is the code itself, so it cannot go stale.
* `<!-- figure: NAME | CAPTION -->` becomes the drawing `docs/figures/NAME.svg`, inside the page, so
  that it takes its colors from the theme.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
for folder in (ROOT, Path(__file__).parent):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import benchmark_results  # noqa: E402
import command_line  # noqa: E402
import energy_tables  # noqa: E402
import file_formats  # noqa: E402
import interfaces  # noqa: E402
import recipe_tables  # noqa: E402

MARKER = re.compile(r"^<!-- generate: (\S+) -->$", re.MULTILINE)
FIGURE = re.compile(r"^<!-- figure: (\S+) \| (.+?) -->$", re.MULTILINE)

GENERATORS: dict[str, Callable[[], str]] = {
    "benchmarks": lambda: benchmark_results.to_markdown(ROOT / "benchmarks" / "results"),
    "c-interface": interfaces.c_to_markdown,
    "cli": command_line.to_markdown,
    "energy-models": energy_tables.models,
    "formats": file_formats.to_markdown,
    "javascript-interface": interfaces.javascript_to_markdown,
    "netx": file_formats.stock_netx,
    "recipe-keys": recipe_tables.keys,
    "recipes": recipe_tables.packaged,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every marker of a page (called by MkDocs)."""
    markdown = FIGURE.sub(lambda found: _figure(found[1], found[2]), markdown)
    return MARKER.sub(lambda found: GENERATORS[found[1]](), markdown)


def _figure(name: str, caption: str) -> str:
    svg = (ROOT / "docs" / "figures" / f"{name}.svg").read_text(encoding="utf-8")
    drawing = " ".join(svg.split())
    return f'<figure class="figure">{drawing}<figcaption>{caption}</figcaption></figure>'
