"""Estimate energy from counts, under named and cited models.

A model is a TOML file: energies of single operations and memory accesses, the view of the network
that they are for, a source, and what the model leaves out. Energy is the sum of count × energy. The
results are estimates, and models differ by more than a factor of ten. So give all of them, or
compare networks under one of them.

Example:
    >>> result = lmht.run(net, windows, trace=True)
    >>> exact = counts.count(net, windows, result.traces)
    >>> estimate(exact, energy_model("45nm")).joules.mean()
    1.2e-08
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from lmht_deploy._arguments import check_types
from lmht_deploy._suggest import unknown
from lmht_deploy.errors import LmhtError, StorageError

from .counts import GRADED, SINGLE_THRESHOLD, STATE_BYTES, WEIGHT_BYTES, Counts, LayerCounts

__all__ = [
    "DEFAULT",
    "DENSE",
    "MODELS",
    "UNITS",
    "EnergyModel",
    "Estimate",
    "energy_model",
    "estimate",
    "read_model",
]

DENSE = "dense"
"""View of a network of the same shape that is not spiking."""
DEFAULT = "45nm"
"""Name of the energy model that the paper uses."""
MAX_FILE = 2**20
"""Largest size of a model file, in bytes."""

Price: TypeAlias = float | tuple[tuple[float, float], ...]
"""Picojoules of one unit, or points (bytes of the memory, picojoules of one access)."""

_SPIKING = {
    "sop": "sops",
    "event_sop": "event_sops",
    "conv_event": "conv_events",
    "mac": "macs",
    "spike": "spikes",
    "event": "events",
    "message": "events",
    "hop": "events",
    "access": "updates",
    "update": "updates",
    "weight_read": "weight_reads",
    "bias_read": "updates",
    "state_read": "state_reads",
    "state_write": "state_writes",
}
_DENSE = {
    "dense_mac": "dense_macs",
    "update": "outputs",
    "weight_read": "dense_macs",
    "bias_read": "outputs",
    "input_read": "dense_reads",
    "output_write": "outputs",
}
UNITS: Mapping[str, Mapping[str, str]] = {
    GRADED: _SPIKING,
    SINGLE_THRESHOLD: _SPIKING,
    DENSE: _DENSE,
}
"""By view, the units that a model can price, and the count that each stands for."""
MEMORIES: Mapping[str, Callable[[LayerCounts], int]] = {
    "weight_read": lambda layer: layer.weights * WEIGHT_BYTES,
    "bias_read": lambda layer: layer.biases * STATE_BYTES,
    "state_read": lambda layer: layer.outputs * STATE_BYTES,
    "state_write": lambda layer: layer.outputs * STATE_BYTES,
    "input_read": lambda layer: layer.inputs * WEIGHT_BYTES,
    "output_write": lambda layer: layer.outputs * WEIGHT_BYTES,
}
"""Units whose energy can depend on the size of the memory, and that size in bytes."""


@dataclass(frozen=True)
class EnergyModel:
    """Energies of single operations.

    Attributes:
        name: Name of the model.
        title: Name for tables.
        view: `"graded"`, `"single_threshold"` or `"dense"`: what the counts are taken of.
        picojoules: Price by unit, see `UNITS`.
        source: Where the figures come from.
        url: Address of the source; empty if there is none.
        leaves_out: What the model does not include, in sentences.
    """

    name: str
    title: str
    view: str
    picojoules: Mapping[str, Price]
    source: str
    url: str = ""
    leaves_out: tuple[str, ...] = ()

    @property
    def needs_spikes(self) -> bool:
        """Whether the sums of a `Result` are not enough: SOPs, spikes and MACs per window."""
        return self.view == DENSE or not self.picojoules.keys() <= {"sop", "mac", "spike"}


@dataclass(frozen=True, eq=False)
class Estimate:
    """Energy of a run under one model.

    Attributes:
        model: The model.
        energies: Joules per window by (layer, unit), float64 `[B]`.
    """

    model: EnergyModel
    energies: Mapping[tuple[str, str], np.ndarray]

    @property
    def joules(self) -> np.ndarray:
        """Joules per window, float64 `[B]`."""
        total: np.ndarray = np.sum(list(self.energies.values()), axis=0)
        return total

    @property
    def interval(self) -> tuple[float, float]:
        """Joules between which 95 % of the windows lie."""
        low, high = np.percentile(self.joules, [2.5, 97.5])
        return float(low), float(high)

    @property
    def parts(self) -> dict[str, float]:
        """Mean joules per window by unit."""
        return self._means(1)

    @property
    def layers(self) -> dict[str, float]:
        """Mean joules per window by layer."""
        return self._means(0)

    def _means(self, part: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for key, joules in self.energies.items():
            found[key[part]] = found.get(key[part], 0.0) + float(joules.mean())
        return found


@check_types(LmhtError, counts=Counts, model=EnergyModel)
def estimate(counts: Counts, model: EnergyModel) -> Estimate:
    """Estimate the energy of every window.

    Args:
        counts: Counts of a run. A model of the view `"single_threshold"` needs the counts of that
            view; the other models need those of the graded view.
        model: Energies of single operations.

    Raises:
        LmhtError: The counts are of another view.
    """
    needed = GRADED if model.view == DENSE else model.view
    if counts.view != needed:
        raise LmhtError(
            f"energy model {model.name!r} is for the {needed} view, not for the {counts.view} view"
        )
    units = UNITS[model.view]
    return Estimate(
        model,
        {
            (layer.layer, unit): layer.per_window(units[unit]) * _joules(price, unit, layer)
            for layer in counts.layers
            for unit, price in model.picojoules.items()
        },
    )


def _joules(price: Price, unit: str, layer: LayerCounts) -> float:
    """Return the energy of one unit, for memories of the size that the layer needs."""
    if isinstance(price, float):
        return price * 1e-12
    return _interpolate(price, MEMORIES[unit](layer)) * 1e-12


def _interpolate(points: tuple[tuple[float, float], ...], size: float) -> float:
    """Interpolate linearly between points, and go on with the last slope beyond them."""
    (x0, y0), (x1, y1) = next(
        (pair for pair in pairwise(points) if size <= pair[1][0]),
        (points[-2], points[-1]),
    )
    return max(0.0, y0 + (y1 - y0) * (size - x0) / (x1 - x0))


# ------------------------------------------------------------------------------------- files


def energy_model(name: str | Path) -> EnergyModel:
    """Return a packaged energy model, or read one from a `.toml` file.

    Args:
        name: Name of the model, or the path of a file that ends in `.toml`.

    Raises:
        LmhtError: There is no such model, or the file is not a model.
        StorageError: The file is missing.
    """
    if isinstance(name, str | Path) and str(name).endswith(".toml"):
        return read_model(Path(name))
    if not isinstance(name, str) or name not in MODELS:
        raise LmhtError(unknown("energy model", name, MODELS))
    return MODELS[name]


def read_model(path: Path) -> EnergyModel:
    """Read an energy model from a TOML file.

    Raises:
        LmhtError: A key is missing, unknown or has a wrong value.
        StorageError: The file cannot be read.
    """
    try:
        if path.stat().st_size > MAX_FILE:
            raise StorageError(f"{path}: is larger than {MAX_FILE} bytes")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StorageError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{path}: cannot be read ({error})") from None
    return parse_model(text, str(path))


def parse_model(text: str, where: str) -> EnergyModel:
    """Return the model that TOML text describes; LmhtError names `where` and the key."""
    try:
        content = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise LmhtError(f"{where}: is not TOML ({error})") from None
    for key in content:
        if key not in _KEYS:
            raise LmhtError(f"{where}: {unknown('key', key, _KEYS)}")
    for key in ("name", "view", "source", "picojoules"):
        if key not in content:
            raise LmhtError(f"{where}: {key!r} is missing")
    texts = {key: _text(where, key, content.get(key, "")) for key in ("name", "source", "url")}
    view = _text(where, "view", content["view"])
    if view not in UNITS:
        raise LmhtError(f"{where}: {unknown('view', view, UNITS)}")
    return EnergyModel(
        title=_text(where, "title", content.get("title", texts["name"])),
        view=view,
        picojoules=_prices(where, view, content["picojoules"]),
        leaves_out=_sentences(where, content.get("leaves_out", [])),
        **texts,
    )


_KEYS = ("name", "title", "view", "source", "url", "leaves_out", "picojoules")


def _text(where: str, key: str, value: object) -> str:
    if not isinstance(value, str) or (not value and key != "url"):
        raise LmhtError(f"{where}: {key!r} must be a text")
    return value


def _sentences(where: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise LmhtError(f"{where}: 'leaves_out' must be a list of texts")
    return tuple(value)


def _prices(where: str, view: str, value: object) -> dict[str, Price]:
    if not isinstance(value, dict) or not value:
        raise LmhtError(f"{where}: 'picojoules' must be a table of energies by unit")
    for unit in value:
        if unit not in UNITS[view]:
            raise LmhtError(f"{where}: {unknown('unit', unit, UNITS[view])}")
    return {unit: _price(where, unit, price) for unit, price in value.items()}


def _price(where: str, unit: str, value: object) -> Price:
    if _is_number(value):
        return float(value)  # type: ignore[arg-type]
    points = value if unit in MEMORIES and isinstance(value, list) else []
    if len(points) >= 2 and all(map(_is_point, points)):
        sizes = [point[0] for point in points]
        if sizes == sorted(set(sizes)):
            return tuple((float(size), float(price)) for size, price in points)
    shapes = "a number >= 0"
    if unit in MEMORIES:
        shapes += ", or at least two points [bytes, picojoules] of increasing size"
    raise LmhtError(f"{where}: {unit!r} must be {shapes}")


def _is_point(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def _is_number(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < math.inf  # type: ignore[operator]


def _packaged() -> Iterator[EnergyModel]:
    folder = resources.files(__package__) / "energy_models"
    files = {file.name: file for file in folder.iterdir() if file.name.endswith(".toml")}
    for name in sorted(files, key=lambda name: name.removesuffix(".toml")):
        yield parse_model(files[name].read_text(encoding="utf-8"), name)


MODELS: Mapping[str, EnergyModel] = {model.name: model for model in _packaged()}
"""The packaged energy models, by name."""
