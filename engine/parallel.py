"""Calls a function in worker processes that never outlive the run."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from typing import Any

_PDEATHSIG = 1  # Linux prctl: a signal when the parent dies
_POLL_S = 1.0
_ANSWER, _FAILURE, _MESSAGE = "answer", "failure", "message"
_hearer: Callable[[Any], None] | None = None  # in a worker: sends to the run


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


def tell(message: Any) -> None:
    """Send a message from inside a worker's function to the caller of `run`, at once."""
    if _hearer is not None:
        _hearer(message)


def run(
    function: Callable[[Any], Any],
    items: Iterable[Any],
    processes: int,
    heard: Callable[[Any], None] = lambda _message: None,
) -> Generator[Any, None, None]:
    """Yield the results of `function` for each item, in the order in which they are ready.

    With one process the calls are made in this process. Otherwise `function`, items and results are pickled. Whatever
    ends the loop (an error, Ctrl-C, closing the iterator) kills the workers.

    Args:
        heard: called with every message that `function` tells.
    Raises:
        WorkerDiedError: a worker process ended.
        Exception: whatever `function` raises.
    """
    items = list(items)
    if processes <= 1:
        yield from _here(function, items, heard)
        return
    if not items:
        return
    workers: list[_Worker] = []
    try:
        for _ in range(min(processes, len(items))):
            workers.append(_start(function))
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


def _here(function: Callable[[Any], Any], items: list[Any], heard: Callable[[Any], None]) -> Iterator[Any]:
    for item in items:
        _hear(heard)
        try:
            result = function(item)
        finally:
            _hear(None)
        yield result


def _hear(hearer: Callable[[Any], None] | None) -> None:
    global _hearer
    _hearer = hearer


def _start(function: Callable[[Any], Any]) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(function, theirs, os.getpid()), daemon=True)
    with _no_interrupt():
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Keep Ctrl-C from processes started here: the run ends them, without a traceback from each."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would undo the mask if it were started inside
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.process.join()
        worker.pipe.close()
        worker.process.close()


def _work(function: Callable[[Any], Any], pipe: connection.Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _die_with(parent)
    _hear(lambda message: pipe.send((_MESSAGE, message)))
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = (_ANSWER, function(item))
        except Exception as error:
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
