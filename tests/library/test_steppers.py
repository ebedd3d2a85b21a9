"""Time-steps that are run one by one add up to the window of the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.engine import StepwiseEngine
from lmht_deploy.formats.flat import network_to_bytes
from tests.support.networks import SPECIAL, windows_for

from .bindings import ARGUMENT, TRACE, UNSUPPORTED, Library, LibraryError

STEPWISE = [name for name, build in SPECIAL.items() if StepwiseEngine.supports(build())]


@pytest.mark.parametrize("name", STEPWISE)
def test_the_steps_add_up_to_the_window(name: str, library: Library) -> None:
    net = SPECIAL[name]()
    windows = np.ascontiguousarray(windows_for(net, 3), np.int32)
    expected = reference.run(net, windows, trace=True)
    content = network_to_bytes(net)
    with (
        library.network(content) as network,
        library.made("stepper_read", content, len(content), None, 2) as stepper,
        library.made("result_create") as result,
    ):
        runner = StepwiseEngine(net)
        for index, window in enumerate(windows):
            library.check(library.stepper_step(stepper, window.ctypes.data, 0, result))
            library.check(library.stepper_reset(stepper))  # nothing of it stays
            for step, counts in enumerate(window):
                assert library.stepper_steps(stepper) == step
                library.check(library.stepper_step(stepper, counts.ctypes.data, TRACE, result))
                found = library.as_result(network, result, steps=net.input.steps)
                one = runner.step(counts)
                assert found.logits.tolist() == one.logits.tolist()
                assert found.traces is not None or not net.neurons
                for layer, k in (expected.traces or {}).items():
                    whole = k[index].reshape(net.input.steps, -1)
                    np.testing.assert_array_equal((found.traces or {})[layer].ravel(), whole[step])
            runner.finish()
            assert library.stepper_step(stepper, window.ctypes.data, 0, result) == ARGUMENT
            assert b"all its time-steps" in library.error_message()
            library.check(library.stepper_finish(stepper, result))
            found = library.as_result(network, result)
            assert found.logits[0].tolist() == expected.logits[index].tolist()
            for kind in ("spikes", "sops", "events", "event_sops"):
                counted, right = getattr(found, kind), getattr(expected, kind)
                assert {k: int(n[0]) for k, n in counted.items()} == {
                    k: int(n[index]) for k, n in right.items()
                }


@pytest.mark.parametrize("stop_margin", [0, 3, 40, 10**6])
def test_a_window_can_end_when_the_answer_is_sure(stop_margin: int, library: Library) -> None:
    """As the documentation says: the steps, and what they sum up to, are those of Python."""
    net = SPECIAL["m-ht"]()
    windows = np.ascontiguousarray(windows_for(net, 6), np.int32)
    content, steps = network_to_bytes(net), net.input.steps
    with (
        library.network(content) as network,
        library.made("stepper_read", content, len(content), None, 1) as stepper,
        library.made("result_create") as result,
    ):
        for window in windows:
            logits = np.zeros(net.classes, np.int64)
            for done, counts in enumerate(window, 1):
                library.check(library.stepper_step(stepper, counts.ctypes.data, 0, result))
                logits += library.as_result(network, result).logits[0]
                second, first = np.sort(logits)[-2:]
                if first - second > stop_margin * (steps - done):
                    break
            expected = StepwiseEngine(net).run(window, stop_margin)
            assert expected.steps is not None
            assert library.stepper_steps(stepper) == expected.steps[0]
            library.check(library.stepper_finish(stepper, result))
            found = library.as_result(network, result)
            assert found.logits.tolist() == expected.logits.tolist()
            assert str(found.sops) == str(expected.sops)


def test_what_a_stepper_refuses(library: Library, tmp_path: Path) -> None:
    (tmp_path / "net.lmhtf").write_bytes(network_to_bytes(SPECIAL["qcfs"]()))
    path = str(tmp_path / "net.lmhtf").encode()
    with (
        pytest.raises(LibraryError, match="is not a multiple of the identity") as error,
        library.made("stepper_open", path, None, 1),
    ):
        pass
    assert error.value.status == UNSUPPORTED
    content = network_to_bytes(SPECIAL["if"]())
    with (
        pytest.raises(LibraryError, match=r"1\.\.1024"),
        library.made("stepper_read", content, len(content), None, 0),
    ):
        pass
    with (
        library.made("stepper_read", content, len(content), None, 1) as stepper,
        library.made("result_create") as result,
    ):
        assert library.stepper_finish(stepper, result) == ARGUMENT
        counts = np.full(SPECIAL["if"]().window_shape[1:], 99, np.int32)
        assert library.stepper_step(stepper, counts.ctypes.data, 0, result) == ARGUMENT
        assert library.stepper_step(stepper, counts.ctypes.data, 2, result) == ARGUMENT
    assert library.stepper_steps(None) == 0 and library.stepper_step(None, None, 0, None) < 0
