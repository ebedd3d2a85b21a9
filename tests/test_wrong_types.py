"""Arguments of a wrong type, everywhere in the public API, are named by an error of ours."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy import answers, backends, events, netx, reference
from lmht_deploy.analysis import chips, counts, energy, runner, scores
from tests.support.networks import SPECIAL, float_network, windows_for
from tests.support.netx_files import recurrent

NET = SPECIAL["residual"]()
WINDOWS = windows_for(NET, 2)
EVENTS = events.make_events(*(np.arange(4),) * 3, np.ones(4, int))
SENSOR, RULE = events.Sensor(8, 8), events.WindowRule(2, "time", 4)


class Tensor:
    """A tensor that NumPy cannot read, such as one with a gradient, without values, or sparse."""

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


WRONG = (
    *(
        None,
        3,
        "x",
        object(),
        1.5,
        -1,
        True,
        2**70,
        b"x",
        float("nan"),
        [1, "a"],
        [[1], [2, 3]],
        {},
    ),
    *(np.zeros(3), np.array(["a", "b"]), np.ones((2, 2), int), Tensor()),
)


def calls() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Public functions with arguments that work, or with which they raise an LmhtError."""
    model = energy.MODELS["45nm"]
    return {
        "load": (lmht.load, {"path": "net.lmht"}),
        "save": (lmht.save, {"net": NET, "path": "no/net.lmht"}),
        "export": (lmht.export, {"net": NET, "path": "no/net.onnx"}),
        "run": (
            lmht.run,
            {"net": NET, "windows": WINDOWS, "backend": "event", "threads": 1, "progress": print},
        ),
        "compare": (
            lmht.compare,
            {
                **{"net": NET, "windows": WINDOWS, "labels": [0, 1], "backends": ["event"]},
                **{"threads": 1, "limits": {}, "energy_model": "45nm", "progress": print},
            },
        ),
        "evaluate": (
            lmht.evaluate,
            {
                **{"networks": NET, "data": WINDOWS, "labels": None, "out": "out"},
                **{"backends": ["event"], "on": "local", "workers": 1, "shard": 2},
                **{"audit_share": 0.0, "audit_backend": None, "energy_model": "45nm"},
                "progress": lambda *_: None,
            },
        ),
        "search": (
            lmht.search,
            {
                **{"net": NET, "data": WINDOWS, "labels": None, "out": "out", "on": "local"},
                **{"budget_sops": 1, "budget_spikes": 1, "budget_ms": 1, "workers": 1, "shard": 2},
            },
        ),
        "explain": (
            lmht.explain,
            {
                **{"net": NET, "window": WINDOWS[0], "cell": 4, "methods": ["random"]},
                **{"flip": False, "seed": 0, "threads": 1, "progress": lambda *_: None},
            },
        ),
        "from_nir": (
            lmht.from_nir,
            {
                **{"source": "no.nir", "steps": 4, "profile": "sinabs", "dt": 1.0, "max_spikes": 3},
                **{"reset": "subtract", "max_value": 5, "input_scale": 1.0, "still": False},
                "verify": True,
            },
        ),
        "quantize": (lmht.quantize, {"net": float_network()}),
        "reparameterize": (lmht.reparameterize, {"net": NET, "injection": "uniform"}),
        "load_windows": (lmht.load_windows, {"path": "windows.npz"}),
        "save_windows": (
            lmht.save_windows,
            {"windows": WINDOWS, "path": "no/windows.npz", "labels": [0, 1]},
        ),
        "read_events": (lmht.read_events, {"path": "events.npy", "sensor": (8, 8)}),
        "Engine": (lmht.Engine, {"net": NET, "threads": 1}),
        "Engine.run": (lambda windows: lmht.Engine(NET).run(windows), {"windows": WINDOWS}),
        "data.load": (
            lmht.data.load,
            {"source": "none.npz", "split": "test", "steps": 2, "size": 8, "progress": print},
        ),
        "reference.run": (reference.run, {"net": NET, "windows": WINDOWS}),
        "energy.estimate": (
            energy.estimate,
            {"counts": counts.of_result(reference.run(NET, WINDOWS)), "model": model},
        ),
        "energy.energy_model": (energy.energy_model, {"name": "45nm"}),
        "chips.check": (chips.check, {"net": NET, "target": "loihi2"}),
        "count_windows": (
            events.count_windows,
            {"events": EVENTS, "sensor": SENSOR, "rule": RULE, "size": SENSOR},
        ),
        "clip_counts": (events.clip_counts, {"counts": np.ones(3, int), "max_count": 3}),
        "validate_events": (events.validate_events, {"events": EVENTS, "sensor": SENSOR}),
        "WindowRule": (events.WindowRule, {"steps": 2, "by": "time", "length": 4}),
        "open_recording": (events.open_recording, {"path": "events.npy", "sensor": SENSOR}),
        "open_backend": (backends.open_backend, {"name": "event", "path": "n", "threads": 1}),
        "open_network": (
            backends.open_network,
            {"name": "event", "net": NET, "threads": 1, "device": "cpu"},
        ),
        "unavailable": (backends.unavailable, {"name": "event"}),
        "capabilities": (backends.capabilities, {"name": "event"}),
        "artifact_suffix": (backends.artifact_suffix, {"name": "event"}),
    }


