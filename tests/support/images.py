"""Image data sets for the tests."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest


def write_parquet(
    path: Path, pixels: list[np.ndarray], labels: list[int], img: str = "img", label: str = "label"
) -> None:
    """Write `pixels`, uint8 [H, W, 3] each, as PNG: they come back unchanged."""
    pyarrow = pytest.importorskip("pyarrow")
    from PIL import Image
    from pyarrow import parquet

    def encoded(array: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG")
        return buffer.getvalue()

    rows = [{"bytes": encoded(array), "path": f"{index}.png"} for index, array in enumerate(pixels)]
    parquet.write_table(pyarrow.table({img: rows, label: labels}), path)


def random_pixels(number: int, seed: int = 0) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (number, 8, 8, 3)).astype(np.uint8))
