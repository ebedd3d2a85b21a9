"""The library gives the integers of the reference, on every tier and for any number of threads."""

from __future__ import annotations

import threading
from ctypes import byref

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from lmht_deploy import reference
from lmht_deploy.formats.flat import network_to_bytes
from lmht_deploy.ir import Network
from lmht_deploy.result import Counts, Result
from tests.formats.make_golden import every_kind
from tests.support.networks import SPECIAL, networks, windows_for

from .bindings import ARGUMENT, NONE, UNSUPPORTED, Library, LibraryError, Place


def as_lists(counts: Counts) -> dict[str, list[int]]:
    return {name: values.tolist() for name, values in counts.items()}


def assert_same(found: Result, expected: Result) -> None:
    assert found.logits.tolist() == expected.logits.tolist() and found.scale == expected.scale
    for kind in ("spikes", "sops", "events", "event_sops"):
        counts = [
            {name: n.tolist() for name, n in getattr(r, kind).items()} for r in (found, expected)
        ]
        assert counts[0] == counts[1], kind
    assert found.macs == expected.macs
    assert found.traces is not None or not expected.traces
    for name, k in (expected.traces or {}).items():
        assert found.traces is not None
        np.testing.assert_array_equal(found.traces[name].reshape(k.shape), k, err_msg=name)


@pytest.mark.parametrize("name", SPECIAL)
def test_special_networks(name: str, library: Library) -> None:
    net = SPECIAL[name]()
    windows = windows_for(net, 3)
    expected = reference.run(net, windows, trace=True)
    for isa in library.isas():
        with library.network(network_to_bytes(net), isa) as network:
            assert library.network_isa(network).decode() == isa
            for threads in (1, 3):
                assert_same(library.run(network, windows, threads), expected)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(net=networks())
def test_random_networks(library: Library, net: Network) -> None:
    windows = windows_for(net, 2)
    with library.network(network_to_bytes(net)) as network:
        assert_same(library.run(network, windows), reference.run(net, windows, trace=True))


def test_what_it_says_of_a_network(library: Library) -> None:
    layers = every_kind().layers
    metadata = {
        "classes": '["ä", "b", "c"]',
        "window": '{"steps": 3, "by": "time", "length": 300, "hop": 2}',
        "min_margin": "0.5",
    }
    net = Network(layers, metadata)
    with library.network(network_to_bytes(net)) as network:
        info = library.info(network)
        assert (info.channels, info.height, info.width, info.steps) == (2, 9, 8, 3)
        assert (info.min_count, info.max_count, info.kind, info.classes) == (0, 2, 0, 3)
        assert (info.layers, info.neuron_layers, info.synaptic_layers) == (
            len(layers), len(net.neurons), len(net.neurons) + 1,
        )  # fmt: skip
        assert (info.scale, info.min_margin) == (net.readout.scale, 0.5)
        assert (info.window.by, info.window.length, info.window.hop) == (2, 300, 2)
        assert info.weight_bytes > 0
        assert [library.network_class_name(network, i) for i in (-1, 0, 2, 3)] == [
            None, "ä".encode(), b"c", None,
        ]  # fmt: skip
        assert b'"min_margin": "0.5"' in library.network_metadata(network)
        for layer, found in zip(layers, library.layers(network), strict=True):
            shape = net.shapes[layer.name]
            assert found.name.decode() == layer.name
            assert (found.channels, found.height, found.width) == (*shape, 1, 1)[:3]
            assert found.steps == net.steps[layer.name]


def test_events_pushed_one_by_one(library: Library) -> None:
    net = SPECIAL["residual"]()
    window = windows_for(net, 3)[-1:]
    places = [Place(*at) for at in np.argwhere(window[0]) for _ in range(window[0][tuple(at)])]
    expected = reference.run(net, window, trace=True)
    with (
        library.network(network_to_bytes(net)) as network,
        library.made("engine_create", network, 2) as engine,
        library.made("result_create") as result,
    ):
        for _ in range(2):  # the window is empty again
            for place in places:
                library.check(library.engine_push(engine, byref(place), 1))
            library.check(library.engine_finish(engine, 1, result))
            assert_same(library.as_result(network, result), expected)
            assert library.result_answer(result, 0) == int(expected.predictions[0])
            assert library.result_answer(result, 1) == -1
            assert library.result_seconds(result) > 0
        library.check(library.engine_push(engine, byref(places[0]), 1))
        library.check(library.engine_reset(engine))
        all_of_them = (Place * len(places))(*places)
        library.check(library.engine_push(engine, all_of_them, len(places)))
        library.check(library.engine_finish(engine, 0, result))
        assert library.as_result(network, result).logits.tolist() == expected.logits.tolist()
        assert not library.result_trace(result, 0)
        assert library.engine_buffer_bytes(engine) > 0