def pixels() -> np.ndarray:
    return np.zeros(SENSOR, bool)


def event_calls() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Functions of events; generators are iterated."""

    def stream() -> events.EventStream:
        return events.EventStream(SENSOR, iter([EVENTS]))

    def part(cut: Callable[..., events.EventStream]) -> Callable[..., Any]:
        return lambda **given: list(cut(**given).packets)

    window = {"events": EVENTS, "sensor": SENSOR, "rule": RULE, "size": SENSOR}
    rectangle = dict.fromkeys(("x", "y", "width", "height"), 3)
    background = events.BackgroundActivityFilter
    return {
        "iterate_windows": (lambda **given: list(events.iterate_windows(**given)), window),
        "make_events": (events.make_events, {key: [1] for key in "txyp"}),
        "cut_events": (part(events.cut_events), {"stream": stream(), "start": 0, "end": 3}),
        "crop_events": (part(events.crop_events), {"stream": stream(), **rectangle}),
        "background": (background, {"sensor": SENSOR, "time": 3}),
        "background.apply": (lambda e: background(SENSOR, 3).apply(e), {"e": EVENTS}),
        "refractory": (events.RefractoryFilter, {"sensor": SENSOR, "time": 3}),
        "PixelFilter": (events.PixelFilter, {"pixels": pixels()}),
        "PixelFilter.apply": (lambda e: events.PixelFilter(pixels()).apply(e), {"e": EVENTS}),
        "filter_events": (
            lambda **given: list(events.filter_events(**given)),
            {"packets": [EVENTS], "filters": [], "removed": {}},
        ),
        "count_pixels": (events.count_pixels, {"packets": [EVENTS], "sensor": SENSOR}),
        "find_hot_pixels": (events.find_hot_pixels, {"counts": np.zeros(SENSOR, int)}),
        "EventValidator": (events.EventValidator, {"sensor": SENSOR, "max_gap": 3}),
        "validate": (lambda e: events.EventValidator(SENSOR).validate(e), {"e": EVENTS}),
        "summarize": (events.summarize, {"recording": stream(), "max_gap": 3}),
        "write_events": (
            events.write_events,
            {"path": "no/a.h5", "recording": events.Recording(EVENTS, SENSOR)},
        ),
        "rule.number": (RULE.number_of_windows, {"events": EVENTS}),
        "rule.complete": (RULE.number_of_complete_windows, {"events": EVENTS}),
        "rule.starts": (RULE.starts, {"events": EVENTS}),
        "rule.from_text": (events.WindowRule.from_text, {"text": "{}"}),
    }


def data_calls() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Functions of data, answers, scores, and NetX files."""
    backend = backends.open_network("event", NET)
    result = backend.run(WINDOWS)
    found, classes = answers.answer_windows(result), result.logits.shape[1]
    split = dict.fromkeys(("label_by", "group_by", "fold", "scheme"), "")
    load = {"split": "test", "by": "recording", "length": 0, "hop": 0, "max_count": 3}
    load |= {"sensor": SENSOR, "track": None, "root": None, "classes": (), "max_classes": 0}
    given = {"backend": backend, "windows": WINDOWS}
    return {
        "data.load a recording": (
            lmht.data.load,
            {"source": "a.npy", "steps": 1, "size": 8, **load, "split_rule": None, "cache": None},
        ),
        "balanced_sample": (
            lmht.data.balanced_sample,
            {"labels": np.array([0, 1]), "number": 1, "size": 2, "seed": 0},
        ),
        "describe_sample": (
            lmht.data.describe_sample,
            {"labels": np.array([0, 1]), "chosen": np.array([0]), "classes": ("a", "b")},
        ),
        "find_data_set": (lmht.data.find_data_set, {"name": "digits"}),
        "find_source": (lmht.data.find_source, {"source": "digits", "root": None}),
        "match_classes": (
            lmht.data.match_classes,
            {"classes": ("a",), "labels": np.array([0]), "network": ("b",), "chosen": ()},
        ),
        "SplitRule": (lmht.data.SplitRule, {**split, "test_share": 0.1, "seed": 0}),
        "run_windows": (backends.run_windows, {**given, "trace": False, "progress": print}),
        "run_chunks": (lambda **given: list(backends.run_chunks(**given)), given),
        "time_windows": (runner.time_windows, {**given, "seconds": 0.01}),
        "default_backend": (runner.default_backend, {"artifact": "a.lmht"}),
        "Judge": (answers.Judge, {"smooth": 1, "min_margin": 0.0}),
        "Judge.answer": (answers.Judge().answer, {"logits": np.arange(2), "scale": 1.0}),
        "answer_windows": (
            answers.answer_windows,
            {"result": result, "judge": None, "recordings": None},
        ),
        "score": (scores.score, {"answers": found, "labels": [0, 1], "classes": classes}),
        "accuracy": (scores.accuracy, {"result": result, "labels": [0, 1]}),
        "interval": (scores.interval, {"result": result, "labels": [0, 1]}),
        "calibrate": (
            scores.calibrate,
            {
                **{"answers": found, "labels": result.predictions},
                **{"classes": classes, "percent": 50},
            },
        ),
        "load_netx": (netx.load_netx, {"path": "a.net", "layers": 1}),
        "is_foreign": (netx.is_foreign, {"path": "a.net"}),
        "Simulator": (netx.Simulator, {"net": netx_file(), "threads": 1, "isa": None}),
        "Simulator.run": (
            netx.Simulator(netx_file()).run,
            {
                **{"inputs": np.zeros((1, 2, 12), int), "steps": None},
                **{"reset_interval": None, "reset_offset": 0},
            },
        ),
    }


