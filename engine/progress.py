"""Progress on standard error: bars on a terminal, plain lines elsewhere. Standard output stays free for results."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from store.words import duration

PLAIN_EVERY_S = 10.0


class Task:
    """One countable piece of work. `advance` after each unit."""

    def __init__(self, label: str, total: int, done: int, console: Console, bars: Bars | None) -> None:
        self.label, self.total, self.done = label, total, done
        self._console, self._bars = console, bars
        self._started = self._said = time.monotonic()
        self._done_before = done
        self._bar = bars.add_task(label, total=total, completed=done) if bars else TaskID(0)

    def advance(self, count: int = 1) -> None:
        self.done += count
        if self._bars:
            self._bars.update(self._bar, completed=self.done)
        elif time.monotonic() - self._said >= PLAIN_EVERY_S and self.done < self.total:
            self._said = time.monotonic()
            self._console.print(f"  {self.label}: {self.done} of {self.total}{self._left()}", highlight=False)

    def _left(self) -> str:
        fresh = self.done - self._done_before
        if not fresh:
            return ""
        left = (time.monotonic() - self._started) / fresh * (self.total - self.done)
        return f", {duration(left)} left"

    def close(self) -> None:
        if self._bars:
            self._bars.remove_task(self._bar)
        took = time.monotonic() - self._started
        if took >= 2:
            self._console.print(f"  {self.label}: {self.done} of {self.total} in {duration(took)}", highlight=False)


class Progress:
    """Where a run says what it does."""

    def __init__(self, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, soft_wrap=True)

    def say(self, text: str) -> None:
        """Print one plain line."""
        self.console.print(text, highlight=False, markup=False)

    @contextmanager
    def task(self, label: str, total: int, done: int = 0) -> Iterator[Task]:
        """Count `total` units of work, `done` of which an earlier run has finished."""
        if not (self.console.is_terminal and sys.stderr.isatty()):
            task = Task(label, total, done, self.console, None)
            yield task
            task.close()
            return
        columns = (
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
        )  # fmt: skip
        with Bars(*columns, console=self.console, transient=True) as bars:
            task = Task(label, total, done, self.console, bars)
            yield task
            task.close()


class ToldProgress(Progress):
    """Progress in plain lines, each handed to a function: of a worker, whose run has the terminal."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.console = Console(file=_Lines(tell), soft_wrap=True, force_terminal=False)


class _Lines(io.StringIO):
    """A text file that hands over every line once it is whole."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell, self._started = tell, ""

    def write(self, text: str) -> int:
        *lines, self._started = (self._started + text).split("\n")
        for line in lines:
            self._tell(line)
        return len(text)
