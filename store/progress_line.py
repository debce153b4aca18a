"""Progress of the commands of a store, on the standard error."""

from __future__ import annotations

import sys
import time
from typing import Any

from store.words import duration

SAID_EVERY_S = 5.0  # where the output is no terminal
ESTIMATED_AFTER_S = 1.0


class ProgressLine:
    """Progress with the time left, on the standard error: one line that changes, or a line every few seconds."""

    def __init__(self, label: str = "") -> None:
        """Begin to count the time; `label` stands before the share that is done."""
        self._label = f"{label}: " if label else ""
        self._begun, self._said, self._is_terminal = time.monotonic(), 0.0, sys.stderr.isatty()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._is_terminal and self._said:
            print("\r\033[K", end="", file=sys.stderr, flush=True)

    def __call__(self, done: int, total: int) -> None:
        """Say how far the work is, if it was not said just now."""
        now = time.monotonic()
        spent = now - self._begun
        if spent < ESTIMATED_AFTER_S or now - self._said < (0.2 if self._is_terminal else SAID_EVERY_S):
            return
        self._said, left = now, spent * (total - done) / max(done, 1)
        line = f"{self._label}{done / max(total, 1):.0%}, about {duration(left)} left"
        print(f"\r\033[K{line}" if self._is_terminal else line, end="" if self._is_terminal else "\n", file=sys.stderr,
              flush=True)  # fmt: skip
