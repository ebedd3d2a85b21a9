"""Render the keys of recipes and the packaged recipes from the code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tables import table

if TYPE_CHECKING:
    from lmht_deploy.training import RecipeKey


def keys() -> str:
    """Return one table of keys per section of a recipe."""
    from lmht_deploy.training import recipe_keys

    found = recipe_keys()
    sections = dict.fromkeys(key.section for key in found)
    return "\n\n".join(_section(name, [k for k in found if k.section == name]) for name in sections)


def _section(name: str, found: list[RecipeKey]) -> str:
    rows = [(f"`{k.name}`", k.type, _default(k), _allowed(k), k.meaning) for k in found]
    return f"### [{name}]\n\n" + table(("key", "type", "default", "allowed", "meaning"), rows)


def _default(key: RecipeKey) -> str:
    if key.default is None:
        return "required"
    shown = str(key.default).lower() if key.type == "boolean" else repr(key.default)
    return f"`{shown}`".replace("'", '"')


def _allowed(key: RecipeKey) -> str:
    if len(key.choices) > 6:
        return "see [Architectures](#architectures)"
    return ", ".join(f"`{choice}`" for choice in key.choices) or key.range.replace("..", "…")


def packaged() -> str:
    """Return the packaged recipes with what the paper reports for them."""
    from lmht_deploy.training.recipe import load_recipe
    from lmht_deploy.training.recipe import packaged as names

    rows = []
    for name in names():
        recipe = load_recipe(name)
        network, paper = recipe.network, recipe.paper
        reported = f"{paper.accuracy:.2f} (Table {paper.table})" if paper.accuracy else ""
        cells = (recipe.data.name, network.architecture, network.neurons, reported)
        rows.append((f"`{name}`", *cells))
    return table(("recipe", "data set", "architecture", "neurons", "paper"), rows)
