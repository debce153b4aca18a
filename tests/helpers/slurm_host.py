"""A SLURM cluster of this one machine, in a folder of its own, apart from any that is installed.

with slurm_host(folder) as environment: subprocess.run(["sbatch", ...], env=environment)
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
CONFIGURATION = """
ClusterName=brainwhy
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge/socket
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/log/controller
SlurmdLogFile={folder}/log/node
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=sched_min_interval=100000,batch_sched_delay=0
KillWait=5
DefMemPerCPU=100
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=60 State=UP
"""


def why_not() -> str:
    """Return why there can be no SLURM here; empty where there can."""
    missing = [name for name in PROGRAMS if not shutil.which(name) and not Path("/usr/sbin", name).exists()]
    if missing:
        return f"needs slurm: there is no {missing[0]}"
    return "" if os.geteuid() == 0 else "needs slurm: started as root"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def slurm_host(folder: Path) -> Iterator[dict[str, str]]:
    """Start the cluster; yields the environment in which SLURM's commands find it."""
    folder = folder.resolve()
    munge = folder / "munge"
    for name in ("state", "spool", "log"):
        (folder / name).mkdir(parents=True)
    munge.mkdir(mode=0o755)
    (munge / "key").write_bytes(os.urandom(1024))
    (munge / "key").chmod(0o400)
    subprocess.run(["chown", "-R", "munge", str(munge)], check=True)
    # The socket's folder may lie in one that only root enters.
    names = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    options = [f"--{option}={munge / name}" for option, name in names.items()]
    host = socket.gethostname().split(".")[0]
    configuration = folder / "slurm.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, host=host, ports=free_ports(2)))
    environment = {**os.environ, "SLURM_CONF": str(configuration), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    started: list[subprocess.Popen] = []

    def start(*command: str, user: str = "") -> None:
        words = ["runuser", "-u", user, "--", *command] if user else command
        log = (folder / "log" / Path(command[0]).name).open("w")
        started.append(subprocess.Popen(words, env=environment, stdout=log, stderr=log, start_new_session=True))

    try:
        start("munged", "--foreground", *options, user="munge")
        wait_for((munge / "socket").exists, "munge")
        start("slurmctld", "-D", "-f", str(configuration))
        start("slurmd", "-D", "-f", str(configuration))
        wait_for(lambda: "idle" in _said(["sinfo", "-h", "-o", "%T"], environment), "SLURM")
        yield environment
    finally:
        subprocess.run(["scancel", "-u", "root"], env=environment, capture_output=True, timeout=30, check=False)
        for process in reversed(started):
            process.terminate()
        for process in started:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(happened, what: str, seconds: float = 120) -> None:
    """Wait until something has happened."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, f"{what} has not come up in {seconds} s"
        time.sleep(0.1)


def _said(command: list[str], environment: dict[str, str]) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
