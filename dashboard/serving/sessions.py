"""The logins of a server for others: only those that it began, until they end, whatever cookie a browser shows.

Streamlit's cookie alone cannot be taken back. So each login is written down when it begins, and a cookie counts while
its login is open. Who signed in is written as a keyed hash, the cookie as a hash.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Mapping
from typing import Any

from dashboard.serving import secret_files, state

LOGIN_COOKIE = re.compile(r"_streamlit_user(_+\d+)?")  # and its continuations
KEY_FILE = "session.key"
DAY = 24 * 3600


def session_id(cookies: Mapping[str, str]) -> str:
    """Return which login the cookies of a browser are of; "" for none."""
    login = sorted((name, value) for name, value in cookies.items() if LOGIN_COOKIE.fullmatch(name))
    return hashlib.sha256(repr(login).encode()).hexdigest() if login else ""


def person_key(claims: Mapping[str, Any]) -> str:
    """Return a keyed hash of who signed in: who asks, and what they are called there."""
    key = secret_files.kept(state.place().parent / KEY_FILE)
    return hmac.new(key, f"{claims.get('iss')}\n{claims.get('sub')}".encode(), "sha256").hexdigest()[:16]


def begin(session: str, person: str, role: str, hours: float) -> None:
    """Write down a login that begins now, and forget those that ended a day ago."""
    now, server = time.time(), state.of_server()
    server.write("DELETE FROM session WHERE min(ends, ifnull(ended, ends)) < ?", now - DAY)
    server.write(
        "INSERT OR REPLACE INTO session (id, person, role, started, ends) VALUES (?, ?, ?, ?, ?)",
        session, person, role, now, now + 3600 * hours,
    )  # fmt: skip


def role_of(session: str) -> str | None:
    """Return the role at login of an open login; None where there is none."""
    if not session:
        return None
    found = state.of_server().rows(
        "SELECT role FROM session WHERE id = ? AND ended IS NULL AND ends > ?", session, time.time()
    )
    return found[0]["role"] if found else None


def is_open(session: str) -> bool:
    """Return whether a login has begun here and not ended."""
    return role_of(session) is not None


def end(session: str) -> None:
    """End a login: its cookie counts for nothing from now on, wherever it was copied."""
    state.of_server().write("UPDATE session SET ended = ? WHERE id = ? AND ended IS NULL", time.time(), session)


def end_all(person: str | None = None) -> int:
    """End all logins of a person, or of everyone; return how many were open."""
    now = time.time()
    return state.of_server().write(
        "UPDATE session SET ended = ? WHERE ended IS NULL AND ends > ? AND ifnull(? = person, TRUE)", now, now, person
    )
