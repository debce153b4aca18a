"""Times of links in words, which do not depend on the language of the server."""

from __future__ import annotations

from datetime import UTC, datetime

MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip
DAY, HOUR = 24 * 3600, 3600


def day(seconds: float) -> str:
    """Write a time as '5 December 2026', UTC."""
    when = datetime.fromtimestamp(seconds, UTC)
    return f"{when.day} {MONTHS[when.month - 1]} {when.year}"


def minute(seconds: float) -> str:
    """Write a time as '5 December 2026, 14:03', UTC."""
    return f"{day(seconds)}, {datetime.fromtimestamp(seconds, UTC):%H:%M}"


def end_of_day(year: int, month: int, day_of_month: int) -> int:
    """Return the last second of a day, UTC."""
    return int(datetime(year, month, day_of_month, 23, 59, 59, tzinfo=UTC).timestamp())


def until(ends_at: float, now: float) -> str:
    """Write when a link ends, as 'until the end of 5 December 2026 (UTC), in 8 days'."""
    whole = (ends_at + 1) % DAY == 0
    when = f"the end of {day(ends_at)} (UTC)" if whole else f"{minute(ends_at)} (UTC)"
    left = ends_at - now
    if left <= 0:
        return f"until {when}, which is over"
    return f"until {when}, {_in(left)}"


def _in(seconds: float) -> str:
    for size, unit in ((DAY, "day"), (HOUR, "hour"), (60, "minute")):
        if seconds >= size:
            number = int(seconds // size)
            return f"in {number} {unit}{'' if number == 1 else 's'}"
    return "in less than a minute"
