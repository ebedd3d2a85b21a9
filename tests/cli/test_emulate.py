"""`lmht emulate`: reproducible recordings that Tonic reads, described beside the files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy.cli import emulate
from lmht_deploy.data import cifar10dvs, load, split_list
from lmht_deploy.events.recordings import read_events

from .test_cli import lmht, refused

for package in ("PIL", "pyarrow", "faery", "tonic", "aedat"):
    pytest.importorskip(package)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two images a class, of random pixels."""
    import pyarrow
    from PIL import Image
    from pyarrow import parquet

    rng = np.random.default_rng(0)
    encoded, labels = [], []
    for label in (*range(10), *range(10)):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8)).resize((32, 32)).save(
            buffer, "PNG"
        )
        encoded.append({"bytes": buffer.getvalue(), "path": None})
        labels.append(label)
    parquet.write_table(
        pyarrow.table({"img": encoded, "label": labels}), tmp_path / "train.parquet"
    )
    return tmp_path


def recorded(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(out.rglob("*.aedat4"))}


def test_recordings_that_tonic_reads(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = images / "out"
    out.mkdir()
    assert (
        lmht("emulate", images, "--out", out, "--per-class", 1, "--json", images / "emulated.json")
        == 0
    )
    assert "10 recordings, 10 of them new" in capsys.readouterr().out
    assert json.loads((images / "emulated.json").read_text())["dvs"] == vars(cifar10dvs.DVS)
    first = recorded(out)
    assert len(first) == 10 and not list(out.rglob("*.partial"))
    test = load("tonic:CIFAR10DVS", root=out, subset=True, split="all", steps=10, size=48)
    assert test.classes == cifar10dvs.CLASSES and test.labels.tolist() == list(range(10))
    total = sum(len(read_events(path)[0]) for path in out.rglob("*.aedat4"))
    assert test.provenance["events"] == total > 100_000
    assert test.provenance["emulated"]["seed"] == 0
    assert set(test.sources) < set(split_list("tonic:CIFAR10DVS", "spikingjelly"))

    missing = out / "CIFAR10DVS" / "bird" / "cifar10_bird_0.aedat4"
    missing.unlink()
    assert lmht("emulate", images, "--out", out, "--per-class", 1) == 0  # goes on where it stopped
    assert "10 recordings, 1 of them new" in capsys.readouterr().out
    assert recorded(out) == first


def test_several_processes_make_the_same(images: Path) -> None:
    for workers in (1, 2):
        assert (
            lmht(
                "emulate",
                images,
                "--out",
                images / f"out{workers}",
                "--per-class",
                1,
                "--workers",
                workers,
                "--seed",
                3,
            )
            == 0
        )
    assert recorded(images / "out1") == recorded(images / "out2")


def test_a_run_that_was_killed_while_it_wrote_the_description_continues(images: Path) -> None:
    (images / "out" / "CIFAR10DVS").mkdir(parents=True)
    (images / "out" / "CIFAR10DVS" / ".emulated.json.abandoned").touch()
    assert lmht("emulate", images, "--out", images / "out", "--per-class", 1) == 0
    assert len(recorded(images / "out")) == 10


def test_recordings_of_another_emulator_are_not_continued(
    images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = images / "out"
    (out / "CIFAR10DVS").mkdir(parents=True)
    description = emulate._description(1, "train", 0)
    assert description.pop("version") == cifar10dvs.VERSION == 2
    (out / "CIFAR10DVS" / "emulated.json").write_text(json.dumps(description))
    assert "holds other recordings" in refused(
        capsys, "emulate", images, "--out", out, "--per-class", 1
    )


def test_mistakes(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = images / "out"
    assert "there is no file test*.parquet" in refused(
        capsys, "emulate", images, "--out", out, "--split", "test"
    )
    assert "split must be 'train', 'validation', 'test' or 'all'" in refused(
        capsys, "emulate", images, "--out", out, "--split", "some"
    )
    assert "class 'airplane' has 2 images, 3 were requested" in refused(
        capsys, "emulate", images, "--out", out, "--per-class", 3
    )
    (out / "CIFAR10DVS" / "airplane").mkdir(parents=True, exist_ok=True)
    (out / "CIFAR10DVS" / "airplane" / "cifar10_airplane_0.aedat4").touch()
    assert "holds other recordings" in refused(
        capsys, "emulate", images, "--out", out, "--per-class", 1, "--seed", 5
    )
