"""Evaluation on local workers: exact sums, any cutting, resumed, merged, audited."""

from __future__ import annotations

import dataclasses
import itertools
import json
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

import lmht_deploy as lmht
from lmht_deploy import reference
from lmht_deploy.formats.shards import load_shard
from lmht_deploy.ir import Network
from lmht_deploy.scale import Row, State, write_table
from lmht_deploy.scale._evaluate import PART, keep_windows
from lmht_deploy.scale._files import files_of
from lmht_deploy.scale._sweep import read_sweep
from lmht_deploy.scale._table import first_difference

ROOT = Path(__file__).parents[2]


def tables(rows: tuple[Row, ...], folder: Path) -> list[bytes]:
    found = []
    for suffix in (".csv", ".json", ".parquet"):
        write_table(rows, folder / f"t{suffix}")
        found.append((folder / f"t{suffix}").read_bytes())
    return found


def test_the_sums_are_those_of_the_reference_model(
    net: Network, windows: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    expected = reference.run(net, windows)
    told: list[State] = []
    found = lmht.evaluate(
        net,
        windows,
        labels,
        out=tmp_path / "out",
        backends=["event", "onnx"],
        shard=7,
        workers=2,
        progress=told.append,
    )
    assert found.passed and (found.shards, found.computed) == (8, 8)
    assert [row.backend for row in found.rows] == ["event", "onnx"]
    for row in found.rows:
        assert row.windows == 24 and row.correct == int((expected.predictions == labels).sum())
        assert row.spikes == sum(int(counts.sum()) for counts in expected.spikes.values())
        assert row.sops == sum(int(counts.sum()) for counts in expected.sops.values())
        assert row.equal and row.agreement == 1
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 8, 8)
    assert told[-1].windows == 48 and told[-1].failures == 0


@pytest.mark.parametrize("shard", [1, 5, 100])
def test_any_cutting_gives_the_same_table(
    shard: int, path: Path, windows: np.ndarray, labels: np.ndarray, tmp_path: Path
) -> None:
    def run(size: int, workers: int) -> list[bytes]:
        out = tmp_path / f"{size}-{workers}"
        found = lmht.evaluate(path, windows, labels, out=out, shard=size, workers=workers)
        return tables(found.rows, tmp_path)

    assert run(shard, 2) == run(24, 1)


