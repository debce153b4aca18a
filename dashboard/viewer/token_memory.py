"""Names for what an address means, which say nothing about it: what stands behind them stays on this server."""

from __future__ import annotations

import hmac
from threading import Lock
from typing import Generic, TypeVar

from cachetools import LRUCache

from dashboard.viewer import signing
from store import NotInRunError

Meant = TypeVar("Meant")


class TokenMemory(Generic[Meant]):
    """What the tokens of addresses mean, the last ones of them; safe to share between sessions.

    Args:
        kept: how many are remembered.
        letters: of a token.
        noun: what they mean, for readers whose token is forgotten.
    """

    def __init__(self, kept: int, letters: int, noun: str) -> None:
        self._known: LRUCache[str, Meant] = LRUCache(kept)
        self._lock = Lock()
        self._letters, self._noun = letters, noun

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._known)

    def remember(self, meant: Meant, text: str) -> str:
        """Return the token of what is meant, whose text tells it from all others, and remember it as the last one."""
        token = hmac.new(signing.key(), text.encode(), "sha256").hexdigest()[: self._letters]
        with self._lock:
            self._known[token] = meant
        return token

    def read(self, token: str) -> Meant:
        """Return what a token means; NotInRunError where it is no longer remembered."""
        with self._lock:
            meant = self._known.get(token)
        if meant is None:
            raise NotInRunError(f"this server no longer remembers the {self._noun} of this address: reload the page")
        return meant
