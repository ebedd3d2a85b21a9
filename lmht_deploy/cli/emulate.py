"""`lmht emulate`: recordings like those of CIFAR10-DVS, made from images of CIFAR-10."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import DataError, LmhtError, counted
from lmht_deploy.formats.files import make_folder

from . import _options as options
from . import _scale_options as scale
from ._console import counting, say, write_json

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.scale._recordings import Recordings
    from lmht_deploy.scale.executors import Executor

BATCH = 4
"""Recordings of a task, about 0.2 s of one core."""
LOST = "run the command again to continue; if memory was short, use fewer --workers"


def emulate(
    images: Annotated[
        Path,
        typer.Argument(
            help="Folder with CIFAR-10 as Parquet files (train*.parquet, test*.parquet)."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder for CIFAR10DVS/<class>/*.aedat4, the layout that Tonic reads.",
            callback=options.check_out,
        ),
    ],
    per_class: Annotated[
        int,
        typer.Option(
            "--per-class", min=1, help="Recordings per class (the original data set has 1,000)."
        ),
    ] = 1000,
    split: options.Split = "train",
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="Seed of the sensor's noise and of the start position."),
    ] = 0,
    on: scale.On = "local",
    workers: scale.Workers = None,
    json: options.Json = None,
) -> None:
    """Emulate recordings of CIFAR10-DVS: a moving image, seen by a 128 x 128 event camera.

    Existing recordings are kept, so that an interrupted run continues.
    """
    from lmht_deploy._locks import folder_lock
    from lmht_deploy.data import cifar10dvs
    from lmht_deploy.scale.executors import open_executor

    split = split or "train"
    home = out / "CIFAR10DVS"
    with open_executor("recordings", on, workers, ahead=not home.exists()) as executor:
        with counting("reading images") as show:
            pixels, labels = _images(images, split, per_class, show)
        description = _description(per_class, split, seed)
        make_folder(out)
        with folder_lock(out):
            _begin(home, description)
            missing = list(_missing(labels, per_class, home))
            tasks = list(_tasks(pixels, missing, seed))
            with counting("emulating") as show:
                _run(executor, tasks, out, lambda done: show(done, len(missing)))
    number = per_class * len(cifar10dvs.CLASSES)
    say(
        f"{home}: {counted(number, 'recording')}, {len(missing):,} of them new; "
        f"to read them: --data tonic:CIFAR10DVS --root {out}"
    )
    content = {"folder": home, "recordings": number, "new": len(missing), **description}
    write_json(json, content)


def _images(
    root: Path, split: str, per_class: int, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Read the first `per_class` images of every class: uint8 [N, H, W, 3], and labels [N]."""
    import numpy as np

    from lmht_deploy.data import images

    found = images.load_images(
        "cifar10", root=root, split=split, per_class=per_class, progress=progress
    )
    levels = found.windows[:, 0].astype(np.int16) - images.MIN_VALUE
    return levels.astype(np.uint8).transpose(0, 2, 3, 1), found.require_labels()


def _description(per_class: int, split: str, seed: int) -> dict[str, Any]:
    from lmht_deploy import __version__
    from lmht_deploy.data import cifar10dvs

    return {
        "emulator": f"lmht-deploy {__version__}",
        "version": cifar10dvs.VERSION,
        "images": f"CIFAR-10 {split}",
        "per_class": per_class,
        "seed": seed,
        "dvs": asdict(cifar10dvs.DVS),
    }


def _begin(home: Path, description: dict[str, Any]) -> None:
    """Write the description beside the recordings; DataError if others are there already."""
    from lmht_deploy.data._tonic import EMULATED

    note = home / EMULATED
    same = {key: value for key, value in description.items() if key != "per_class"}
    # Hidden files may be left of a run that was killed while it wrote the description.
    if home.is_dir() and any(not path.name.startswith(".") for path in home.iterdir()):
        found = json_module.loads(note.read_text()) if note.is_file() else {}
        if {key: found.get(key) for key in same} != same:
            raise DataError(
                f"{home}: holds other recordings (of other images, another seed or emulator); "
                "choose another --out"
            )
    make_folder(home)
    write_json(note, description)


def _missing(
    labels: np.ndarray, per_class: int, home: Path
) -> Iterator[tuple[int, tuple[int, int], Path]]:
    """Yield the image, class and number, and file of each recording that does not exist.

    They are the first images of every class, in the data set's order.
    """
    import numpy as np

    from lmht_deploy.data.cifar10dvs import CLASSES

    for label, name in enumerate(CLASSES):
        chosen = np.flatnonzero(labels == label)[:per_class]
        if len(chosen) < per_class:
            raise DataError(
                f"class {name!r} has {counted(len(chosen), 'image')}, {per_class} were requested"
            )
        make_folder(home / name)
        for number, index in enumerate(chosen.tolist()):
            path = home / name / f"cifar10_{name}_{number}.aedat4"
            if not path.exists():
                yield index, (label, number), path


def _tasks(
    pixels: np.ndarray, missing: Sequence[tuple[int, tuple[int, int], Path]], seed: int
) -> Iterator[Recordings]:
    """Yield the tasks of the recordings that do not exist."""
    from lmht_deploy.scale._recordings import Recordings

    for start in range(0, len(missing), BATCH):
        indices, numbers, paths = zip(*missing[start : start + BATCH], strict=True)
        seeds = [(seed, *number) for number in numbers]
        yield Recordings.of(pixels[list(indices)], seeds, [path.absolute() for path in paths])


def _run(
    executor: Executor, tasks: Sequence[Recordings], out: Path, show: Callable[[int], None]
) -> None:
    """Run the tasks; LmhtError for the first one that fails. Existing recordings stay."""
    done = 0
    with closing(executor.run(tasks, out.absolute())) as outcomes:
        for outcome in outcomes:
            if outcome.lost:
                raise LmhtError(f"{outcome.task.key}: {outcome.error}; {LOST}")
            if outcome.error:
                raise LmhtError(outcome.error)
            done += len(outcome.task.paths)
            show(done)
