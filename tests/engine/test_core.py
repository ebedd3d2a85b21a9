"""The border between Python and the core: what does not fit the engine's own model is refused."""

from __future__ import annotations

import numpy as np
import pytest

from lmht_deploy import engine
from tests.support.networks import SPECIAL, Builder, windows_for

if reason := engine.unavailable():
    pytest.skip(reason, allow_module_level=True)

from lmht_deploy.engine import _core
from lmht_deploy.engine._outputs import RunArrays

SMALL = SPECIAL["if"]
LARGE = SPECIAL["wide"]


def test_a_run_takes_no_model() -> None:
    """The engine holds its model, so a run cannot be called with another one."""
    small, large = engine.Model(SMALL()), engine.Model(LARGE())
    outputs, windows = RunArrays(small, 1).core, windows_for(small.net, 1).astype(np.int32)
    with pytest.raises(TypeError):
        _core.Engine(small.core, 1).run(large.core, windows, outputs)  # type: ignore[call-arg, arg-type]


def test_engine_and_model_cannot_be_separated() -> None:
    runner = engine.Engine(SMALL())
    with pytest.raises(AttributeError):
        runner.model = engine.Model(LARGE())  # type: ignore[misc]


def test_outputs_of_another_model_are_refused() -> None:
    small, large = engine.Model(SMALL()), engine.Model(LARGE())
    windows = windows_for(large.net, 2).astype(np.int32)
    core = _core.Engine(large.core, 1)
    core.run(windows, RunArrays(large, 2, trace=True, profile=True).core)
    for arrays in (RunArrays(small, 2), RunArrays(small, 2, trace=True, profile=True)):
        with pytest.raises(ValueError, match="do not fit the model"):
            core.run(windows, arrays.core)
    with pytest.raises(ValueError, match="do not fit the model"):
        core.run(windows, RunArrays(large, 1).core)


def test_windows_of_another_model_are_refused() -> None:
    model = engine.Model(SMALL())
    core = _core.Engine(model.core, 1)
    for axis in range(1, 5):
        shape = [1, *model.net.window_shape]
        shape[axis] += 1
        with pytest.raises(ValueError, match="windows do not fit"):
            core.run(np.zeros(shape, np.int32), RunArrays(model, 1).core)


@pytest.mark.parametrize("name", ["logits", "spikes", "events", "sops", "event_sops", "profile"])
def test_every_output_is_checked(name: str) -> None:
    model = engine.Model(SMALL())
    arrays = _arrays(model)
    arrays[name] = np.zeros((arrays[name].shape[0], arrays[name].shape[1] - 1), np.int64)
    with pytest.raises(ValueError, match=r"do not fit the model|one row per layer"):
        _core.Engine(model.core, 1).run(
            windows_for(model.net, 1).astype(np.int32), _core.Outputs(**arrays)
        )


def test_traces_are_checked() -> None:
    model = engine.Model(SMALL())
    core, windows = _core.Engine(model.core, 1), windows_for(model.net, 1).astype(np.int32)
    good = RunArrays(model, 1, trace=True).traces
    for traces, message in (
        ([*good, good[0]], "one trace for each layer"),
        ([good[0][:, :-1], *good[1:]], "does not fit its layer"),
    ):
        contiguous = [np.ascontiguousarray(trace) for trace in traces]
        with pytest.raises(ValueError, match=message):
            core.run(windows, _core.Outputs(**_arrays(model), traces=contiguous))


def test_arrays_are_never_converted() -> None:
    model = engine.Model(SMALL())
    arrays = _arrays(model)
    for wrong in (arrays["logits"].astype(np.int32), arrays["logits"][:, ::-1]):
        with pytest.raises(TypeError):
            _core.Outputs(**(arrays | {"logits": wrong}))
    windows = windows_for(model.net, 1).astype(np.int64)
    with pytest.raises(TypeError):
        _core.Engine(model.core, 1).run(windows, _core.Outputs(**arrays))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        _core.Synapse(source=0, weight=np.zeros((1, 1, 1, 1), np.int64))  # type: ignore[arg-type]


