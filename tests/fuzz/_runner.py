"""Runs inputs in child processes, so that a crash, a hang or a flood of memory is a finding."""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lmht_deploy.errors import LmhtError

SECONDS = 20
"""CPU time after which an input is a hang; ten times as much where it sleeps."""
MAX_MEMORY = 2**30
"""Bytes by which the address space of a child may grow."""
MAX_MESSAGE = 2000
"""Characters of an error."""


@dataclass(frozen=True)
class Finding:
    """An input that ended in something else than success or an error of ours."""

    content: bytes
    what: str


def run_inputs(
    target: Callable[[Path], object], inputs: Sequence[bytes], folder: Path, suffix: str
) -> Iterator[Finding]:
    """Write each input to a file and give it to `target`; yield those that failed.

    `target` must return, or raise an LmhtError. A child process runs the inputs one after the
    other. After a crash or a hang, the next child continues behind the input that caused it.
    """
    start = 0
    while start < len(inputs):
        done, finding = _run_child(target, inputs[start:], folder, suffix)
        if finding is not None:
            yield Finding(inputs[start + done], finding)
            done += 1
        start += done


def _run_child(
    target: Callable[[Path], object], inputs: Sequence[bytes], folder: Path, suffix: str
) -> tuple[int, str | None]:
    """How many inputs passed, and what the next one did; None if all passed."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(target, inputs, folder / f"input{suffix}", writer)
    os.close(writer)
    done, said = 0, b""
    with os.fdopen(reader, "rb") as messages:
        for line in messages:
            if line == b".\n":
                done += 1
            else:
                said += line
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return done, "hang" if name in ("SIGALRM", "SIGPROF") else f"killed by {name}"
    if not said and done < len(inputs):
        return done, f"exit with status {os.WEXITSTATUS(status)}"
    return done, said.decode(errors="replace") or None


def _child(
    target: Callable[[Path], object], inputs: Sequence[bytes], path: Path, writer: int
) -> None:
    """Run `inputs` until one fails; never returns."""
    faulthandler.disable()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    _limit_memory()
    warnings.simplefilter("error", RuntimeWarning)  # NumPy's, where it computes with nonsense
    for content in inputs:
        path.write_bytes(content)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        signal.alarm(10 * SECONDS)
        try:
            target(path)
        except LmhtError as error:
            if fault := _fault_of_message(str(error)):
                _stop(writer, f"{fault}: {error}")
        except BaseException:
            _stop(writer, traceback.format_exc(limit=-4))
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        os.write(writer, b".\n")
    os._exit(0)


def _limit_memory() -> None:
    """Let the address space grow by at most `MAX_MEMORY`.

    An allocation of any declared size fails, whether or not the memory would be used.
    """
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MAX_MEMORY
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _fault_of_message(text: str) -> str | None:
    """Return what is wrong with the message of an error of ours."""
    if "\n" in text or not text.isprintable():
        return "a message of several lines, or that is not printable"
    if len(text) > MAX_MESSAGE:
        return f"a message of {len(text)} characters"
    return "it asked for much memory" if "needs more memory" in text else None


def _stop(writer: int, message: str) -> None:
    os.write(writer, message.encode(errors="replace")[:4000].strip() + b"\n")
    os._exit(0)


def save(finding: Finding, folder: Path, suffix: str) -> Path:
    """Write the input of `finding` to `folder`, under a name that tells the time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{time.strftime('%H%M%S')}-{abs(hash(finding.content)) % 10**8}{suffix}"
    path.write_bytes(finding.content)
    return path
