"""Reading ahead: the next heatmaps are decoded while one is worked on; memory holds a handful."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

THREADS = 2

Item, Result = TypeVar("Item"), TypeVar("Result")


def ahead(read: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """read(item) for every item, in order; THREADS of them are read before they are asked for."""
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: deque = deque()
        try:
            for item in items:
                waiting.append(pool.submit(read, item))
                if len(waiting) > THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
