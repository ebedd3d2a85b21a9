"""Optional packages: what is missing is named with the command that installs it."""

from __future__ import annotations

import importlib.util

from .errors import DataError


def need(package: str, extra: str) -> None:
    """Raise DataError with the command that installs `package`, where it is missing."""
    if importlib.util.find_spec(package) is None:
        raise DataError(
            f"this needs the package {package!r}; run: pip install 'lmht-deploy[{extra}]'"
        )
