"""Arguments of a wrong type, everywhere in the public API, are named by an error of ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy import backends, events, reference
from lmht_deploy.analysis import chips, energy
from tests.support.networks import SPECIAL, float_network, windows_for

NET = SPECIAL["residual"]()
WINDOWS = windows_for(NET, 2)
EVENTS = events.make_events(*(np.arange(4),) * 3, np.ones(4, int))
SENSOR, RULE = events.Sensor(8, 8), events.WindowRule(2, "time", 4)
WRONG = (None, 3, "x", object())


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
        "explain": (
            lmht.explain,
            {
                **{"net": NET, "window": WINDOWS[0], "cell": 4, "methods": ["random"]},
                **{"flip": False, "seed": 0, "threads": 1, "progress": lambda *_: None},
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
            {"result": reference.run(NET, WINDOWS), "model": model},
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


CALLS = calls()
TRAINING = (
    *("LMHT", "MHT", "IF", "QCFS", "SpikingModel", "model", "load_recipe", "load_data", "Data"),
    *("train", "evaluate", "load_run", "start_from", "lower"),
)


@pytest.mark.parametrize("name", CALLS)
def test_every_argument(
    name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    check(*CALLS[name])


@pytest.mark.parametrize("name", TRAINING)
def test_every_argument_of_training(
    name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    assert training_calls().keys() == set(TRAINING)
    check(*training_calls()[name])


MESSAGES: list[tuple[Callable[[], object], str]] = [
    (lambda: lmht.run(NET, WINDOWS, progress=3), r"progress must be a function or None, not 3"),  # type: ignore[arg-type]
    (lambda: lmht.compare(NET, WINDOWS, limits=3), "limits must be a mapping, not 3"),  # type: ignore[arg-type]
    (
        lambda: energy.estimate(None, energy.MODELS["45nm"]),  # type: ignore[arg-type]
        "result must be a Result, not None",
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
