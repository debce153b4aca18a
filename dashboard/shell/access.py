"""Who may see what, and what a patient is called in links.

A reader holds one role on each run: "none" (a page to sign in), "group" (results of groups as they were published),
"patient" (single persons too) or "admin" (links for others too). On the local way the person at this computer holds all
(`locality`); on a server for others (`python -m dashboard serve`) roles come from the claims of a login. Links carry
keyed pseudonyms; the key lies outside the store.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from dashboard.links.signed import SignedLink
from dashboard.serving import hosting, roles, secret_files, sessions
from dashboard.serving.roles import ADMIN, GROUP, NONE, PATIENT
from dashboard.serving.secret_files import SecretFileError
from dashboard.shell import locality, shared
from store.small_groups import FEWEST

LOGIN_COOKIES = "_streamlit_user"  # and its continuations
KEY_FILE = "BRAINWHY_LINK_KEY_FILE"  # environment variable: where the key of the pseudonyms lies
OLD_KEY_FILE = "BRAINWHY_LINK_KEY"  # the same, as it was called before
PSEUDONYM_DIGITS = 10
PSEUDONYMS_KEPT = 8192  # a pass asks for those of all persons of a list
ANYONE = "anyone"  # for whom an address is that every reader may use, signed in or not
ANY_RUN = "*"  # no name of a run: of the patterns of a grant, those for every run alone fit it
ONLY_FOR_ROLE = "for readers who may see single patients"
NOT_IN_RUN = "not in this run, which holds results of groups alone"
GROUPS_ONLY = "_groups_only"  # in the session: the run of the page holds no single persons, for nobody
RUNS_OF_PAGE = "_runs_of_page"  # in the session: the identifiers of all runs that the page shows
NAMES = ("name", "preferred_username", "email", "sub")  # claims that may say what a person is called


@dataclass(frozen=True)
class Person:
    """Who is signed in. `key` is a keyed hash that stands for the person in files."""

    name: str
    key: str


def is_hosted() -> bool:
    """Return whether this is a server for others: nobody on it is the person at this computer."""
    return hosting.current() is not None


def is_local() -> bool:
    """Return whether the reader of this session is the person at this computer."""
    return not is_hosted() and locality.is_local(st.context.headers, st.context.cookies)


def set_groups_only(groups_only: bool) -> None:
    """Say whether the run of a page holds results of groups alone; home.py calls this before a view runs."""
    st.session_state[GROUPS_ONLY] = groups_only


def has_groups_only() -> bool:
    """Return whether the run of this page holds results of groups alone, so that nobody is shown single persons."""
    return bool(st.session_state.get(GROUPS_ONLY))


def only_for_whom() -> str:
    """Say why something is not shown, after "is" or "are": no role, or a run without single persons."""
    return NOT_IN_RUN if has_groups_only() else ONLY_FOR_ROLE


def fewest() -> int:
    """Return the subjects of a group, and of a count, that readers without the role are shown at least."""
    settings = hosting.current()
    return settings.fewest if settings else FEWEST


def few() -> str:
    """Write what stands in the place of a number that is below that."""
    return f"fewer than {fewest()}"


def role(run: str | None = None) -> str:
    """Return the role of this reader: "none", "group", "patient" or "admin"; each may what those before it may.

    Args:
        run: the identifier of a run. Without it, the role on the runs that the page shows, the lowest of them; before a
            page has said which (`show_runs`), the highest on any run.
    """
    if run is not None:
        return _role_on(run)
    shown: Sequence[str] = st.session_state.get(RUNS_OF_PAGE, ())
    return roles.lowest(map(_role_on, shown)) if shown else _role_on(None)


def _role_on(run: str | None) -> str:
    if is_local():
        return ADMIN
    settings = hosting.current()
    if settings is None:  # the local way, for somebody else
        return roles.Roles().role(_user(), GROUP, run)
    if link := shared_link():
        return link.role if run in (None, link.run) else NONE
    return settings.roles.role(_user(), settings.public, run)


def shared_link() -> SignedLink | None:
    """Return the signed link that this reader has opened, which binds them; None for those who are signed in."""
    if not is_hosted() or _user().get("is_logged_in") is True:
        return None
    return shared.of_cookies(st.context.cookies)


def ended_link() -> str:
    """Say why the signed link that this reader has opened does not open any more; "" where it does, or for none."""
    if not is_hosted() or _user().get("is_logged_in") is True:
        return ""
    return shared.refusal(st.context.cookies)


def may_see_patients(run: str | None = None) -> bool:
    """Return whether this reader is shown single patients of a run; without it, of all runs that the page shows."""
    return not (run is None and has_groups_only()) and roles.at_least(role(run), PATIENT)


def may_see_run(run: str) -> bool:
    """Return whether this reader may see anything of a run."""
    return role(run) != NONE


def may_administer() -> bool:
    """Return whether this reader may make links for others, on the runs that the page shows."""
    return roles.at_least(role(), ADMIN)


def may_administer_server() -> bool:
    """Return whether this reader is an admin of every run, those to come too, and so of what concerns all readers."""
    return is_hosted() and person() is not None and roles.at_least(_role_on(ANY_RUN), ADMIN)


def show_runs(runs: Sequence[str]) -> None:
    """Say which runs a page shows; the role of its reader is then the lowest on these."""
    st.session_state[RUNS_OF_PAGE] = tuple(runs)


def person() -> Person | None:
    """Return who is signed in; None for nobody."""
    claims = _user()
    if claims.get("is_logged_in") is not True:
        return None
    name = next((str(claims[claim]) for claim in NAMES if claims.get(claim)), "signed in")
    return Person(name, sessions.person_key(claims))


def reader(headers: Mapping[str, str], cookies: Mapping[str, str]) -> str:
    """Return for whom the address of a volume is: "local" for the person at this computer, a hash of the login of a
    browser, the signed link that it has opened, or "" for nobody.
    """
    if is_hosted():
        login = sessions.session_id(cookies)
        if sessions.is_open(login):
            return login
        link = shared.of_cookies(cookies)
        return f"link {link.id}" if link else ""
    if locality.is_local(headers, cookies):
        return "local"
    login = sorted((name, value) for name, value in cookies.items() if name.startswith(LOGIN_COOKIES))
    return hashlib.sha256(repr(login).encode()).hexdigest() if login else ""


def _user() -> Mapping[str, Any]:
    """Return the claims of the login; empty where none is configured, and where the login of this session has ended."""
    claims = st.user.to_dict()
    if claims.get("is_logged_in") and is_hosted() and not sessions.was_open(sessions.session_id(st.context.cookies)):
        return {}
    return claims


def pseudonym(identifier: str) -> str:
    """Return what a subject or scan is called in links, reports and names of files; the same for every run."""
    return _pseudonym(_key(), identifier)


@functools.lru_cache(PSEUDONYMS_KEPT)
def _pseudonym(key: bytes, identifier: str) -> str:
    return hmac.new(key, identifier.encode(), "sha256").hexdigest()[:PSEUDONYM_DIGITS]


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
