"""Tables of a benchmark: printed row by row, and written to a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lmht_deploy import __version__, engine
from lmht_deploy.analysis import provenance
from lmht_deploy.formats.files import atomic_write

from . import isa

PACKAGES = (
    "numpy",
    "torch",
    "onnx",
    "onnxruntime",
    "openvino",
    "sinabs",
    "spikingjelly",
    "snntorch",
    "norse",
    "nir",
    "faery",
    "evlib",
    "evt3",
    "expelliarmus",
    "aedat",
)
"""Packages whose versions are reported, where they are installed."""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        label: What was measured.
        times: Milliseconds by column. The first column is the reference of the ratios.
        figures: Other figures by name, which includes the unit.
        not_run: Columns that were not measured, and why.
    """

    label: str
    times: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    not_run: Mapping[str, str] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float]:
        """Time of each further column, divided by the time of the first."""
        reference, *others = self.times or [""]
        return {name: self.times[name] / self.times[reference] for name in others}

    def to_dict(self) -> dict[str, Any]:
        """Return the row as JSON writes it."""
        return {
            "label": self.label,
            "milliseconds": dict(self.times),
            "ratios": self.ratios,
            **({"figures": dict(self.figures)} if self.figures else {}),
            **({"not_run": dict(self.not_run)} if self.not_run else {}),
        }

    def __str__(self) -> str:
        ratios = {name: f" = {ratio:5.2f}x" for name, ratio in self.ratios.items()}
        times = [f"{name} {ms:8.3f} ms{ratios.get(name, '')}" for name, ms in self.times.items()]
        figures = [f"{name} {_rounded(value)}" for name, value in self.figures.items()]
        not_run = [f"\n  {name}: not run: {reason}" for name, reason in self.not_run.items()]
        return f"{self.label:34s} {'   '.join(times + figures)}{''.join(not_run)}"


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: What it shows.
        rows: Measures it, row by row.
    """

    title: str
    rows: Callable[[], Iterator[Row]]


def run_tables(
    tables: Mapping[str, Table], json_file: Path | None = None, **settings: float
) -> None:
    """Measure and print tables.

    Args:
        tables: Tables by name.
        json_file: File to write after each table, with the environment and all rows so far.
        settings: Options of the command that the report states.
    """
    report: dict[str, Any] = {"environment": environment(), "settings": settings, "tables": {}}
    print(summary(report["environment"]))
    print(", ".join(f"{name} {value:,}" for name, value in settings.items()))
    for name, table in tables.items():
        print(f"\n{table.title}", flush=True)
        rows = []
        for row in table.rows():
            print(row, flush=True)
            rows.append(row.to_dict())
        report["tables"][name] = {"title": table.title, "rows": rows}
        if json_file:
            with atomic_write(json_file) as temporary:
                temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def add_report_arguments(parser: argparse.ArgumentParser, names: Iterable[str]) -> None:
    """Add the options that choose tables and the JSON file.

    Args:
        parser: Parser of a command.
        names: Names of its tables.
    """
    choices = list(names)
    parser.add_argument(
        "--tables",
        nargs="*",
        choices=choices,
        default=choices,
        metavar="TABLE",
        help=f"tables to measure: {', '.join(choices)} (default: all)",
    )
    parser.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="also write all figures to FILE, with CPU, tier, commit, date and versions",
    )


def environment() -> dict[str, Any]:
    """Return the date, the CPU, the tier of the engine, the commit and the versions of packages.

    `limits` are the environment variables that keep rivals to some instructions, and `not_limited`
    the rivals that have no such variable.
    """
    limits = isa.in_force()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "tier": os.environ.get("LMHT_ISA") or engine.isas()[0],
        "limits": limits,
        "not_limited": list(isa.NOT_LIMITED) if limits else [],
        "commit": provenance.commit(),
        "versions": versions(),
    }


def summary(environment: Mapping[str, Any]) -> str:
    """Return an `environment` in two lines, and a third where rivals are limited."""
    limits = ", ".join(f"{name}={value}" for name, value in environment["limits"].items())
    limited = f"\nrivals limited by {limits}; not limited: {', '.join(environment['not_limited'])}"
    names = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return (
        f"{environment['cpu']}, {environment['cores']} cores, tier {environment['tier']},"
        f" {environment['date']}, commit {environment['commit'] or 'unknown'}\n{names}"
        f"{limited if limits else ''}"
    )


def cpu() -> str:
    """Return the name of the CPU with its family and model, which hypervisors keep more often."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.*)$", text, re.MULTILINE))
    if "model name" not in found:
        return platform.processor() or platform.machine()
    return "{model name} (family {cpu family}, model {model})".format_map(found)


def versions() -> dict[str, str]:
    """Return the versions of Python, lmht-deploy and the `PACKAGES` that are installed."""
    own = {"python": platform.python_version(), "lmht-deploy": __version__}
    return own | provenance.versions(PACKAGES)


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
