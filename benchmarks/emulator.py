"""Emulated recordings of CIFAR10-DVS compared with real ones: `python -m benchmarks.emulator`.

Prints the figures of random images of CIFAR-10 beside those of the data set, then those of the
image of one real recording with the correlation of both, then the CPU time per recording.

Needs the folders `cifar10` and `cifar10dvs_airplane0` in `--data`, pyarrow and pillow.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lmht_deploy.data import cifar10dvs
from lmht_deploy.events.recordings import Recording, write_events
from lmht_deploy.events.windows import WindowRule, count_windows

from .report import environment, summary

DATA = Path(__file__).parents[2] / "shared" / "data"
"""Default of `--data`."""
CLASSES = 10

REAL = {
    "mean events": "205,071",
    "largest / smallest mean of a class": "1.2 to 1.45",
    "ON share": "0.573 (one recording)",
    "duration, s": "1.298",
}
"""Figures of the data set."""
REAL_AIRPLANE = {
    "events": "210,816",
    "ON share": "0.573",
    "share of nonzero cells in ten bins": "0.340",
    "most events in a cell": "19",
}
"""Figures of the real recording of one image."""


def random_images(data: Path, per_class: int, seed: int) -> list[list[np.ndarray]]:
    """Return random training images of CIFAR-10 by class.

    Shape:
        images: uint8 `[32, 32, 3]`.
    """
    from pyarrow import parquet

    table = parquet.read_table(data / "cifar10" / "train.parquet", columns=["img", "label"])
    labels = table["label"].to_numpy()
    rng = np.random.default_rng(seed)
    chosen = [
        rng.choice(np.flatnonzero(labels == label), per_class, replace=False)
        for label in range(CLASSES)
    ]
    return [
        [read_image(io.BytesIO(table["img"][int(index)].as_py()["bytes"])) for index in indices]
        for indices in chosen
    ]


def read_image(source: Path | io.BytesIO) -> np.ndarray:
    """Return an image as uint8 `[H, W, 3]`."""
    from PIL import Image

    return np.asarray(Image.open(source).convert("RGB"))


def figures_of_many(images: list[list[np.ndarray]], seed: int) -> dict[str, float]:
    """Return figures of emulated recordings of `images`, which are ordered by class."""
    recordings = [
        [
            cifar10dvs.record(image, np.random.default_rng((seed, label, number)))
            for number, image in enumerate(of_class)
        ]
        for label, of_class in enumerate(images)
    ]
    means = [np.mean([len(events) for events in of_class]) for of_class in recordings]
    all_events = [events for of_class in recordings for events in of_class]
    durations = [events["t"][-1] - events["t"][0] for events in all_events]
    on = sum(int(events["p"].sum()) for events in all_events)
    return {
        "mean events": float(np.mean([len(events) for events in all_events])),
        "largest / smallest mean of a class": float(max(means) / min(means)),
        "ON share": on / sum(map(len, all_events)),
        "duration, s": float(np.mean(durations)) * 1e-6,
    }


def figures_of_airplane(data: Path, seed: int) -> dict[str, float]:
    """Return figures of an emulated recording of one image, and its likeness to the real one."""
    folder = data / "cifar10dvs_airplane0"
    real = np.load(folder / "airplane0_counts.npz")["bins5_merged"].sum(0, dtype=int)
    image = read_image(folder / "cifar10_train_airplane_4678.jpg")
    events = cifar10dvs.record(image, np.random.default_rng(seed))
    (window,) = count_windows(events, cifar10dvs.SENSOR, WindowRule(10))
    frame = window.sum((0, 1))
    return {
        "events": len(events),
        "ON share": float(events["p"].mean()),
        "share of nonzero cells in ten bins": float((window > 0).mean()),
        "most events in a cell": int(window.max()),
        "correlation of the frames": correlation(frame, real),
        "the same, averaged over 3 x 3 pixels": correlation(smoothed(frame), smoothed(real)),
    }


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation coefficient of two frames."""
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def smoothed(frame: np.ndarray) -> np.ndarray:
    """Return `frame` averaged over 3 x 3 pixels."""
    padded = np.pad(frame.astype(float), 1, mode="edge")
    averages: np.ndarray = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).mean((2, 3))
    return averages


def cpu_seconds(images: list[list[np.ndarray]]) -> tuple[float, float]:
    """Return the CPU time per recording in seconds: to emulate it, and to write it as AEDAT 4."""
    emulating = writing = 0.0
    all_images = [image for of_class in images for image in of_class]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recording.aedat4"
        for number, image in enumerate(all_images):
            start = time.process_time()
            events = cifar10dvs.record(image, np.random.default_rng(number))
            emulated = time.process_time()
            write_events(path, Recording(events, cifar10dvs.SENSOR))
            emulating += emulated - start
            writing += time.process_time() - emulated
    return emulating / len(all_images), writing / len(all_images)


def print_figures(title: str, found: Mapping[str, float], real: Mapping[str, str]) -> None:
    """Print emulated figures beside real ones."""
    print(f"{title:40s} {'emulated':>12s}   real")
    for name, value in found.items():
        print(f"  {name:38s} {value:12,.3f}   {real.get(name, '')}".rstrip(), flush=True)


def print_cost(images: list[list[np.ndarray]]) -> None:
    """Print the CPU time per recording."""
    emulating, writing = cpu_seconds(images)
    print(
        f"CPU time per recording: {emulating * 1e3:.0f} ms to emulate, {writing * 1e3:.0f} ms to"
        f" write; {1 / (emulating + writing):.0f} recordings per second and core"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.emulator", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="folder of the data")
    parser.add_argument("--per-class", type=int, default=20, help="images per class (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    print(summary(environment()))
    images = random_images(options.data, options.per_class, options.seed)
    title = f"{CLASSES * options.per_class} random images"
    print_figures(title, figures_of_many(images, options.seed), REAL)
    airplane = figures_of_airplane(options.data, options.seed)
    print_figures("the image of airplane 0", airplane, REAL_AIRPLANE)
    print_cost(images)
    return 0


if __name__ == "__main__":
    sys.exit(main())
