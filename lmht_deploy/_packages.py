"""Optional packages: an error names what is missing and the command that installs it.

`pip install 'lmht-deploy[events]'` is right for every installation, also for one from a folder or a
repository: pip takes the lmht-deploy that is installed and adds the packages of the extra.
"""

from __future__ import annotations

import importlib.util

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
