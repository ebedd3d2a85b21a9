"""Stop when sure: calibrate the margin on half of the windows, and measure the other half."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import BackendError, DataError, counted

from ._console import percent, say
from ._options import EXECUTION

if TYPE_CHECKING:
    import numpy as np

    from lmht_deploy.ir import Network

StopMargin = Annotated[
    int | None,
    typer.Option(
        "--stop-margin",
        min=0,
        metavar="N",
        help="End the run of a window when its answer is sure, with the margin that `lmht run "
        "--stop-risk` or `lmht search --stop-risk` finds: the rest of the window is not computed.",
        rich_help_panel=EXECUTION,
    ),
]


def check_risk(risk: float | None) -> float | None:
    """Refuse a risk that is not above 0 and below 1."""
    from lmht_deploy.analysis.early import check_risk

    if risk is not None:
        check_risk(risk)
    return risk


def check_stop(
    backend: str, artifact: Path, risk: float | None, margin: int | None
) -> Network | None:
    """Refuse --stop-risk and --stop-margin where no window can end early; nothing is run.

    Args:
        backend: Name of the backend.
        artifact: What it runs.
        risk, margin: The options; None: not given.

    Returns:
        The network in `artifact`; None without these options.
    """
    if risk is None and margin is None:
        return None
    import lmht_deploy as lmht
    from lmht_deploy import backends
    from lmht_deploy.engine import check_stepwise

    option = "--stop-risk" if risk is not None else "--stop-margin"
    if risk is not None and margin is not None:
        raise DataError("--stop-risk finds a margin; do not give --stop-margin with it")
    try:
        backends.check_stop(backend)
        net = lmht.load(artifact)
        check_stepwise(net)
    except BackendError as error:
        raise BackendError(f"{option}: {error}") from None
    return net


def measure_stop(net: Network, windows: np.ndarray, risk: float) -> dict[str, Any]:
    """Return the margin for a risk, and what it saves, as plain data.

    Args:
        net: What the engine runs, see `check_stop`.
        windows: Windows that the network was not trained on.
        risk: Largest probability of another answer than that of the whole window.
    """
    from lmht_deploy.analysis.early import calibrate_stop, run_early

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
        f"{counted(early['calibration_windows'], 'window')}): of "
        f"{counted(early['windows'], 'other window')}, "
        f"{early['differing']:,} have another answer than the whole window; "
        f"{early['mean_steps']:.2f} of {early['steps']} time-steps, "
        f"{percent(early['saved_sops'])} of the SOPs and {percent(early['saved_time'])} of the "
        "time saved"
    )
    say(f"to use it: lmht run or lmht stream with --stop-margin {early['stop_margin']}")
