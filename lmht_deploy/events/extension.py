"""The compiled part of the events room (core/): the door's check, the counting of events, the pixels of the emulated sensor."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from lmht_deploy.errors import DataError


@cache
def core() -> Any:
    """The extension; DataError with the command that builds it, where it is missing."""
    try:
        return importlib.import_module("._core", __package__)
    except ImportError as error:  # a source tree that was not built
        raise DataError(
            f"the extension for events was not built ({error}); run: pip install -e ."
        ) from None
