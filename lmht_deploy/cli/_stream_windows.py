"""The windows of a stream: how it is cut, and the bins that its events are counted in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lmht_deploy.errors import DataError

from . import _window_options as windows
from ._console import tell
from ._stream_source import SourceOptions

if TYPE_CHECKING:
    from lmht_deploy.backends import Backend
    from lmht_deploy.events.arrays import Sensor
    from lmht_deploy.events.stream import SharedSteps, WholeWindows
    from lmht_deploy.events.windows import WindowRule
    from lmht_deploy.ir import Network


def stream_rule(
    net: Network,
    path: Path,
    by: str | None,
    length: str | None,
    hop: int | None,
    chosen: SourceOptions,
) -> WindowRule:
    """Return the rule that cuts a stream into windows.

    Raises:
        DataError: The network takes no events, or the rule does not fit a stream or its source.
    """
    if net.input.kind != "events" or len(net.input.shape) != 3 or net.input.shape[0] != 2:
        raise DataError(
            f"the network takes {net.input.kind} of shape {net.input.shape}; "
            "a stream gives events of shape (2, H, W)"
        )
    steps = windows.window_steps(net.metadata, net.input.steps, path)
    own = windows.own_rule(net.metadata, steps, path)
    rule = _first_bins(windows.window_rule(steps, by, length, hop, own), net.input.steps)
    if rule.by == "recording":
        raise DataError(
            "a stream has no known end; give the length of its windows, as in --length 50ms"
        )
    if chosen.live and rule.by != "time":
        raise DataError("--live ends windows by time; give their length, as in --length 50ms")
    return rule


def _first_bins(rule: WindowRule, steps: int) -> WindowRule:
    """Return the rule of windows of the bins that a network reads, one after the other."""
    from lmht_deploy.events.windows import WindowRule
    from lmht_deploy.ir import first_bins

    if rule.steps == steps or rule.by == "recording":
        return rule
    found = WindowRule(steps, rule.by, *first_bins(rule.steps, steps, rule.length, rule.hop))
    tell(f"note: the network reads the first {steps} bins of {rule}; it gets {found}")
    return found


def make_bins(
    net: Network,
    runner: Backend,
    rule: WindowRule,
    sensor: Sensor,
    *,
    eager: bool = False,
    stop_margin: int | None = None,
) -> SharedSteps | WholeWindows:
    """Return the bins to count events in: single bins if the backend takes them, else windows.

    Says so where the network sees fewer pixels than the sensor has.

    Args:
        net: The network.
        runner: The backend that runs it.
        rule: The window rule.
        sensor: Size of the sensor.
        eager: Whether windows that do not overlap run bin by bin through all layers, if the network
            allows it. That takes more time in all, and less after the last bin.
        stop_margin: Margin with which a window ends early; None to run whole windows.

    Raises:
        BackendError: A window cannot end early: the backend, the network or the rule does not allow
            it.
    """
    from lmht_deploy.backends import Incremental
    from lmht_deploy.events.stream import SharedSteps, WholeWindows
    from lmht_deploy.events.windows import check_size, down_sampling

    size = check_size(input_size(net), sensor)
    if text := down_sampling(size, sensor):
        tell(f"note: {text}")
    if stop_margin is not None:
        _check_stop(net, runner, rule)
    eager = (eager or stop_margin is not None) and rule.hop == rule.steps
    shared = None
    if isinstance(runner, Incremental):
        shared = runner.steps(eager=eager, stop_margin=stop_margin)
    if shared is not None:
        return SharedSteps(shared, net.input.max_value, rule.steps, sensor, size)
    return WholeWindows(runner, net.input.max_value, rule.steps, sensor, size)


def _check_stop(net: Network, runner: Backend, rule: WindowRule) -> None:
    """Raise BackendError if a window cannot end early."""
    from lmht_deploy.backends import Incremental
    from lmht_deploy.engine import StepwiseEngine
    from lmht_deploy.errors import BackendError

    if not isinstance(runner, Incremental):
        raise BackendError("--stop-margin needs the backend event")
    if rule.hop != rule.steps:
        raise BackendError("--stop-margin needs windows that do not overlap")
    if not StepwiseEngine.supports(net):
        raise BackendError(
            "--stop-margin needs a network that computes step by step; a time-step of this one "
            "depends on later ones"
        )


def input_size(net: Network) -> Sensor:
    """Return the size of the network's input."""
    from lmht_deploy.events.arrays import Sensor

    return Sensor(*net.input.shape[1:])
