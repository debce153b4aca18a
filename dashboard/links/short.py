"""Short links: the server keeps the page and the query of a view under letters that it alone can make from them.

The same view has the same short link, so clicking often keeps nothing twice. A short link gives no right: it leads to
the long form, where everybody sees what they may see.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dashboard.links import tokens
from dashboard.links.tables import LinkError, LinkRefusedError
from dashboard.serving.state import State

PURPOSE = "short link"
PATH = "s"
LONGEST_QUERY = 16_000  # letters
MOST = 200_000  # links of a server: 20 to 200 MB
UNKNOWN = "This short link is not known here: ask who sent it for the long form of the link, which always works."
_PAGE = re.compile(r"[a-z][a-z_]{0,39}", re.ASCII)
_QUERY = re.compile(rf"[!-~]{{0,{LONGEST_QUERY}}}", re.ASCII)  # what urlencode writes; no break of a line


class View(NamedTuple):
    """A page of the dashboard, e.g. "group_maps", and what stands after the ? of its address."""

    page: str
    query: str

    @property
    def address(self) -> str:
        """The long form of the link, after the address of the server."""
        return f"/{self.page}?{self.query}"


def is_view(view: View) -> bool:
    """Return whether page and query can stand in an address of this server, and lead nowhere else."""
    return _PAGE.fullmatch(view.page) is not None and _QUERY.fullmatch(view.query) is not None and "#" not in view.query


def token(key: bytes, view: View) -> str:
    """Return the letters of the short link of a view, whether it is kept or not."""
    return tokens.signature(key, PURPOSE, *view)


def keep(state: State, key: bytes, view: View, given: str, now: float) -> None:
    """Keep a view under its letters, which show that a page of this server has written them.

    Raises:
        LinkError: the letters are not those of the view, or there is no room for it.
    """
    if not (is_view(view) and tokens.is_signed(given, key, PURPOSE, *view)):
        raise LinkError("This view cannot be kept under a short link: use the long form.")
    with state.transaction() as database:
        if database.execute("SELECT 1 FROM short_link WHERE token = ?", (given,)).fetchone():
            return
        if database.execute("SELECT count(*) FROM short_link").fetchone()[0] >= MOST:
            raise LinkError(f"This server keeps {MOST} short links and no more: use the long form.")
        database.execute("INSERT INTO short_link VALUES (?, ?, ?, ?)", (given, *view, int(now)))


def find(state: State, key: bytes, given: str) -> View:
    """Return the view behind the letters of a short link.

    Raises:
        LinkRefusedError: there is none, or it was changed in the state file.
    """
    asked = "SELECT page, query FROM short_link WHERE token = ?"
    rows = state.rows(asked, given) if tokens.is_identifier(given) else []
    if not rows or not is_view(view := View(*rows[0])) or not tokens.is_signed(given, key, PURPOSE, *view):
        raise LinkRefusedError(UNKNOWN)
    return view
