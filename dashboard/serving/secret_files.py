"""Secrets of the person who runs the dashboard, in files that only they can read."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

BYTES = 32


class SecretFileError(Exception):
    """The error of a secret's file that cannot be used; says which and what to do, never what it holds."""


def folder() -> Path:
    """Return the folder where secrets lie unless said otherwise: ~/.config/brainwhy."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "brainwhy"


def kept(place: Path) -> bytes:
    """Return the secret of a file, made when it is first needed, readable by its owner only.

    Where it cannot be written, the secret ends with the server.

    Raises:
        SecretFileError: the file is there and cannot be read, or is empty.
    """
    made = secrets.token_bytes(BYTES)
    try:
        if place.parent == folder():
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(place, made)
    except FileExistsError:
        return _read(place)
    except OSError:
        pass
    return made


def _write(place: Path, secret: bytes) -> None:
    """Make the file of a secret, whole from the first moment on: several processes may start at once.

    Raises:
        FileExistsError: it is there.
        OSError: it cannot be written.
    """
    if place.exists():
        raise FileExistsError(place)
    new = place.with_name(f".{place.name}-{secrets.token_hex(8)}")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secret)
    try:
        os.link(new, place)  # fails where the file is there, unlike a rename
    finally:
        new.unlink()


def _read(place: Path) -> bytes:
    try:
        found = place.read_bytes()
    except OSError as error:
        raise SecretFileError(f"the key file {place} cannot be read: {error.strerror}") from None
    if not found:
        raise SecretFileError(f"the key file {place} is empty: remove it, and a new key is made")
    return found
