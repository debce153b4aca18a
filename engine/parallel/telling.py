"""What a function that computes elsewhere says to the run while it works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_hearer: Callable[[Any], None] | None = None  # in a worker: sends to the run


def tell(message: Any) -> None:
    """Send a message from inside a worker's function to the caller, at once; outside a worker nobody listens.

    Args:
        message: texts and numbers, which every engine can carry.
    """
    if _hearer is not None:
        _hearer(message)


def listen(hearer: Callable[[Any], None] | None) -> None:
    """Let a function have all that is told in this process from now on; None: nobody."""
    global _hearer
    _hearer = hearer


@contextmanager
def heard_by(hearer: Callable[[Any], None]) -> Iterator[None]:
    """Let a function have what is told inside, and then who had it before.

    What the function itself tells, as one in a worker does that passes a line on to its run, goes to who had it before.
    """
    before = _hearer

    def hear(message: Any) -> None:
        listen(before)
        try:
            hearer(message)
        finally:
            listen(hear)

    listen(hear)
    try:
        yield
    finally:
        listen(before)
