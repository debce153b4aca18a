"""Numbers as commands and pages alike write them for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Write a length of time: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
