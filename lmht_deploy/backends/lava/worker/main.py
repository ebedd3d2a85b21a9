"""The child process in which Lava runs: `python -I main.py FOLDER`, started in a session of its own.

FOLDER/job.json   {"net": path, "trace": bool, "threads": n} for a file of lmht-deploy, with
FOLDER/windows.npy   integers [B, T_in, ...]; writes logits.npy and layer-<i>.npy
or                {"stock": [...], "fast_conv": bool, "threads": n} for unmodified lava-dl, see stock.py
Meanwhile progress.json {"windows"} says how many are done. Then writes done.json {"seconds", "steps"}; or failure.json {"reason"}.

Lava waits for ever after an exception or a lost process, in run() or in stop(), and an interpreter that used it may
not end. So there is one way out of here, success or not: ending the whole process group. Standard input is held open by the client;
its end means that the client is gone, and with it everyone who needs FOLDER.
"""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main(folder):
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


def run(job):
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2SimCfg
    from worker.network import Network

    network = Network(job["net"], "windows.npy", ".", job["trace"])
    start, done = time.perf_counter(), 0
    for window in range(network.batch):
        end = network.total - (network.batch - 1 - window) * network.window
        network.process.run(
            condition=RunSteps(end - done), run_cfg=Loihi2SimCfg(select_tag="fixed_pt")
        )
        done = end
        show(window + 1)
    return time.perf_counter() - start, network.total


def show(windows):
    """So many windows, or samples, are done."""
    write("progress.json", windows=windows)


def write(name, **content):
    """`name` whole or not at all."""
    Path(name + ".partial").write_text(json.dumps(content))
    os.replace(name + ".partial", name)


def end():
    """End the process group with SIGTERM: the resource tracker outlives it and removes what is left in shared memory."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.killpg(0, signal.SIGTERM)
    time.sleep(2)
    os._exit(1)


def watch_client(folder):
    while os.read(0, 1):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    end()


def watch_processes(watching):
    """A Lava process that dies (killed, out of memory) would leave run() waiting. Who joins processes holds `watching`: one may wait for them at a time."""
    processes = set()
    while True:
        time.sleep(0.2)
        with watching:
            processes.update(multiprocessing.active_children())  # which forgets those that ended
            codes = {process: exit_code(process) for process in processes}
        for process, code in codes.items():
            if code == CLOSED:
                processes.discard(process)
            elif code:
                write("failure.json", reason=f"a Lava process died with exit code {code}")
                end()


CLOSED = "closed"


def exit_code(process):
    """None while it runs; CLOSED once it has been joined and given back."""
    try:
        return process.exitcode
    except ValueError:
        return CLOSED


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BaseException as error:
        import traceback

        traceback.print_exc()
        write("failure.json", reason=f"{type(error).__name__}: {error}")
    end()
