"""Fuzz the readers for as long as wanted; what fails is kept in build/fuzz.

python -m tests.fuzz                       10,000 inputs of every target
python -m tests.fuzz lmht netx --runs 1000000 --seed 7
"""

from __future__ import annotations

import argparse
import tempfile
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
    parser.add_argument("--runs", type=int, default=10_000, help="inputs of each target")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same inputs")
    options = parser.parse_args()
    findings = 0
    for name in options.names or known:
        target = known[name]
        if not target.seeds:
            print(f"{name}: has no seeds here (../shared/data is absent)")
            continue
        for start in range(0, options.runs, BATCH):
            inputs = target.inputs(min(BATCH, options.runs - start), options.seed + start)
            with tempfile.TemporaryDirectory() as folder:
                for finding in run_inputs(target.read, inputs, Path(folder), target.suffix):
                    findings += 1
                    kept = save(finding, FINDINGS / name, target.suffix)
                    print(f"{name}: {finding.what}\n  {kept}", flush=True)
        print(f"{name}: {options.runs} inputs", flush=True)
    print(f"{findings} findings")
    return findings


if __name__ == "__main__":
    raise SystemExit(min(main(), 1))