def test_events_that_do_not_fit_change_nothing(library: Library) -> None:
    net = SPECIAL["if"]()
    limit = net.input.max_value
    with (
        library.network(network_to_bytes(net)) as network,
        library.made("engine_create", network, 1) as engine,
        library.made("result_create") as result,
    ):
        for count, place in ((1, Place(0, 0, 0, 8)), (1, Place(-1, 0, 0, 0)), (limit + 1, Place())):
            places = (Place * count)(*[place] * count)
            with pytest.raises(LibraryError) as error:
                library.check(library.engine_push(engine, places, count))
            assert error.value.status == ARGUMENT
        library.check(library.engine_finish(engine, 1, result))
        empty = np.zeros((1, *net.window_shape), int)
        assert_same(library.as_result(network, result), reference.run(net, empty, trace=True))


def test_arguments_that_are_wrong(library: Library) -> None:
    net = SPECIAL["if"]()
    windows = np.zeros((1, *net.window_shape), np.int32)
    with (
        library.network(network_to_bytes(net)) as network,
        library.made("engine_create", network, 1) as engine,
        library.made("result_create") as result,
    ):
        assert library.engine_run(None, windows.ctypes.data, 1, 0, result) == ARGUMENT
        assert library.error_message() == b"a pointer is null"
        assert library.engine_run(engine, windows.ctypes.data, 0, 0, result) == ARGUMENT
        assert library.engine_run(engine, windows.ctypes.data, 1, 2, result) == ARGUMENT
        windows[0, 0, 0, 0, 0] = net.input.max_value + 1
        assert library.engine_run(engine, windows.ctypes.data, 1, 0, result) == ARGUMENT
        assert b"window 0 holds 4; the network takes 0 to 3" in library.error_message()
        for threads in (0, 1025):
            with (
                pytest.raises(LibraryError, match=r"1\.\.1024"),
                library.made("engine_create", network, threads),
            ):
                pass
    with (
        pytest.raises(LibraryError, match="instruction set 'mmx' is not available") as error,
        library.network(network_to_bytes(net), "mmx"),
    ):
        pass
    assert error.value.status == UNSUPPORTED
    for kind in ("network", "result", "engine", "recording", "stream"):
        getattr(library, f"{kind}_free")(None)
    assert not library.network_metadata(None) and library.recording_width(None) == 0
    assert library.stream_get_losses(None, None) == ARGUMENT
    assert library.stream_next(None, None) == ARGUMENT and NONE > 0


def test_engines_of_many_threads_share_a_network(library: Library) -> None:
    net = SPECIAL["residual"]()
    windows = windows_for(net, 4)
    expected = reference.run(net, windows).logits.tolist()
    wrong: list[object] = []
    with library.network(network_to_bytes(net)) as network:

        def work() -> None:
            for threads in (1, 2, 3):
                found = library.run(network, windows, threads).logits.tolist()
                wrong.extend([found] * (found != expected))

        pool = [threading.Thread(target=work) for _ in range(4)]
        for thread in pool:
            thread.start()
        for thread in pool:
            thread.join()
    assert not wrong


def test_an_error_belongs_to_its_thread(library: Library) -> None:
    library.engine_reset(None)
    seen = []
    thread = threading.Thread(target=lambda: seen.append(library.error_message()))
    thread.start()
    thread.join()
    assert seen == [b""] and library.error_message() == b"a pointer is null"


def test_a_network_may_be_freed_before_its_engine(library: Library) -> None:
    net = SPECIAL["dense"]()
    windows = np.ascontiguousarray(windows_for(net, 1), np.int32)
    with library.made("result_create") as result:
        with library.network(network_to_bytes(net)) as network:
            engine = library.made("engine_create", network, 1)
            handle = engine.__enter__()
        library.check(library.engine_run(handle, windows.ctypes.data, 1, 0, result))
        engine.__exit__(None, None, None)
