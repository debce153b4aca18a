"""Waits for units of work that are computed elsewhere: repeats what failed, names what fails again and again."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.parallel.records import Records
from engine.parallel.unit import ENDED, STARTED, TOLD, Answer, Batch, Threads, blas_threads
from engine.parallel.work import Heard, TasksFailedError, Work, nobody

RETRIES = 2  # after the first attempt
SHOWN, MORE_SHOWN = 5, 50  # failures that are told with their reason, and by name alone
MANY = 1_000_000


@dataclass(frozen=True)
class Event:
    """Something that a backend has learnt of a task.

    Attributes:
        uid: of the task.
        told: a message of it, see unit.Batch; None: it has ended.
        answers: one for each call; None: it ended without any: killed, its machine lost.
        tail: the last lines of its log.
        final: whether it is known that another attempt would end the same.
    """

    uid: str
    told: dict[str, Any] | None = None
    answers: list[Answer] | None = None
    tail: str = ""
    final: bool = False


class Backend(Protocol):
    """A kind of cluster."""

    def voice(self, uid: str) -> Callable[[dict], None]:
        """Return what a task sends its messages by; picklable."""

    def submit(self, batches: list[Batch], work: Work) -> dict[str, str]:
        """Start tasks; returns uid -> the cluster's name of it."""

    def adopt(self, uid: str, handle: str) -> bool:
        """Take over a task of an earlier driver; False if nothing can be learnt of it any more."""

    def events(self) -> Iterable[Event]:
        """Wait a moment; return what has happened since."""

    def cancel(self, handles: list[str]) -> None:
        """Stop tasks."""

    def close(self) -> None:
        """Let go of the cluster; what can go on without this process goes on."""


@dataclass
class _Unit:
    """What is known of one call."""

    attempts: int = 0
    heard: int = 0  # messages of it that were passed on: a repeated call tells them again
    node: str = ""
    failure: str = ""
    tail: str = ""


@dataclass
class _Task:
    """Some calls under way together.

    Attributes:
        units: their places in the work.
        running: the call that it is at.
        fresh: whether no call of it has begun.
    """

    units: list[int]
    running: int | None = None
    fresh: bool = True


@dataclass
class ClusterEngine:
    """Hands units of work to a cluster and waits; may be stopped and started again while the cluster works.

    Attributes:
        backend: the cluster.
        records: what was handed out, on disk.
        say: for people.
        most_tasks: of one list of work.
        lasting: whether tasks outlive this process.
    """

    backend: Backend
    records: Records
    say: Callable[[str], None]
    most_tasks: int
    lasting: bool = True
    remote: bool = field(default=True, init=False)

    def places(self, device: str) -> int:  # noqa: ARG002
        """Return a number larger than that of any units."""
        return MANY

    def run(self, work: Work, heard: Heard = nobody) -> Generator[Any, None, None]:
        """Yield the results of all calls, in the order in which they are ready.

        Raises:
            TasksFailedError: calls that failed in every attempt, after all others have been done.
        """
        if work.items:
            yield from _Waiting(self, work, heard).results()

    def forget(self) -> None:
        """Stop what an earlier driver has left at work, and forget it."""
        self.backend.cancel([handle for _, handle, _ in self.records.all()])
        self.records.clear()

    def close(self) -> None:
        """Let go of the cluster."""
        self.backend.close()


