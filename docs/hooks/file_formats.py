"""Render the description of every file format from its schema."""

from __future__ import annotations

import importlib
import pkgutil


def to_markdown() -> str:
    """Return the policy of compatibility and one section per schema of `lmht_deploy.formats`."""
    from lmht_deploy import formats
    from lmht_deploy.formats import schema

    names = [module.name for module in pkgutil.iter_modules(formats.__path__)]
    modules = [importlib.import_module(f"lmht_deploy.formats.{name}") for name in names]
    found = [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, schema.Schema)
    ]
    unique = list({id(item): item for item in found}.values())
    sections = [schema.to_markdown(item, level=2) for item in unique]
    return "\n\n".join(["## Compatibility", schema.COMPATIBILITY.strip(), *sections])
