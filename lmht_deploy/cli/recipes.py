"""`lmht recipes`: the packaged recipes and the keys of a recipe."""

from __future__ import annotations

from typing import Annotated

import typer

from lmht_deploy.errors import LmhtError

from . import _options as options
from ._console import say, show, table, write_json


def recipe_names() -> list[str]:
    """Names of the packaged recipes."""
    from lmht_deploy.training.recipe import available_recipes

    return list(available_recipes())


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A recipe to print as TOML with all its keys (default: list all recipes).",
            autocompletion=options.completion(recipe_names, files=True),
        ),
    ] = None,
    keys: Annotated[
        bool, typer.Option("--keys", help="List all keys of a recipe, their defaults and ranges.")
    ] = False,
    json: options.Json = None,
) -> None:
    """List the packaged recipes, print one of them, or list all keys."""
    if keys and name is not None:
        raise LmhtError("--keys lists the keys of all recipes; give it without a name")
    if keys:
        _show_keys(json)
    elif name is None:
        _show_all(json)
    else:
        _show_one(name, json)


def _show_all(json: options.Json) -> None:
    from lmht_deploy.training.recipe import available_recipes

    found = table(
        "packaged recipes", ("recipe", "what it trains"), left=("recipe", "what it trains")
    )
    content = available_recipes()
    for name, summary in content.items():
        found.add_row(name, summary)
    show(found)
    say("To print a recipe: lmht recipes NAME. To train it: lmht train NAME --out DIR.")
    write_json(json, {"recipes": content})


def _show_one(name: str, json: options.Json) -> None:
    import dataclasses

    from lmht_deploy.training.recipe import dumps, load_recipe

    recipe = load_recipe(name)
    for line in dumps(recipe).rstrip().split("\n"):
        say(line)
    write_json(json, {"name": name, "recipe": dataclasses.asdict(recipe)})


def _show_keys(json: options.Json) -> None:
    import dataclasses

    from lmht_deploy.training.recipe import recipe_keys

    columns = ("key", "default", "allowed", "meaning")
    found = table("keys of a recipe", columns, left=columns)
    keys = recipe_keys()
    for key in keys:
        plain = list(key.default) if isinstance(key.default, tuple) else key.default
        default = "required" if plain is None else str(plain)
        found.add_row(key.key, default, key.range, key.meaning)
    show(found)
    write_json(json, {"keys": [dataclasses.asdict(key) for key in keys]})
