"""Starts a command of `lmht`, does something to it and checks what is left."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from .commands import COMMANDS, Command, content, prepare

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -9}
"""Exit code of a command after a signal; negative where the kernel ended it."""
SECONDS = 300
"""A command that takes longer hangs."""
ORPHAN_SECONDS = 10
"""Time in which the children of a process that was killed must end."""

START = "import sys; from lmht_deploy.cli import main; {before}; print('ready'); main(sys.argv[1:])"
CLOCK = (
    "import random, time; real = time.time; "
    "time.time = lambda: real() + random.choice((-1e7, 0, 1e7))"
)
"""The wall clock jumps by months, in both directions, at every look."""
MEMORY = (
    "import h5py, numpy, pydantic, resource, typer.main; "
    "from lmht_deploy.cli._app import app; "
    "import lmht_deploy.engine, lmht_deploy.backends.event; typer.main.get_command(app); "
    "pages = int(open('/proc/self/statm').read().split()[0]); "
    "resource.setrlimit(resource.RLIMIT_AS, (pages * 4096 + {mib} * 2**20,) * 2)"
)
"""After the libraries are loaded, a few MiB of memory are left."""


def file_limit(size: int) -> str:
    """Statements after which files of more than `size` bytes cannot be written."""
    return f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size},) * 2)"


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Mount a file system in memory at `folder`, with `options`; skips where that is forbidden."""
    command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("not applicable: this user may not mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@dataclass(frozen=True)
class Ended:
    """How a command ended: exit code, and lines on standard error."""

    code: int
    lines: list[str]


class Bench:
    """Folder with the inputs of all commands, and with what each writes when nothing happens.

    Attributes:
        inputs: Folder of the inputs.
        seconds: How long each command took, from the first look at its arguments.
    """

    def __init__(self, folder: Path) -> None:
        self.inputs, self.expected = folder / "inputs", folder / "expected"
        self.seconds: dict[str, float] = {}
        self.inputs.mkdir()
        self.expected.mkdir()
        prepare(self.inputs)

    def command(self, name: str) -> Command:
        """Return a command whose inputs and expected output exist."""
        if name == "convert":
            self.command("train")
            if not (self.inputs / "run").exists():
                shutil.copytree(self.expected / "run", self.inputs / "run")
        if name not in self.seconds:
            process = self.start(name, self.expected)
            begin = time.monotonic()
            ended = finish(process)
            assert ended.code == 0, ended.lines
            self.seconds[name] = time.monotonic() - begin
        return COMMANDS[name]

    def start(
        self, name: str, folder: Path, *, resume: bool = False, before: str = "pass"
    ) -> subprocess.Popen[str]:
        """Start a command in `folder`, in a session of its own, and wait until it begins.

        Args:
            name: Key of `COMMANDS`.
            folder: Current folder of the command.
            resume: Whether it continues what an earlier call left.
            before: Statements that the process runs first.
        """
        command = COMMANDS[name]
        given = [argument.format(inputs=self.inputs) for argument in command.arguments]
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", START.format(before=before), *given),
                *(command.resume if resume else ()),
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
        )
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        return process

    def check(self, name: str, folder: Path, *, whole: bool = False) -> None:
        """Check that the output of a command is absent, right so far, or (`whole`) complete."""
        command = COMMANDS[name]
        found, expected = folder / command.output, content(self.expected / command.output)
        if not whole and (name == "train" or not found.exists()):
            return
        if command.appends and not whole:
            lines = found.read_text().rpartition("\n")[0].splitlines()
            found.write_text("".join(line + "\n" for line in lines))
            assert content(found) == expected[: len(lines)]
        elif found.is_dir() and not whole:
            written = content(found)
            finished = {file: data for file, data in written.items() if not is_temporary(file)}
            assert finished.items() <= expected.items()
        else:
            assert content(found) == expected, f"{name}: the output differs"

    def continue_after(self, name: str, folder: Path) -> None:
        """Run the command again: it completes the output, and leaves nothing else."""
        resume = (folder / COMMANDS[name].output / "recipe.toml").exists()
        ended = finish(self.start(name, folder, resume=resume))
        assert ended.code == 0, ended.lines
        self.check(name, folder, whole=True)
        assert not temporaries(folder)

    def hit(self, name: str, folder: Path, number: signal.Signals, delay: float) -> Ended:
        """Send a signal `delay` seconds after the command began, and check everything after it."""
        self.command(name)
        process = self.start(name, folder)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(delay)
        process.send_signal(number)
        ended = finish(process)
        # Negative: before the command was ready for signals, or after it had done its work.
        assert ended.code in (0, CODES[number], -number), (ended.code, ended.lines)
        assert not any("Traceback" in line for line in ended.lines), ended.lines
        if ended.code > 0:
            said = "lmht: interrupted" if number == signal.SIGINT else "lmht: terminated"
            assert ended.lines[-1] == said, ended.lines
        assert_no_orphans(process.pid)
        if number != signal.SIGKILL:
            assert not temporaries(folder)
        self.check(name, folder, whole=ended.code == 0)
        self.continue_after(name, folder)
        return ended

    def refuse(self, name: str, folder: Path, before: str, *, again: bool = True) -> Ended:
        """Run a command that may be unable to finish: one line, exit code 2 and nothing left.

        Args:
            name: Key of `COMMANDS`.
            folder: Its current folder.
            before: Statements that the process runs first.
            again: Whether to run the command again, without the fault.
        """
        self.command(name)
        ended = finish(process := self.start(name, folder, before=before))
        if ended.code != 0:
            assert ended.code == 2 and len(notes(ended)) == 1, (ended.code, ended.lines)
        assert_no_orphans(process.pid)
        assert not temporaries(folder)
        self.check(name, folder, whole=ended.code == 0)
        if again:
            self.continue_after(name, folder)
        return ended


def notes(ended: Ended) -> list[str]:
    """Lines on standard error but for notes on the data and the progress of training."""
    return [line for line in ended.lines if not line.startswith(("epoch ", "note: "))]


def finish(process: subprocess.Popen[str]) -> Ended:
    """Wait for a command to end, and for everybody who holds its output."""
    try:
        _, errors = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # its children hold the pipes, too
        process.communicate()
        raise
    return Ended(process.returncode, errors.splitlines())


def temporaries(folder: Path) -> list[Path]:
    """Temporary files and locks below `folder`."""
    return [path for path in folder.rglob("*") if is_temporary(path.name)]


def is_temporary(name: str) -> bool:
    """Whether a file is one that a finished command leaves nowhere."""
    return name.endswith((".partial", ".lock"))


def session(leader: int) -> Iterator[int]:
    """Yield the living processes of a session; /proc of Linux says which."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                state, _, _, number = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(number) == leader and state != "Z":
                    yield int(entry.name)


def assert_no_orphans(leader: int) -> None:
    """Check that every process of the session ends within a few seconds."""
    wait_until(lambda: not list(session(leader)), ORPHAN_SECONDS, "a child outlives its parent")


def wait_until(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    """Wait for `condition`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)
