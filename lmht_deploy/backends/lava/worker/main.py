"""The child process in which Lava runs: `python -I main.py FOLDER`, in a session of its own.

FOLDER holds `job.json`, one of:

    {"steps", "substeps", "layers", "trace", "threads"}   an LM-HT network, see network.py; reads
                                                          windows.npy, writes logits.npy and
                                                          layer-<i>.npy
    {"stock", "fast_conv", "threads"}                     unmodified lava-dl, see stock.py

During a run, progress.json {"windows"} says how many windows are finished. At the end,
done.json {"seconds", "steps"} or failure.json {"reason"} is written.

Lava waits forever after an exception or a lost process, in run() or in stop(), and an interpreter
that used it may not end. So this process always ends its whole process group. The client holds
standard input open; its end means that the client is gone and nobody needs FOLDER.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main(folder: str) -> None:
    """Run the job of `folder`."""
    os.chdir(folder)
    job = json.loads(Path("job.json").read_text())
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(job["threads"])
    threading.Thread(target=watch_client, args=(folder,), daemon=True).start()

    from worker import shims

    shims.newer_python()
    watching = threading.Lock()
    threading.Thread(target=watch_processes, args=(watching,), daemon=True).start()
    if "stock" in job:
        shims.without_torch()
        from worker import stock

        seconds, steps = stock.run(job, watching, show)
    else:
        seconds, steps = run(job)
    write("done.json", seconds=seconds, steps=steps)


def run(job: dict[str, Any]) -> tuple[float, int]:
    """Run an LM-HT network window by window; returns seconds and Lava steps."""
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from worker.network import Network

    network = Network(job)
    start, done = time.perf_counter(), 0
    for window in range(network.batch):
        end = network.total - (network.batch - 1 - window) * network.window
        network.process.run(
            condition=RunSteps(end - done), run_cfg=Loihi2SimCfg(select_tag="fixed_pt")
        )
        done = end
        show(window + 1)
    return time.perf_counter() - start, network.total


def show(windows: int) -> None:
    """Report the number of finished windows or samples."""
    write("progress.json", windows=windows)


def write(name: str, **content: Any) -> None:
    """Write file `name`; it appears complete or not at all."""
    Path(name + ".partial").write_text(json.dumps(content))
    os.replace(name + ".partial", name)


ENDING = threading.Lock()
"""Held by the thread that ends the process group, so that no other thread ends Python first."""


def end(reason: str | None = None) -> None:
    """Write failure.json if there is a `reason`, and end the process group."""
    with ENDING:
        if reason is not None:
            with contextlib.suppress(OSError):  # the folder is gone
                write("failure.json", reason=reason)
        end_group()


def end_group() -> None:
    """End the process group. The caller holds `ENDING`.

    Python's resource tracker outlives SIGTERM and removes what is left in shared memory.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # nobody reads it any more
            stream.flush()
    os.killpg(0, signal.SIGTERM)
    time.sleep(2)
    os._exit(1)


def watch_client(folder: str) -> None:
    """Remove `folder` and end where the client is gone.

    The run then fails because its folder is gone, and its thread waits for `ENDING`.
    """
    while os.read(0, 1):
        pass
    with ENDING:
        remove(folder)
        end_group()


def remove(folder: str) -> None:
    """Remove `folder`, to which the run still writes: a file may come while others are removed."""
    deadline = time.monotonic() + 5
    while os.path.exists(folder) and time.monotonic() < deadline:
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.01)


def watch_processes(watching: threading.Lock) -> None:
    """End the run where a Lava process dies, for run() would wait forever.

    Whoever joins processes holds `watching`, as only one thread may wait for them at a time.
    """
    processes: set[Any] = set()
    while True:
        time.sleep(0.2)
        with watching:
            # active_children() forgets processes that ended
            processes.update(multiprocessing.active_children())
            codes = {process: exit_code(process) for process in processes}
        for process, code in codes.items():
            if code == CLOSED:
                processes.discard(process)
            elif code:
                end(f"a Lava process died with exit code {code}")


CLOSED = "closed"


def exit_code(process: Any) -> int | str | None:
    """Return None while it runs, and CLOSED once it has been joined and closed."""
    try:
        code: int | None = process.exitcode
        return code
    except ValueError:
        return CLOSED


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BaseException as error:
        with contextlib.suppress(OSError):  # nobody reads it any more
            traceback.print_exc()
        end(f"{type(error).__name__}: {error}")
    end()
