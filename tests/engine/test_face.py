"""What the engine refuses, and how it says so; nothing wrong reaches the core."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from lmht_deploy import backends, engine, reference
from lmht_deploy.cli import main
from lmht_deploy.errors import BackendError, DataError
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.ir import Input, Linear, Network, Readout
from tests.support.networks import SPECIAL, Builder, windows_for
from tests.support.results import assert_equal

if reason := engine.unavailable():
    pytest.skip(reason, allow_module_level=True)


def test_memory_is_known_before_anything_runs() -> None:
    small, large = (engine.Engine(SPECIAL[name]()) for name in ("if", "wide"))
    assert 0 < small.model.weight_bytes < large.model.weight_bytes
    assert 0 < small.buffer_bytes < large.buffer_bytes


def test_inspect_states_the_memory(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_network(net := SPECIAL["wide"](), tmp_path / "net.lmht")
    with pytest.raises(SystemExit, match="0"):
        main(["inspect", str(tmp_path / "net.lmht"), "--json", str(tmp_path / "net.json")])
    model = engine.Model(net)
    stated = json.loads((tmp_path / "net.json").read_text())["engine"]
    assert stated["weight_bytes"] == model.weight_bytes
    assert stated["buffer_bytes"] == {
        str(threads): engine.Engine(model, threads=threads).buffer_bytes for threads in (1, 2, 4, 8)
    }
    assert (
        f"event engine ({model.isa}): {model.weight_bytes / 2**20:.2f} MiB of weights"
        in capsys.readouterr().out
    )


@pytest.mark.parametrize("isa", engine.isas())
def test_expected_costs_of_paths(isa: str) -> None:
    """Lists cost more with every spike, dot products do not; the cheapest path comes first."""
    b = Builder(50, shape=(64, 9, 13), steps=4, max_value=1)
    a = b.neurons("a", b.conv("input", 64), steps=4, levels=1)
    c = b.neurons("c", b.conv(a, 64), b.scale(a), steps=4, levels=1)
    model = engine.Model(b.finish(c), isa=isa)
    few, many = (model.path_costs("c", density) for density in (0.01, 1.0))
    assert few[0]["ones"] < many[0]["ones"]
    assert few[0].get("dense") == many[0].get("dense")
    assert few[1] == many[1] == {}
    assert list(many[0].values()) == sorted(many[0].values())
    for layer, density in (("input", 0.1), ("none", 0.1), ("c", -1.0), ("c", float("nan"))):
        with pytest.raises(BackendError):
            model.path_costs(layer, density)


@pytest.mark.parametrize("isa", engine.isas())
def test_rows_in_the_padding_cost_nothing(isa: str) -> None:
    """Products of tiles take them along. Large weights cost lists a little more."""
    costs = []
    for height, padding in ((3, (1, 1)), (1, (0, 1))):
        b = Builder(51, shape=(64, 1, 13), steps=4, max_value=1)
        a = b.neurons("a", b.conv("input", 64, (height, 3), padding=padding), steps=4, levels=1)
        model = engine.Model(b.finish(a), isa=isa)
        (found,) = model.path_costs("a", 0.2)
        if model.costs["tile_product"]:
            del found["dense"]
        costs.append(found)
    assert costs[0] == pytest.approx(costs[1], rel=0.02)


def test_inspect_states_the_expected_paths(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(net := SPECIAL["residual"](), tmp_path / "net.lmht")
    with pytest.raises(SystemExit, match="0"):
        main(["inspect", str(tmp_path / "net.lmht"), "--paths", "--json", str(tmp_path / "x.json")])
    rows = json.loads((tmp_path / "x.json").read_text())["paths"]
    assert "expected paths" in capsys.readouterr().out
    synapses = [
        (layer.name, s.source) for layer in net.layers for s in getattr(layer, "synapses", ())
    ]
    assert [(row["layer"], row["reads"]) for row in rows] == synapses
    for row in rows:
        costs = engine.Model(net).path_costs(row["layer"], row["density"])
        assert row["nanoseconds"] in costs
        assert row["path"] == next(iter(row["nanoseconds"]), "channelwise")


def test_inspect_says_why_the_engine_does_not_run_a_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(
        Network((Input(name="x", shape=(1, 1, 2**23), steps=2**20), *_readout_of_one_pixel())),
        tmp_path / "net.lmht",
    )
    with pytest.raises(SystemExit, match="0"):
        main(["inspect", str(tmp_path / "net.lmht")])
    assert "the event-driven engine cannot run this network: " in capsys.readouterr().out


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7])
def test_batches_of_any_size_are_shared_among_threads(batch: int) -> None:
    net = SPECIAL["lm-ht"]()
    windows = windows_for(net, batch)
    runner, expected = engine.Engine(net, threads=3), reference.run(net, windows, trace=True)
    before = runner.buffer_bytes
    for _ in range(2):
        assert_equal(runner.run(windows, trace=True), expected)
    assert (runner.buffer_bytes > before) == (batch >= 3)


@pytest.mark.parametrize("path", ["list", "shared", "dense"])
@pytest.mark.parametrize("density", [0.0, 0.02, 1.0])
def test_forced_path_gives_the_same_integers(
    path: Literal["list", "shared", "dense"], density: float
) -> None:
    b = Builder(31, shape=(70, 6, 6))
    net = b.finish(b.neurons("c", b.conv(b.neurons("a", b.conv("input", 130)), 6)))
    windows = (np.random.default_rng(0).random((2, *net.window_shape)) < density).astype(int)
    runner = engine.Engine(engine.Model(net, path=path))
    assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))
    (rows,) = ({*layer.rows} for layer in runner.profile(windows) if layer.name == "a")
    assert (
        rows == {"dense"}
        if path == "dense" and engine.isas()[0] != "generic"
        else "dense" not in rows
    )


@pytest.mark.parametrize("isa", engine.TIERS)
@pytest.mark.parametrize("channels", [64, 70, 128])
@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_what_two_steps_share_is_added_once(steps: int, channels: int, isa: str) -> None:
    if isa not in engine.isas():
        pytest.skip(f"tier {isa} is not available on this CPU")
    b = Builder(33, shape=(3, 7, 6), steps=steps)
    binary = {"steps": steps, "levels": 1}
    last = b.neurons("a", b.conv("input", channels), **binary)
    last = b.neurons(
        "b",
        b.conv(last, channels, stride=2, exponent=1),
        b.conv(last, channels, 1, 2, padding=0),
        **binary,
    )
    net = b.finish(
        b.neurons(
            "c",
            b.conv(last, 70),
            b.scale(last) if channels == 70 else b.conv(last, 70, 1, padding=0),
            **binary,
        )
    )
    windows = (np.random.default_rng(0).random((2, *net.window_shape)) < 0.3).astype(int)
    runner = engine.Engine(engine.Model(net, path="shared", isa=isa), threads=2)
    assert_equal(runner.run(windows, trace=True), reference.run(net, windows, trace=True))
    for layer in runner.profile(windows):
        if layer.name in ("b", "c"):
            assert {*layer.rows} - {"channelwise"} == ({"ones"} if steps == 1 else {"shared"})


def test_a_profile_counts_the_rows_of_its_own_run() -> None:
    net = SPECIAL["lm-ht"]()
    runner, windows = engine.Engine(net), windows_for(net)
    expected = [layer.rows for layer in runner.profile(windows)]
    runner.run(windows)
    assert [layer.rows for layer in runner.profile(windows)] == expected


def test_unknown_path() -> None:
    with pytest.raises(BackendError, match="'list', 'shared' or 'dense'"):
        engine.Model(SPECIAL["if"](), path="gather")  # type: ignore[arg-type]


def test_windows_that_do_not_fit() -> None:
    net = SPECIAL["if"]()
    runner = engine.Engine(net)
    windows = windows_for(net)
    with pytest.raises(DataError, match="shape"):
        runner.run(windows[:, :1])
    with pytest.raises(DataError, match=r"within 0\.\.3"):
        runner.run(windows + 4)
    with pytest.raises(DataError, match="integers"):
        runner.run(windows / 2)
    with pytest.raises(DataError, match="no window"):
        runner.run(windows[:0])


@pytest.mark.parametrize("dtype", [np.int32, np.dtype(">i4"), np.int64, np.uint8])
@pytest.mark.parametrize("order", ["C", "F"])
def test_windows_of_any_type_and_order(dtype: np.dtype, order: Literal["C", "F"]) -> None:
    net = SPECIAL["if"]()
    windows = windows_for(net, 3)
    given = np.array(windows, dtype, order=order)
    result = engine.Engine(net).run(given, trace=True)
    assert_equal(result, reference.run(net, windows, trace=True))
    for beyond in (net.input.min_value - 1, net.input.max_value + 1):
        wrong = np.array(windows, np.int32, order=order)
        wrong.flat[-1] = beyond
        with pytest.raises(DataError, match=f"window 2 holds {beyond} at"):
            engine.Engine(net).run(wrong)


def test_counts_by_layer() -> None:
    """They become arrays when they are read, and are a mapping like any other."""
    net = SPECIAL["if"]()
    result = engine.Engine(net).run(windows_for(net, 2))
    neurons = [layer.name for layer in net.neurons]
    assert list(result.spikes) == neurons
    assert list(result.sops) == [*neurons, net.readout.name]
    assert len(result.spikes) == len(neurons) and repr(result.spikes) == repr(dict(result.spikes))
    assert {name: counts.shape for name, counts in result.sops.items()} == dict.fromkeys(
        result.sops, (2,)
    )
    for missing in ("none", net.readout.name):
        with pytest.raises(KeyError, match=missing):
            result.spikes[missing]
    again = pickle.loads(pickle.dumps(result.spikes))
    assert {name: counts.tolist() for name, counts in again.items()} == {
        name: counts.tolist() for name, counts in result.spikes.items()
    }


def test_float_network_is_refused() -> None:
    net = Network(
        (
            Input(name="x", shape=(2,), steps=1),
            Readout(name="y", synapses=(Linear(source="x", weight=[[0.5, 1.0]]),), bias=[0.0]),
        )
    )
    with pytest.raises(BackendError, match="integer"):
        engine.Engine(net)


def test_unknown_tier_names_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    net = SPECIAL["if"]()
    with pytest.raises(BackendError, match="generic"):
        engine.Model(net, isa="mmx")
    monkeypatch.setenv("LMHT_ISA", "generic")
    assert engine.Model(net).isa == "generic"
    monkeypatch.setenv("LMHT_ISA", "mmx")
    with pytest.raises(BackendError, match="mmx"):
        engine.Model(net)


@pytest.mark.parametrize("threads", [0, -1, 2000])
def test_unreasonable_threads(threads: int) -> None:
    with pytest.raises(BackendError, match="threads"):
        engine.Engine(SPECIAL["if"](), threads=threads)


def test_network_beyond_the_engine_is_refused_before_memory_is() -> None:
    net = Network((Input(name="x", shape=(1, 1, 2**23), steps=2**20), *_readout_of_one_pixel()))
    with pytest.raises(BackendError, match="too large"):
        engine.Engine(net)


def _readout_of_one_pixel() -> tuple:
    from lmht_deploy.ir import Flatten, MaxPool

    pool = MaxPool(name="p", source="x", kernel=(1, 2**23), stride=1)
    return (
        pool,
        Flatten(name="f", source="p"),
        Readout(name="y", synapses=(Linear(source="f", weight=[[1]]),), bias=[0]),
    )


def test_unbuilt_extension_is_a_clean_message(monkeypatch: pytest.MonkeyPatch) -> None:
    script = (
        "import sys; sys.modules['lmht_deploy.engine._core'] = None\n"
        "from lmht_deploy import backends, engine\n"
        "print(backends.unavailable('event'))\n"
        "from lmht_deploy.errors import BackendError\n"
        "try: engine.isas()\n"
        "except BackendError as error: print('refused:', error)\n"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert "pip install" in printed
    assert "refused: the event-driven engine cannot run here" in printed


def test_closed_backend(tmp_path: Path) -> None:
    net = SPECIAL["if"]()
    save_network(net, tmp_path / "net.lmht")
    backend = backends.open_backend("event", tmp_path / "net.lmht", threads=2)
    windows = windows_for(net)
    np.testing.assert_array_equal(backend.run(windows).logits, backend.run(windows).logits)
    backend.close()
    with pytest.raises(BackendError, match="closed"):
        backend.run(windows)


@pytest.mark.parametrize("name", ["lm-ht", "dense"])
def test_pushed_events_are_the_window(name: str) -> None:
    net = SPECIAL[name]()
    window = windows_for(net, 3)[2]
    events = np.repeat(np.argwhere(window), window[window > 0], axis=0)
    np.random.default_rng(0).shuffle(events)
    runner = engine.Engine(net)
    runner.push(events[:3])
    runner.reset()
    for part in np.array_split(events, 5):
        runner.push(part)
    runner.push(events[:0])
    assert_equal(runner.finish_window(trace=True), reference.run(net, window[None], trace=True))
    assert_equal(
        runner.finish_window(trace=True),
        reference.run(net, np.zeros_like(window)[None], trace=True),
    )


def test_events_that_do_not_fit() -> None:
    runner = engine.Engine(SPECIAL["if"]())
    with pytest.raises(DataError, match=r"\[N, 4\]"):
        runner.push(np.zeros((2, 3), int))
    with pytest.raises(DataError, match="integers"):
        runner.push(np.zeros((2, 4)))
    for place in ((4, 0, 0, 0), (0, 0, 0, -1), (0, 2, 0, 0)):
        with pytest.raises(DataError, match="outside"):
            runner.push(np.array([(0, 0, 0, 0), place]))
    with pytest.raises(DataError, match="at most 3"):
        runner.push(np.zeros((4, 4), int))
    assert runner.finish_window().sops["a"] == 0


def test_profile_accounts_for_every_layer() -> None:
    net = SPECIAL["residual"]()
    windows = windows_for(net, 4, density=0.1)
    runner = engine.Engine(net, threads=2)
    found = {layer.name: layer for layer in runner.profile(windows)}
    expected = reference.run(net, windows)
    assert [layer.name for layer in net.layers if layer.name != "flatten"] == list(found)
    for name, sops in expected.sops.items():
        assert found[name].sops == sops.sum()
        assert found[name].seconds > 0
    for name, spikes in expected.spikes.items():
        assert found[name].spikes == spikes.sum()
    assert sum(found["d"].rows.values()) == 4 * 8 * 2
    assert found["d"].rows["channelwise"] == 4 * 8


@pytest.mark.parametrize("isa", engine.isas())
def test_rows_take_the_path_of_the_lowest_cost(isa: str) -> None:
    """Every pixel spikes, so that all rows are as the cost model expects them."""
    b = Builder(30, shape=(400, 6, 6))
    model = engine.Model(b.finish(b.neurons("a", b.conv("input", 64, 1, padding=0))), isa=isa)
    windows = np.ones((1, *model.net.window_shape), np.uint8)
    (found,) = (layer for layer in engine.Engine(model).profile(windows) if layer.name == "a")
    assert found.rows == {next(iter(model.path_costs("a", 1.0)[0])): 6}


STILL_IN_USE = """
import threading
from lmht_deploy import engine
from tests.support.networks import SPECIAL

def use(runner, begun):
    begun.set()
    threading.Event().wait()

begun = threading.Event()
runner = engine.Engine(SPECIAL["if"]())
threading.Thread(target=use, args=(runner, begun), daemon=True).start()
begun.wait()
"""


def test_an_engine_in_a_thread_at_the_end_of_python_is_no_complaint() -> None:
    done = subprocess.run([sys.executable, "-c", STILL_IN_USE], capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")
