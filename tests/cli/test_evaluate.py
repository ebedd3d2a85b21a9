"""`lmht evaluate` and `lmht search`, `lmht run --stop-risk` and `lmht stream --stop-margin`."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import backends, reference
from lmht_deploy.answers import Judge, answer_windows
from lmht_deploy.cli._own_files import is_own, patterns_of
from lmht_deploy.engine import StepwiseEngine
from lmht_deploy.errors import BackendError
from lmht_deploy.events.arrays import Sensor, make_events
from lmht_deploy.events.windows import WindowRule, count_windows
from lmht_deploy.formats.lmht import load_network, save_network
from lmht_deploy.formats.windows import save_windows
from lmht_deploy.ir import Network
from tests.support.networks import SPECIAL, float_network, windows_for

from .test_cli import lmht, refused

STEPWISE = SPECIAL["m-ht"]()


@pytest.fixture
def net(tmp_path: Path) -> Path:
    save_network(STEPWISE, tmp_path / "net.lmht")
    return tmp_path / "net.lmht"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    windows = windows_for(STEPWISE, 120)
    labels = reference.run(STEPWISE, windows).predictions
    save_windows(windows, tmp_path / "data.npz", labels)
    return tmp_path / "data.npz"


def test_evaluate_writes_tables_json_and_a_report(net: Path, data: Path, tmp_path: Path) -> None:
    out, page, found = tmp_path / "out", tmp_path / "page.html", tmp_path / "found.json"
    files = ("--out", out, "--json", found, "--report", page)
    options = ("--audit", 1, "--audit-backend", "reference", "--workers", 1, "--shard", 50)
    assert lmht("evaluate", net, "--data", data, *files, *options) == 0
    content = json.loads(found.read_text())
    (row,) = content["rows"]
    assert row["accuracy"] == row["agreement"] == 1 and row["windows"] == 120
    assert content["audit"]["shards"] == 3 and content["times"]["computed"] == 3
    assert json.loads((out / "table.json").read_text())["rows"] == content["rows"]
    reserved = patterns_of("evaluate", "--out")
    assert all(is_own(path, out, reserved) for path in out.iterdir())
    assert "Pareto" in page.read_text() or "Accuracy and operations" in page.read_text()


def test_a_sweep_trains_recipes_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = tmp_path / "sweep.toml"
    options = '"training.epochs" = [1]\n"training.batch_size" = [256]\nlevels = [1, 2]'
    sweep.write_text(f'recipes = ["digits"]\n[options]\n{options}\n')
    command = ("evaluate", sweep, "--data", "digits", "--limit", 50, "--workers", 1)
    for _ in range(2):
        assert lmht(*command, "--out", tmp_path / "out") == 0
    rows = json.loads((tmp_path / "out" / "table.json").read_text())["rows"]
    assert [row["network"][-4:] for row in rows] == [" L=1", " L=2"]
    assert capsys.readouterr().err.count("epoch 1/1") == 1


def test_a_broken_network_does_not_stop_the_others(
    net: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for each failure at the end, in JSON as well, and the exit code 2."""
    broken, empty, image = (tmp_path / name for name in ("broken.lmht", "empty.nir", "image.onnx"))
    broken.write_bytes(net.read_bytes()[:500])
    empty.write_bytes(b"")
    image.write_bytes(b"no network")
    out, found = tmp_path / "out", tmp_path / "found.json"
    networks = (broken, net, empty, image)
    command = ("evaluate", *networks, "--data", data, "--out", out, "--workers", 1)
    assert lmht(*command, "--json", found, "--backends", "event,reference") == 2
    said = capsys.readouterr()
    failures = said.err.splitlines()[-3:]
    assert all(line.startswith("lmht: ") for line in failures)
    named = {path for path in networks for line in failures if f"{path}: " in line}
    assert named == {broken, empty, image}
    content = json.loads(found.read_text())
    assert content["failures"] == [line.removeprefix("lmht: ") for line in failures]
    assert [(row["network"], row["backend"]) for row in content["rows"]] == [
        ("net", "event"), ("net", "reference"),
    ]  # fmt: skip
    assert lmht("evaluate", net, broken, "--data", data, "--out", out, "--workers", 1) == 2
    assert "0 computed" in capsys.readouterr().out


