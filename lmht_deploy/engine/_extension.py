"""The C++ extension `_core`, or the reason why it cannot be imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmht_deploy._packages import ExtensionError, import_extension
from lmht_deploy.errors import BackendError

_import_error: str | None = None
if TYPE_CHECKING:
    from . import _core as core
else:
    try:
        core = import_extension(__package__)
    except ExtensionError as error:
        core, _import_error = None, str(error)

__all__ = ["core", "require", "unavailable"]


def unavailable() -> str | None:
    """Return why the engine cannot run, with the command that installs it; None if it can run."""
    return _import_error


def require() -> None:
    """Raise BackendError if the extension was not built."""
    if reason := unavailable():
        raise BackendError(f"the event-driven engine cannot run here: {reason}")
