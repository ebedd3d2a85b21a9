"""Reports: one page that loads nothing, and figures, tables and data for papers.

A report is a pure function of the JSON that a command writes with `--json`.

Example:
    >>> content = json.loads(Path("compare.json").read_text())
    >>> report.write_html(report.compare_report(content), "report.html")
"""

from ._compare import compare_report
from ._document import Report
from ._evaluation import evaluation_report
from ._explain import explain_report
from ._files import to_csv, to_html, to_latex, write_figures, write_html
from ._run import run_report
from ._training import training_report
from ._validation import validation_report

__all__ = [
    "Report",
    "compare_report",
    "evaluation_report",
    "explain_report",
    "run_report",
    "to_csv",
    "to_html",
    "to_latex",
    "training_report",
    "validation_report",
    "write_figures",
    "write_html",
]
