"""Passwords of links: kept as scrypt, and tried only a few times."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading

from dashboard.links.tables import LinkError, LinkRefusedError
from dashboard.serving.state import State

SHORTEST, LONGEST = 8, 200
WRONG, TOO_MANY = 403, 429  # HTTP
TRIES, WITHIN = 5, 15 * 60  # wrong passwords of one link, and seconds
# 32 MiB and about 0.1 s a try. Source: RFC 7914; OWASP, Password Storage Cheat Sheet.
COST = 1 << 15
_BLOCK, _SALT_BYTES = 8, 16
_AT_ONCE = threading.Semaphore(2)  # so that many tries of many links do not fill the memory


def kept(password: str) -> str:
    """Return what is kept of a password, as cost$salt$hash; "" for none.

    Raises:
        LinkError: it is too short or too long.
    """
    if not password:
        return ""
    if not SHORTEST <= len(password) <= LONGEST:
        raise LinkError(f"A password has {SHORTEST} to {LONGEST} characters, or leave it empty.")
    salt = secrets.token_bytes(_SALT_BYTES)
    return f"{COST}${salt.hex()}${_hashed(password, salt, COST).hex()}"


def check(state: State, link: str, kept_text: str, password: str, now: float) -> None:
    """Compare a password with what is kept of it; a try counts before its answer is known.

    Raises:
        LinkRefusedError: it is wrong, or there were too many wrong ones.
    """
    if not kept_text:
        return
    with state.transaction() as database:
        database.execute("DELETE FROM link_try WHERE at <= ?", (now - WITHIN,))
        tries = [at for (at,) in database.execute("SELECT at FROM link_try WHERE link = ? ORDER BY at", (link,))]
        if len(tries) < TRIES:
            database.execute("INSERT INTO link_try VALUES (?, ?)", (link, now))
    if len(tries) >= TRIES:
        minutes = max(1, -(-int(tries[-TRIES] + WITHIN - now) // 60))
        unit = "minute" if minutes == 1 else "minutes"
        raise LinkRefusedError(f"Too many wrong passwords: try again in {minutes} {unit}.", TOO_MANY)
    cost, salt, expected = kept_text.split("$")
    given = _hashed(password[: LONGEST + 1], bytes.fromhex(salt), int(cost))
    if not hmac.compare_digest(given, bytes.fromhex(expected)):
        raise LinkRefusedError("This password is wrong.", WRONG)
    state.write("DELETE FROM link_try WHERE link = ?", link)


def _hashed(password: str, salt: bytes, cost: int) -> bytes:
    with _AT_ONCE:
        return hashlib.scrypt(
            password.encode("utf-8", "surrogatepass"), salt=salt, n=cost, r=_BLOCK, p=1, maxmem=256 * _BLOCK * cost
        )
