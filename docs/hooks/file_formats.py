"""Render the description of every file format from its schema."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lmht_deploy.formats.schema import Schema


def to_markdown() -> str:
    """Return the policy of compatibility and one section per format of lmht-deploy."""
    from lmht_deploy.formats import schema

    own = [schema.to_markdown(found) for found in _schemas() if found.version]
    return "\n\n".join(["## Compatibility", schema.COMPATIBILITY.strip(), *own])


def stock_netx() -> str:
    """Return the keys of NetX that lava-dl reads."""
    from lmht_deploy.formats import netx, schema

    text = schema.to_markdown(netx.STOCK_SCHEMA)
    return text.partition("\n")[2]  # the page has a heading of its own


def _schemas() -> Iterator[Schema]:
    """Yield every schema of `lmht_deploy.formats` once, in the order of the module names."""
    from lmht_deploy import formats
    from lmht_deploy.formats.schema import Schema

    seen = set()
    for module in pkgutil.walk_packages(formats.__path__, f"{formats.__name__}."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, Schema) and id(value) not in seen:
                seen.add(id(value))
                yield value