class _Waiting:
    """One list of work on its way through a cluster."""

    def __init__(self, engine: ClusterEngine, work: Work, heard: Heard) -> None:
        self.engine, self.work, self.heard = engine, work, heard
        self.units = [_Unit() for _ in work.items]
        self.tasks: dict[str, _Task] = {}
        self.failed: list[int] = []
        self.threads = Threads(work.threads, blas_threads())

    def results(self) -> Iterator[Any]:
        try:
            left = self._adopt()
            size = -(-len(left) // self.engine.most_tasks)
            self._submit([left[start : start + size] for start in range(0, len(left), max(size, 1))])
            while self.tasks:
                for event in self.engine.backend.events():
                    yield from self._take(event)
        except GeneratorExit:
            raise
        except BaseException:
            self._say_what_goes_on()
            raise
        self.engine.records.clear(self.work.label)
        if self.failed:
            raise TasksFailedError(self._failures())

    def _adopt(self) -> list[int]:
        """Take over the tasks of an earlier driver; returns the units that none of them is about."""
        places = {name: place for place, name in enumerate(self.work.names)}
        left = dict.fromkeys(range(len(self.units)))
        for uid, handle, names in self.engine.records.of(self.work.label):
            wanted = [places.get(name, -1) for name in names]
            if any(place in left for place in wanted) and self.engine.backend.adopt(uid, handle):
                self.tasks[uid] = _Task(wanted)
                for place in wanted:
                    left.pop(place, None)
        if self.tasks:
            count = len(self.units) - len(left)
            self.engine.say(f"  {self.work.label}: {count} of {len(self.units)} are with the cluster already")
        return list(left)

    def _submit(self, groups: list[list[int]]) -> None:
        batches = []
        for group in groups:
            uid, work = uuid.uuid4().hex[:16], self.work
            items, names = (tuple(values[place] for place in group) for values in (work.items, work.names))
            voice = self.engine.backend.voice(uid)
            batches.append(Batch(uid, work.function, items, names, voice, self.threads))
        if batches:
            handles = self.engine.backend.submit(batches, self.work)
            self.engine.records.add(self.work.label, [(one.uid, handles[one.uid], one.names) for one in batches])
            self.tasks |= {one.uid: _Task(list(group)) for one, group in zip(batches, groups, strict=True)}

    def _take(self, event: Event) -> Iterator[Any]:
        task = self.tasks.get(event.uid)
        if task is None:
            return
        if event.told is not None:
            self._hear(task, event.told)
            return
        del self.tasks[event.uid]
        again: list[list[int]] = []
        if event.answers is None:
            again = self._lost(task, event)
        else:
            for place, answer in zip(task.units, event.answers, strict=True):
                if place < 0:  # of an earlier driver, and done since
                    continue
                if not answer.failure:
                    yield answer.value
                elif self._failed(place, answer):
                    again.append([place])
        self._submit(again)

    def _hear(self, task: _Task, told: dict[str, Any]) -> None:
        place = task.units[told["place"]]
        if place < 0:
            return
        unit = self.units[place]
        if told["kind"] == STARTED:
            task.running, task.fresh, unit.node = place, False, told["node"]
        elif told["kind"] == ENDED:
            task.running = None
        elif told["kind"] == TOLD and told["number"] > unit.heard:
            unit.heard = told["number"]
            self.heard(told["message"])

    def _lost(self, task: _Task, event: Event) -> list[list[int]]:
        """Note that a task ended without answers; returns the units to hand out again, those alone that ended it."""
        units = [place for place in task.units if place >= 0]
        # The call that ran has perhaps ended it; where none had begun, all may have.
        guilty = units if task.fresh else [place for place in units if place == task.running]
        again = []
        for place in guilty:
            lost = Answer(None, "its process ended without an answer", event.tail, self.units[place].node, True)
            if self._failed(place, lost, event.final):
                again.append([place])
        innocent = [place for place in units if place not in guilty]
        return [*again, *([innocent] if innocent else [])]

    def _failed(self, place: int, answer: Answer, final: bool = False) -> bool:
        """Note that a call failed; returns whether it is to be tried again."""
        unit = self.units[place]
        unit.attempts += 1
        unit.failure, unit.tail, unit.node = answer.failure, answer.tail, answer.node or unit.node
        if answer.again and not final and unit.attempts <= RETRIES:
            self.engine.say(
                f"  {self.work.label} of {self.work.names[place]} failed{self._where(unit)} and is tried again: "
                f"{unit.failure}"
            )
            return True
        self.failed.append(place)
        self.engine.say(
            f"  {self.work.label} of {self.work.names[place]} failed{self._where(unit)}, attempt {unit.attempts}: "
            f"{unit.failure}"
        )
        return False

    @staticmethod
    def _where(unit: _Unit) -> str:
        return f" on {unit.node}" if unit.node else ""

    def _failures(self) -> str:
        """Say what failed in every attempt: name, node, reason, the last lines of the log."""
        parts = []
        for place in self.failed[:SHOWN]:
            unit = self.units[place]
            tail = "".join(f"\n    {line}" for line in unit.tail.splitlines())
            parts.append(f"{self.work.names[place]}{self._where(unit)}: {unit.failure}{tail}")
        more = len(self.failed) - SHOWN
        rest = (
            f"\n  and {more} more: {', '.join(self.work.names[p] for p in self.failed[SHOWN:][:50])}"
            if more > 0
            else ""
        )
        listed = "".join(f"\n  {part}" for part in parts)
        return (
            f"{self.work.label}: {len(self.failed)} of {len(self.units)} failed in every attempt; all others are done "
            f"and kept, and the same command tries these again{listed}{rest}"
        )

    def _say_what_goes_on(self) -> None:
        if self.tasks and self.engine.lasting:
            self.engine.say(
                f"  {len(self.tasks)} tasks stay with the cluster; the same command waits for them, --force stops them"
            )
