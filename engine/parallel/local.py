"""The engine of this machine: calls a function in worker processes that never outlive the run."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from typing import Any

from engine.parallel.telling import heard_by, listen
from engine.parallel.work import Heard, Work, nobody

_PDEATHSIG = 1  # Linux prctl: a signal when the parent dies
_POLL_S = 1.0
_ENDS_S = 5.0  # that a worker without work may take to end
_ANSWER, _FAILURE, _MESSAGE = "answer", "failure", "message"
GPUS = "CUDA_VISIBLE_DEVICES"
_WARNINGS, _LEFT_BEHIND = "PYTHONWARNINGS", "ignore::UserWarning:multiprocessing.resource_tracker"


class WorkerDiedError(Exception):
    """A worker process ended without an answer: killed for memory, or a crash in compiled code.

    Attributes:
        item: what it was working on.
        others: what the other workers were working on.
    """

    def __init__(self, item: Any, others: list[Any], exit_code: int | None) -> None:
        super().__init__(f"worker ended with code {exit_code}")
        self.item, self.others, self.exit_code = item, others, exit_code


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: connection.Connection
    item: Any = None
    busy: bool = False


def run(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    processes: int,
    heard: Heard = nobody,
    gpus: Sequence[str] = (),
) -> Generator[Any, None, None]:
    """Yield the results of `function` for each item, in the order in which they are ready.

    With one process the calls are made in this process, as in a process that may start none. Otherwise `function`,
    items and results are pickled. Whatever ends the loop (an error, Ctrl-C, closing the iterator) kills the workers.

    Args:
        heard: called with every message that `function` tells.
        gpus: each process sees one of these alone; none: all see the same.
    Raises:
        WorkerDiedError: a worker process ended.
        Exception: whatever `function` raises.
    """
    items = list(items)
    if processes <= 1 or multiprocessing.current_process().daemon:
        yield from _here(function, items, heard)
        return
    if not items:
        return
    workers: list[_Worker] = []
    try:
        for number in range(min(processes, len(items))):
            workers.append(_start(function, gpus[number % len(gpus)] if gpus else None))
        waiting = iter(items)
        for worker in workers:
            _give(worker, waiting)
        while any(worker.busy for worker in workers):
            pipes: dict[Any, _Worker] = {worker.pipe: worker for worker in workers if worker.busy}
            for pipe in connection.wait(list(pipes)):
                worker = pipes[pipe]
                kind, content = _take(worker, workers)
                if kind == _MESSAGE:
                    heard(content)
                    continue
                _give(worker, waiting)
                yield content
    finally:
        _stop(workers)


def _here(function: Callable[[Any], Any], items: list[Any], heard: Heard) -> Iterator[Any]:
    for item in items:
        with heard_by(heard):
            result = function(item)
        yield result


def _start(function: Callable[[Any], Any], gpu: str | None) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(function, theirs, os.getpid()), daemon=True)
    with _no_interrupt(), _seeing(gpu):
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Keep Ctrl-C from processes started here: the run ends them, without a traceback from each."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    _start_tracker()  # it would undo the mask if it were started inside
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_tracker() -> None:
    """Start what gives back the semaphores of killed workers, without its warning that they have left some."""
    before = os.environ.get(_WARNINGS)
    os.environ[_WARNINGS] = f"{before},{_LEFT_BEHIND}" if before else _LEFT_BEHIND
    try:
        resource_tracker.ensure_running()
    finally:
        if before is None:
            del os.environ[_WARNINGS]
        else:
            os.environ[_WARNINGS] = before


@contextmanager
def _seeing(gpu: str | None) -> Iterator[None]:
    """Let processes started here see one GPU alone; None: those that this process sees."""
    if gpu is None:
        yield
        return
    before = os.environ.get(GPUS)
    os.environ[GPUS] = gpu
    try:
        yield
    finally:
        if before is None:
            del os.environ[GPUS]
        else:
            os.environ[GPUS] = before


def _give(worker: _Worker, waiting: Iterator[Any]) -> None:
    for item in waiting:
        worker.item, worker.busy = item, True
        # If it has died, the next wait finds the pipe closed and says so.
        with suppress(OSError):
            worker.pipe.send(item)
        return
    worker.busy = False


def _take(worker: _Worker, workers: list[_Worker]) -> tuple[str, Any]:
    try:
        kind, content = worker.pipe.recv()
    except (EOFError, OSError):
        worker.process.join(_POLL_S)
        others = [other.item for other in workers if other.busy and other is not worker]
        raise WorkerDiedError(worker.item, others, worker.process.exitcode) from None
    if kind == _FAILURE:
        raise content
    return kind, content


def _stop(workers: list[_Worker]) -> None:
    """Stop all workers: kill those that compute; the others end by themselves, and give back what they have."""
    for worker in workers:
        worker.process.kill() if worker.busy else worker.pipe.close()
    for worker in workers:
        worker.process.join(_ENDS_S)
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        worker.process.close()


def _work(function: Callable[[Any], Any], pipe: connection.Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with(parent)
    listen(lambda message: pipe.send((_MESSAGE, message)))
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (_ANSWER, function(item))
        except Exception as error:
            # Frames do not travel: without the note the run would name only the line that took the answer.
            error.add_note(f"In a process of its own:\n{traceback.format_exc()}")
            answer = (_FAILURE, error)
        try:
            pipe.send(answer)
        except OSError:
            return


def _die_with(parent: int) -> None:
    """End this process when its parent ends, however that ends."""
    if sys.platform == "linux":
        # At once, even while compiled code holds the interpreter.
        ctypes.CDLL(None, use_errno=True).prctl(_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os._exit(1)


class LocalEngine:
    """Computes on this machine: calls are made by its processes, with several GPUs by one for each."""

    remote = False

    def run(self, work: Work, heard: Heard = nobody) -> Generator[Any, None, None]:
        """Yield the results of all calls; the first that fails ends the work.

        Raises:
            WorkerDiedError: a worker process ended.
            Exception: whatever the function raises.
        """
        gpus = visible_gpus() if work.gpu and work.processes > 1 else []
        return run(work.function, work.items, work.processes, heard, gpus)

    def places(self, device: str) -> int:
        """Return the number of GPUs; the CPU is one place, whose cores torch shares out itself."""
        return max(1, len(visible_gpus())) if device == "cuda" else 1

    def forget(self) -> None:
        """Do nothing: no process outlives the run."""

    def close(self) -> None:
        """Do nothing: no process outlives its work."""


def visible_gpus() -> list[str]:
    """Name the GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    import torch  # noqa: PLC0415

    count = torch.cuda.device_count()
    named = [name for name in os.environ.get(GPUS, "").split(",") if name]
    return named[:count] if named else [str(number) for number in range(count)]
