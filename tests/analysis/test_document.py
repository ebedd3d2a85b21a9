"""The JSON of a comparison: its keys, and that its figures add up."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lmht_deploy as lmht
from lmht_deploy import quantize, reference
from lmht_deploy.analysis import energy
from lmht_deploy.analysis.compare import compare, compare_artifacts
from lmht_deploy.analysis.document import NetworkRun, comparison_as_json
from lmht_deploy.analysis.samples import MAX_VALUES
from lmht_deploy.analysis.samples import _sparse as sparse
from lmht_deploy.analysis.scores import score
from lmht_deploy.answers import answer_windows
from lmht_deploy.ir import Network
from tests.support.comparison_json import comparison as example
from tests.support.networks import SPECIAL, float_network, windows_for

NET = SPECIAL["residual"]()
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "compare-json.md"


def network_run(
    name: str, net: Network, folder: Path, labels: np.ndarray | None = None, count: int = 8
) -> NetworkRun:
    path = folder / f"{name}.lmht"
    lmht.save(net, path)
    windows = windows_for(net, count)
    backends = ["event"] if net.integer else None
    found = compare(net, windows, labels, backends=backends)
    answers = answer_windows(found.result)
    scores = None if labels is None else score(answers, labels, net.classes)
    data = {"provenance": {"data": "random"}, "windows": count}
    return NetworkRun(
        name, path, net, found, windows, labels, answers, scores, (), data, net.metadata
    )


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Three networks: two integer networks of one structure, and one of another."""
    folder = tmp_path_factory.mktemp("networks")
    predictions = reference.run(NET, windows_for(NET, 8)).predictions
    labels = np.where(np.arange(8) < 2, (predictions + 1) % 5, predictions)
    other = dataclasses.replace(NET, layers=(*NET.layers[:-1], _turned(NET.layers[-1])))
    runs = [
        network_run("net", NET, folder, labels),
        network_run("other", other, folder, labels),
        network_run("real", float_network(), folder, labels),
        network_run("integer", quantize(float_network()), folder, labels),
        network_run("short", NET, folder, labels[:6], count=6),
    ]
    made = comparison_as_json(runs, energy.MODELS["45nm"], threads=1)
    plain: dict[str, Any] = json.loads(json.dumps(made, allow_nan=False))
    return plain


def _turned(readout: Any) -> Any:
    return dataclasses.replace(readout, bias=-readout.bias * 1000)


