"""What the server has written down: the audit of links, and who has confirmed the data use agreement."""

from __future__ import annotations

import time

from dashboard.links.tables import Event, note_event
from dashboard.serving.state import State

# Changes with the words that were confirmed, so that new words are confirmed again.
WORDING = "2026-1"
CONFIRMED = "confirmed the agreement"
COMMAND = "a command"  # in the place of who, where somebody who may write the state file did it
ENDED, ENDED_ALL = "ended the logins of a person", "ended all logins"
AGREEMENT = (
    "I am covered by the data use agreement of this cohort, and I keep results of single participants, also derived "
    "ones such as heatmaps, to people whom it covers."
)


def events(state: State, most: int) -> list[Event]:
    """Return the last lines of the audit, the newest first."""
    rows = state.rows("SELECT at, who, what, link, page, run FROM link_audit ORDER BY number DESC LIMIT ?", most)
    return [Event(*row) for row in rows]


def has_confirmed(state: State, person: str, cohort: str) -> bool:
    """Return whether a member, named by a keyed hash, has confirmed the agreement of a cohort in today's words."""
    asked = "SELECT 1 FROM agreement WHERE person = ? AND cohort = ? AND wording = ?"
    return bool(state.rows(asked, person, cohort, WORDING))


def confirm(state: State, person: tuple[str, str], cohort: str, run: str, now: float) -> None:
    """Write down that a member has confirmed the data use agreement of a cohort, on opening a run.

    Args:
        person: the keyed hash that stands for the member, and the name for the audit.
    """
    key, name = person
    with state.transaction() as database:
        database.execute("INSERT OR IGNORE INTO agreement VALUES (?, ?, ?, ?)", (key, cohort, WORDING, int(now)))
        note_event(database, Event(int(now), name, CONFIRMED, run=run))


def note(state: State, who: str, what: str) -> None:
    """Write a line of the audit that is about no link and no run."""
    with state.transaction() as database:
        note_event(database, Event(int(time.time()), who, what))
