"""Lava in its child process: what it refuses, how it ends, and that it cleans up completely."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from lmht_deploy import backends, reference
from lmht_deploy.analysis.compare import difference
from lmht_deploy.backends import lava
from lmht_deploy.backends.lava import child, environment
from lmht_deploy.errors import BackendError, DataError, LmhtError, StorageError
from lmht_deploy.exporters import netx
from lmht_deploy.formats.lmht import save_network
from lmht_deploy.ir import Network, Neurons
from tests.support.hdf5 import seal
from tests.support.networks import SPECIAL, chain, windows_for
from tests.support.results import assert_equal

needs_lava = pytest.mark.skipif(lava.unavailable() is not None, reason=str(lava.unavailable()))


@pytest.fixture
def net(tmp_path: Path) -> Path:
    netx.export_netx(SPECIAL["residual"](), tmp_path / "net.net")
    return tmp_path / "net.net"


def edit(path: Path, change: Callable[[h5py.File], None]) -> None:
    """Change a file and update its checksum."""
    with h5py.File(path, "r+") as file:
        change(file)
    seal(path)


# -------------------------------------------------------------------------------- files and windows


def refused(path: Path) -> str:
    with pytest.raises(StorageError) as error:
        lava.open_artifact(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    return str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "none.net")


@pytest.mark.parametrize("size", [0, 100, 3000, -1])
def test_truncated_file(net: Path, size: int) -> None:
    net.write_bytes(net.read_bytes()[:size])
    assert "is not a NetX file, or is truncated" in refused(net)


def test_foreign_file(net: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.net"
    text.write_text("not HDF5")
    assert "is not a NetX file" in refused(text)
    save_network(SPECIAL["if"](), tmp_path / "other.net")
    assert "is not a .net file of lmht-deploy" in refused(tmp_path / "other.net")


def test_edited_file(net: Path) -> None:
    with h5py.File(net, "r+") as file:
        file["layer/1/weight"][0, 0, 0, 0] += 1
    assert "checksum" in refused(net)


def test_file_of_another_version(net: Path) -> None:
    edit(net, lambda file: file.attrs.__setitem__("version", 9))
    assert "version 9" in refused(net)


def test_file_without_a_read_out(net: Path) -> None:
    edit(net, lambda file: file.pop(f"layer/{len(file['layer']) - 1}"))
    assert "damaged" in refused(net)


@needs_lava
def test_windows_that_do_not_fit(net: Path) -> None:
    with pytest.raises(DataError, match="must have shape"):
        lava.open_artifact(net).run(np.zeros((1, 2, 3), int))


def test_suffix_is_checked(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"runs \.net files"):
        backends.open_backend("lava", tmp_path / "net.lmht")


# ----------------------------------------------------------------------------------- how a run ends


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folder of the runs of this test; afterwards no process, file or shared memory is left."""
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    before = set(os.listdir("/dev/shm"))
    yield folder
    deadline = time.monotonic() + 10
    while (
        left := left_behind(folder) + sorted(set(os.listdir("/dev/shm")) - before)
    ) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def left_behind(folder: Path) -> list[str]:
    return [f"process {pid}" for pid in processes(folder)] + os.listdir(folder)


def processes(folder: Path) -> list[int]:
    """Living processes of runs in `folder`, oldest first.

    The children of Lava are among them, as a fork keeps its command line.
    """
    found = []
    for entry in Path("/proc").iterdir():
        try:
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if str(folder).encode() in command and b"main.py" in command:
                found.append(int(entry.name))
        except OSError:  # it ended meanwhile
            continue
    return sorted(found)


