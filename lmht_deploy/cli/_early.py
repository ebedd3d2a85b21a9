"""Stop when sure: calibrate the margin on half of the windows, and measure the other half."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmht_deploy.errors import DataError

from ._console import percent, say

if TYPE_CHECKING:
    import numpy as np


def measure_stop(artifact: Path, windows: np.ndarray, risk: float) -> dict[str, Any]:
    """Return the margin for a risk, and what it saves, as plain data.

    Args:
        artifact: A file of a network.
        windows: Windows that the network was not trained on.
        risk: Largest probability of another answer than that of the whole window.
    """
    import lmht_deploy as lmht
    from lmht_deploy.analysis.early import calibrate_stop, run_early
    from lmht_deploy.analysis.runner import holds_network

    if not holds_network(artifact):
        raise DataError(f"{artifact}: --stop-risk needs a network, and this file holds none")
    net = lmht.load(artifact)
    rule = calibrate_stop(net, windows[::2], risk)
    found = run_early(net, windows[1::2], rule.stop_margin)
    return {
        "stop_margin": rule.stop_margin,
        "risk": rule.risk,
        "calibration_windows": rule.windows,
        "windows": len(found.steps),
        "differing": int((found.answers != found.whole_answers).sum()),
        "mean_steps": float(found.steps.mean()),
        "steps": net.input.steps,
        "saved_sops": found.saved_sops,
        "saved_time": found.saved_seconds,
    }


def say_stop(early: Mapping[str, Any] | None) -> None:
    """Print the margin, and what it saves."""
    if early is None:
        return
    say(
        f"stop margin {early['stop_margin']} (risk {early['risk']:g}, calibrated on "
        f"{early['calibration_windows']:,} windows): of {early['windows']:,} other windows, "
        f"{early['differing']:,} have another answer than the whole window; "
        f"{early['mean_steps']:.2f} of {early['steps']} time-steps, "
        f"{percent(early['saved_sops'])} of the SOPs and {percent(early['saved_time'])} of the "
        "time saved"
    )
    say(f"to use it: lmht stream --stop-margin {early['stop_margin']}")
