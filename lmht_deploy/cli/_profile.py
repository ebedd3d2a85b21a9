"""Times per layer, where a runtime measures them (`lmht run --profile`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lmht_deploy.errors import BackendError, counted

from ._console import show, table

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.backends import Backend


def check_profile(name: str, runner: Backend) -> None:
    """Require a backend that measures its layers; BackendError if it does not."""
    from lmht_deploy.backends import ProfilesLayers

    if not isinstance(runner, ProfilesLayers):
        raise BackendError(
            f"backend {name!r} does not measure the time of its layers; --profile needs "
            "--backend onnx"
        )


def measure_layers(runner: Any, windows: np.ndarray) -> dict[str, Any]:
    """Return the time of each layer in milliseconds per window, as plain data."""
    seconds = runner.profile(windows)
    count = len(windows)
    return {
        "windows": count,
        "ms_per_window": {layer: 1000 * time / count for layer, time in seconds.items()},
    }


def show_profile(profile: Mapping[str, Any] | None) -> None:
    """Print the times as a table."""
    if profile is None:
        return
    times = profile["ms_per_window"]
    total = sum(times.values())
    found = table(
        f"time per layer, {counted(profile['windows'], 'window')}",
        ("layer", "ms per window", "share"),
        left=("layer",),
        caption="from the profiler of the runtime, which slows the run down",
    )
    for layer, time in times.items():
        found.add_row(layer, f"{time:.3f}", f"{time / total:.1%}" if total else "")
    found.add_row("all", f"{total:.3f}", "")
    show(found)
