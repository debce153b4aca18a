"""Real clusters of this one machine, with processes killed under way: the same tables as of a run left alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from kill_pipeline import differences, published
from slurm_host import slurm_host, wait_for, why_not

ROOT = Path(__file__).resolve().parent.parent
TINY = [
    "cohort.simulation.positive=6", "cohort.simulation.negative=6", "cohort.simulation.apply_mci=0",
    "training.models=[holdout]", "training.epochs=6", "explain.holdout=[sensitivity, occlusion]",
    "explain.occlusion={half_width_mm: 48, stride_mm: 80}", "cluster.block_scans=4",
    "analysis={bootstrap: 100, untrained_networks: 0, null_networks: 0}",
    "trust={networks: 1, scans: 2, measures: [anatomy]}",
]  # fmt: skip
PATIENCE_S = 450  # on a machine that has much else to do
pytestmark = pytest.mark.timeout(4 * PATIENCE_S)
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


class Driver:
    """A batch job at work, and what it has said so far."""

    def __init__(self, store: Path, *options: str, environment: dict[str, str] = ONE_THREAD) -> None:
        store.mkdir(exist_ok=True)
        self.store, self.log = store, store.with_suffix(".log")
        words = [part for setting in TINY for part in ("--set", setting)]
        command = [sys.executable, "run_pipeline.py", "--preset", "smoke", "--store", str(store), "--device", "cpu"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*command, *words, *options], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=log
            )

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_until(self, happened, what: str) -> None:
        """Wait for something that happens while the job is at work."""

        def here() -> bool:
            assert self.process.poll() is None, f"ended before {what}:\n{self.said}"
            return bool(happened())

        wait_for(here, what, PATIENCE_S)

    def ends_well(self) -> Path:
        """Wait for the end; returns the published run."""
        assert self.process.wait(2 * PATIENCE_S) == 0, self.said
        return published(self.store)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The same run by this machine alone, left alone; it goes on while the first test is at work."""
    driver = Driver(tmp_path_factory.mktemp("alone") / "store")
    yield driver
    driver.process.kill()


def _processes(of: int, words: str) -> list[int]:
    """Processes below one, in whose command line words are, the newest last."""
    parents, found = {of}, []
    for folder in sorted(Path("/proc").glob("[0-9]*"), key=lambda one: int(one.name)):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except (OSError, IndexError):
            continue
        if parent in parents:
            parents.add(int(folder.name))
            if words in command:
                found.append(int(folder.name))
    return found


def _checkpoint(store: Path) -> bool:
    return any(store.glob(".cache/networks-*/*.safetensors"))


def test_a_dask_worker_is_killed(alone, tmp_path):
    pytest.importorskip("distributed")
    driver = Driver(tmp_path / "store", "--cluster", "dask", "--set", "cluster.workers=2")
    driver.wait_until(lambda: _checkpoint(driver.store), "the first epoch")
    workers = _processes(driver.process.pid, "spawn_main")
    os.kill(workers[-1], signal.SIGKILL)
    driver.wait_until(lambda: set(_processes(driver.process.pid, "spawn_main")) - set(workers), "a new worker")
    found = driver.ends_well()
    assert differences(alone.ends_well(), found) == []
    assert not any((driver.store / ".work").glob("*/cluster"))


@pytest.fixture
def slurm():
    """(environment, folder) of a SLURM on this machine."""
    if reason := why_not():
        pytest.skip(reason)
    # Not below tmp_path, which only root enters: munge has a user of its own.
    folder = Path(tempfile.mkdtemp(prefix="brainwhy-slurm-"))
    folder.chmod(0o755)
    try:
        with slurm_host(folder) as environment:
            yield {**environment, "OMP_NUM_THREADS": "1"}, folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_slurm_tasks_are_killed_and_requeued_and_the_driver_is_stopped(alone, slurm, tmp_path):
    pytest.importorskip("submitit")
    environment, _ = slurm
    options = ("--cluster", "slurm", "--set", "cluster={engine: slurm, tasks: 2, block_scans: 4, walltime: '1:00:00'}")
    driver = Driver(tmp_path / "store", *options, environment=environment)
    task = {}

    def begun() -> bool:
        task.update(_running_task(driver.store, "train"))
        return bool(task)

    # A task that is preempted, or whose time is over, is sent this signal; it comes back and goes on.
    driver.wait_until(begun, "a network in training")
    subprocess.run(["scancel", "--signal=USR2", task["job"]], env=environment, check=True)
    driver.process.terminate()
    assert driver.process.wait(PATIENCE_S) == 128 + signal.SIGTERM
    assert "stay with the cluster; the same command waits for them" in driver.said
    # SLURM lets a requeued task wait for two minutes, in case its node is to blame.
    queued = ["squeue", "-h", "-r", "-t", "PD", "-o", "%i"]
    wait_for(lambda: task["job"] in subprocess.check_output(queued, env=environment, text=True), "the requeued task")
    subprocess.run(["scontrol", "update", f"jobid={task['job']}", "StartTime=now"], env=environment, check=True)
    driver = Driver(driver.store, *options, environment=environment)
    driver.wait_until(lambda: "[4/8] explain" in driver.said, "heatmaps")
    assert "are with the cluster already" in driver.said
    log = next(driver.store.glob(f".work/*/cluster/jobs/{task['job']}_0_log.out")).read_text()
    assert "Caught signal SIGUSR2" in log
    assert log.count("Starting with") == 2
    # A task whose process is killed has no answer, and is tried again.
    driver.wait_until(_explaining, "a task that explains")
    os.kill(_explaining()[-1], signal.SIGKILL)
    found = driver.ends_well()
    assert "and is tried again: its process ended without an answer" in driver.said
    assert differences(alone.ends_well(), found) == []
    assert not any((driver.store / ".work").glob("*/cluster"))


def _explaining() -> list[int]:
    """Find the Python of tasks that explain, seen as it starts; not what starts it, nor tasks of the stage before."""
    found = []
    for process in _processes(1, "submitit.core._submit"):
        folder = Path("/proc", str(process))
        try:
            words, variables = ((folder / name).read_bytes().split(b"\0") for name in ("cmdline", "environ"))
        except OSError:
            continue
        if b"python" in Path(os.fsdecode(words[0])).name.encode() and b"SLURM_JOB_NAME=brainwhy-explain" in variables:
            found.append(process)
    return found


def _running_task(store: Path, label: str) -> dict[str, str]:
    """Find a task that has begun with a unit: its name in the queue."""
    for record in (line for file in store.glob(f".work/*/cluster/{label}.tasks") for line in file.open()):
        uid, job, _ = json.loads(record)
        messages = next(store.glob(f".work/*/cluster/messages/{uid}.jsonl"), None)
        if messages and messages.read_text().count("started") == 1:
            return {"job": job}
    return {}
