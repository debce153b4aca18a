"""Who may see patients, and what a patient is called in links.

On the user's own computer everything is shown. On any other address patient-level pages and downloads need a login
(Streamlit's OpenID Connect) whose claims hold the role `patient`. Links carry keyed pseudonyms; the key lies outside
the store.
"""

from __future__ import annotations

import functools
import hmac
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

LOCAL = ("localhost", "127.0.0.1", "::1")
ROLE = "patient"
ROLE_CLAIMS = ("roles", "groups")
KEY_FILE = "BRAINWHY_LINK_KEY"  # environment variable: where the key of the pseudonyms lies
PSEUDONYM_DIGITS = 10


def is_local() -> bool:
    """Whether the server answers this computer only."""
    return st.get_option("server.address") in LOCAL


def may_see_patients() -> bool:
    """Whether this reader may see single patients."""
    if is_local():
        return True
    user = _user()
    return bool(user.get("is_logged_in")) and any(ROLE in (user.get(claim) or ()) for claim in ROLE_CLAIMS)


def _user() -> Mapping[str, Any]:
    """The claims of the login; empty where none is configured."""
    return st.user.to_dict()


def pseudonym(identifier: str) -> str:
    """What a subject or scan is called in links, reports and names of files; the same for every run."""
    return hmac.new(_key(), identifier.encode(), "sha256").hexdigest()[:PSEUDONYM_DIGITS]


@functools.cache
def _key() -> bytes:
    """The key of the pseudonyms, made when it is first needed, readable by its owner only.

    Where it cannot be written, links to patients end with the server.
    """
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    place = Path(os.environ.get(KEY_FILE) or home / "brainwhy" / "link.key")
    key = secrets.token_bytes(32)
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
    except FileExistsError:
        return place.read_bytes() or key
    except OSError:
        pass
    return key
