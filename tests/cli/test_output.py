"""What reaches the terminal: text from outside as it is, and one line where a disk is full."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from lmht_deploy import reference
from lmht_deploy.cli import _console
from lmht_deploy.cli._own_files import is_own, patterns_of
from lmht_deploy.cli._printable import printable
from lmht_deploy.errors import LmhtWarning
from lmht_deploy.events.arrays import make_events
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.formats.windows import save_windows
from tests.support.networks import SPECIAL, windows_for

from .test_cli import lmht, refused

NET = SPECIAL["lm-ht"]()
HOSTILE = ("[red]x", "\x1b]0;owned\x07", "\x1b[2J[/]", "a\nlmht: fake", "\u202edrow", ":smile:")
"""Names of classes that a terminal or a markup parser would obey."""
FULL = Path("/dev/full")
STREAM = ["stream", "net.lmht", "recording.npy", "--sensor", "8x8", "--length", "40ms"]


def classes(*names: str) -> dict[str, str]:
    return {"classes": json.dumps(names), "note": "\x1b[31m[bold]note"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network with hostile names, windows with and without labels, and a recording."""
    names = HOSTILE[: NET.classes] if NET.classes <= len(HOSTILE) else HOSTILE
    assert len(names) == NET.classes
    save_network(dataclasses.replace(NET, metadata=classes(*names)), tmp_path / "net.lmht")
    windows = windows_for(NET, 6)
    save_windows(windows, tmp_path / "data.npz", reference.run(NET, windows).predictions)
    save_windows(windows, tmp_path / "bare.npz", None)
    t = np.arange(0, 90_000, 100)
    np.save(tmp_path / "recording.npy", make_events(t, t % 3, t % 5, t // 100 % 2))
    return tmp_path


def command(*arguments: object, **options: object) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "lmht_deploy", *map(str, arguments)]
    return subprocess.run(line, text=True, check=False, **options)  # type: ignore[call-overload]


def test_files_beside_the_results_of_a_verb_are_accepted(folder: Path) -> None:
    """Neither has a name that a verb gives to a file in this folder."""
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    files = ("--figures", folder, "--report", folder / "run.html", "--json", folder / "run.json")
    run = ("run", folder / "net.lmht", "--data", folder / "data.npz")
    assert lmht(*run, *files, "--latency", 0) == 0
    assert {"run.html", "run.json", "report.json"} <= {path.name for path in folder.iterdir()}


def test_every_file_of_a_figures_folder_is_reserved(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    figures = folder / "figures"
    run = ("run", folder / "net.lmht", "--data", folder / "data.npz", "--latency", 0)
    assert lmht(*run, "--figures", figures) == 0
    patterns = patterns_of("run", "--figures")
    files = list(figures.iterdir())
    assert files and all(is_own(file, figures, patterns) for file in files)


# ------------------------------------------------------------------------------------- text


@pytest.mark.parametrize("option", ["--json", "--report", "--predictions"])
@pytest.mark.parametrize("place", ["/proc", "/proc/1/nowhere", "{folder}/absent"])
def test_outputs_are_checked_before_the_work_starts(
    option: str,
    place: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if option == "--report":
        pytest.importorskip("matplotlib")
        pytest.importorskip("jinja2")
    monkeypatch.setattr("lmht_deploy.cli._data.find_source", lambda *given: 1 / 0)
    suffix = {"--json": "json", "--report": "html", "--predictions": "csv"}[option]
    path = f"{place.format(folder=folder)}/out.{suffix}"
    run = ("run", folder / "net.lmht", "--data", folder / "data.npz", option, path)
    assert f"{path}: cannot be written (" in refused(capsys, *run)
    assert not (folder / "absent").exists()


@pytest.mark.parametrize("option", ["--figures", "--out"])
def test_folders_are_checked_before_the_work_starts(
    option: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    verb: tuple[object, ...] = ("train", "digits")
    if option == "--figures":
        verb = ("run", folder / "net.lmht", "--data", folder / "data.npz")
    assert "cannot be written (" in refused(capsys, *verb, option, "/proc/out")


def test_a_check_of_outputs_leaves_nothing(folder: Path) -> None:
    from lmht_deploy.formats.files import check_folder, check_writable

    before = sorted(folder.iterdir())
    check_writable(folder / "new.json")
    check_writable("/dev/null")
    check_folder(folder / "a" / "b")
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mug [red]x :smile: Größe 杯\u3000", "mug [red]x :smile: Größe 杯\u3000"),
        ("\x1b[2J\x07\x7f\x9b", "\\x1b[2J\\x07\\x7f\\x9b"),
        ("a\nb\r\tc\u2028", "a\\nb\\r\\tc\\u2028"),
        ("\u202e\u200b\udc80\U000e0041", "\\u202e\\u200b\\udc80\\U000e0041"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected
    assert printable(expected) == expected


def test_tables_titles_and_notes_are_literal(capsys: pytest.CaptureFixture[str]) -> None:
    _console.out.stderr = False  # an earlier test may have ended with `--json -`
    rows = _console.table("[b]title\x1b", ("[i]column\x07",), left=("[i]column\x07",))
    rows.add_row("[red]x\x1b[2J")
    rows.add_row(_console.good("[green]\x07"))
    _console.show(rows)
    _console.say("[blue]line\x1b\nsecond")
    _console.warn("[link]\x1b]8;;")
    said = capsys.readouterr()
    for text in ("[b]title\\x1b", "[i]column\\x07", "[red]x\\x1b[2J", "[green]\\x07"):
        assert text in said.out
    assert said.out.endswith("[blue]line\\x1b\\nsecond\n")
    assert said.err == "warning: [link]\\x1b]8;;\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "net.lmht"],
        ["run", "net.lmht", "--data", "data.npz"],
        ["run", "net.lmht", "--data", "bare.npz"],
        ["compare", "net.lmht", "--data", "data.npz", "--backends", "event"],
        STREAM,
        ["convert", "net.lmht", "--out", "copy.lmht"],
        ["run", "\x1b[2J[red]none.lmht", "--data", "data.npz"],
        ["train", "\x1b[2J[red]recipe.toml"],
        ["fly\x1b[2J[red]"],
        ["stream", "net.lmht", "\x1b[2J[red]none.aedat4", "--length", "40ms"],
    ],
    ids=lambda arguments: printable(" ".join(arguments)),
)
def test_no_verb_prints_an_escape(
    arguments: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    lmht(*arguments)
    said = capsys.readouterr()
    text = said.out + said.err
    assert text and not [c for c in text if not c.isprintable() and c not in "\n"], text
    if any("[red]" in argument for argument in arguments):
        assert "\\x1b[2J[red]" in said.err


def test_hostile_class_names_are_literal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lmht("run", folder / "net.lmht", "--data", folder / "data.npz") == 0
    said = capsys.readouterr().out
    for label, name in enumerate(HOSTILE[: NET.classes]):
        assert f" {label} {printable(name)} " in said


def test_warnings_are_printed_once_without_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    with _console.shown_warnings():
        for _ in range(2):
            warnings.warn("training runs without a CUDA graph", LmhtWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: training runs without a CUDA graph\n"


def test_figures_are_not_cut_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_console.out, "_width", 50)
    rows = _console.table("figures", ("what", "windows", "a b c"), left=("what",))
    rows.add_row("a rather long text that wraps", "1,234,567,890", "12 layers of 34")
    assert _console.fits(rows)
    wide = _console.table("figures", ("what", *"abcdefgh"), left=("what",))
    wide.add_row("rather long text", *("1,234,567",) * 8)
    assert not _console.fits(wide)
    _console.show(rows)
    _console.show(wide)
    said = capsys.readouterr().out
    assert "1,234,567,890" in said and "12 layers of 34" in said and "windows" in said
    assert said.count("1,234,567 ") == 8 and "rather" in said


@pytest.mark.parametrize("width", [60, 80, 100])
def test_lines_survive_a_progress_bar(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is longer than the terminal is complete, and comes once, above the bar."""
    from rich.console import Console

    written = io.StringIO()
    terminal = Console(
        file=written, force_terminal=True, width=width, markup=False, highlight=False
    )
    monkeypatch.setattr(_console, "err", terminal)
    line = "epoch 1/300, " + "figures " * 15 + "end"
    with _console.progress("[red]training\x1b[2J") as show:
        show("epoch 1/300, loss 1.234", 1, 12_345)
        _console.tell(line)
        show("epoch 2/300, loss 0.123", 2, 12_345)
    text = written.getvalue()
    assert text.count(line) == 1
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    last = plain.rstrip().splitlines()[-1].split("\r")[-1]
    assert "2/12345" in last and "[red]training" in last
    assert len(last.rstrip()) <= width


# ------------------------------------------------------------------------------------- full disk


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["recipes"],
        ["recipes", "digits", "--json", "-"],
        ["inspect", "net.lmht"],
        ["run", "net.lmht", "--data", "data.npz"],
        ["run", "net.lmht", "--data", "data.npz", "--json", "-"],
        ["compare", "net.lmht", "--data", "data.npz", "--backends", "event"],
        STREAM,
        [*STREAM, "--json", "-"],
    ],
    ids=" ".join,
)
def test_standard_output_on_a_full_disk(arguments: list[str], folder: Path) -> None:
    with FULL.open("w") as full:
        done = command(*arguments, cwd=folder, stdout=full, stderr=subprocess.PIPE)
    lines = [line for line in done.stderr.splitlines() if line.startswith("lmht: ")]
    assert len(lines) == 1 and lines[0].startswith("lmht: standard output: ")
    assert "No space left on device" in lines[0]
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("option", ["--json", "--predictions"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_files_on_a_full_disk(
    option: str,
    suffix: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    full = Path(f"full{suffix}")
    full.symlink_to(FULL)
    for arguments in (
        ["run", "net.lmht", "--data", "data.npz"],
        STREAM,
    ):
        assert lmht(*arguments, option, full) == 2
        lines = capsys.readouterr().err.splitlines()
        assert lines[-1] == f"lmht: {full}: cannot be written (No space left on device)"


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_standard_error_on_a_full_disk_is_no_error(folder: Path) -> None:
    with FULL.open("w") as full:
        arguments = ["run", "net.lmht", "--data", "data.npz", "--json", "-"]
        done = command(*arguments, cwd=folder, stdout=subprocess.PIPE, stderr=full)
    assert done.returncode == 0 and json.loads(done.stdout)["accuracy"] == 1.0


@pytest.mark.parametrize("arguments", [["recipes", "--keys"], ["run", "--help"]], ids=" ".join)
def test_a_reader_that_leaves_ends_the_command_quietly(arguments: list[str]) -> None:
    line = [sys.executable, "-m", "lmht_deploy", *arguments]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [([], 0, ""), (["--json", "-"], 2, "lmht: standard output: is closed; give a file\n")],
)
def test_standard_output_that_is_closed(
    arguments: list[str], code: int, message: str, folder: Path
) -> None:
    line = [sys.executable, "-m", "lmht_deploy", "inspect", "net.lmht", *arguments]
    script = ["sh", "-c", 'exec "$@" >&-', "sh", *line]
    done = subprocess.run(script, check=False, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (code, message)


def test_errors_of_outputs_name_the_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ("run", folder / "net.lmht", "--data", folder / "data.npz", "--predictions")
    assert "expected a .csv or .parquet file" in refused(capsys, *run, folder / "p.txt")
    assert "is a folder" in refused(capsys, *run, folder)
    assert "does not exist" in refused(capsys, *run, folder / "no" / "p.csv")


RUN = ("run", "net.lmht", "--data", "data.npz")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["run", "net.lmht", "--data", "data.npz", "--predictions", "a.csv", "--json", "a.csv"],
            "a.csv: is given as --predictions and as --json; give two files",
        ),
        (
            ["run", "net.lmht", "--data", "data.npz", "--json", "./data.npz"],
            "data.npz: is given as --data and as --json",
        ),
        (
            ["compare", "net.lmht", "--data", "data.npz", "--report", "a.html", "--json", "a.html"],
            "a.html: is given as",
        ),
        (
            ["export", "net.lmht", "--out", "a.c", "--json", "a.h"],
            "a.h: is given as --json and is the header of a.c; give two files",
        ),
        (
            [*STREAM, "--json", "net.lmht"],
            "net.lmht: is given as an input and as --json",
        ),
        (
            [*STREAM, "--json", "link.lmht"],
            "link.lmht: is given as an input and as --json",
        ),
        (
            [*RUN, "--figures", "fig", "--json", "fig/x.csv"],
            "fig/x.csv: --figures writes files of this name to its folder; give --json another "
            "name or folder",
        ),
        ([*RUN, "--figures", ".", "--json", "report.json"], "report.json: --figures writes"),
        (
            ["evaluate", *RUN[1:], "--out", "ev", "--json", "ev/table.json"],
            "ev/table.json: --out writes files of this name to its folder; give --json another",
        ),
        (
            ["evaluate", *RUN[1:], "--out", "ev", "--figures", "ev/shards"],
            "ev/shards: --out writes files of this name to its folder; give --figures another",
        ),
        (["search", *RUN[1:], "--out", "s", "--json", "s/best.lmht"], "s/best.lmht: --out writes"),
        (["train", "digits", "--out", "r", "--json", "r/recipe.toml"], "r/recipe.toml: --out"),
    ],
)
def test_no_output_overwrites_another_file(
    arguments: list[str],
    message: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    Path("link.lmht").hardlink_to("net.lmht")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert message in refused(capsys, *arguments)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ([*RUN, "--figures", "fig", "--json", "fig/x.json"], ["fig/x.json"]),
        (
            [*RUN, "--figures", "a/fig", "--predictions", "a/x.csv"],
            ["a/x.csv", "a/fig/report.json"],
        ),
        (
            ["evaluate", *RUN[1:], "--out", "ev", "--json", "./ev/x.json", "--report", "ev/x.html"],
            ["ev/x.json", "ev/x.html", "ev/table.csv"],
        ),
        (
            ["search", *RUN[1:], "--split", "all", "--out", "s", "--json", "s/x.json"],
            ["s/x.json", "s/best.lmht"],
        ),
    ],
)
def test_an_output_in_a_folder_that_the_command_creates(
    arguments: list[str], written: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    assert lmht(*arguments, *(["--workers", "1"] if "--out" in arguments else [])) == 0
    assert all(Path(name).stat().st_size > 0 for name in written)


def test_a_folder_for_an_output_is_left_only_with_content(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    command = ("evaluate", "net.lmht", "--data", "missing.npz", "--out", "a/ev")
    refused(capsys, *command, "--json", "a/x.json")
    assert not Path("a").exists()
    said = refused(capsys, *command, "--json", "a/ev/sub/x.json")
    assert "a/ev/sub/x.json: cannot be written (the folder a/ev/sub does not exist)" in said
    assert not Path("a").exists()
