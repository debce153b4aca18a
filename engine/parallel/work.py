"""The one interface of all engines: units of work in, results out as they are ready."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engine.errors import RunError

Heard = Callable[[Any], None]


class TasksFailedError(RunError):
    """Some units failed again and again; all the others are done."""


def nobody(_message: Any) -> None:
    """Take what is told, and do nothing."""
    return


@dataclass(frozen=True)
class Work:
    """Calls of one function, as a stage hands them to an engine.

    A call ends with an atomic rename in the run's folder, finds what an earlier call has finished, and so may be
    repeated at any time, also while an earlier one that was thought to be lost still runs.

    Attributes:
        label: what is done, in one word for people and for the names of jobs; one for each list of items of a run.
        function: picklable.
        items: picklable; each is the argument of one call.
        names: of the items, in their order, for people: the scan, the network. Each once, and the same in every
            attempt at the run.
        threads: of the CPU that a call takes, as torch and BLAS have them.
        processes: calls at once on this machine; 1: in this process.
        gpu: whether a call needs a GPU.
    """

    label: str
    function: Callable[[Any], Any]
    items: Sequence[Any]
    names: Sequence[str]
    threads: int = 1
    processes: int = 1
    gpu: bool = False


class Engine(Protocol):
    """Computes units of work somewhere.

    Attributes:
        remote: whether calls are made by processes that outlive the run or are on other machines.
    """

    remote: bool

    def run(self, work: Work, heard: Heard = nobody) -> Generator[Any, None, None]:
        """Yield the results of all calls, in the order in which they are ready.

        Args:
            heard: called with every message that the function tells.
        Raises:
            TasksFailedError: calls that failed, after all others have been done.
        """

    def places(self, device: str) -> int:
        """Return how many calls that need a device, cpu or cuda, are worth being made at once."""

    def forget(self) -> None:
        """Stop what an earlier attempt at the run has left at work, and forget it."""

    def close(self) -> None:
        """Let go of what was started here."""