def wait_for_run(folder: Path) -> list[int]:
    """Wait until Lava computes in all processes of a run, and return them."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        started = processes(folder)
        if len(started) > 12:
            time.sleep(0.5)
            return processes(folder)
        time.sleep(0.05)
    raise AssertionError("Lava did not start")


def endless() -> np.ndarray:
    """More windows than Lava can run during a test."""
    return windows_for(SPECIAL["residual"](), 20_000)


@needs_lava
def test_child_reports_finished_windows(net: Path) -> None:
    reported: list[int] = []
    windows = windows_for(SPECIAL["residual"](), 60)  # of which 50 in a first call
    backends.run_windows(lava.open_artifact(net), windows, progress=reported.append)
    assert reported == sorted(reported) and {50, 60} < {*reported}


@needs_lava
def test_success_leaves_nothing(net: Path, temporary: Path) -> None:
    windows = windows_for(SPECIAL["residual"]())
    found = lava.open_artifact(net).run(windows)
    assert difference(found, reference.run(SPECIAL["residual"](), windows)) is None
    assert found.traces is None and found.seconds > 0


@needs_lava
def test_time_limit(net: Path, temporary: Path) -> None:
    with pytest.raises(BackendError, match=r"did not finish net\.net within 3 s"):
        lava.open_artifact(net, seconds=3).run(endless())


def damaged(net: Path, layer: int, **changes: object) -> lava.LavaBackend:
    """A backend whose network has other fields in the neurons or first synapse of a layer."""
    backend = lava.open_artifact(net)
    assert isinstance(backend, lava.LavaBackend)
    layers = list(backend.network.layers)
    record = layers[layer]
    if "omega" in changes:
        assert record.neurons is not None
        changes = {"neurons": dataclasses.replace(record.neurons, **changes)}  # type: ignore[arg-type]
    else:
        first = dataclasses.replace(record.synapses[0], **changes)  # type: ignore[arg-type]
        changes = {"synapses": (first, *record.synapses[1:])}
    layers[layer] = dataclasses.replace(record, **changes)  # type: ignore[arg-type]
    backend.network = dataclasses.replace(backend.network, layers=tuple(layers))
    return backend


@needs_lava
def test_exception_in_a_process(net: Path, temporary: Path) -> None:
    backend = damaged(net, 2, omega=np.ones((4, 8), int))
    with pytest.raises(
        BackendError, match=r"^Lava failed on net\.net: ValueError in LMHT: shape-mismatch"
    ):
        backend.run(windows_for(SPECIAL["residual"]()))


@needs_lava
def test_network_that_cannot_be_built(net: Path, temporary: Path) -> None:
    with pytest.raises(BackendError, match=r"^Lava failed on net\.net: TypeError in Synapse: "):
        damaged(net, 1, stride=None).run(windows_for(SPECIAL["residual"]()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file["layer/1"].pop("stride"), "its convolution has no geometry"),
        (lambda file: file["layer/1"].pop("weight"), "has the unknown keys 'dilation', 'groups'"),
        (lambda file: file["layer/2/neuron/lmht"].pop("omega"), "lacks the key 'omega'"),
        (lambda file: file["layer/1"].attrs.__setitem__("lmht_from", 7), "it reads layer 7"),
        (lambda file: file["layer/1"].attrs.__setitem__("lmht_from", 0.5), "is float64"),
        (lambda file: file.__setitem__("layer/1/lmht_more", 1), "unknown key 'lmht_more'"),
        (lambda file: file.attrs.__setitem__("lmht_more", 1), "unknown key 'lmht_more'"),
        (lambda file: file["layer/2/neuron"].attrs.__setitem__("x", 1), "unknown key 'x'"),
    ],
)
def test_file_that_does_not_follow_the_schema(
    net: Path, change: Callable[[h5py.File], None], message: str
) -> None:
    edit(net, change)
    assert message in refused(net)


@needs_lava
@pytest.mark.parametrize("victim", [0, 5, -1])
def test_killed_process(net: Path, temporary: Path, victim: int) -> None:
    """The child itself (the oldest of its session) or a Lava process is killed during a run."""
    timer = threading.Thread(
        target=lambda: os.kill(wait_for_run(temporary)[victim], signal.SIGKILL)
    )
    timer.start()
    with pytest.raises(
        BackendError,
        match=r"ended without a result on net\.net: killed by SIGKILL$|died with exit code -9",
    ):
        lava.open_artifact(net, seconds=180).run(endless())
    timer.join()


@needs_lava
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_client_that_ends(net: Path, temporary: Path, number: int) -> None:
    code = (
        "import sys, tempfile; from lmht_deploy.backends import lava;"
        "from tests.backends.test_lava import endless, Path;"
        f"tempfile.tempdir = {str(temporary)!r};"
        f"lava.open_artifact(Path({str(net)!r})).run(endless())"
    )
    client = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_for_run(temporary)
    client.send_signal(number)
    assert client.wait(20) != 0


REPORTS_WITHOUT_A_PAUSE = """
import multiprocessing, runpy, sys, time, types

