"""Optional packages and compiled extensions: an error names what is missing and how to install it.

`pip install 'lmht-deploy[events]'` is right for every installation, also for one from a folder or a
repository: pip takes the lmht-deploy that is installed and adds the packages of the extra.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from .errors import DataError


def install_command(extra: str) -> str:
    """Return the command that installs the packages of `extra`."""
    return f"pip install 'lmht-deploy[{extra}]'"


def require_package(package: str, extra: str) -> None:
    """Check that `package` is installed.

    Args:
        package: Import name.
        extra: Extra of lmht-deploy that installs it.

    Raises:
        DataError: It is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise DataError(f"the package {package!r} is not installed; run: {install_command(extra)}")


class ExtensionError(ImportError):
    """An extension that was not built; its message names the command that builds it."""


def import_extension(package: str) -> Any:
    """Return the extension `_core` of `package`.

    Args:
        package: Full name of the package, as in `lmht_deploy.engine`.

    Raises:
        ExtensionError: It was not built: the package runs from its source tree.
    """
    try:
        return importlib.import_module(f"{package}._core")
    except ImportError as error:
        raise ExtensionError(
            f"the extension {package}._core was not built ({error}); "
            "run in the folder of lmht-deploy: pip install -e ."
        ) from None
