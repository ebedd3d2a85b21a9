"""Emulated recordings do not depend on BLAS, on its threads or on the instructions of NumPy."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from lmht_deploy.data import _digits, cifar10dvs
from lmht_deploy.events import _grid

RECORD = """
import hashlib
import numpy as np
from lmht_deploy.data import _digits, cifar10dvs
from lmht_deploy.events.dvs import Dvs, emulate

def digest(events):
    return hashlib.sha256(events.tobytes()).hexdigest()[:32]

row, column, color = np.indices((32, 32, 3))
board = (row // 6 + column // 5) % 2 * 150 + 3 * row + 4 * color
print(digest(cifar10dvs.record(board.astype(np.uint8), np.random.default_rng(0))))
order = np.arange(_digits.STEPS + 1)
frames = _digits._move_on_circle(board[None, :8, 3:11, 0] % 17 / 16)
times = _digits.INTERVAL * order
dvs = Dvs(on=0.1, off=0.1, leak=5, refractory=10, readout=1)
print(digest(emulate(frames, order, times, dvs, np.random.default_rng(0))[0]))
"""

EXPECTED = ["f93bebed7704f11916425668bf6b04aa", "b63436dd8e212fe8bf8bedd4361d2599"]
"""What the program prints: SHA-256, the first 32 digits. After a change of the emulator, the
failed test shows the new ones."""

OPTIONAL = " ".join(np.show_config(mode="dicts")["SIMD Extensions"].get("found", ()))  # type: ignore[call-overload]
"""Instructions that NumPy uses because this processor has them."""


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OPENBLAS_CORETYPE": "Prescott", "NPY_DISABLE_CPU_FEATURES": OPTIONAL},
        {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1"},
        {"OPENBLAS_CORETYPE": "SkylakeX", "OPENBLAS_NUM_THREADS": "2"},
    ],
    ids=["as it is", "Prescott", "Haswell", "SkylakeX"],
)
def test_events_are_these(environment: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RECORD],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == EXPECTED, done.stderr


def test_filters_are_exact() -> None:
    """The products are those of integers; no order of their sums needs more than 53 bits."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    lens, screen = cifar10dvs._lens_weights(), cifar10dvs._screen_intensity(image)
    weights = np.ldexp(lens, cifar10dvs.WEIGHT_BITS).astype(np.int64)
    intensities = np.ldexp(screen, cifar10dvs.INTENSITY_BITS).astype(np.int64)
    bits = 2 * cifar10dvs.WEIGHT_BITS + cifar10dvs.INTENSITY_BITS
    found = np.ldexp(lens @ screen @ lens.T, bits)
    np.testing.assert_array_equal(found, weights @ intensities @ weights.T)
    assert lens.min() >= 0 and lens.sum(1).max() ** 2 * 2.0**bits < 2**51

    for pixels in (32, 20, 300):
        cubic = cifar10dvs._cubic_weights(128, pixels)
        scaled = np.ldexp(cubic, cifar10dvs.WEIGHT_BITS)
        np.testing.assert_array_equal(scaled, scaled.astype(int))
        assert 255_000 * np.abs(scaled).sum(1).max() ** 2 < 2**51

    rows = np.ldexp(_digits._interpolate(16, 8, _digits._circle()[0][5]), _digits.BITS)
    np.testing.assert_array_equal(rows, rows.astype(int))
    assert 16 * rows.sum(1).max() ** 2 < 2**51


def test_no_constant_lies_between_two_multiples(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that exp, pow, sin and cos of any library, exact to 1e-12, are rounded to the same."""
    checked = []

    def rounded(values: np.ndarray, bits: int) -> np.ndarray:
        scaled = np.ldexp(values, bits)
        checked.append(float(np.abs(scaled % 1 - 0.5).min()))
        assert np.abs(scaled).max() <= 2**21
        return _grid.on_grid(values, bits)

    for module in (cifar10dvs, _digits):
        monkeypatch.setattr(module, "on_grid", rounded)
    cifar10dvs._gray_intensities.__wrapped__()
    cifar10dvs._lens_weights.__wrapped__()
    _digits._circle()
    assert len(checked) == 4 and min(checked) > 2**21 * 1e-12
