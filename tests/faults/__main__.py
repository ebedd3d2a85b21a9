"""Try faults at random moments of every command, for as long as wanted.

python -m tests.faults                            one round of every fault on every command
python -m tests.faults train emulate --rounds 50
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from .commands import COMMANDS
from .driver import CLOCK, CODES, MEMORY, Bench, file_limit


def main() -> int:
    """Run the rounds of the command line; the number of faults that did harm."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    parser.add_argument("--rounds", type=int, default=1, help="rounds of every fault")
    options = parser.parse_args()
    tried, harm = 0, 0
    with tempfile.TemporaryDirectory(prefix="lmht-faults-") as folder:
        bench = Bench(Path(folder))
        for _ in range(options.rounds):
            for name in options.names or COMMANDS:
                for fault, happen in faults(bench, name):
                    case = Path(folder) / f"case-{tried}"
                    case.mkdir()
                    tried += 1
                    harm += not _survives(f"{name}, {fault}", happen, case)
    print(f"{tried} faults, {harm} did harm")
    return harm


def faults(bench: Bench, name: str) -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Yield what can happen to a command: its name, and a function of an empty folder."""
    bench.command(name)
    for number in CODES:
        delay = random.uniform(0, bench.seconds[name])
        yield (
            f"{number.name} after {delay:.2f} s",
            lambda case, number=number, delay=delay: bench.hit(name, case, number, delay),
        )
    size = random.choice((0, 1, 100, 1000, 10_000, 100_000))
    yield f"files of at most {size} bytes", lambda case: bench.refuse(name, case, file_limit(size))
    yield "clocks that jump", lambda case: bench.refuse(name, case, CLOCK)
    if name in ("run", "stream"):  # other libraries end the process without memory
        mib = random.randint(8, 32)
        yield f"{mib} MiB", lambda case: bench.refuse(name, case, MEMORY.format(mib=mib))


def _survives(what: str, happen: Callable[[Path], object], case: Path) -> bool:
    try:
        happen(case)
    except Exception as error:
        print(f"{what}: {type(error).__name__}: {error}", flush=True)
        return False
    print(what, flush=True)
    return True


if __name__ == "__main__":
    raise SystemExit(min(main(), 1))