def netx_file() -> netx.NetX:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.net"
        recurrent(path)
        return netx.load_netx(path)


@cache
def training_calls() -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Public functions that need PyTorch."""
    import torch
    from torch import nn

    from lmht_deploy import training
    from tests.support.training import DATA, small

    neuron = training.LMHT(2, 4)
    body = nn.Sequential(nn.Flatten(), nn.Linear(128, 8), neuron, nn.Linear(8, 3))
    model = training.SpikingModel(body, steps_in=4)
    recipe = small("data.steps=4")  # does not fit the data: nothing is trained
    return {
        "LMHT": (training.LMHT, {"levels": 2, "steps": 4, "steps_in": 4, "v0": 0.5}),
        "MHT": (training.MHT, {"levels": 2, "steps": 4, "steps_in": 4, "v0": 0.5}),
        "IF": (training.IF, {"steps": 4, "steps_in": 4, "v0": 0.5}),
        "QCFS": (training.QCFS, {"levels": 2, "ceiling": 2}),
        "SpikingModel": (
            training.SpikingModel,
            {"body": body, "steps_in": 4, "input_scale": 1.0},
        ),
        "model": (model, {"windows": torch.zeros(1, 4, 2, 8, 8)}),
        "load_recipe": (training.load_recipe, {"name": "digits", "overrides": ()}),
        "load_data": (training.load_data, {"recipe": recipe, "progress": print}),
        "Data": (training.Data, {"train": DATA.train, "test": DATA.test}),
        "train": (
            training.train,
            {"recipe": recipe, "data": DATA, "folder": "no/run\0", "report": print},
        ),
        "evaluate": (
            training.evaluate,
            {"model": model, "data": DATA.test, "batch_size": 64},
        ),
        "load_run": (training.load_run, {"folder": "run"}),
        "start_from": (training.start_from, {"model": model, "ann": model}),
        "lower": (
            training.lower,
            {"model": model, "input": lmht.Input(name="input", shape=(2, 8, 8), steps=4)},
        ),
    }


def check(call: Callable[..., Any], arguments: dict[str, Any]) -> None:
    for name in arguments:
        for wrong in WRONG:
            try:
                call(**{**arguments, name: wrong})
            except lmht.LmhtError as error:
                assert str(error).strip() and "\n" not in str(error)
            except Exception as error:
                pytest.fail(f"{name}={wrong!r}: {type(error).__name__}: {error}")


CALLS = calls() | event_calls() | data_calls()
TRAINING = (
    *("LMHT", "MHT", "IF", "QCFS", "SpikingModel", "model", "load_recipe", "load_data", "Data"),
    *("train", "evaluate", "load_run", "start_from", "lower"),
)


@pytest.fixture(scope="module", autouse=True)
def _release() -> Iterator[None]:
    """Engines end before their extension is unloaded."""
    yield
    CALLS.clear()


@pytest.mark.parametrize("name", CALLS)
def test_every_argument(
    name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", EVENTS)
    check(*CALLS[name])


@pytest.mark.parametrize("name", TRAINING)
def test_every_argument_of_training(
    name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    assert training_calls().keys() == set(TRAINING)
    check(*training_calls()[name])


def masked(values: np.ndarray) -> np.ndarray:
    """`values` without the first, as sensors mark a value that they do not have."""
    return np.ma.masked_array(values, np.arange(values.size).reshape(values.shape) == 0)  # type: ignore[no-untyped-call,no-any-return]


def wide_events(x: int) -> np.ndarray:
    """Two events of int64 fields."""
    return np.array([(0, x, 1, 1), (3, 2, 2, 0)], [(name, np.int64) for name in "txyp"])


def test_events_of_other_integers_are_counted() -> None:
    narrow = events.make_events(*(wide_events(3)[name] for name in "txyp"))
    for count in (events.count_windows, lambda *given: np.array([*events.iterate_windows(*given)])):
        found = count(wide_events(3), SENSOR, RULE)
        np.testing.assert_array_equal(found, count(narrow, SENSOR, RULE))
        assert found.sum() == 2
    stream = events.EventStream(SENSOR, iter([wide_events(3)]))
    (part,) = events.crop_events(stream, 3, 0, 2, 2).packets
    assert part.tolist() == [(0, 0, 1, True)]  # the other one is left of the part
    kept = events.RefractoryFilter(SENSOR, 3).apply(wide_events(3))
    assert kept.tolist() == narrow.tolist()


MESSAGES: list[tuple[Callable[[], object], str]] = [
    (lambda: lmht.run(NET, WINDOWS, progress=3), r"progress must be a function or None, not 3"),  # type: ignore[arg-type]
    (lambda: lmht.compare(NET, WINDOWS, limits=3), "limits must be a mapping, not 3"),  # type: ignore[arg-type]
    (
        lambda: energy.estimate(None, energy.MODELS["45nm"]),  # type: ignore[arg-type]
        "counts must be a Counts, not None",
    ),
    (
        lambda: events.count_windows(EVENTS, events.Sensor(2, 2), RULE),
        r"events must be valid, .* \(an event does not lie on the sensor\)",
    ),
    (
        lambda: events.count_windows(wide_events(65536), SENSOR, RULE),
        "events must be valid; a value of the field x is out of range",
    ),
    (
        lambda: events.make_events([0.001, 0.2], [1, 1], [1, 1], [0, 1]),  # type: ignore[arg-type]
        r"the field t of events must hold integers \(microseconds\), not float64",
    ),
    (
        lambda: events.make_events(["a"], [1], [1], [1]),  # type: ignore[arg-type]
        r"the field t of events must hold integers \(microseconds\), not <U1",
    ),
    (
        lambda: events.make_events([2**70], [1], [1], [1]),  # type: ignore[arg-type]
        r"the field t of events must hold integers \(microseconds\), not object",
    ),
    (
        lambda: events.make_events(*np.array([[0], [1], [1], [-1]])),
        "a value of the field p is out of range",
    ),
    (
        lambda: events.make_events(*np.array([[0], [65536], [1], [1]])),
        "a value of the field x is out of range",
    ),
    (
        lambda: events.make_events(*np.ones((3, 2), int), masked(np.array([0, 1]))),
        "p must have no masked values",
    ),
    (
        lambda: events.BackgroundActivityFilter((2, 2), 3).apply(EVENTS),
        "the events must be valid",
    ),
    (
        lambda: events.PixelFilter(np.zeros((2, 2), bool)).apply(EVENTS),
        "events must lie on the 2 x 2 pixels of the filter",
    ),
    (lambda: lmht.run(NET, np.zeros((2, 2))), r"^[^\n]*$"),
    (lambda: lmht.run(NET, masked(WINDOWS)), "windows must have no masked values"),
    (
        lambda: lmht.Engine(NET).run(masked(WINDOWS.astype(np.int64))),
        "windows must have no masked values",
    ),
    (lambda: lmht.compare(NET, masked(WINDOWS)), "windows must have no masked values"),
    (
        lambda: lmht.compare(NET, WINDOWS, masked(np.array([0, 1]))),
        "labels must have no masked values",
    ),
    (
        lambda: lmht.save_windows(masked(WINDOWS), "windows.npz"),
        "'windows' must have no masked values",
    ),
    (
        lambda: lmht.ir.Linear(source="a", weight=masked(np.ones((2, 2)))),
        "weight must have no masked values",
    ),
    (
        lambda: events.count_windows(None, SENSOR, RULE),  # type: ignore[arg-type]
        "events must be an array, not None",
    ),
]


@pytest.mark.parametrize(("call", "message"), MESSAGES)
def test_the_message_names_the_argument(call: Callable[[], object], message: str) -> None:
    with pytest.raises(lmht.LmhtError, match=message):
        call()


def test_the_message_names_the_argument_of_training() -> None:
    pytest.importorskip("torch")
    from lmht_deploy import training

    with pytest.raises(lmht.DataError, match="recipe must be a Recipe, not None"):
        training.load_data(None)  # type: ignore[arg-type]
    with pytest.raises(lmht.DataError, match=r"must be a tensor \[B, T_in, C, H, W\]"):
        training_calls()["model"][0](None)
    with pytest.raises(lmht.NetworkError, match="v0 must be a number, not 'x'"):
        training.LMHT(2, 4, v0="x")  # type: ignore[arg-type]
