"""The C++ extension `_core`, or the reason why it cannot be imported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmht_deploy.errors import BackendError

_import_error: str | None = None
if TYPE_CHECKING:
    from . import _core as core
else:
    try:
        from . import _core as core
    except ImportError as error:  # a source tree that was not built
        core, _import_error = None, str(error)

__all__ = ["core", "require", "unavailable"]


def unavailable() -> str | None:
    """Return why the engine cannot run, with the command that installs it; None if it can run."""
    if _import_error is None:
        return None
    return f"the engine's extension was not built ({_import_error}); run: pip install -e ."


def require() -> None:
    """Raise BackendError if the extension was not built."""
    if reason := unavailable():
        raise BackendError(f"the event-driven engine cannot run here: {reason}")