def test_networks_that_cannot_read_the_data_do_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(SPECIAL["geometry"](), tmp_path / "net.lmht")
    command = ("evaluate", tmp_path / "net.lmht", "zoo:digits", "--data", "digits", "--limit", 20)
    assert lmht(*command, "--out", tmp_path / "out", "--workers", 1) == 2
    said = capsys.readouterr()
    (line,) = [line for line in said.err.splitlines() if line.startswith("lmht: ")]
    assert f"{tmp_path / 'net.lmht'}: digits gives windows" in line
    rows = json.loads((tmp_path / "out" / "table.json").read_text())["rows"]
    assert [row["network"] for row in rows] == ["digits"]


def test_what_concerns_all_networks_is_refused_at_once(
    net: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, missing = ("--out", tmp_path / "out"), tmp_path / "missing.lmht"
    said = refused(capsys, "evaluate", net, missing, "--data", data, *out)
    assert "missing.lmht: there is no such file" in said
    said = refused(capsys, "evaluate", net, "--data", tmp_path / "missing.npz", *out)
    assert "missing.npz" in said


def test_a_failed_shard_is_one_line(
    net: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = tmp_path / "wide.npz"
    windows = windows_for(STEPWISE, 3)
    windows[0, 0, 0, 0, 0] = 99
    save_windows(windows, wide)
    out = ("--out", tmp_path / "out")
    shards = ("--workers", 1, "--shard", 1)
    assert lmht("evaluate", net, "--data", wide, *shards, *out) == 2
    said = capsys.readouterr()
    assert "windows must lie within" in said.err and said.err.strip().endswith("(1 shard)")
    assert said.out.startswith("3 shards: 2 computed in ", said.out.index("3 shards"))
    assert said.out.endswith(" s, 0 already there, 1 failed\n")
    assert lmht("evaluate", net, "--data", wide, *shards, *out) == 2
    assert capsys.readouterr().out.endswith(" s, 2 already there, 1 failed\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--on", "cloud"], "there is no executor 'cloud'"),
        (["--backends", "evnt"], "evnt"),
        (["--energy", "memory"], "needs counts that an evaluation does not keep"),
        (["--shard", "9999999999"], "of a shard lies within 1..2**31, not 9999999999"),
        (["--audit", "nan"], "--audit"),
    ],
)
def test_wrong_options_of_evaluate(
    options: list[str],
    message: str,
    net: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = ("--out", tmp_path / "out")
    assert message in refused(capsys, "evaluate", net, "--data", data, *out, *options)


def test_search_writes_the_best_network(net: Path, data: Path, tmp_path: Path) -> None:
    out, found = tmp_path / "out", tmp_path / "found.json"
    files = ("--data", data, "--out", out, "--json", found, "--workers", 1)
    assert lmht("search", net, *files, "--split", "all", "--stop-risk", 0.1) == 0
    content = json.loads(found.read_text())
    best = content["best"]
    assert content["schema"] == "lmht-search" and content["stop_risks"] == [0.1]
    assert best["accuracy"] == 1 and best["windows"] == 60 and best["stop"]["windows"] == 60
    assert any(candidate["front"] for candidate in content["candidates"])
    page = Path("docs/reference/search-json.md").read_text()
    assert not [key for key in {*content, *best, *best["stop"]} if f"`{key}`" not in page]
    again = tmp_path / "again.json"
    is_cut = [c["cut"] for c in content["candidates"]]
    assert is_cut == [(c["steps"] or 4) < STEPWISE.input.steps for c in content["candidates"]]
    margin = ("--stop-margin", best["stop"]["stop_margin"], "--latency", 0, "--json", again)
    assert lmht("run", content["path"], "--data", content["measured"], *margin) == 0
    ran = json.loads(again.read_text())
    assert ran["accuracy"] == best["accuracy"]
    assert sum(map(sum, ran["sops"].values())) / 60 == best["sops"]
    assert sum(map(sum, ran["spikes"].values())) / 60 == best["spikes"]
    assert sum(ran["steps"]) / 60 == best["mean_steps"]
    reserved = patterns_of("search", "--out")
    assert all(is_own(path, out, reserved) for path in out.iterdir())
    assert {path.name for path in out.glob("*.*")} == {"best.lmht", "measured.npz"}
    assert lmht("search", net, *files, "--split", "all", "--budget-sops", 1) == 1
    assert not list(out.glob("*.*"))  # nothing of the earlier search looks like a result


@pytest.mark.parametrize("name", ["best.lmht", "measured.npz"])
def test_a_search_does_not_replace_its_input(
    name: str, net: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"best.lmht": net, "measured.npz": data}
    kept = given[name].rename(tmp_path / name)
    content = kept.read_bytes()
    network, windows = (kept if path == given[name] else path for path in (net, data))
    said = refused(capsys, "search", network, "--data", windows, "--out", tmp_path)
    assert f"{kept}: is replaced by this search; choose another folder with --out" in said
    assert kept.read_bytes() == content


@pytest.mark.parametrize("risk", ["0", "1", "nan", "inf", "-1"])
def test_a_risk_out_of_range_is_refused_at_once(
    risk: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("zoo:digits-mht", "--data", tmp_path / "missing.npz", f"--stop-risk={risk}")
    for command in (("run", *files), ("search", *files, "--out", tmp_path)):
        said = refused(capsys, *command)
        assert f"the risk must be above 0 and below 1, not {float(risk)}" in said


def test_budgets_are_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("zoo:digits-mht", "--data", tmp_path / "missing.npz", "--out", tmp_path)
    for value in ("0", "nan", "inf", "-1"):
        said = refused(capsys, "search", *files, f"--budget-ms={value}")
        assert f"--budget-ms must be a number > 0, not {float(value)}" in said
    said = refused(capsys, "search", *files, "--budget-ms", 1, "--stop-risk", 0.1)
    assert "their times do not compare" in said


def test_what_calibrate_prints_keeps_what_it_says(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    windows = windows_for(STEPWISE, 120)
    labels = reference.run(STEPWISE, windows).predictions
    labels[::3] = (labels[::3] + 1) % STEPWISE.classes
    save_windows(windows, tmp_path / "some.npz", labels)
    run = ("run", net, "--data", tmp_path / "some.npz", "--latency", 0, "--json")
    for more in ((), ("--stop-margin", 150)):
        assert lmht(*run, tmp_path / "a.json", "--calibrate", 60, *more) == 0
        text = " ".join(capsys.readouterr().out.split())
        command = text.partition("to use it: ")[2].partition("to store it")[0].split()
        assert command[: len(more)] == [str(word) for word in more]
        assert ("to store it" in text) == (not more)
        assert lmht(*run, tmp_path / "b.json", *command) == 0
        right = json.loads((tmp_path / "a.json").read_text())["calibration"]["right_kept"]
        predicted = json.loads((tmp_path / "b.json").read_text())["predictions"]
        assert int((np.array(predicted) == labels).sum()) == right


def test_run_finds_a_stop_margin(
    net: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def load_and_count(path: Path) -> Network:
        opened.append(path)
        return load_network(path)

    monkeypatch.setattr("lmht_deploy.formats.lmht.load_network", load_and_count)
    found = tmp_path / "found.json"
    arguments = ("--data", data, "--stop-risk", 0.1, "--latency", 0, "--json", found)
    assert lmht("run", net, *arguments) == 0
    assert opened == [net]  # and no second time
    early = json.loads(found.read_text())["early"]
    assert early["calibration_windows"] == early["windows"] == 60
    assert early["stop_margin"] >= 0 and 0 <= early["saved_sops"] < 1


@pytest.mark.parametrize("margin", [0, 200])
def test_stream_stops_when_sure(
    margin: int, net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    sensor = Sensor(*STEPWISE.input.shape[1:])
    events = make_events(
        np.sort(rng.integers(0, 100_000, 2_000)),
        rng.integers(sensor.width, size=2_000),
        rng.integers(sensor.height, size=2_000),
        rng.integers(2, size=2_000),
    )
    np.save(tmp_path / "recording.npy", events)
    rule = WindowRule(STEPWISE.input.steps, "time", 8_000)
    windows = np.minimum(count_windows(events, sensor, rule), STEPWISE.input.max_value)
    engine = StepwiseEngine(STEPWISE)
    expected = [engine.run(window, margin) for window in windows]
    size = f"{sensor.width}x{sensor.height}"
    source = (net, tmp_path / "recording.npy", "--sensor", size, "--length", "8ms")
    assert lmht("stream", *source, "--stop-margin", margin, "--json", "-") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["sops"] for line in lines[: len(expected)]] == [
        sum(int(n[0]) for n in result.sops.values()) for result in expected
    ]
    total = STEPWISE.input.steps
    for line, result in zip(lines, expected, strict=False):
        assert result.steps is not None and line["steps"] == result.steps[0]
        compared = result.margins[0] * result.scale * total / line["steps"]
        assert line["margin"] == pytest.approx(compared)
    assert len({line["steps"] for line in lines}) > (margin > 0)
    smallest = sorted(line["margin"] for line in lines)[len(lines) // 2]
    unknown = [-1 if line["margin"] < smallest else line["label"] for line in lines]
    limits = ("--stop-margin", margin, "--min-margin", smallest)
    assert lmht("stream", *source, *limits, "--predictions", tmp_path / "p.csv") == 0
    text = capsys.readouterr().out.splitlines()
    assert all(
        f"{line['steps']} of {total} time-steps" in said
        for line, said in zip(lines, text, strict=True)
    )
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["predicted"]) for row in rows] == unknown
    assert [int(row["steps"]) for row in rows] == [line["steps"] for line in lines]
    whole = reference.run(STEPWISE, windows)
    assert sum(line["sops"] for line in lines) < int(sum(whole.sops.values()).sum())  # type: ignore[union-attr]


def test_smoothing_averages_windows_of_different_numbers_of_steps_alike() -> None:
    """A window that ended after one of four steps counts as if the others were like it."""
    logits = np.array([[4, 0], [0, 3]])
    result = replace(
        reference.run(STEPWISE, windows_for(STEPWISE, 2)),
        logits=logits,
        scale=1.0,
        steps=np.array([4, 1]),
    )
    recordings = np.zeros(2, int)
    answers = answer_windows(result, Judge(smooth=2), recordings, steps=4)
    assert answers.labels.tolist() == [0, 1] and answers.margins.tolist() == [4, (12 - 4) / 2]
    whole = answer_windows(replace(result, steps=None), Judge(smooth=2), recordings)
    assert whole.labels.tolist() == [0, 0] and whole.margins.tolist() == [4, 0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--stop-risk", 0.1, "--backend", "torch"), "--stop-risk: backend 'torch' runs whole"),
        (("--stop-margin", 1, "--backend", "reference"), "--stop-margin: backend 'reference'"),
        (("--stop-risk", 0.1, "--stop-margin", 1), "do not give --stop-margin with it"),
    ],
)
def test_a_run_that_cannot_stop(
    options: tuple[object, ...],
    message: str,
    net: Path,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert message in refused(capsys, "run", net, "--data", data, *options)


@pytest.mark.parametrize("name", [name for name in backends.NAMES if name != "event"])
def test_only_the_engine_stops(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{backends.artifact_suffix(name)}"
    path.touch()
    with pytest.raises(BackendError, match=f"'{name}' runs whole windows.*backend 'event' can"):
        backends.open_backend(name, path, stop_margin=1)


def test_a_network_with_a_full_t_gim_cannot_stop(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(SPECIAL["lm-ht"](), tmp_path / "tgim.lmht")
    for option in ("--stop-risk", "--stop-margin"):
        value = 0.5 if option == "--stop-risk" else 1
        said = refused(capsys, "run", tmp_path / "tgim.lmht", "--data", data, option, value)
        assert f"{option}: a time-step of this network depends on later ones" in said


def test_a_float_network_is_not_blamed_on_the_data(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_network(float_network(), tmp_path / "float.lmht")
    out = ("--data", data, "--out", tmp_path / "out")
    said = refused(capsys, "search", tmp_path / "float.lmht", *out)
    assert "float.lmht: variants are made of integer networks" in said and "data.npz" not in said
    said = refused(capsys, "search", tmp_path / "net.lmht", *out, "--budget-sops", -1)
    assert "data.npz" not in said


def test_a_stream_that_cannot_stop(
    net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "r.npy", make_events(*(np.arange(4),) * 3, np.ones(4, int)))
    source = (tmp_path / "r.npy", "--sensor", "8x8", "--length", "8ms", "--stop-margin", 1)
    assert "do not overlap" in refused(capsys, "stream", net, *source, "--hop", 1)
    assert "backend event" in refused(capsys, "stream", net, *source, "--backend", "reference")
    save_network(SPECIAL["lm-ht"](), tmp_path / "tgim.lmht")
    said = refused(capsys, "stream", tmp_path / "tgim.lmht", *source)
    assert "computes step by step" in said
