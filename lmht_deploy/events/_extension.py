"""The compiled part of events: validation, counting, the pixels of the emulated sensor."""

from __future__ import annotations

from functools import cache
from typing import Any

from lmht_deploy._packages import ExtensionError, import_extension
from lmht_deploy.errors import DataError


@cache
def core() -> Any:
    """Import the extension `lmht_deploy.events._core`.

    Raises:
        DataError: It was not built.
    """
    try:
        return import_extension(__package__)
    except ExtensionError as error:
        raise DataError(str(error)) from None
