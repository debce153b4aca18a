"""The logins of a server for others: only those that it began, until they end, whatever cookie a browser shows.

Streamlit's cookie says who signed in and cannot be taken back. So each login gets a cookie of its own, too, and is
written down when it begins: who signed in counts while that login is open. Of a login are kept a hash of its cookie and
keyed hashes of the person and of the names that the provider has for them.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from cachetools import TTLCache, cached

from dashboard.serving import secret_files, state

COOKIE = "brainwhy_session"
KEY_FILE = "session.key"
DAY = 24 * 3600
NAMES = ("email", "preferred_username", "sub")  # claims that name one person at the provider, and nobody else
SECONDS_BETWEEN_LOOKS = 1.0  # within a pass of a page


def session_id(cookies: Mapping[str, str]) -> str:
    """Return which login the cookies of a browser are of; "" for none."""
    token = cookies.get(COOKIE)
    return hashlib.sha256(token.encode()).hexdigest() if isinstance(token, str) and token else ""


def person_key(claims: Mapping[str, Any]) -> str:
    """Return a keyed hash of who signed in: who vouches for them, and what they are called there."""
    return _keyed(f"{claims.get('iss')}\n{claims.get('sub')}")


def name_keys(claims: Mapping[str, Any]) -> tuple[str, ...]:
    """Return keyed hashes of the names by which logins of this person are found."""
    return tuple(_name_key(claims[claim]) for claim in NAMES if isinstance(claims.get(claim), str) and claims[claim])


def _name_key(name: str) -> str:
    return _keyed(f"name\n{name.strip().casefold()}")


def _keyed(text: str) -> str:
    key = secret_files.kept(state.place().parent / KEY_FILE)
    return hmac.new(key, text.encode(), "sha256").hexdigest()[:16]


def begin(person: str, role: str, hours: float, names: Sequence[str] = ()) -> str:
    """Write down a login that begins now, and forget those that ended a day ago; return its cookie.

    Args:
        names: of `name_keys`.
    """
    token, now, server = secrets.token_urlsafe(32), time.time(), state.of_server()
    server.write("DELETE FROM session WHERE min(ends, ifnull(ended, ends)) < ?", now - DAY)
    server.write(
        "INSERT INTO session (id, person, role, started, ends, names) VALUES (?, ?, ?, ?, ?, ?)",
        session_id({COOKIE: token}), person, role, now, now + 3600 * hours, "\n".join(names),
    )  # fmt: skip
    return token


def person_of(session: str) -> str | None:
    """Return the keyed hash of who signed in with an open login; None where there is none."""
    if not session:
        return None
    found = state.of_server().rows(
        "SELECT person FROM session WHERE id = ? AND ended IS NULL AND ends > ?", session, time.time()
    )
    return found[0]["person"] if found else None


def is_open(session: str) -> bool:
    """Return whether a login has begun here and not ended."""
    return person_of(session) is not None


_looked: TTLCache[str, bool] = TTLCache(4096, SECONDS_BETWEEN_LOOKS, timer=time.monotonic)
_looking = threading.Lock()


@cached(_looked, key=lambda session: session, lock=_looking)
def was_open(session: str) -> bool:
    """Return whether a login is open, or was a second ago.

    For a pass of a page, which asks a dozen times: the message that began it was let in by `is_open`. What ends here
    ends at once, what another process ends within that second.
    """
    return is_open(session)


def _look_again() -> None:
    with _looking:
        _looked.clear()


def end(session: str) -> None:
    """End a login: its cookies count for nothing from now on, wherever they were copied."""
    state.of_server().write("UPDATE session SET ended = ? WHERE id = ? AND ended IS NULL", time.time(), session)
    _look_again()


def end_all(person: str | None = None) -> int:
    """End all logins of a person, or of everyone; return how many were open."""
    now = time.time()
    ended = state.of_server().write(
        "UPDATE session SET ended = ? WHERE ended IS NULL AND ends > ? AND ifnull(? = person, TRUE)", now, now, person
    )
    _look_again()
    return ended


def open_logins() -> tuple[int, int]:
    """Return how many logins are open, and of how many persons."""
    found = state.of_server().rows(
        "SELECT count(*) AS logins, count(DISTINCT person) AS persons FROM session WHERE ended IS NULL AND ends > ?",
        time.time(),
    )
    return found[0]["logins"], found[0]["persons"]


def end_named(name: str) -> int:
    """End all logins of who has a name at the provider, whatever browsers they are in; return how many were open.

    Args:
        name: an e-mail address, a user name or a subject, in small or large letters.
    """
    if not name.strip():
        return 0
    found = state.of_server().rows("SELECT DISTINCT person FROM session WHERE instr(names, ?) > 0", _name_key(name))
    return sum(end_all(row["person"]) for row in found)
