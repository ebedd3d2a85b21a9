"""Names of the files and folders that verbs write to an output folder.

Another output file must not have one of them: one would replace the other, or look like a result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

_EVALUATION = ("table.*", "times.json", "shards", "windows", "networks", "runs", "slurm")
_FIGURES = ("*.svg", "*.png", "*.pdf", "*.tex", "*.csv", "report.json")
_RUN = ("model.safetensors", "state.safetensors", "recipe.toml", "metrics.jsonl", "files.csv")
OWN_FILES: Mapping[str, Sequence[str]] = {
    "--figures": _FIGURES,
    "demo --out": ("run", "net.*", "single.lmht", "demo.json", "report.html"),
    "emulate --out": ("CIFAR10DVS",),
    "evaluate --out": _EVALUATION,
    "search --out": (*_EVALUATION, "best.lmht", "measured.npz"),
    "train --out": _RUN,
}
"""Patterns of names by option, or by verb and option."""


def patterns_of(verb: str, option: str) -> Sequence[str]:
    """Return the patterns of the names that an option of a verb writes to its folder."""
    return OWN_FILES.get(option) or OWN_FILES.get(f"{verb} {option}", ())


def is_own(path: Path, folder: Path, patterns: Sequence[str]) -> bool:
    """Whether a path is one of the files that a verb writes to `folder`, or is below one."""
    if folder not in path.parents:
        return False
    name = path.relative_to(folder).parts[0]
    return any(fnmatchcase(name, pattern) for pattern in patterns)
