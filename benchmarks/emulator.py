"""Similarity and speed of the emulated CIFAR10-DVS: `python -m benchmarks.emulator`.

Shows 200 random images of CIFAR-10 (20 of each class) and the image of the one real recording at
hand to the emulated sensor, and prints the figures beside those of the data set. Needs
`../shared/data/cifar10` and `../shared/data/cifar10dvs_airplane0`, pyarrow and pillow.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import time
from pathlib import Path

import numpy as np

from lmht_deploy.data import cifar10dvs
from lmht_deploy.events.recordings import write_aedat4
from lmht_deploy.events.windows import WindowRule, count_windows

DATA = Path(__file__).parents[2] / "shared" / "data"
AIRPLANE = DATA / "cifar10dvs_airplane0"


def random_images(per_class: int, seed: int) -> list[list[np.ndarray]]:
    """`per_class` random training images uint8 [32, 32, 3] of each of the ten classes."""
    from PIL import Image
    from pyarrow import parquet

    table = parquet.read_table(DATA / "cifar10" / "train.parquet", columns=["img", "label"])
    labels = table["label"].to_numpy()
    rng = np.random.default_rng(seed)
    chosen = [
        rng.choice(np.flatnonzero(labels == label), per_class, replace=False) for label in range(10)
    ]
    return [
        [
            np.asarray(
                Image.open(io.BytesIO(table["img"][int(index)].as_py()["bytes"])).convert("RGB")
            )
            for index in indices
        ]
        for indices in chosen
    ]


def of_many(images: list[list[np.ndarray]], seed: int) -> dict[str, float]:
    """Figures of recordings of `images`, which are given by class."""
    recordings = [
        [
            cifar10dvs.record(image, np.random.default_rng((seed, label, n)))
            for n, image in enumerate(shown)
        ]
        for label, shown in enumerate(images)
    ]
    means = [np.mean([len(events) for events in of_class]) for of_class in recordings]
    everything = [events for of_class in recordings for events in of_class]
    return {
        "mean events": float(np.mean([len(events) for events in everything])),
        "largest / smallest mean of a class": float(max(means) / min(means)),
        "ON share": sum(int(events["p"].sum()) for events in everything)
        / sum(map(len, everything)),
        "duration, s": float(np.mean([events["t"][-1] - events["t"][0] for events in everything]))
        * 1e-6,
    }


def of_airplane(seed: int) -> dict[str, float]:
    """Figures of an emulated recording of the image of the real one, and how well the two agree."""
    from PIL import Image

    real = np.load(AIRPLANE / "airplane0_counts.npz")
    events = cifar10dvs.record(
        np.asarray(Image.open(AIRPLANE / "cifar10_train_airplane_4678.jpg").convert("RGB")),
        np.random.default_rng(seed),
    )
    (window,) = count_windows(events, cifar10dvs.SENSOR, WindowRule(10))
    emulated_frame, real_frame = window.sum((0, 1)), real["bins5_merged"].sum(0, dtype=int)
    return {
        "events": len(events),
        "ON share": float(events["p"].mean()),
        "cells of ten bins that are not zero": float((window > 0).mean()),
        "most events in a cell": int(window.max()),
        "correlation of the frames": correlation(emulated_frame, real_frame),
        "the same, averaged over 3 x 3 pixels": correlation(
            smoothed(emulated_frame), smoothed(real_frame)
        ),
    }


def costs(images: list[list[np.ndarray]]) -> tuple[float, float]:
    """CPU time of a recording, in seconds: of emulating it, and of writing it as AEDAT 4."""
    emulating = writing = 0.0
    shown = [image for of_class in images for image in of_class]
    with tempfile.TemporaryDirectory() as folder:
        for number, image in enumerate(shown):
            start = time.process_time()
            events = cifar10dvs.record(image, np.random.default_rng(number))
            between = time.process_time()
            write_aedat4(Path(folder) / "recording.aedat4", events, cifar10dvs.SENSOR)
            emulating, writing = (
                emulating + between - start,
                writing + time.process_time() - between,
            )
    return emulating / len(shown), writing / len(shown)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


def smoothed(frame: np.ndarray) -> np.ndarray:
    """`frame` averaged over 3 x 3 pixels."""
    padded = np.pad(frame.astype(float), 1, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).mean((2, 3))


KNOWN = {
    "mean events": "205,071",
    "largest / smallest mean of a class": "1.2 to 1.45",
    "ON share": "0.573 (one recording)",
    "duration, s": "1.298",
}
KNOWN_AIRPLANE = {
    "events": "210,816",
    "ON share": "0.573",
    "cells of ten bins that are not zero": "0.340",
    "most events in a cell": "19",
}


def main() -> None:
    parser = argparse.ArgumentParser(description="The emulated CIFAR10-DVS beside the real one.")
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    images = random_images(options.per_class, options.seed)
    many = of_many(images, options.seed)
    for title, found, known in (
        (f"{10 * options.per_class} random images", many, KNOWN),
        ("the image of airplane 0", of_airplane(options.seed), KNOWN_AIRPLANE),
    ):
        print(f"{title:40s} {'emulated':>12s}   real")
        for name, value in found.items():
            print(f"  {name:38s} {value:12,.3f}   {known.get(name, '')}")
    emulating, writing = costs(images)
    print(
        f"CPU time per recording: {emulating * 1e3:.0f} ms to emulate, {writing * 1e3:.0f} ms to"
        f" write; {1 / (emulating + writing):.0f} per second and core"
    )


if __name__ == "__main__":
    main()
