"""What runs at the other end: some calls one after the other, each answered, whatever becomes of it."""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from engine.errors import UserError
from engine.parallel.telling import heard_by

TAIL_LINES = 12  # of a log or a traceback that are shown
STARTED, ENDED, TOLD = "started", "ended", "told"
# Calls set the threads and seeds of their process: two threads of one Dask worker must not make calls at once.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True)
class Answer:
    """What came of one call.

    Attributes:
        value: what it returned.
        failure: why it returned nothing, in one line; empty if it did.
        tail: the last lines of the traceback.
        node: the machine that made it.
        again: whether another attempt may end otherwise.
    """

    value: Any = None
    failure: str = ""
    tail: str = ""
    node: str = ""
    again: bool = True


@dataclass(frozen=True)
class Threads:
    """How many threads of the CPU compute: what they add up differs in the last digits, so all engines have the same.

    Attributes:
        torch: of torch; None: as they are.
        blas: of NumPy's linear algebra; None: as they are.
    """

    torch: int | None = None
    blas: int | None = None

    @contextmanager
    def used(self):
        """Let calls inside compute by so many threads."""
        if self.torch is not None:
            import torch  # noqa: PLC0415

            torch.set_num_threads(self.torch)
        with _blas_limited(self.blas) if self.blas else nullcontext():
            yield


def _blas_limited(count: int):
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    return threadpool_limits(count, user_api="blas")


def blas_threads() -> int | None:
    """Return the number of threads of NumPy's linear algebra here; None where it does not say."""
    from threadpoolctl import threadpool_info  # noqa: PLC0415

    counts = [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]
    return max(counts) if counts else None


@dataclass(frozen=True)
class Batch:
    """Some calls that one task of a cluster makes.

    Attributes:
        uid: names the task.
        function, items: what is called, and with what.
        names: of the items, as Work has them.
        voice: sends what is told to the run; picklable.
        threads: that compute.
    """

    uid: str
    function: Callable[[Any], Any]
    items: tuple[Any, ...]
    names: tuple[str, ...]
    voice: Callable[[dict], None]
    threads: Threads = field(default_factory=Threads)

    def __call__(self) -> list[Answer]:
        """Make the calls and return an answer to each, in their order."""
        with _one_at_a_time, self.threads.used():
            return [self._call(place) for place in range(len(self.items))]

    def checkpoint(self) -> Any:
        """Return what submitit starts when SLURM gives the task time again: the same; what is done is on the disk."""
        from submitit.helpers import DelayedSubmission  # noqa: PLC0415

        return DelayedSubmission(self)

    def _call(self, place: int) -> Answer:
        node, told = socket.gethostname(), 0

        def send(kind: str, **more: Any) -> None:
            self.voice({"uid": self.uid, "place": place, "name": self.names[place], "kind": kind, **more})

        def hear(message: Any) -> None:
            nonlocal told
            told += 1
            send(TOLD, number=told, message=message)

        send(STARTED, node=node)
        try:
            with heard_by(hear):
                value = self.function(self.items[place])
        except Exception as error:
            answer = Answer(None, _in_one_line(error), _tail(), node, not isinstance(error, UserError))
        else:
            answer = Answer(value, node=node)
        send(ENDED, failure=answer.failure)
        return answer


def _in_one_line(error: Exception) -> str:
    notes = "; ".join(getattr(error, "__notes__", ()))
    text = " ".join(str(error).split()) or type(error).__name__
    if not isinstance(error, UserError | ValueError) and type(error).__module__ == "builtins":
        text = f"{type(error).__name__}: {text}"
    return f"{notes}: {text}" if notes else text


def _tail() -> str:
    return last_lines(traceback.format_exc())


def last_lines(text: str) -> str:
    """Return the last lines of a log."""
    return "\n".join(text.rstrip().splitlines()[-TAIL_LINES:])
