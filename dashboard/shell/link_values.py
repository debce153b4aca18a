"""What the texts of a link mean: one of several options, a number, two ends of a range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def one_of(options: Mapping[str, Any], text: str) -> Any:
    """Return the option that a text names.

    Raises:
        ValueError: it names none; with those that there are.
    """
    if text in options:
        return options[text]
    shown = ", ".join(list(options)[:8])
    raise ValueError(f"choose {shown}{', …' if len(options) > 8 else ''}")


def number_of(text: str, low: float, high: float, kind: type) -> float:
    """Return the number of a text, within its bounds.

    Raises:
        ValueError: it is none, or beyond them.
    """
    try:
        value = kind(float(text))
    except (ValueError, OverflowError):
        raise ValueError(f"write a number from {low:g} to {high:g}") from None
    if not low <= value <= high:
        raise ValueError(f"choose from {low:g} to {high:g}")
    return value


def ends_of(texts: Sequence[str], low: float, high: float, everything: str) -> tuple[float, float]:
    """Return both ends of a range such as 60~75, or all of it.

    Raises:
        ValueError: it is none, or beyond its bounds.
    """
    if list(texts) == [everything]:
        return low, high
    parts = texts[-1].split("~")
    if len(parts) != 2:
        raise ValueError("write two numbers, as in 60~75")
    first, last = (number_of(part, low, high, type(low)) for part in parts)
    if first > last:
        raise ValueError("the first number is above the second")
    return first, last