def test_synapse_is_named_fields() -> None:
    weight = np.arange(24, dtype=np.int8).reshape(2, 3, 2, 2)
    synapse = _core.Synapse(source=1, weight=weight, stride=(2, 3), exponent=4, counted=False)
    np.testing.assert_array_equal(synapse.weight, weight)
    assert (synapse.source, synapse.stride, synapse.padding) == (1, (2, 3), (0, 0))
    assert (synapse.dilation, synapse.groups, synapse.exponent) == ((1, 1), 1, 4)
    assert not synapse.counted
    with pytest.raises(TypeError):
        _core.Synapse(1, weight)  # type: ignore[misc]


def test_ring_is_checked() -> None:
    b = Builder(1, shape=(2, 5, 5), steps=4, max_value=3)
    net = b.finish(b.neurons("first", b.conv("input", 6), omega="identity"))
    model = engine.Model(net)
    ring = engine.IncrementalEngine(model)
    counts = np.zeros((2, 5, 5), np.int32)
    for slot in (-1, 4):
        with pytest.raises(ValueError, match="no such slot"):
            ring.put(slot, counts)
        with pytest.raises(ValueError, match="no such slot"):
            ring.run(slot)
    with pytest.raises(ValueError, match="counts do not fit"):
        _core.IncrementalEngine(model.core, 1).put(0, np.zeros((2, 5, 4), np.int32))
    with pytest.raises(ValueError, match="do not fit the model"):
        other = RunArrays(engine.Model(SMALL()), 1)
        _core.IncrementalEngine(model.core, 1).run(0, other.core)
    assert ring.run(0).spikes["first"].shape == (1,)


def test_stepwise_runs_are_checked() -> None:
    model = engine.Model(SMALL())
    runner, window = _core.StepwiseEngine(model.core, 1), np.zeros(model.net.window_shape, np.int32)
    outputs = RunArrays(model, 1).core
    with pytest.raises(ValueError, match="the window does not fit"):
        runner.step(window[1:], True, True, outputs)
    with pytest.raises(ValueError, match="outside of the input's range"):
        runner.step(window - 1, True, True, outputs)
    with pytest.raises(ValueError, match="do not fit the model"):
        runner.step(window, True, True, RunArrays(model, 2).core)
    runner.step(window, True, True, outputs)


@pytest.mark.parametrize("count", [-1, 10, 2**31 - 1])
def test_counts_beyond_the_range_are_refused(count: int) -> None:
    b = Builder(1, shape=(2, 5, 5), steps=4, max_value=9)
    net = b.finish(b.neurons("first", b.conv("input", 6), omega="identity"))
    model = engine.Model(net)
    window = np.zeros((1, *net.window_shape), np.int32)
    window[0, 1, 1, 2, 3] = count
    with pytest.raises(ValueError, match="outside of the input's range"):
        _core.Engine(model.core, 1).run(window, RunArrays(model, 1).core)
    with pytest.raises(ValueError, match="outside of the input's range"):
        _core.IncrementalEngine(model.core, 1).put(0, window[0, 1])


def test_unfinished_model_is_refused() -> None:
    model = _core.Model()
    model.add_input(channels=2, height=3, width=3, steps=4, min_count=0, max_count=1)
    with pytest.raises(ValueError, match="no read-out"):
        _core.Engine(model, 1)


def _arrays(model: engine.Model) -> dict:
    net = model.net
    neurons, synaptic = len(net.neurons), len(net.neurons) + 1
    shapes = {
        "logits": (1, net.classes),
        "spikes": (1, neurons),
        "events": (1, neurons),
        "sops": (1, synaptic),
        "event_sops": (1, synaptic),
        "profile": (len(model.places), 1 + len(engine.PATHS)),
    }
    return {name: np.zeros(shape, np.int64) for name, shape in shapes.items()}
