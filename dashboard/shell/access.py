"""Who may see patients, and what a patient is called in links.

The person at this computer sees everything (`locality`). For everyone else patient-level pages and downloads need a
login (Streamlit's OpenID Connect) whose claims hold the role `patient`. Links carry keyed pseudonyms; the key lies
outside the store.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.shell import locality, secret_files
from dashboard.shell.secret_files import SecretFileError

ROLE = "patient"
ROLE_CLAIMS = ("roles", "groups")
LOGIN_COOKIES = "_streamlit_user"  # and its continuations
KEY_FILE = "BRAINWHY_LINK_KEY_FILE"  # environment variable: where the key of the pseudonyms lies
OLD_KEY_FILE = "BRAINWHY_LINK_KEY"  # the same, as it was called before
PSEUDONYM_DIGITS = 10
ANYONE = "anyone"  # for whom an address is that every reader may use, signed in or not
FEWEST = 10  # subjects of a group, and of a count, that readers without the role are shown
FEW = f"fewer than {FEWEST}"
ONLY_FOR_ROLE = "for readers who may see single patients"
NOT_IN_RUN = "not in this run, which holds results of groups alone"
GROUPS_ONLY = "_groups_only"  # in the session: the run of the page holds no single persons, for nobody


def is_local() -> bool:
    """Return whether the reader of this session is the person at this computer."""
    return locality.is_local(st.context.headers, st.context.cookies)


def set_groups_only(groups_only: bool) -> None:
    """Say whether the run of a page holds results of groups alone; home.py calls this before a view runs."""
    st.session_state[GROUPS_ONLY] = groups_only


def has_groups_only() -> bool:
    """Return whether the run of this page holds results of groups alone, so that nobody is shown single persons."""
    return bool(st.session_state.get(GROUPS_ONLY))


def only_for_whom() -> str:
    """Say why something is not shown, after "is" or "are": no role, or a run without single persons."""
    return NOT_IN_RUN if has_groups_only() else ONLY_FOR_ROLE


def may_see_patients() -> bool:
    """Return whether this reader is shown single patients."""
    return not has_groups_only() and (is_local() or has_role(_user()))


def has_role(user: Mapping[str, Any]) -> bool:
    """Return whether the claims of a login hold the role: `roles` or `groups` is a list with that whole word."""
    held = [user.get(claim) for claim in ROLE_CLAIMS]
    return user.get("is_logged_in") is True and any(isinstance(c, list | tuple | set) and ROLE in c for c in held)


def reader(headers: Mapping[str, str], cookies: Mapping[str, str]) -> str:
    """Return for whom the address of a volume is: "local" for the person at this computer, a hash of the login of a
    browser,
    or "" for nobody.
    """
    if locality.is_local(headers, cookies):
        return "local"
    login = sorted((name, value) for name, value in cookies.items() if name.startswith(LOGIN_COOKIES))
    return hashlib.sha256(repr(login).encode()).hexdigest() if login else ""


def _user() -> Mapping[str, Any]:
    """Return the claims of the login; empty where none is configured."""
    return st.user.to_dict()


def pseudonym(identifier: str) -> str:
    """Return what a subject or scan is called in links, reports and names of files; the same for every run."""
    return hmac.new(_key(), identifier.encode(), "sha256").hexdigest()[:PSEUDONYM_DIGITS]


@functools.cache
def _key() -> bytes:
    return secret_files.kept(_key_place())


def check_key() -> None:
    """Raise SecretFileError where the file that was named for the key cannot be meant."""
    _key_place()


def _key_place() -> Path:
    """Return the path of the key file.

    A name of a file that is not there is taken for a secret unless it is a whole path in a folder that is: a secret
    must not become the name of a file, nor be written into a log.
    """
    for variable in (KEY_FILE, OLD_KEY_FILE):
        if value := os.environ.get(variable):
            place = Path(value).expanduser()
            if not (place.is_file() or _is_whole_path(place)):
                raise SecretFileError(
                    f"{variable} is to name the file with the key of links, and there is no such file: write its "
                    f"whole path, in a folder that exists, as {KEY_FILE}; the key itself belongs into the file"
                )
            return place
    return secret_files.folder() / "link.key"


def _is_whole_path(place: Path) -> bool:
    return place.is_absolute() and len(place.parts) > 2 and place.parent.is_dir() and not place.is_dir()