def test_what_exists_is_not_computed_again(
    path: Path, net: Network, windows: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = lmht.evaluate(path, windows, out=out, shard=6)
    assert first.computed == 4
    again = lmht.evaluate(path, windows, out=out, shard=6)
    assert again.computed == 0 and again.rows == first.rows
    removed = next(iter(sorted(out.glob("shards/*/*.parquet"))))
    removed.unlink()
    assert lmht.evaluate(path, windows, out=out, shard=6).computed == 1
    other = dataclasses.replace(net, metadata={"name": "other"})
    more = lmht.evaluate([path, other], windows, out=out, shard=6)
    assert (more.shards, more.computed) == (8, 4)
    assert more.rows[0] == first.rows[0] and more.rows[1].correct is None


def test_folders_of_two_machines_are_merged_by_copying(
    path: Path, windows: np.ndarray, tmp_path: Path
) -> None:
    for name, part in (("a", windows[:12]), ("b", windows[12:])):
        lmht.evaluate(path, part, out=tmp_path / name, shard=6)
    shutil.copytree(tmp_path / "b" / "shards", tmp_path / "a" / "shards", dirs_exist_ok=True)
    assert lmht.evaluate(path, windows, out=tmp_path / "a", shard=6).computed == 0


def test_a_damaged_result_is_named(path: Path, windows: np.ndarray, tmp_path: Path) -> None:
    lmht.evaluate(path, windows, out=tmp_path / "out", shard=24)
    (file,) = (tmp_path / "out").glob("shards/*/*.parquet")
    content = bytearray(file.read_bytes())
    content[40] ^= 255
    file.write_bytes(bytes(content))
    with pytest.raises(lmht.StorageError, match="remove it, and the next call computes it again"):
        lmht.evaluate(path, windows, out=tmp_path / "out", shard=24)


def test_an_edited_result_is_refused(path: Path, windows: np.ndarray, tmp_path: Path) -> None:
    """Other rows than the run gave, in a valid Parquet file."""
    lmht.evaluate(path, windows, out=tmp_path, shard=24)
    (file,) = tmp_path.glob("shards/*/*.parquet")
    table = parquet.read_table(file)
    for edited in (table.slice(0, 5), table.take(list(range(table.num_rows))[::-1])):
        parquet.write_table(edited, file)
        with pytest.raises(lmht.StorageError, match="the checksum does not match"):
            lmht.evaluate(path, windows, out=tmp_path, shard=24)


def test_the_file_of_each_backend_is_exported_with_its_options(
    path: Path, windows: np.ndarray, tmp_path: Path
) -> None:
    found = lmht.evaluate(path, windows, out=tmp_path, backends=["onnx", "openvino"], shard=24)
    assert found.passed and all(row.equal for row in found.rows)
    names = sorted(file.name for file in (tmp_path / "networks").glob("*/*"))
    assert names == ["net-openvino.onnx", "net.onnx"]


def test_weights_beside_a_model_stay_with_it(
    path: Path, windows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for models above 2 GB: both files are exported, shipped and checked."""
    monkeypatch.setattr("lmht_deploy.exporters.onnx._graph.MAX_BYTES", 1000)
    found = lmht.evaluate(path, windows, out=tmp_path, backends=["event", "onnx"], shard=24)
    assert found.passed and all(row.equal for row in found.rows)
    (model,) = (tmp_path / "networks").glob("*/net.onnx")
    beside = model.with_name("net.onnx.data")
    assert files_of(model) == (model, beside)
    beside.write_bytes(beside.read_bytes()[::-1])
    for file in tmp_path.glob("shards/*/*"):
        file.unlink()
    again = lmht.evaluate(path, windows, out=tmp_path, backends=["onnx"], shard=24)
    assert "net.onnx.data: does not hold the weights" in again.failures[0]


def test_names_are_as_short_as_they_are_unique(
    path: Path, net: Network, windows: np.ndarray, tmp_path: Path
) -> None:
    lmht.export(net, tmp_path / "net.onnx")
    lmht.export(net, tmp_path / "flat.lmhtf")
    lmht.export(net, tmp_path / "graph.nir")
    given = [path, *(tmp_path / name for name in ("net.onnx", "flat.lmhtf", "graph.nir"))]
    found = lmht.evaluate(given, windows, out=tmp_path / "out", shard=24)
    assert [row.network for row in found.rows] == ["net.lmht", "net.onnx", "flat", "graph"]
    assert found.passed and len({row.spikes for row in found.rows}) == 1
    again = tmp_path / "." / "other" / ".." / "net.lmht"
    with pytest.raises(lmht.DataError, match=r"net\.lmht: is named 2 times"):
        lmht.evaluate([path, again], windows, out=tmp_path / "out")
    with pytest.raises(lmht.DataError, match="2 networks have the name '1'"):
        lmht.evaluate({1: path, "1": path}, windows, out=tmp_path / "out")  # type: ignore[dict-item]


def test_a_shard_holds_all_integers(net: Network, windows: np.ndarray, tmp_path: Path) -> None:
    lmht.evaluate(net, windows, out=tmp_path, shard=24)
    (file,) = tmp_path.glob("shards/*/*.parquet")
    found, expected = load_shard(file), reference.run(net, windows)
    assert first_difference(expected, found) is None
    assert found.event_sops.keys() == expected.event_sops.keys()
    assert found.scale == expected.scale


def test_the_audit_names_an_integer_that_differs(
    path: Path, windows: np.ndarray, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options: dict[str, Any] = {"shard": 6, "audit_share": 1.0, "audit_backend": "reference"}
    first = lmht.evaluate(path, windows, out=out, **options)
    assert first.audit is not None and first.audit.passed and first.audit.shards == 4
    files = sorted(out.glob("shards/*/*.parquet"))
    shutil.copy(files[0], files[1])  # a result at the address of another one
    found = lmht.evaluate(path, windows, out=out, **options)
    assert found.audit is not None and not found.passed and len(found.audit.differences) == 1
    assert "net.lmht on event, windows" in found.audit.differences[0]
    assert [row.audited for row in (*first.rows, *found.rows)] == [True, False]
    assert b"False" in tables(found.rows, tmp_path)[0]
    assert not list(out.glob("audit-*"))


def test_a_backend_with_another_integer_is_marked(
    path: Path, windows: np.ndarray, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"backends": ["event", "reference"], "shard": 12}
    first = lmht.evaluate(path, windows, out=tmp_path / "out", **options)
    assert [row.equal for row in first.rows] == [True, True]
    changed, *files = sorted((tmp_path / "out").glob("shards/*/*.parquet"))
    result = load_shard(changed)
    other = next(file for file in files if first_difference(load_shard(file), result))
    shutil.copy(other, changed)
    found = lmht.evaluate(path, windows, out=tmp_path / "out", **options)
    assert found.computed == 0 and [row.equal for row in found.rows] == [True, False]


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("split", [None, "train"])
def test_windows_go_from_a_file_to_the_store_in_pieces(
    split: str | None, write: Callable[..., None], tmp_path: Path
) -> None:
    """Neither all windows nor a split of them are ever in memory."""
    windows = np.zeros((1024, 2, 2, 64, 64), np.uint8)
    windows[:, 0, 0, 0, 0] = np.arange(1024) % 251
    path = tmp_path / "data.npz"
    write(path, windows=windows, labels=np.arange(1024) % 2)
    expected = lmht.data.load(path, split=split)
    tracemalloc.start()
    try:
        found = lmht.data.load(path, split=split, memory_map=True, cache=tmp_path)
        store, _ = keep_windows(tmp_path, found)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * PART < windows.nbytes
    np.testing.assert_array_equal(store.windows, expected.windows)
    assert store.labels is not None and store.labels.tolist() == expected.require_labels().tolist()


def test_a_failure_is_named_and_the_others_go_on(
    path: Path, net: Network, windows: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "broken.lmht").write_bytes(path.read_bytes()[:500])
    found = lmht.evaluate([tmp_path / "broken.lmht", path], windows, out=tmp_path / "out", shard=8)
    assert [row.network for row in found.rows] == ["net"] and not found.passed
    assert len(found.failures) == 1 and "broken.lmht" in found.failures[0]
    assert found.failures[0].endswith("(3 shards)")
    assert (found.shards, found.computed, found.failed) == (6, 3, 3)


def test_a_file_that_another_backend_cannot_read_is_a_failure(
    path: Path, windows: np.ndarray, tmp_path: Path
) -> None:
    """Exports and files of other formats are read before the shards are planned."""
    (tmp_path / "broken.lmht").write_bytes(path.read_bytes()[:500])
    (tmp_path / "broken.nir").write_bytes(b"")
    nets = [tmp_path / "broken.lmht", tmp_path / "broken.nir", path]
    found = lmht.evaluate(nets, windows, out=tmp_path / "out", backends=["onnx"], workers=1)
    assert [row.network for row in found.rows] == ["net"] and not found.passed
    assert sorted(text.split(": ")[0] for text in found.failures) == [*map(str, nets[:2])]
    assert (found.shards, found.computed, found.failed) == (1, 1, 0)


def test_a_folder_that_cannot_be_created_is_named(
    path: Path, windows: np.ndarray, tmp_path: Path
) -> None:
    (tmp_path / "shards").write_text("a file")
    found = lmht.evaluate(path, windows, out=tmp_path, shard=24, workers=1)
    (said,) = found.failures
    assert f"{tmp_path / 'shards'}/" in said
    assert said.endswith(": cannot be written (Not a directory) (1 shard)")


def test_the_time_of_an_audit_is_not_that_of_the_shards(
    path: Path, windows: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock moves by a second whenever it is read: once before and once after no shard."""
    lmht.evaluate(path, windows, out=tmp_path, shard=6, workers=1)
    clock = SimpleNamespace(perf_counter=map(float, itertools.count()).__next__)
    monkeypatch.setattr("lmht_deploy.scale._evaluate.time", clock)
    found = lmht.evaluate(path, windows, out=tmp_path, shard=6, workers=1, audit_share=1)
    assert found.audit is not None and found.audit.shards == 4
    assert (found.computed, found.seconds) == (0, 1.0)


def test_an_energy_model_that_needs_more_counts(net: Network, windows: np.ndarray) -> None:
    with pytest.raises(lmht.LmhtError, match="'memory' needs counts that an evaluation"):
        lmht.evaluate(net, windows, out="unused", energy_model="memory")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"on": "cloud"}, "there is no executor 'cloud'"),
        ({"on": "ray://"}, "there is no executor 'ray://'"),
        ({"on": "ray://head"}, "there is no executor 'ray://head'"),
        ({"on": 3}, "the executor is named by text, not 3"),
        ({"workers": 0}, "the number of workers lies within 1..10,000, not 0"),
        ({"shard": 0}, r"windows of a shard lies within 1\.\.2\*\*31, not 0"),
        ({"audit_share": 2}, "the share of the audit lies within 0..1, not 2"),
        ({"audit_share": 0.5, "audit_backend": "onnx"}, "the audit runs .lmht files"),
        ({"backends": ["evnt"]}, "event"),
        ({"networks": []}, "networks must be a list"),
        ({"networks": "missing.lmht"}, "there is no such file"),
        ({"data": np.zeros(3)}, "windows must be integers"),
        ({"labels": [1]}, "one per window"),
        ({"energy_model": "45"}, "energy model"),
    ],
)
def test_wrong_arguments_are_named(
    change: dict[str, Any], message: str, net: Network, windows: np.ndarray, tmp_path: Path
) -> None:
    given = {"networks": net, "data": windows, "out": tmp_path / "out"} | change
    with pytest.raises(lmht.LmhtError, match=message):
        lmht.evaluate(**given)


