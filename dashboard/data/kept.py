"""Answers that all readers share, kept by their questions.

Streamlit's own caches take 0.1 to 0.2 ms for each answer that they already have, most of it for hashing the question;
a page asks forty questions in a pass. These take a few millionths of a second, and hold what a page asks every time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from dashboard.data.byte_cache import ByteCache

Answer = TypeVar("Answer")
_all: WeakSet[ByteCache[Any]] = WeakSet()


class KeptFunction(Generic[Answer]):
    """A function whose last answers are kept. They are shared: never change them."""

    def __init__(self, make: Callable[..., Answer], most: int) -> None:
        """Wrap a function of hashable arguments; `most`: answers that are kept."""
        functools.update_wrapper(self, make)
        self._make = make
        self._answers: ByteCache[Answer] = ByteCache(most, lambda _: 1)
        _all.add(self._answers)

    def __call__(self, *question: Hashable) -> Answer:
        return self._answers.get(question, lambda: self._make(*question))

    def clear(self) -> None:
        """Forget all answers."""
        self._answers.clear()


def kept(most: int) -> Callable[[Callable[..., Answer]], KeptFunction[Answer]]:
    """Let a function keep its last answers, so many of them, for all readers; two who ask at once wait for one answer.

    For functions of a run as `runs.Run` names it, which is another one when the run is made again. Not in a page.py,
    which Streamlit runs anew for every reader, with new functions and nothing kept.
    """
    return lambda make: KeptFunction(make, most)


def forget_all() -> None:
    """Forget every answer of every such function; for tests, which change runs in their place."""
    for answers in list(_all):
        answers.clear()
