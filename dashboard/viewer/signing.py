"""Addresses of volumes that only this server can have made, for one reader, and that end after a few minutes."""

from __future__ import annotations

import functools
import hmac
import secrets
import time
from pathlib import Path

from dashboard.serving import hosting, secret_files, state

# By hmac, not itsdangerous: there the last letter of a signature has bits that count for nothing, and a time stamp that
# changes every second, so that the browser would fetch a volume again that it has.
OF_PROCESS = secrets.token_bytes(32)  # the local way: addresses end with the server
KEY_FILE = "volumes.key"
LIFETIME = 600  # seconds, counted from the full minute, so that the address stays the same for a minute
SIGNATURE_DIGITS = 32


def key() -> bytes:
    """Return the key of addresses: on a server for others one for all its processes, in a file beside its state."""
    return OF_PROCESS if hosting.current() is None else _kept(state.place().parent / KEY_FILE)


@functools.lru_cache(4)
def _kept(place: Path) -> bytes:
    return secret_files.kept(place)


def signed(token: str, reader: str, now: float | None = None) -> str:
    """Return the token with the query that vouches for it: token?expires=...&signature=...

    `reader`: see `access.reader`.
    """
    seconds = time.time() if now is None else now
    expires = int(seconds) // 60 * 60 + LIFETIME
    return f"{token}?expires={expires}&signature={_signature(token, expires, reader)}"


def is_valid(token: str, expires: str, signature: str, reader: str, now: float | None = None) -> bool:
    """Return whether this server signed the token for this reader and its time is not over."""
    if not (reader and expires.isascii() and expires.isdigit() and len(expires) <= 12 and signature.isascii()):
        return False
    in_time = (time.time() if now is None else now) < int(expires)
    return hmac.compare_digest(signature, _signature(token, int(expires), reader)) and in_time


def _signature(token: str, expires: int, reader: str) -> str:
    return hmac.new(key(), f"{token}/{expires}/{reader}".encode(), "sha256").hexdigest()[:SIGNATURE_DIGITS]
