"""`lmht emulate`: CIFAR10-DVS from CIFAR-10, where the recordings themselves are not to be had."""

from __future__ import annotations

import json as json_text
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from lmht_deploy.errors import DataError

from . import common

Task = tuple[np.ndarray, tuple[int, int, int], Path]
"""Image uint8 [H, W, 3]; seed, class and number of the recording; where it is written."""


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
        ),
    ],
    per_class: Annotated[
        int, typer.Option("--per-class", min=1, help="Recordings a class (the data set has 1,000).")
    ] = 1000,
    split: common.Split = "train",
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            help="What the emulated sensor's noise, and where on the path it starts, are drawn from.",
        ),
    ] = 0,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes that emulate side by side.")
    ] = 1,
    json: common.Json = None,
) -> None:
    """Emulate the recordings of CIFAR10-DVS: a moved image on a screen, seen by a 128 x 128 event camera.

    Recordings that are there already are kept, so that an interrupted run goes on.
    """
    from lmht_deploy.data import cifar10dvs

    common.check_writable(json)
    with common.progress("reading images") as show:
        pixels, labels = _images(
            images, split, per_class, lambda done, total: show("", done, total)
        )
    home = out / "CIFAR10DVS"
    described = _described(per_class, split, seed)
    _begin(home, described)
    tasks = list(_tasks(pixels, labels, per_class, seed, home))
    with common.progress("emulating") as show:
        for done, _ in enumerate(_run_all(tasks, workers), 1):
            show("", done, len(tasks))
    number = per_class * len(cifar10dvs.CLASSES)
    common.out.print(
        f"{home}: {number:,} recordings, {len(tasks):,} of them new; read them with --data tonic:CIFAR10DVS --root {out}",
        soft_wrap=True,
    )
    common.write_json(json, {"folder": home, "recordings": number, "new": len(tasks), **described})


def _images(
    root: Path, split: str, per_class: int, progress: Callable[[int, int], None]
) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [N, H, W, 3] and labels [N] of the first `per_class` images of every class: the others are not decoded."""
    from lmht_deploy.data import images

    if split not in ("train", "test"):
        raise DataError(f"split must be 'train' or 'test', not {split!r}")
    found = images.load_images(
        "cifar10", root=root, split=split, per_class=per_class, progress=progress
    )
    return (found.windows[:, 0].astype(np.int16) - images.LOW).astype(np.uint8).transpose(
        0, 2, 3, 1
    ), found.labels


def _described(per_class: int, split: str, seed: int) -> dict:
    from lmht_deploy import __version__
    from lmht_deploy.data import cifar10dvs

    return {
        "emulator": f"lmht-deploy {__version__}",
        "images": f"CIFAR-10 {split}",
        "per_class": per_class,
        "seed": seed,
        "dvs": asdict(cifar10dvs.DVS),
    }


def _begin(home: Path, described: dict) -> None:
    """Say beside the recordings what they are; DataError where others are there already."""
    from lmht_deploy.data.tonic_sets import EMULATED

    note = home / EMULATED
    same = {key: value for key, value in described.items() if key != "per_class"}
    if home.is_dir() and any(home.iterdir()):
        found = json_text.loads(note.read_text()) if note.is_file() else {}
        if {key: found.get(key) for key in same} != same:
            raise DataError(
                f"{home}: holds other recordings (not made with the same images, seed and emulator); choose another --out"
            )
    home.mkdir(parents=True, exist_ok=True)
    common.write_json(note, described)


def _tasks(
    pixels: np.ndarray, labels: np.ndarray, per_class: int, seed: int, home: Path
) -> Iterator[Task]:
    """What is still to be recorded: the first images of every class, in the order of the data set."""
    from lmht_deploy.data.cifar10dvs import CLASSES

    for label, name in enumerate(CLASSES):
        chosen = np.flatnonzero(labels == label)[:per_class]
        if len(chosen) < per_class:
            raise DataError(f"class {name!r} has {len(chosen)} images, {per_class} were asked for")
        (home / name).mkdir(exist_ok=True)
        for number, index in enumerate(chosen):
            path = home / name / f"cifar10_{name}_{number}.aedat4"
            if not path.exists():
                yield pixels[index], (seed, label, number), path


def _run_all(tasks: list[Task], workers: int) -> Iterator[None]:
    if workers == 1:
        yield from map(_record, tasks)
        return
    with _one_thread_each(), ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            yield from pool.map(_record, tasks, chunksize=4)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Processes that are started meanwhile calculate with one thread: those of the matrix library would spin on the cores of the other processes."""
    before = {
        name: os.environ.get(name)
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    }
    os.environ.update(dict.fromkeys(before, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _record(task: Task) -> None:
    from lmht_deploy.data import cifar10dvs
    from lmht_deploy.events.recordings import write_aedat4

    image, seed, path = task
    write_aedat4(path, cifar10dvs.record(image, np.random.default_rng(seed)), cifar10dvs.SENSOR)
