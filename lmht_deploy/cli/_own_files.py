"""Names of the files and folders that verbs write to an output folder.

No other output of the same command may have such a name. The verb would replace it, or a later
command would read it as a result.
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
"""Patterns of names by verb and option. All verbs write the same files for `--figures`."""


def patterns_of(verb: str, option: str) -> Sequence[str]:
    """Return the patterns of the names that an option of a verb writes to its folder."""
    return OWN_FILES.get(option) or OWN_FILES.get(f"{verb} {option}", ())


def is_own(path: Path, folder: Path, patterns: Sequence[str]) -> bool:
    """Whether `path`, or a folder in `folder` that holds it, has a name of one of the patterns."""
    if folder not in path.parents:
        return False
    name = path.relative_to(folder).parts[0]
    return any(fnmatchcase(name, pattern) for pattern in patterns)