def test_the_page_names_every_key(net: Network, windows: np.ndarray, tmp_path: Path) -> None:
    from lmht_deploy.cli.evaluate import as_json

    page = (ROOT / "docs" / "reference" / "evaluate-json.md").read_text(encoding="utf-8")
    content = as_json(lmht.evaluate(net, windows, out=tmp_path, audit_share=1.0), "45nm")
    keys = [*content, *content["rows"][0], *content["audit"], *content["times"]]
    assert [key for key in keys if f"`{key}`" not in page] == []


def test_the_report(net: Network, windows: np.ndarray, labels: np.ndarray, tmp_path: Path) -> None:
    from lmht_deploy.cli.evaluate import as_json
    from lmht_deploy.report import evaluation_report, to_html

    found = lmht.evaluate(net, windows, labels, out=tmp_path, audit_share=1.0)
    page = to_html(evaluation_report(json.loads(json.dumps(as_json(found, "45nm")))))
    assert "Accuracy and operations" in page and "network0" in page


def test_entries_of_a_sweep_with_one_name_are_refused(path: Path, tmp_path: Path) -> None:
    def train(recipe: str, overrides: Any) -> Path:
        raise AssertionError("names are checked before any training")

    sweep = tmp_path / "sweep.toml"
    for text, message in (
        ('networks = ["net.lmht", "*.lmht"]', r"sweep\.toml: .*net\.lmht: is named 2 times"),
        ('networks = ["net.lmht"]\n[options]\nlevels = [1, 1]', "have the name 'net L=1'"),
        ('recipes = ["digits", "digits"]', "2 networks have the name 'digits'"),
        (
            'networks = ["net.lmht"]\n[options]\nsteps = [99]',
            r"sweep\.toml: .*net\.lmht: layer .* time-steps, not 99",
        ),
    ):
        sweep.write_text(text)
        with pytest.raises(lmht.DataError, match=message):
            read_sweep(sweep, train)
