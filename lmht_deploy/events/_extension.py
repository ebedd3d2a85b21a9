"""The compiled part of events: validation, counting, the pixels of the emulated sensor."""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from lmht_deploy.errors import DataError


@cache
def core() -> Any:
    """Import the extension `lmht_deploy.events._core`.

    Raises:
        DataError: It was not built.
    """
    try:
        return importlib.import_module("._core", __package__)
    except ImportError as error:  # a source tree that was not built
        raise DataError(
            f"the extension for events is not built ({error});"
            " run in the folder of lmht-deploy: pip install -e ."
        ) from None
