"""Data sets as training reads them: N-MNIST and CIFAR-10 from real files (digits: test_docs), and what is wrong with files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.errors import DataError
from training import data, images, recipe
from training.data import Data
from training.loop import train
from training.lowering import lower

SHARED = Path(__file__).parents[3] / "shared" / "data"

# ------------------------------------------------------------------------------------------------ images


def write(path: Path, pixels: list[np.ndarray], labels: list[int], **names: str) -> None:
    """`pixels` uint8 [H, W, 3] each as PNG, so that they come back as they are."""
    pyarrow = pytest.importorskip("pyarrow")
    from PIL import Image
    from pyarrow import parquet

    def encoded(array: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG")
        return buffer.getvalue()

    rows = [{"bytes": encoded(array), "path": f"{index}.png"} for index, array in enumerate(pixels)]
    parquet.write_table(pyarrow.table({names.get("img", "img"): rows, "label": labels}), path)


def random_pixels(number: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (number, 8, 8, 3)).astype(np.uint8))


def test_images_come_back_pixel_for_pixel(tmp_path: Path) -> None:
    pixels = random_pixels(5)
    write(tmp_path / "train-00000-of-00002.parquet", pixels[:3], [0, 1, 2])
    write(tmp_path / "train-00001-of-00002.parquet", pixels[3:], [9, 3])
    calls: list[tuple[int, int]] = []
    found = images.load("cifar10", root=tmp_path, split="train", progress=lambda done, total: calls.append((done, total)))
    assert found.windows.dtype == np.int8 and found.windows.shape == (5, 1, 3, 8, 8)
    np.testing.assert_array_equal(found.windows[:, 0].transpose(0, 2, 3, 1), np.stack(pixels).astype(int) - 128)
    assert found.labels.tolist() == [0, 1, 2, 9, 3] and found.classes[3] == "cat"
    assert calls == [(index, 5) for index in range(1, 6)]


def test_images_train_and_lower(tmp_path: Path) -> None:
    """Dark images against bright ones; one input step, signed pixels, MACs instead of SOPs at the entrance."""
    rng = np.random.default_rng(0)
    for split, number in (("train", 80), ("test", 20)):
        labels = rng.integers(0, 2, number)
        pixels = [(rng.integers(0, 128, (8, 8, 3)) + 128 * label).astype(np.uint8) for label in labels]
        write(tmp_path / f"{split}.parquet", pixels, labels.tolist())
    plan = recipe.load("digits", ["data.name=cifar10", "data.steps=1", "training.epochs=2", "training.batch=10", "training.mirror=true"])
    loaded = data.load(plan, root=tmp_path)
    run = train(plan, loaded, tmp_path / "run")
    assert run.accuracy >= 0.9
    net = lower(run.model, run.input)
    assert (net.input.low, net.input.high, net.input.kind) == (-128, 127, "image")
    result = reference.run(net, loaded.test.windows)
    assert (result.predictions == loaded.test.labels).mean() >= 0.9
    assert result.macs == {"convolution0.neuron": (8 * 3 - 2) ** 2 * 16 * 3}


def test_wrong_image_files(tmp_path: Path) -> None:
    def load() -> None:
        images.load("cifar10", root=tmp_path, split="train")

    with pytest.raises(DataError, match="cifar10 is read from a folder"):
        images.load("cifar10", root=None, split="train")
    with pytest.raises(DataError, match=r"there is no file train\*\.parquet of cifar10"):
        load()
    (tmp_path / "train.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(DataError, match=r"train\.parquet: is not a Parquet file with the columns img"):
        load()
    write(tmp_path / "train.parquet", random_pixels(1), [0], img="image")
    with pytest.raises(DataError, match=r"train\.parquet: is not a Parquet file with the columns img"):
        load()
    write(tmp_path / "train.parquet", [*random_pixels(1), np.zeros((4, 4, 3), np.uint8)], [0, 1])
    with pytest.raises(DataError, match="the train images have different sizes"):
        load()

    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"img": [{"bytes": b"no image", "path": ""}], "label": [0]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="train image 0: cannot be decoded"):
        load()


def test_cifar10() -> None:
    if not (SHARED / "cifar10").is_dir():
        pytest.skip("CIFAR-10 is not at ../shared/data/cifar10")
    pytest.importorskip("pyarrow")
    found = images.load("cifar10", root=SHARED / "cifar10", split="test")
    assert found.windows.shape == (10_000, 1, 3, 32, 32)
    assert np.bincount(found.labels).tolist() == [1000] * 10
    assert -20 < found.windows.mean() < 20 and found.windows.min() == -128 and found.windows.max() == 127


# ------------------------------------------------------------------------------------------------ events


def test_nmnist() -> None:
    if not (SHARED / "nmnist_small").is_dir():
        pytest.skip("N-MNIST is not at ../shared/data/nmnist_small")
    pytest.importorskip("tonic")
    loaded: Data = data.load(recipe.load("nmnist"), root=SHARED / "nmnist_small")
    assert loaded.kind == "events" and loaded.train.windows.shape == (1000, 4, 2, 34, 34) and len(loaded.test.windows) == 100


def test_events_are_down_sampled_and_cached(tmp_path: Path) -> None:
    whole, small = (data.load(recipe.load("digits", overrides), cache=tmp_path) for overrides in ([], ["data.size=8"]))
    assert whole.test.windows.shape[1:] == (4, 2, 16, 16) and small.test.windows.shape[1:] == (4, 2, 8, 8)
    folded = whole.test.windows.reshape(-1, 4, 2, 8, 2, 8, 2).sum((4, 6))
    np.testing.assert_array_equal(small.test.windows, folded)