def newer_python():  # the first that the child calls, in place of Lava
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,)).start()
    print("kept in a buffer", end="")
    show = sys._getframe(1).f_globals["show"]
    while True:
        show(1)

shims = types.SimpleNamespace(newer_python=newer_python)
sys.modules["worker"] = types.SimpleNamespace(shims=shims)
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_run_whose_folder_goes(temporary: Path) -> None:
    """It fails while its folder is removed, and cannot say so: its output has no reader."""
    folder = temporary / "run"
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps({"threads": 1}))
    command = [sys.executable, "-I", "-c", REPORTS_WITHOUT_A_PAUSE, str(child.WORKER), str(folder)]
    run = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert run.stdin is not None and run.stdout is not None
    deadline = time.monotonic() + 60
    while not (folder / "progress.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    run.stdout.close()
    run.stdin.close()
    try:
        assert run.wait(20) == -signal.SIGTERM
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)


def test_a_folder_goes_though_a_file_comes_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, remove_tree = tmp_path / "run", shutil.rmtree
    folder.mkdir()
    (folder / "progress.json").write_text("{}")
    calls = []

    def disturbed(path: str, ignore_errors: bool) -> None:
        calls.append(path)
        if len(calls) > 1:  # the first time, the folder was not empty any more
            remove_tree(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", disturbed)
    monkeypatch.setattr(sys, "path", list(sys.path))  # the module adds its own folder
    importlib.import_module("lmht_deploy.backends.lava.worker.main").remove(str(folder))
    assert not folder.exists()
    assert len(calls) == 2


# ------------------------------------------------------------------------------------ graded spikes


@needs_lava
@pytest.mark.parametrize(
    "name",
    ["residual", "steps-differ", "image", "single-threshold-residual", "levels-and-substeps"],
)
def test_graded_spikes(name: str, tmp_path: Path) -> None:
    net = (
        SPECIAL[name]()
        if name in SPECIAL
        else Network(
            tuple(
                dataclasses.replace(x, substeps=3) if isinstance(x, Neurons) else x
                for x in chain().layers
            )
        )
    )
    netx.export_netx(net, tmp_path / "net.net", graded=True)
    windows = windows_for(net)
    assert_equal(
        lava.open_artifact(tmp_path / "net.net").run(windows, trace=True),
        reference.run(net, windows, trace=True),
        lava.CAPABILITIES,
    )


# ---------------------------------------------------------------------------------- the environment


def test_missing_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: Path
) -> None:
    monkeypatch.setattr(environment, "default_folder", lambda: tmp_path / "nothing")
    assert "lmht lava install" in str(backends.unavailable("lava"))
    with pytest.raises(BackendError, match="lmht lava install"):
        backends.open_backend("lava", net)
    with pytest.raises(BackendError, match="lmht lava install"):
        lava.open_artifact(net, folder=tmp_path / "elsewhere")


def stand_in(folder: Path, version: str = "3.10", fails: str = "nothing") -> Path:
    """A script that stands in for an interpreter.

    It says it is of `version`, creates environments that hold a copy of itself, and fails where
    its arguments contain `fails`.
    """
    python = folder / "python"
    python.write_text(
        f'#!/bin/sh\ncase "$*" in *{fails}*) echo one; echo "no {fails} today"; exit 1;;\n'
        f'*version_info*) echo "{version}";;\n'
        '*"-m venv"*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python";; esac\n'
    )
    python.chmod(0o755)
    return python


def test_install(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "lava"
    steps: list[str] = []
    python = environment.install(folder, stand_in(tmp_path), steps.append)
    assert python == folder / "bin" / "python" == environment.python_of(folder)
    assert [step.split()[0] for step in steps] == ["creating", "installing", "importing"]
    assert (
        environment.install(folder, None, steps.append)
        == environment.install(folder, stand_in(tmp_path), steps.append)
        == python
    )
    assert len(steps) == 3
    assert os.listdir(folder.parent) == ["lava"]


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            "3.11",
            r"installed there already, with Python 3\.10; "
            r"remove that folder to install it with Python 3\.11$",
        ),
        ("3.13", "Lava runs on Python"),
    ],
)
def test_install_with_another_python_than_what_is_there(
    tmp_path: Path, version: str, message: str
) -> None:
    python = environment.install(tmp_path / "lava", stand_in(tmp_path))
    before = python.read_bytes()
    with pytest.raises(BackendError, match=message):
        environment.install(tmp_path / "lava", stand_in(tmp_path, version))
    with pytest.raises(BackendError, match="is not a Python interpreter that runs"):
        environment.install(tmp_path / "lava", Path("/bin/false"))
    assert python.read_bytes() == before


