"""A cache that is bounded in bytes, whatever the number of its entries."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Kept = TypeVar("Kept")


class Bounded(Generic[Kept]):
    """Keeps what was used last, up to `limit` bytes; safe to share between sessions."""

    def __init__(self, limit: int, size: Callable[[Kept], int]) -> None:
        self._limit, self._size = limit, size
        self._entries: OrderedDict[Hashable, Kept] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    @property
    def bytes(self) -> int:
        """What the entries take."""
        return self._bytes

    def get(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """The entry of a key, made where it is not kept. It is shared: never change it."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
                return self._entries[key]
        made = make()
        self._keep(key, made)
        return made

    def _keep(self, key: Hashable, made: Kept) -> None:
        with self._lock:
            if key in self._entries:
                return
            self._entries[key] = made
            self._bytes += self._size(made)
            while self._bytes > self._limit:
                self._bytes -= self._size(self._entries.popitem(last=False)[1])
