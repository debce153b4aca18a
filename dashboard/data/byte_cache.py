"""A cache that is bounded in bytes, whatever the number of its entries, and makes each entry once."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import pandas as pd
import streamlit as st
from cachetools import LRUCache

Kept = TypeVar("Kept")


class ByteCache(Generic[Kept]):
    """A cache that keeps what was used last, up to `limit` bytes; safe to share between sessions.

    Of several threads that ask for the same entry at once one makes it, and the others wait for it.
    """

    def __init__(self, limit: int, size: Callable[[Kept], int]) -> None:
        self._entries: LRUCache[Hashable, Kept] = LRUCache(limit, size)
        self._making: dict[Hashable, _Making[Kept]] = {}
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        """Return whether an entry is kept now; it may be gone by the time it is asked for: see `found`."""
        return key in self._entries

    @property
    def bytes(self) -> int:
        """The size of all entries."""
        return int(self._entries.currsize)

    def clear(self) -> None:
        """Forget all entries."""
        with self._lock:
            self._entries.clear()

    def found(self, key: Hashable) -> Kept | None:
        """Return the entry of a key, in hand whatever is kept after it; None where it is not kept."""
        with self._lock:
            return self._entries.get(key)

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """Return the entry of a key, made where it is not kept. It is shared: never change it."""
        while True:
            with self._lock:
                if key in self._entries:
                    return self._entries[key]
                making = self._making.get(key)
                if making is None:
                    making = self._making[key] = _Making()
                    break
            making.ended.wait()
            if making.made is not None:
                return making.made[0]
            # Whoever made it has failed or was stopped: that is theirs alone, so try here.
        try:
            making.made = (make(),)
        finally:
            with self._lock:
                del self._making[key]
                if making.made is not None:
                    with contextlib.suppress(ValueError):  # larger than the limit: not kept
                        self._entries[key] = making.made[0]
            making.ended.set()
        return making.made[0]


@st.cache_resource(show_spinner=False)
def shared(what: str, limit: int) -> ByteCache[Any]:
    """Return the cache of what it is said to hold, one for all sessions; `limit` in bytes."""
    del what  # Streamlit keeps a cache for each
    return ByteCache(limit, bytes_of)


def kept_within(limit: int) -> Callable[[Callable[..., Kept]], Callable[..., Kept]]:
    """Let a function keep its last answers, up to `limit` bytes; they are shared: never change them.

    For functions of a reader of a run, which is another one when the run is made again.
    """

    def wrapped(make: Callable[..., Kept]) -> Callable[..., Kept]:
        answers: ByteCache[Kept] = ByteCache(limit, bytes_of)

        @functools.wraps(make)
        def answer(*question: Hashable) -> Kept:
            return answers.get(question, lambda: make(*question))

        return answer

    return wrapped


def bytes_of(kept: Any) -> int:
    """Return the bytes of a table, an array, or anything that counts its own."""
    if isinstance(kept, pd.DataFrame):
        return int(kept.memory_usage(deep=True).sum())
    return int(kept.nbytes if hasattr(kept, "nbytes") else kept.bytes)


class _Making(Generic[Kept]):
    """An entry that a thread is making; `made` holds it once `ended` is set, unless that has failed."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.made: tuple[Kept] | None = None
