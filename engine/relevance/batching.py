"""How much goes through a network at once: batches that fit in memory, and small work shared among threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

import torch
from torch import Tensor

from engine.errors import RunError
from engine.networks.device import is_out_of_memory

Item = TypeVar("Item")
Result = TypeVar("Result")


class BatchSize:
    """How much goes through the network at once; halved when memory runs out, which is said once.

    Attributes:
        at_most: volumes asked for; what fits may be fewer.
        share: of what should fit, after the halvings.
    """

    def __init__(self, at_most: int, say: Callable[[str], None] = lambda _: None) -> None:
        self.at_most, self.share, self._say, self._lock = at_most, 1.0, say, Lock()

    @property
    def volumes(self) -> int:
        """Return how many whole volumes go through at once."""
        return self._size(self.at_most)

    def _size(self, fits: int) -> int:
        return max(1, int(fits * self.share))

    def run(self, count: int, part: Callable[[int, int], Tensor], fits: int) -> Tensor:
        """Concatenate part(start, stop) over 0..count, in batches of at most `fits`, fewer once memory has run out.

        Raises:
            RunError: memory runs out with a single volume.
        """
        found = torch.empty(0)
        for start, result in self._parts(count, part, fits):
            if start == 0:  # kept one by one, small results would lie between the large blocks of the next batch
                found = result.new_empty((count, *result.shape[1:]))
            found[start : start + len(result)] = result
        return found

    def total(self, count: int, part: Callable[[int, int], Tensor], fits: int) -> Tensor:
        """Add up part(start, stop) over 0..count, which is 1 or more, in batches as `run` makes them.

        Raises:
            RunError: memory runs out with a single volume.
        """
        parts = self._parts(count, part, fits)
        _, found = next(parts)
        for _, result in parts:
            found = found + result
        return found

    def _parts(self, count: int, part: Callable[[int, int], Tensor], fits: int) -> Iterator[tuple[int, Tensor]]:
        """Yield (start, part(start, stop)) over 0..count."""
        start = 0
        while start < count:
            share, size = self.share, self._size(fits)
            stop = min(start + size, count)
            try:
                result = part(start, stop)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._halve(share, size)
                continue
            yield start, result
            start = stop

    def _halve(self, share: float, size: int) -> None:
        if size == 1:
            raise RunError(
                "out of memory with a single volume: use a coarser grid_mm or another device; heatmaps already "
                "computed are kept"
            )
        with self._lock:
            if self.share < share:
                return  # another thread has met the same limit
            if self.share == 1:
                self._say("  out of memory: going on with smaller batches")
            self.share = share / 2
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def each_volume(volumes: Tensor, explain: Callable[[Tensor], Result]) -> list[Result]:
    """Return explain(volume) for every volume of (n, 1, x, y, z), in order; on the CPU several at once."""
    return [explain(volumes[0, 0])] if len(volumes) == 1 else in_threads(explain, volumes[:, 0])


def in_threads(work: Callable[[Item], Result], items: Sequence[Item] | Tensor) -> list[Result]:
    """Return work(item) for every item, in order.

    On the CPU several are worked on at once, with one thread each: operations on small boxes are too short to be shared
    between threads.
    """
    threads = torch.get_num_threads()
    if threads == 1 or len(items) == 1 or (isinstance(items, Tensor) and items.is_cuda):
        return [work(item) for item in items]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(threads)
