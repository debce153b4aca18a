"""A run as a worker on another machine has it: the same folders, its own progress, no cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from engine.parallel import LocalEngine, Work, tell
from engine.pipeline.run import Run
from engine.progress import Progress, Task
from store import RunWriter

AnyRun = TypeVar("AnyRun", bound=Run)
ADVANCED, SAID = "advanced", "said"
CARRIED = ("fingerprint", "computing")  # of the run's own machine: they name its folders


class TellingProgress(Progress):
    """Progress in a worker, which tells the run of it."""

    def __init__(self) -> None:
        super().__init__(quiet=True)

    def __reduce__(self) -> tuple:
        """Pickle nothing of the console."""
        return TellingProgress, ()

    def say(self, text: str) -> None:
        """Tell the run one plain line."""
        tell([SAID, text])

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        """Count units of work, each of which the run is told of."""
        yield _TellingTask(label, total, done, self.console, None)


class _TellingTask(Task):
    def advance(self, count: int = 1) -> None:
        self.done += count
        tell([ADVANCED, count])


def heard_by(progress: Progress, task: Task | None = None) -> Callable[[Any], None]:
    """Return what takes the messages of workers: lines are said, and what has advanced is counted by a task."""

    def heard(message: Any) -> None:
        kind, content = message
        if kind == SAID:
            progress.say(content)
        elif task is not None:
            task.advance(content)

    return heard


def remote_copy(run: AnyRun) -> AnyRun:
    """Return a run that can be pickled for workers."""
    copy = replace(run, progress=TellingProgress())
    copy.__dict__.update({name: getattr(run, name) for name in CARRIED})
    copy.__dict__["engine"] = LocalEngine()
    copy.__dict__["writer"] = RunWriter(run.staging, sweep=False)
    return copy


def take_step(run: AnyRun, step: Callable[[AnyRun], None]) -> None:
    """Take one step of a stage in a worker."""
    step(run)


def take_steps(run: AnyRun, label: str, steps: Mapping[str, Callable[[AnyRun], None]]) -> None:
    """Take steps of a stage that do not need each other: one after the other here, at once on a cluster.

    Args:
        label: of the stage.
        steps: picklable, by what they make, for people.
    """
    if not run.engine.remote:
        for step in steps.values():
            step(run)
        return
    import torch  # noqa: PLC0415

    work = Work(
        label, partial(take_step, remote_copy(run)), list(steps.values()), list(steps), torch.get_num_threads(),
        gpu=run.device == "cuda",
    )  # fmt: skip
    with run.progress.task(label, len(steps)) as task:
        for _ in run.engine.run(work, heard_by(run.progress)):
            task.advance()
