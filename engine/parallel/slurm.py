"""SLURM: tasks are job arrays, which submitit writes, pickles and puts back into the queue when their time is over."""

from __future__ import annotations

import getpass
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.config.cluster_schema import ClusterConfig, minutes_of
from engine.errors import UserError
from engine.parallel.cluster import Event
from engine.parallel.unit import Batch, last_lines
from engine.parallel.work import Work

JOBS, MESSAGES = "jobs", "messages"  # folders in the private folder
WARNED_S = 90  # before a task is ended, it is told to make room
REQUEUES = 1000  # a task may need its walltime so often; each time it goes on from what is done
GONE_S = 3.0  # a task that is in no queue has ended, if its answer is not there so long after
FIRST_POLL_S, LAST_POLL_S = 0.5, 10.0
ROOT = Path(__file__).resolve().parent.parent.parent
INSTALL = "--cluster slurm needs the package submitit: python -m pip install submitit"


@dataclass(frozen=True)
class FileVoice:
    """Sends messages by a file in the shared folder, a line of JSON each, and writes them into the task's log."""

    file: Path

    def __call__(self, message: dict) -> None:
        """Append a message."""
        more = message.get("message") or message.get("failure") or ""
        print(f"{message['name']}: {message['kind']} {more}".rstrip(), flush=True)
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(message) + "\n")


@dataclass
class _Job:
    """A task that SLURM has.

    Attributes:
        handle: its identifier there, 12 or 12_3.
        read: bytes of its messages that were read.
        gone: when it was first in no queue, seconds of the monotonic clock.
    """

    handle: str
    read: int = 0
    gone: float | None = None


