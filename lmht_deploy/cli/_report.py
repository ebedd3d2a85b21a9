"""The report that a verb writes besides its output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ._console import say, to_json

Verb = Literal["compare", "evaluate", "explain", "run", "train", "validate"]


def write_report(
    verb: Verb, content: Mapping[str, Any], page: Path | None, figures: Path | None
) -> None:
    """Write the report of a verb as a page and as figures, where they are asked for.

    Args:
        verb: The verb.
        content: What its `--json` writes.
        page: HTML file; None for none.
        figures: Folder of figures; None for none.
    """
    if page is None and figures is None:
        return
    from lmht_deploy import report

    makers = {
        "compare": report.compare_report,
        "evaluate": report.evaluation_report,
        "explain": report.explain_report,
        "run": report.run_report,
        "train": report.training_report,
        "validate": report.validation_report,
    }
    made = makers[verb](json.loads(to_json(content)))
    if page is not None:
        report.write_html(made, page)
        say(f"report: {page}")
    if figures is not None:
        report.write_figures(made, figures)
        say(f"figures and tables: {figures}")