def missing(found: Any, wanted: Any, where: str = "") -> list[str]:
    """Keys of `wanted` that `found` lacks, anywhere."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        lacking = [f"{where}.{key}" for key in wanted.keys() - found.keys()]
        return lacking + [
            text
            for key in wanted.keys() & found.keys()
            for text in missing(found[key], wanted[key], f"{where}.{key}")
        ]
    if isinstance(wanted, list) and isinstance(found, list) and wanted and found:
        return missing(found[0], wanted[0], f"{where}[]")
    return []


def test_the_example_of_the_reports_has_the_keys_of_a_comparison(content: dict[str, Any]) -> None:
    given = example()
    for free in (
        "packages",
        "metadata",
        "picojoules",
        "parts",
        "layers",
        "energy",
        "speed",
        "omitted",
    ):
        _drop(given, free)
    lacking = missing(content, given)
    assert [key for key in lacking if not key.startswith(".data")] == []


def _drop(content: Any, key: str) -> None:
    """Replace values whose keys are names: of layers, packages, models."""
    if isinstance(content, dict):
        if isinstance(content.get(key), dict):
            content[key] = {}
        for value in content.values():
            _drop(value, key)
    if isinstance(content, list):
        for value in content:
            _drop(value, key)


def test_the_page_names_every_key(content: dict[str, Any]) -> None:
    page = PAGE.read_text(encoding="utf-8")
    network, pair = content["networks"][0], content["pairs"][0]
    view = network["counts"]["graded"]["layers"][0]
    keys = [*content, *content["provenance"], *network, *network["backends"][0], *view, *pair]
    keys += [*network["energy"], *network["energy"]["models"][0], *network["classes"]]
    keys += [*network["anytime"][0], *network["samples"][0], *network["samples"][0]["input"]]
    keys += [*content["energy_models"][0], *network["others"][0], *network["neurobench"]]
    keys += [*content["networks"][0]["layers"][0]]
    assert [key for key in keys if f"`{key}`" not in page] == []


def test_totals_are_those_of_the_reference_model(content: dict[str, Any]) -> None:
    network = content["networks"][0]
    result = reference.run(NET, windows_for(NET, 8))
    for view in network["counts"].values():
        for kind, counts in (("spikes", result.spikes), ("sops", result.sops)):
            mean = sum(values.mean() for values in counts.values())
            assert view["total"][kind] == pytest.approx(mean, rel=1e-5)
            for layer in view["layers"]:
                assert sum(layer["per_step"][kind]) == pytest.approx(layer[kind], rel=1e-5)
    graded, single = network["counts"]["graded"], network["counts"]["single_threshold"]
    assert single["total"]["updates"] == 2 * graded["total"]["updates"]
    assert len(single["layers"][0]["per_step"]["spikes"]) == 8
    assert content["equal"] and network["backends"][1]["spike_windows"] == 8


def test_counts_of_classes_add_up(content: dict[str, Any]) -> None:
    network = content["networks"][0]
    number = [entry["windows"] for entry in network["classes"]["per_class"]]
    assert sum(number) == 8
    for layer in network["counts"]["graded"]["layers"]:
        total = sum(
            n * mean for n, mean in zip(number, layer["per_class"]["sops"], strict=True) if n
        )
        assert total == pytest.approx(8 * layer["sops"], rel=1e-5)
        assert [mean is None for mean in layer["per_class"]["sops"]] == [n == 0 for n in number]


def test_energy_has_all_models(content: dict[str, Any]) -> None:
    found = content["networks"][0]["energy"]
    assert [row["model"] for row in found["models"]] == list(energy.MODELS)
    joules = {row["model"]: row["joules"] for row in found["models"]}
    spiking = [joules[name] for name, model in energy.MODELS.items() if model.view != "dense"]
    assert found["spread"] == pytest.approx(max(spiking) / min(spiking))
    for row in found["models"]:
        assert sum(row["layers"].values()) == pytest.approx(row["joules"])
        assert sum(row["parts"].values()) == pytest.approx(row["joules"])


def test_worst_windows_come_first(content: dict[str, Any]) -> None:
    network = content["networks"][0]
    worst = network["classes"]["worst"]
    margins = [row["margin"] for row in worst]
    assert {worst[0]["window"], worst[1]["window"]} == {0, 1} and margins == sorted(margins)
    assert [margin < 0 for margin in margins] == [True] * 2 + [False] * 6
    assert network["correct"] == 6 and network["accuracy"] == 0.75
    assert [sample["window"] for sample in network["samples"]][:2] == [0, 1] or margins[
        0
    ] < margins[1]


def test_accuracy_over_time_ends_at_the_accuracy(content: dict[str, Any]) -> None:
    network = content["networks"][0]
    last = network["anytime"][-1]
    assert [row["step"] for row in network["anytime"]] == [1, 2, 3, 4]
    assert last["accuracy"] == network["accuracy"]
    assert last["sops"] == pytest.approx(network["counts"]["graded"]["total"]["sops"], rel=1e-5)
    joules = {row["model"]: row["joules"] for row in network["energy"]["models"]}
    assert last["energy"] == {
        name: pytest.approx(joules[name]) for name in ("45nm", "45nm-sops", "loihi1-sops")
    }


def test_samples_hold_every_spike(content: dict[str, Any]) -> None:
    sample = content["networks"][0]["samples"][0]
    window = windows_for(NET, 8)[[sample["window"]]]
    result = reference.run(NET, window, trace=True)
    assert result.traces is not None
    for name, k in result.traces.items():
        listed = sample["layers"][name]
        dense = np.zeros((listed["steps"], int(np.prod(listed["shape"]))), int)
        dense[listed["step"], listed["neuron"]] = listed["value"]
        np.testing.assert_array_equal(dense, k[0].reshape(len(dense), -1))
    assert sample["logits"][-1] == pytest.approx((result.logits[0] * result.scale).tolist())


def test_large_layers_list_every_nth_neuron() -> None:
    listed = sparse(np.ones((2, MAX_VALUES), int))
    assert listed["every"] == 2 and len(listed["value"]) == MAX_VALUES
    assert set(np.array(listed["neuron"]) % 2) == {0}


def test_pairs(content: dict[str, Any]) -> None:
    pairs = {(pair["first"], pair["second"]): pair for pair in content["pairs"]}
    assert len(pairs) == 10
    pair = pairs["net", "other"]
    assert pair["windows"] == 8 and pair["both_right"] + pair["only_first"] == 6
    assert pair["difference"]["kind"] == "logits" and pair["quantization"] is None
    assert pairs["net", "short"]["windows"] == 0 and pairs["net", "short"]["p_value"] is None
    found = pairs["real", "integer"]["quantization"]
    assert found["windows"] == 8 and [row["layer"] for row in found["layers"]] == ["a", "b", "out"]
    assert pairs["real", "integer"]["difference"] is None


def test_an_artifact_without_its_network(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    lmht.export(NET, path)
    windows = windows_for(NET, 4)
    found = compare_artifacts({"onnx": path}, windows)
    run = NetworkRun(
        "net", path, None, found, windows, None, answer_windows(found.result), None, (), {}, {}
    )
    (network,) = comparison_as_json([run], energy.MODELS["45nm"], 1)["networks"]
    expected = reference.run(NET, windows)
    assert network["kind"] == "artifact" and network["counts"]["single_threshold"] is None
    total = network["counts"]["graded"]["total"]
    sops = sum(counts.mean() for counts in expected.sops.values())
    assert total["sops"] == pytest.approx(sops, rel=1e-5) and total["updates"] is None
    assert network["classes"] is None and network["anytime"] is None and network["samples"] == []
    assert [row["model"] for row in network["energy"]["models"]] == [
        *("45nm", "45nm-sops", "loihi1-sops")
    ]