class SlurmBackend:
    """Job arrays of one run.

    Attributes:
        folder: private, on a file system that all nodes share.
    """

    def __init__(self, config: ClusterConfig, folder: Path, say: Callable[[str], None]) -> None:
        """Look for what is needed.

        Raises:
            UserError: a package or program is missing.
        """
        try:
            import submitit  # noqa: F401, PLC0415
        except ImportError:
            raise UserError(INSTALL) from None
        if missing := next((name for name in ("sbatch", "srun", "squeue") if shutil.which(name) is None), None):
            raise UserError(f"--cluster slurm: there is no {missing} here; start the job where SLURM's commands are")
        self.config, self.folder, self._say = config, folder, say
        self._jobs: dict[str, _Job] = {}
        self._poll_s, self._silent = FIRST_POLL_S, False
        for name in (JOBS, MESSAGES):
            (folder / name).mkdir(exist_ok=True)

    def voice(self, uid: str) -> FileVoice:
        """Return what a task sends its messages by."""
        return FileVoice(self.folder / MESSAGES / f"{uid}.jsonl")

    def submit(self, batches: list[Batch], work: Work) -> dict[str, str]:
        """Start tasks as one array.

        Raises:
            UserError: sbatch refuses them.
        """
        import submitit  # noqa: PLC0415
        from submitit.core.utils import FailedJobError  # noqa: PLC0415

        executor = submitit.SlurmExecutor(self.folder / JOBS, max_num_timeout=REQUEUES)
        executor.update_parameters(**self._parameters(work))
        try:
            with executor.batch():
                jobs = [executor.submit(batch) for batch in batches]
            handles = {batch.uid: job.job_id for batch, job in zip(batches, jobs, strict=True)}
        except (FailedJobError, subprocess.CalledProcessError) as error:
            reason = " ".join(str(error).replace("sbatch: error:", "").split())
            raise UserError(f"sbatch refuses the tasks: {reason}; see the section cluster of the settings") from None
        for uid, handle in handles.items():
            self._jobs[uid] = _Job(handle)
        self._poll_s = FIRST_POLL_S
        return handles

    def _parameters(self, work: Work) -> dict[str, Any]:
        config, further = self.config, dict(self.config.sbatch)
        asked = {
            "partition": config.partition, "account": config.account, "gres": config.gres if work.gpu else None,
            "mem": f"{int(config.memory_gb * 1024)}MB" if config.memory_gb else None,
        }  # fmt: skip
        return {
            **{key: value for key, value in asked.items() if value is not None},
            "job_name": f"brainwhy-{re.sub(r'[^A-Za-z0-9]+', '-', work.label)}",
            "time": minutes_of(config.walltime),
            "cpus_per_task": work.threads,
            "array_parallelism": config.at_once,
            "signal_delay_s": WARNED_S,
            "stderr_to_stdout": True,
            "setup": [*config.setup, f"export PYTHONPATH={shlex.quote(str(ROOT))}${{PYTHONPATH:+:$PYTHONPATH}}"],
            "additional_parameters": {"requeue": True, **further},
            # Since SLURM 22.05 a step does not take this over from its job.
            "srun_args": [f"--cpus-per-task={work.threads}"],
        }

    def adopt(self, uid: str, handle: str) -> bool:
        """Take over a task that is in the queue, runs, or has left its answer."""
        queued = self._queued()
        if not self._answer_file(handle).exists() and (queued is None or handle not in queued):
            return False
        self._jobs[uid] = _Job(handle)
        return True

    def events(self) -> Iterable[Event]:
        """Wait a moment; return messages and the tasks that have ended."""
        time.sleep(self._poll_s)
        self._poll_s = min(LAST_POLL_S, self._poll_s * 1.2)
        queued = self._queued()
        for uid, job in list(self._jobs.items()):
            for message in self._messages(uid, job):
                self._poll_s = min(self._poll_s, 2.0)
                yield Event(uid, told=message)
            if self._answer_file(job.handle).exists():
                del self._jobs[uid]
                yield self._ended(uid, job)
            elif queued is None or job.handle in queued:
                job.gone = None
            else:
                now = time.monotonic()
                job.gone = job.gone or now
                self._poll_s = FIRST_POLL_S
                if now - job.gone > GONE_S:
                    del self._jobs[uid]
                    yield Event(uid, tail=self._log(job))

    def _ended(self, uid: str, job: _Job) -> Event:
        """Read the answers of a task. Submitit unpickles them, from our private folder."""
        from submitit import SlurmJob  # noqa: PLC0415
        from submitit.core.utils import UncompletedJobError  # noqa: PLC0415

        try:
            return Event(uid, answers=SlurmJob(self.folder / JOBS, job.handle).result())
        except UncompletedJobError:
            return Event(uid, tail=self._log(job))

    def _answer_file(self, handle: str) -> Path:
        return self.folder / JOBS / f"{handle}_0_result.pkl"

    def _log(self, job: _Job) -> str:
        try:
            text = (self.folder / JOBS / f"{job.handle}_0_log.out").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return last_lines(text)

    def _messages(self, uid: str, job: _Job) -> list[dict]:
        try:
            with self.voice(uid).file.open("rb") as stream:
                stream.seek(job.read)
                whole = stream.read().rpartition(b"\n")[0]
        except OSError:
            return []
        if not whole:
            return []
        job.read += len(whole) + 1
        return [json.loads(line) for line in whole.splitlines()]

    def _queued(self) -> set[str] | None:
        """Return the identifiers of our tasks that wait or run; None while SLURM does not answer."""
        os.listdir(self.folder / JOBS)  # a shared file system looks again
        command = ["squeue", "-h", "-r", "-u", getpass.getuser(), "-o", "%i"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        except (OSError, subprocess.SubprocessError):
            if not self._silent:
                self._say("  squeue does not answer; waiting for SLURM to come back")
            self._silent = True
            return None
        self._silent = False
        return set(done.stdout.split())

    def cancel(self, handles: list[str]) -> None:
        """Stop tasks."""
        if handles:
            subprocess.run(["scancel", *handles], capture_output=True, timeout=60, check=False)

    def close(self) -> None:
        """Do nothing: SLURM's tasks go on without us."""
