"""Signed links for outsiders: one view of one run, for one role, until a day.

The address holds a random identifier and a signature of everything the link allows. The state file holds what it
allows, but not the key: who edits the address or the file opens nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from dashboard.links import passwords, tokens, words
from dashboard.links.records import CONFIRMED
from dashboard.links.short import LONGEST_QUERY, View, is_view
from dashboard.links.tables import Event, LinkError, LinkRefusedError, note_event
from dashboard.serving.state import State

PURPOSE, SESSION = "signed link", "session of a signed link"
PATH = "share"
ROLES = ("group", "patient")
LONGEST_NOTE = 200
LONGEST_DAYS = 366
SESSION_SECONDS = 12 * 3600
NOT_VALID = "This link is not valid: ask who sent it for a new one."
SHOWN = 6  # letters of the identifier in lists


@dataclass(frozen=True)
class NewLink:
    """What an admin wants to share: a view of a run, for a role, until a time (seconds since 1970)."""

    view: View
    run: str
    role: str
    ends_at: int
    note: str
    made_by: str
    password: str = ""


@dataclass(frozen=True)
class SignedLink:
    """A link as the state file has it; times in seconds since 1970.

    Attributes:
        password: what is kept of it; "" for none.
        opened: how often.
    """

    id: str
    page: str
    query: str
    run: str
    role: str
    ends_at: int
    password: str
    note: str
    made_at: int
    made_by: str
    revoked_at: int | None
    revoked_by: str | None
    opened: int
    opened_first: int | None
    opened_last: int | None

    @property
    def view(self) -> View:
        """The page and the query that the link opens."""
        return View(self.page, self.query)

    @property
    def label(self) -> str:
        """The first letters of its identifier, which open nothing."""
        return self.id[:SHOWN]

    @property
    def visitor(self) -> str:
        """Who opens it, in the audit: outsiders have no name here."""
        return f"link {self.label}"

    def event(self, who: str, what: str, now: float) -> Event:
        """Return a line of the audit about this link."""
        return Event(int(now), who, what, self.label, self.page, self.run)

    def bound(self) -> tuple[str, ...]:
        """Return everything that the signature vouches for."""
        return self.id, self.page, self.query, self.run, self.role, str(self.ends_at), self.password

    def standing(self, now: float) -> str:
        """Say in words whether the link opens."""
        if self.revoked_at is not None:
            return f"revoked on {words.day(self.revoked_at)}"
        return f"ended on {words.day(self.ends_at)}" if now > self.ends_at else "open"


COLUMNS = ", ".join(field.name for field in fields(SignedLink))
FIND = f"SELECT {COLUMNS} FROM signed_link WHERE id = ?"


def make(state: State, key: bytes, wanted: NewLink, now: float) -> str:
    """Make a signed link; return its token, which cannot be had again.

    Raises:
        LinkError: something of it is missing or out of its bounds.
    """
    note = " ".join(wanted.note.split())
    if not is_view(wanted.view):
        raise LinkError(
            f"This view cannot be linked: its address is longer than {LONGEST_QUERY} letters or has strange ones."
        )
    if wanted.role not in ROLES:
        raise LinkError(f"Choose the role {' or '.join(ROLES)}.")
    if not now < wanted.ends_at <= now + LONGEST_DAYS * words.DAY:
        raise LinkError(f"Choose an end within the next {LONGEST_DAYS} days.")
    if not note or len(note) > LONGEST_NOTE or not note.isprintable():
        raise LinkError(f"Write for whom the link is, in at most {LONGEST_NOTE} characters.")
    link = SignedLink(
        tokens.new_identifier(), *wanted.view, wanted.run, wanted.role, int(wanted.ends_at),
        passwords.kept(wanted.password), note, int(now), wanted.made_by, None, None, 0, None, None,
    )  # fmt: skip
    with state.transaction() as database:
        marks = ", ".join("?" * len(fields(link)))
        values = tuple(getattr(link, field.name) for field in fields(link))
        database.execute(f"INSERT INTO signed_link ({COLUMNS}) VALUES ({marks})", values)
        note_event(database, link.event(wanted.made_by, "made", now))
    return link.id + tokens.signature(key, PURPOSE, *link.bound())


def check(state: State, key: bytes, token: str, now: float) -> SignedLink:
    """Return the link of a token that opens now.

    Raises:
        LinkRefusedError: it is not valid, has ended or was revoked.
    """
    parts = tokens.split(token)
    link = _find(state, parts[0]) if parts else None
    if parts is None or link is None or not tokens.is_signed(parts[1], key, PURPOSE, *link.bound()):
        raise LinkRefusedError(NOT_VALID)
    return _standing(link, now)


def enter(state: State, key: bytes, token: str, password: str, now: float) -> tuple[SignedLink, str]:
    """Open a link; return it and what the browser shows from then on.

    Raises:
        LinkRefusedError: the link does not open now, or the password is wrong.
    """
    link = check(state, key, token, now)
    try:
        passwords.check(state, link.id, link.password, password, now)
    except LinkRefusedError as error:
        if error.status == passwords.WRONG:  # those that were not even tried could fill the file
            with state.transaction() as database:
                note_event(database, link.event(link.visitor, "refused: wrong password", now))
        raise
    with state.transaction() as database:
        database.execute(
            "UPDATE signed_link SET opened = opened + 1, opened_first = coalesce(opened_first, ?), opened_last = ? "
            "WHERE id = ?", (int(now), int(now), link.id),
        )  # fmt: skip
        note_event(database, link.event(link.visitor, "opened", now))
        if link.role == "patient":
            note_event(database, link.event(link.visitor, CONFIRMED, now))
    start = str(int(now))
    return link, f"{link.id}{tokens.signature(key, SESSION, *link.bound(), start)}.{start}"


def of_session(state: State, key: bytes, session: str, now: float) -> SignedLink:
    """Return the link that a browser has opened and that still opens now.

    Raises:
        LinkRefusedError: what the browser shows is not of this server or too old, or the link has ended or was revoked.
    """
    token, _, start = session[:80].partition(".")
    parts = tokens.split(token)
    if parts is None or len(session) > 64 or not (start.isascii() and start.isdigit()):
        raise LinkRefusedError(NOT_VALID)
    link = _find(state, parts[0])
    if link is None or not tokens.is_signed(parts[1], key, SESSION, *link.bound(), start):
        raise LinkRefusedError(NOT_VALID)
    if not int(start) <= now + 60 < int(start) + SESSION_SECONDS:
        raise LinkRefusedError("This visit has ended: open the link again.", 403)
    return _standing(link, now)


def revoke(state: State, identifier: str, who: str, now: float) -> SignedLink:
    """End a link at once, also for those who have opened it.

    Raises:
        LinkError: there is no such link, or it was revoked before.
    """
    with state.transaction() as database:
        row = database.execute(FIND, (identifier,)).fetchone()
        link = SignedLink(*row) if row else None
        if link is None or link.revoked_at is not None:
            raise LinkError("This link was revoked before." if link else "There is no such link.")
        database.execute(
            "UPDATE signed_link SET revoked_at = ?, revoked_by = ? WHERE id = ?", (int(now), who, identifier)
        )  # fmt: skip
        note_event(database, link.event(who, "revoked", now))
    return link


def listed(state: State) -> list[SignedLink]:
    """Return every signed link, the newest first."""
    return [SignedLink(*row) for row in state.rows(f"SELECT {COLUMNS} FROM signed_link ORDER BY made_at DESC, id")]


def _find(state: State, identifier: str) -> SignedLink | None:
    rows = state.rows(FIND, identifier)
    return SignedLink(*rows[0]) if rows else None


def _standing(link: SignedLink, now: float) -> SignedLink:
    if link.revoked_at is not None:
        raise LinkRefusedError(f"This link was withdrawn on {words.day(link.revoked_at)}: ask who sent it.", 410)
    if now > link.ends_at:
        raise LinkRefusedError(f"This link ended on {words.day(link.ends_at)}: ask who sent it for a new one.", 410)
    return link
