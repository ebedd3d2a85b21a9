"""The packaged energy models as Markdown, from their files."""

from __future__ import annotations

from collections.abc import Iterator

from tables import table

from lmht_deploy.analysis.energy import MODELS, EnergyModel, Price


def models() -> str:
    """Return the table of all models, and what each leaves out."""
    header = ("model", "view", "energies in pJ", "source")
    rows = [
        (f"`{model.name}`", model.view.replace("_", " "), _prices(model), _source(model))
        for model in MODELS.values()
    ]
    return table(header, rows) + "\nWhat each model leaves out:\n\n" + "\n".join(_gaps())


def _prices(model: EnergyModel) -> str:
    return ", ".join(f"`{unit}` {_price(price)}" for unit, price in model.picojoules.items())


def _price(price: Price) -> str:
    return f"{price:g}" if isinstance(price, float) else "by size"


def _source(model: EnergyModel) -> str:
    return f"[{model.source}]({model.url})" if model.url else model.source


def _gaps() -> Iterator[str]:
    for model in MODELS.values():
        yield f"* `{model.name}`: {' '.join(model.leaves_out)}"
