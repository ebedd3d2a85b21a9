"""A Slurm cluster of one node on this machine, in a temporary folder, without systemd."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

SECONDS = 60.0
COMMANDS = ("munged", "slurmctld", "slurmd", "srun")
CONFIGURATION = """\
ClusterName=lmht
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1
KillWait=2
MailProg=/bin/true
NodeName=localhost NodeAddr=127.0.0.1 CPUs=2
PartitionName=main Nodes=localhost Default=YES MaxTime=60
"""


def find_command(name: str) -> str | None:
    """Path of a command of Slurm or MUNGE; its daemons are outside the PATH of most users."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@contextmanager
def slurm_cluster() -> Iterator[Path]:
    """Start a cluster of two CPUs, and yield its `slurm.conf`; skip the test without Slurm."""
    commands = {name: find_command(name) for name in COMMANDS}
    if missing := [name for name, path in commands.items() if path is None]:
        pytest.skip(f"Slurm is not installed ({', '.join(missing)}): make cross-tools")
    folder = Path(tempfile.mkdtemp(prefix="lmht-slurm-"))  # short: a socket's path has 107 at most
    configuration = folder / "slurm.conf"
    ports = {"controller": free_port(), "node": free_port()}
    user = pwd.getpwuid(os.getuid()).pw_name
    configuration.write_text(CONFIGURATION.format(folder=folder, user=user, **ports))
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    files = {"socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log"}
    options = [f"--{name}={folder / file}" for name, file in files.items()]
    munged = ["--foreground", "--force", f"--key-file={key}", f"--seed-file={folder}/seed"]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        start = stack.enter_context
        start(daemon([str(commands["munged"]), *munged, *options], folder))
        wait_until((folder / "munge.socket").is_socket, folder)
        for name, more in (("slurmctld", ["-c"]), ("slurmd", ["-c", "-N", "localhost"])):
            start(daemon([str(commands[name]), "-D", "-f", str(configuration), *more], folder))
        stack.callback(end_jobs, configuration)
        wait_until(lambda: "idle" in ask(configuration, "sinfo", "--noheader", "-o%T"), folder)
        yield configuration


@contextmanager
def daemon(command: list[str], folder: Path) -> Iterator[None]:
    """Run a daemon as a child of this process."""
    with (folder / "daemons.log").open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A free port."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
    return port


def ask(configuration: Path, *command: str) -> str:
    """What a command of Slurm prints; empty if it fails."""
    environment = {**os.environ, "SLURM_CONF": str(configuration)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout


def jobs(configuration: Path) -> list[str]:
    """The jobs that wait or run."""
    return ask(configuration, "squeue", "--noheader", "--format=%A").split()


def end_jobs(configuration: Path) -> None:
    """Cancel all jobs, and wait for their processes."""
    ask(configuration, "scancel", *jobs(configuration))
    wait_until(lambda: not jobs(configuration), configuration.parent)


def wait_until(is_reached: Callable[[], bool], folder: Path) -> None:
    """Wait for a state of the cluster; after SECONDS, fail with the output of the daemons."""
    end = time.monotonic() + SECONDS
    while not is_reached():
        if time.monotonic() > end:
            text = (folder / "daemons.log").read_text(errors="replace")
            raise TimeoutError(f"Slurm did not reach the state:\n{text[-3000:]}")
        time.sleep(0.05)
