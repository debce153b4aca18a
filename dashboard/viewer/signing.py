"""Addresses of volumes that only this server can have made, and that end after a few minutes."""

from __future__ import annotations

import hmac
import secrets
import time

KEY = secrets.token_bytes(32)  # of this server process: addresses end with it
LIFETIME = 600  # seconds, counted from the full minute, so that the address stays the same for a minute
SIGNATURE_DIGITS = 32


def signed(token: str, now: float | None = None) -> str:
    """The token with the query that vouches for it: token?expires=...&signature=..."""
    seconds = time.time() if now is None else now
    expires = int(seconds) // 60 * 60 + LIFETIME
    return f"{token}?expires={expires}&signature={_signature(token, expires)}"


def is_valid(token: str, expires: str, signature: str, now: float | None = None) -> bool:
    """Whether this server signed the token and its time is not over."""
    if not (expires.isascii() and expires.isdigit() and len(expires) <= 12 and signature.isascii()):
        return False
    in_time = (time.time() if now is None else now) < int(expires)
    return hmac.compare_digest(signature, _signature(token, int(expires))) and in_time


def _signature(token: str, expires: int) -> str:
    return hmac.new(KEY, f"{token}/{expires}".encode(), "sha256").hexdigest()[:SIGNATURE_DIGITS]
