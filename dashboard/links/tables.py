"""What links have in common: the errors that are shown to people, and the audit."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class LinkError(Exception):
    """The error of a link that cannot be made; says in one line why, for the person who makes it."""


class LinkRefusedError(Exception):
    """The error of a link that does not open; says in one line why, for the person who opens it.

    Attributes:
        status: of the answer, HTTP.
    """

    def __init__(self, words: str, status: int = 404) -> None:
        super().__init__(words)
        self.status = status


class Event(NamedTuple):
    """A line of the audit: who did what with which link. It names no subject and no token.

    Attributes:
        at: seconds since 1970.
        link: the first letters of its identifier.
    """

    at: int
    who: str
    what: str
    link: str = ""
    page: str = ""
    run: str = ""


def note_event(database: sqlite3.Connection, event: Event) -> None:
    """Write a line of the audit; `database` is what `State.transaction` gives."""
    database.execute("INSERT INTO link_audit (at, who, what, link, page, run) VALUES (?, ?, ?, ?, ?, ?)", event)
