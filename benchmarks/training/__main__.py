"""Training speed and accuracy on a GPU that is at hand for minutes.

Measures, in this order, what fits into the budget: bandwidth and correctness of the fused kernels,
a training step and epochs by variant, the kernels of a step by kind, the average of the weights;
then trains networks on CIFAR-10 and on emulated recordings, and runs their integer networks on all
test windows. Every result is written to the folder as it comes. Started again, the command skips
what is there and resumes a training that was interrupted. Without a GPU everything runs in a small
form, which only shows that it works.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from .experiments import EXPERIMENTS, GROUPS, Experiments, free_memory
from .integers import PREFIX
from .keep import keep
from .kernels import all_layers, correctness, other_tiles
from .profile import profiles
from .report import to_text
from .session import OutOfTimeError, Session, TooLittleTimeError, hard_limit, time_limit
from .step import average, compiled_step, epochs, whole_step
from .timing import CPU, GPU, copy_bandwidth


@dataclass(frozen=True)
class Part:
    """One part of the measurements.

    Attributes:
        measure: Returns its result.
        seconds: Estimate on a GPU; the part is not begun if fewer are left, and is stopped there
            after three times as many.
    """

    measure: Callable[[Session], Any]
    seconds: float


PARTS = {
    "copy": Part(lambda session: copy_bandwidth(session.scale), 5),
    "correctness": Part(lambda session: correctness(session.scale), 15),
    "kernels": Part(lambda session: all_layers(session.scale), 15),
    "step": Part(whole_step, 20),
    "epochs": Part(epochs, 15),
    "average": Part(average, 10),
    "profile": Part(profiles, 15),
    "compiled": Part(compiled_step, 45),
    "epochs-compiled": Part(partial(epochs, compile=True), 40),
    "tiles": Part(lambda session: other_tiles(session.scale), 20),
}
"""Parts that come before the experiments, in their order."""

FUSED = ("correctness", "kernels", "tiles")
"""Parts that need Triton."""

ALIASES = {
    "speed": list(PARTS),
    "experiments": [*EXPERIMENTS, "conversion"],
    **{group: [n for n, one in EXPERIMENTS.items() if one.group == group] for group in GROUPS},
}
ALIASES["hybrids"].append("conversion")
"""Names that stand for several parts."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; return the exit status."""
    chosen = _parser().parse_args(arguments)
    if chosen.report is not None:
        print(to_text(chosen.report))
        return 0
    scale = GPU if torch.cuda.is_available() else CPU
    chosen.folder.mkdir(parents=True, exist_ok=True)
    session = Session(scale, chosen.folder, chosen.budget, chosen.data, chosen.keep)
    names = _expanded(chosen.only, scale.fused)
    experiments = Experiments(session, names)
    with hard_limit(session.budget, experiments.stop):
        try:
            _measure_all(session, names, experiments)
        finally:
            experiments.stop()
            keep(session)
            print(to_text(chosen.folder), flush=True)
    return 1 if _failed(session, names) else 0


def _parser() -> argparse.ArgumentParser:
    summary = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=summary)
    folder = partial(parser.add_argument, type=Path, metavar="FOLDER")
    parser.add_argument(
        "--budget", type=float, default=600.0, metavar="SECONDS", help="time in all (default: 600)"
    )
    folder("--folder", default=Path("gpu"), help="folder of results (default: gpu)")
    folder("--data", help="folder of CIFAR-10 (default: synthetic images)")
    folder("--keep", help="copy networks and an archive of all results to FOLDER as they come")
    folder("--report", help="print the results in FOLDER, and measure nothing")
    parser.add_argument(
        "--only",
        nargs="+",
        default=["speed", "experiments"],
        choices=[*PARTS, *EXPERIMENTS, "conversion", *ALIASES],
        metavar="PART",
        help=f"parts: {', '.join([*PARTS, *EXPERIMENTS, 'conversion'])}; "
        f"several parts: {', '.join(ALIASES)} (default: all)",
    )
    return parser


def _expanded(chosen: Sequence[str], fused: bool) -> list[str]:
    """Names of the chosen parts in their order, with those that experiments need."""
    names = {part for name in chosen for part in ALIASES.get(name, [name])}
    if names & EXPERIMENTS.keys():
        names.add("epochs")
    every = [*PARTS, *EXPERIMENTS]
    every.insert(every.index("qcfs") + 1, "conversion")
    return [name for name in every if name in names and (fused or name not in FUSED)]


def _measure_all(session: Session, names: Sequence[str], experiments: Experiments) -> None:
    """Measure every part that is not there yet."""
    for name in names:
        if session.read(name) is None:
            _measure(session, name, experiments)
        elif name in EXPERIMENTS:
            experiments.evaluate_integers(name)
        experiments.integers.collect()
        keep(session)
    try:
        with time_limit(session.left):
            experiments.integers.collect(wait=True)
    except OutOfTimeError:
        session.say("integer networks: stopped, the budget is spent")


def _measure(session: Session, name: str, experiments: Experiments) -> None:
    """Measure one part, and write its result or why it failed."""
    part = _part(name, experiments)
    begun = time.monotonic()
    try:
        session.require(part.seconds)
        with time_limit(_limit(session, name, part)):
            result, failed = part.measure(session), ""
    except TooLittleTimeError as error:
        session.say(f"{name}: not begun, {error}")
        return
    except OutOfTimeError:
        if name in EXPERIMENTS:  # its training can be resumed
            session.say(f"{name}: stopped, the budget is spent")
            return
        result, failed = None, f"stopped after {time.monotonic() - begun:.0f} s"
    except Exception as error:  # of a driver or a compiler: the other parts are still useful
        result, failed = None, f"{type(error).__name__}: {error}"
    finally:
        free_memory()
    seconds = time.monotonic() - begun
    session.write(name, result, seconds, failed)
    session.say(f"{name}: {failed or 'measured'} in {seconds:.1f} s")


def _limit(session: Session, name: str, part: Part) -> float:
    """Seconds after which a part is stopped."""
    is_estimated = name in PARTS and session.scale.device == "cuda"
    return min(session.left, 3 * part.seconds) if is_estimated else session.left


def _part(name: str, experiments: Experiments) -> Part:
    if name in PARTS:
        return PARTS[name]
    if name == "conversion":
        return Part(lambda session: experiments.conversion(), 10)
    return Part(lambda session: experiments.run(name), 0)


def _failed(session: Session, names: Sequence[str]) -> bool:
    """Whether a part failed, or the fused kernels are wrong."""
    files = (session.folder / f"{part}.json" for name in names for part in (name, PREFIX + name))
    wrong = [said for said in (session.read("correctness") or {}).values() if said != "equal"]
    return bool(wrong) or any('"failed":' in file.read_text() for file in files if file.exists())


if __name__ == "__main__":
    sys.exit(main())
