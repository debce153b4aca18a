"""Plain functions of picklable arguments, handed to worker processes, to a SLURM cluster or to Dask."""

from engine.parallel.local import LocalEngine, WorkerDiedError, run
from engine.parallel.telling import tell
from engine.parallel.work import Engine, TasksFailedError, Work

__all__ = ["Engine", "LocalEngine", "TasksFailedError", "Work", "WorkerDiedError", "run", "tell"]
