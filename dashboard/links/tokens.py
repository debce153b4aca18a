"""What stands in the address of a link: random identifiers, and signatures that only this server can have made.

Everything has a fixed length, and every letter of it counts: 18 bytes are 24 letters of Base64 without a rest.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import secrets

BYTES = 18  # 144 bit
LETTERS = 24
_PART = re.compile(rf"[A-Za-z0-9_-]{{{LETTERS}}}", re.ASCII)


def new_identifier() -> str:
    """Return 24 random letters, which nobody can guess."""
    return _text(secrets.token_bytes(BYTES))


def signature(key: bytes, purpose: str, *parts: str) -> str:
    """Return 24 letters that vouch for texts; of another purpose or split otherwise, the same texts have others."""
    message = json.dumps([purpose, *parts], ensure_ascii=True).encode()
    return _text(hmac.digest(key, message, "sha256")[:BYTES])


def is_signed(given: str, key: bytes, purpose: str, *parts: str) -> bool:
    """Return whether a signature is that of the texts; takes as long for a wrong one as for the right one."""
    return is_identifier(given) and hmac.compare_digest(given, signature(key, purpose, *parts))


def is_identifier(text: str) -> bool:
    """Return whether a text looks like an identifier or a signature, before anything is asked about it."""
    return _PART.fullmatch(text) is not None


def split(token: str) -> tuple[str, str] | None:
    """Return the identifier and the signature of a token; None where it is no token at all."""
    parts = token[:LETTERS], token[LETTERS : 2 * LETTERS + 1]  # one letter more, so that a longer text is refused
    return parts if all(map(is_identifier, parts)) and len(token) == 2 * LETTERS else None


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode()
