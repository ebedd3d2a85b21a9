"""Fuzz the readers for as long as wanted; what fails is kept in build/fuzz.

python -m tests.fuzz                         10,000 inputs of every target
python -m tests.fuzz lmht netx --number 1000000 --seed 7
python -m tests.fuzz 'liblmht-*'             10,000 inputs of every target with such a name
"""

from __future__ import annotations

import argparse
import fnmatch
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.fuzz._runner import run_inputs, save
from tests.fuzz.targets import targets

BATCH = 500
FINDINGS = Path(__file__).parents[2] / "build" / "fuzz"


def main() -> int:
    """Run the targets of the command line; the number of findings."""
    known = targets()
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="TARGET", help=", ".join(known))
    parser.add_argument("--number", type=int, default=10_000, help="inputs of each target")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same inputs")
    options = parser.parse_args()
    findings = 0
    for name in chosen(options.names or ["*"], known, parser):
        target = known[name]
        if target.missing:
            print(f"{name}: {target.missing}")
            continue
        before = findings
        for start in range(0, options.number, BATCH):
            inputs = target.inputs(min(BATCH, options.number - start), options.seed + start)
            with tempfile.TemporaryDirectory() as folder:
                for finding in run_inputs(target.read, inputs, Path(folder), target.suffix):
                    findings += 1
                    kept = save(finding, FINDINGS / name, target.suffix)
                    print(f"{name}: {_short(finding.what)}\n  {kept}", flush=True)
        print(f"{name}: {options.number} inputs, {findings - before} findings", flush=True)
    print(f"{findings} findings")
    return findings


def chosen(
    patterns: Sequence[str], known: Iterable[str], parser: argparse.ArgumentParser
) -> list[str]:
    """Return the targets that patterns name, in the order of the patterns, each once."""
    found: dict[str, None] = {}
    for pattern in patterns:
        names = fnmatch.filter(known, pattern)
        if not names:
            parser.error(f"there is no target {pattern!r}; there are {', '.join(known)}")
        found |= dict.fromkeys(names)
    return list(found)


def _short(text: str) -> str:
    return text if len(text) < 600 else f"{text[:100]} ... {text[-500:]}"


if __name__ == "__main__":
    raise SystemExit(min(main(), 1))