@pytest.mark.parametrize("fails", ["venv", "pip", "lava.proc"])
def test_failed_install_leaves_nothing(tmp_path: Path, fails: str) -> None:
    folder = tmp_path / "cache" / "lava"
    with pytest.raises(
        BackendError, match=rf"^Lava's environment could not be built: no {fails} today$"
    ):
        environment.install(folder, stand_in(tmp_path, fails=fails))
    assert environment.python_of(folder) is None
    assert os.listdir(folder.parent) == []


def test_two_installs_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "lava"
    first = stand_in(tmp_path)

    def other_is_faster(step: str) -> None:
        if step.startswith("importing") and not folder.exists():
            shutil.copytree(first.parent, folder / "bin", ignore=shutil.ignore_patterns("cache"))

    assert environment.install(folder, first, other_is_faster).read_bytes() == first.read_bytes()
    assert os.listdir(folder.parent) == ["lava"]


def test_an_install_that_ends_while_another_looks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, first, python_of = tmp_path / "lava", stand_in(tmp_path), environment.python_of

    def just_built(folder: Path) -> Path | None:
        found = python_of(folder)
        if not folder.exists():
            shutil.copytree(first.parent, folder / "bin", ignore=shutil.ignore_patterns("cache"))
        return found

    monkeypatch.setattr(environment, "python_of", just_built)
    assert environment.install(folder, first).read_bytes() == first.read_bytes()


def test_install_over_something_else(tmp_path: Path) -> None:
    folder = tmp_path / "lava"
    folder.mkdir()
    (folder / "thesis.tex").touch()
    with pytest.raises(BackendError, match="remove what is there"):
        environment.install(folder, stand_in(tmp_path))
    assert os.listdir(folder) == ["thesis.tex"]


@pytest.mark.parametrize("version", ["3.9", "3.13", "2.7"])
def test_unsuitable_python(tmp_path: Path, version: str) -> None:
    with pytest.raises(BackendError, match=r"Lava runs on Python 3\.10, 3\.11 or 3\.12"):
        environment.install(tmp_path / "lava", stand_in(tmp_path, version))


@pytest.mark.parametrize("python", ["/no/python", "/bin/false", "/bin/true", "/bin/echo", "/tmp"])
def test_python_that_is_none(tmp_path: Path, python: str) -> None:
    with pytest.raises(BackendError, match=f"^{python}: is not a Python interpreter that runs$"):
        environment.install(tmp_path / "lava", Path(python))


def test_install_where_no_folder_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackendError, match="file/lava: cannot be created"):
        environment.install(tmp_path / "file" / "lava", stand_in(tmp_path))


# ---------------------------------------------------------------------------------------- the verbs


def test_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lmht_deploy.cli.lava import app

    folder = tmp_path / "lava"
    app(
        [
            "install",
            "--folder",
            str(folder),
            "--python",
            str(stand_in(tmp_path)),
            "--json",
            str(tmp_path / "it.json"),
        ],
        standalone_mode=False,
    )
    said = capsys.readouterr()
    assert f"Lava is installed, with Python 3.10: {folder}/bin/python" in said.out
    assert "installing lava-nc==0.10.0" in said.err
    assert json.loads((tmp_path / "it.json").read_text()) == {"python": f"{folder}/bin/python"}
    app(["install", "--folder", str(folder)], standalone_mode=False)
    assert (
        capsys.readouterr().out
        == f"Lava is installed already, with Python 3.10: {folder}/bin/python\n"
    )
    with pytest.raises(LmhtError):
        app(["check", "--folder", str(tmp_path / "elsewhere")], standalone_mode=False)


@needs_lava
def test_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lmht_deploy.cli.lava import app

    app(["check", "--json", str(tmp_path / "it.json")], standalone_mode=False)
    assert "Lava is exact" in capsys.readouterr().out
    assert json.loads((tmp_path / "it.json").read_text())["equal"] is True
