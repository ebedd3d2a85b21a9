"""Reports: one page that loads nothing, and figures, tables and data for papers.

A report is a pure function of the JSON that a command writes with `--json`.

Example:
    >>> content = json.loads(Path("compare.json").read_text())
    >>> report.write_html(report.compare_report(content), "report.html")
"""

from ._compare import compare_report
from ._document import Report
from ._files import to_csv, to_html, to_latex, write_figures, write_html

__all__ = [
    "Report",
    "compare_report",
    "to_csv",
    "to_html",
    "to_latex",
    "write_figures",
    "write_html",
]
