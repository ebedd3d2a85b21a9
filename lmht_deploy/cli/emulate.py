"""`lmht emulate`: recordings like those of CIFAR10-DVS, made from images of CIFAR-10."""

from __future__ import annotations

import json as json_module
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from lmht_deploy.errors import DataError, LmhtError, counted

from . import _options as options
from ._console import counting, say, write_json

if TYPE_CHECKING:
    import numpy as np

    Task: TypeAlias = tuple[np.ndarray, tuple[int, int, int], Path]
    """Image uint8 [H, W, 3]; seed, class and number of the recording; file to write."""


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
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=1,
            help="Number of processes that emulate in parallel.",
            rich_help_panel=options.EXECUTION,
        ),
    ] = 1,
    json: options.Json = None,
) -> None:
    """Emulate recordings of CIFAR10-DVS: a moving image, seen by a 128 x 128 event camera.

    Existing recordings are kept, so that an interrupted run continues.
    """
    from lmht_deploy._locks import folder_lock
    from lmht_deploy.data import cifar10dvs

    split = split or "train"
    with counting("reading images") as show:
        pixels, labels = _images(images, split, per_class, show)
    home = out / "CIFAR10DVS"
    description = _description(per_class, split, seed)
    _make_folder(out)
    with folder_lock(out):
        _begin(home, description)
        tasks = list(_tasks(pixels, labels, per_class, seed, home))
        with counting("emulating") as show:
            for done, _ in enumerate(_run_all(tasks, workers), 1):
                show(done, len(tasks))
    number = per_class * len(cifar10dvs.CLASSES)
    say(
        f"{home}: {counted(number, 'recording')}, {len(tasks):,} of them new; "
        f"to read them: --data tonic:CIFAR10DVS --root {out}"
    )
    content = {"folder": home, "recordings": number, "new": len(tasks), **description}
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
        "images": f"CIFAR-10 {split}",
        "per_class": per_class,
        "seed": seed,
        "dvs": asdict(cifar10dvs.DVS),
    }


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: cannot be created ({error.strerror})") from None


def _begin(home: Path, description: dict[str, Any]) -> None:
    """Write the description beside the recordings; DataError if others are there already."""
    from lmht_deploy.data._tonic import EMULATED

    note = home / EMULATED
    same = {key: value for key, value in description.items() if key != "per_class"}
    if home.is_dir() and any(home.iterdir()):
        found = json_module.loads(note.read_text()) if note.is_file() else {}
        if {key: found.get(key) for key in same} != same:
            raise DataError(
                f"{home}: holds other recordings (of other images, another seed or emulator); "
                "choose another --out"
            )
    _make_folder(home)
    write_json(note, description)


def _tasks(
    pixels: np.ndarray, labels: np.ndarray, per_class: int, seed: int, home: Path
) -> Iterator[Task]:
    """Yield the missing recordings: the first images of every class, in the data set's order."""
    import numpy as np

    from lmht_deploy.data.cifar10dvs import CLASSES

    for label, name in enumerate(CLASSES):
        chosen = np.flatnonzero(labels == label)[:per_class]
        if len(chosen) < per_class:
            raise DataError(
                f"class {name!r} has {counted(len(chosen), 'image')}, {per_class} were requested"
            )
        _make_folder(home / name)
        for number, index in enumerate(chosen):
            path = home / name / f"cifar10_{name}_{number}.aedat4"
            if not path.exists():
                yield pixels[index], (seed, label, number), path


def _run_all(tasks: list[Task], workers: int) -> Iterator[None]:
    if workers == 1:
        yield from map(_record, tasks)
        return
    context = get_context("spawn")
    with (
        _one_thread_each(),
        ProcessPoolExecutor(workers, context, initializer=_follow_parent) as pool,
    ):
        try:
            yield from pool.map(_record, tasks, chunksize=4)
        except BrokenProcessPool:
            raise LmhtError(
                "a worker process was killed, perhaps for lack of memory; run the command again "
                "to continue, with fewer --workers"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _follow_parent() -> None:
    """Let a worker process end with its parent, however that ends; Ctrl-C is the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Limit processes that start in the block to one thread each.

    Otherwise the threads of the matrix library would compete with the other processes.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _record(task: Task) -> None:
    import numpy as np

    from lmht_deploy.data import cifar10dvs
    from lmht_deploy.events.recordings import Recording, write_events

    image, seed, path = task
    events = cifar10dvs.record(image, np.random.default_rng(seed))
    write_events(path, Recording(events, cifar10dvs.SENSOR))
