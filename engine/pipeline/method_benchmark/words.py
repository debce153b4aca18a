"""How findings write methods, intervals and tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from store.keys import explains


def counted(count: int, what: str) -> str:
    """Write '1 cohort', '2 cohorts'."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def label(method: str) -> str:
    """Name a method, and say so where it is no explanation."""
    return method if explains(method) else f"*{method}* (no explanation)"


def interval_words(board: pd.DataFrame) -> dict[str, str]:
    """Return method -> its mean with the interval."""
    return {row.method: with_ends(row.mean, row.low, row.high) for row in board.itertuples()}


def with_ends(value: float, low: float, high: float, sign: bool = False) -> str:
    """Write a value with its interval: 0.31 (0.25 to 0.37)."""
    form = "{:+.2f}" if sign else "{:.2f}"
    if not math.isfinite(value):
        return "–"
    ends = f" ({form.format(low)} to {form.format(high)})" if math.isfinite(low) else ""
    return form.format(value) + ends


def markdown(table: pd.DataFrame) -> str:
    """Write a table as Markdown."""
    lines: list[Sequence[str]] = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    lines += [[str(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
