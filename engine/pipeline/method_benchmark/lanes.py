"""Cohorts of the benchmark beside each other: one thread for each, as many at once as cores and memory allow.

A cohort alone keeps little more than one core busy, however many there are. By one thread each, its numbers do not
depend on how many cores the machine has either.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import torch

from engine.errors import RunError
from engine.parallel.local import WorkerDiedError, run
from engine.parallel.telling import tell
from engine.parallel.unit import Threads
from engine.pipeline.method_benchmark.cells import Cell
from engine.progress import Progress, ToldProgress
from store.words import duration

COHORT_BYTES = 3.5e9  # that the process of a cohort takes at most: 100 subjects a group at 4 mm took 3.1
Completed = tuple[Path, bool]
Compute = Callable[[Cell, Progress], Completed]


def cohorts_at_once(count: int, device: str, asked: int | None = None) -> int:
    """Return how many cohorts are computed at once: on a GPU one, else as many as there are cores and memory for.

    Args:
        asked: at most so many; None: as said.
    """
    if device != "cpu":
        return 1
    return max(1, min(count, asked or min(os.cpu_count() or 1, int(_memory() // COHORT_BYTES))))


def _memory() -> float:
    """Return the bytes of this machine's memory; without end where it does not say."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return float("inf")


def completed(
    cells: Sequence[Cell], compute: Compute, device: str, processes: int, progress: Progress
) -> dict[Cell, Completed]:
    """Compute every cohort, or find it finished: cell -> (folder of the run, whether anything was computed).

    What is done stays done: the same call goes on where an earlier one stopped.

    Args:
        compute: picklable; computes one cohort and says what it does.
        device: cpu or cuda.
        processes: cohorts at once; their lines begin with their names.
    Raises:
        RunError: a process ended, for example for want of memory.
        Exception: whatever `compute` raises.
    """
    found: dict[Cell, Completed] = {}
    if processes == 1:
        took: list[float] = []
        for number, cell in enumerate(cells, start=1):
            progress.say(f"== {number} of {len(cells)}: {cell.name}{_left(took, len(cells) - number + 1)}")
            begun = time.monotonic()
            with _one_thread(device):
                found[cell] = compute(cell, progress)
            took += [time.monotonic() - begun] if found[cell][1] else []
        return found
    progress.say(f"== {len(cells)} cohorts, {processes} at once, one thread each")
    results = run(partial(_elsewhere, compute, device), cells, processes, progress.say)
    try:
        with progress.task("cohorts", len(cells)) as task, closing(results):
            for cell, done in results:
                found[cell] = done
                progress.say(f"== {cell.name} {'is done' if done[1] else 'was done before'}")
                task.advance()
    except WorkerDiedError as died:
        raise RunError(
            f"the process of {died.item.name} ended (code {died.exit_code}); what is done is kept, the same command "
            "goes on. If memory ran out: --processes 1"
        ) from None
    return {cell: found[cell] for cell in cells}


def _elsewhere(compute: Compute, device: str, cell: Cell) -> tuple[Cell, Completed]:
    """Compute a cohort in a worker, which tells the lines of its progress."""
    with _one_thread(device):
        return cell, compute(cell, ToldProgress(lambda line: tell(f"{cell.name}: {line.strip()}")))


@contextmanager
def _one_thread(device: str) -> Iterator[None]:
    """Let torch and linear algebra compute by one thread inside, where torch computes on the CPU."""
    before = torch.get_num_threads()
    try:
        with Threads(1, 1).used() if device == "cpu" else nullcontext():
            yield
    finally:
        torch.set_num_threads(before)


def _left(took: Sequence[float], cohorts: int) -> str:
    return f", about {duration(sum(took) / len(took) * cohorts)} left" if took else ""


def together(seconds: Sequence[float], processes: int) -> float:
    """Return how long cohorts of so many seconds take, so many at once, in their order.

    Args:
        processes: cohorts at once.
    """
    ends = [0.0] * processes
    for one in seconds:
        heapq.heapreplace(ends, ends[0] + one)
    return max(ends)
