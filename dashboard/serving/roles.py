"""Which role the claims of a login give, and for which runs: one TOML file, docs/access.md says how to write it."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

NONE, GROUP, PATIENT, ADMIN = "none", "group", "patient", "admin"
ROLES = (NONE, GROUP, PATIENT, ADMIN)  # each may what those before it may
PUBLIC = (NONE, GROUP)  # what readers without a role may be given
CLAIMS = ("roles", "groups")  # where roles stand when no file says otherwise
EVERY_RUN = ("*",)


class RolesFileError(Exception):
    """The error of a file of roles; says which file and entry, and the mend."""


@dataclass(frozen=True)
class Grant:
    """One rule: who has one of `values` in a claim holds `role` on the runs that one of the patterns fits.

    Attributes:
        claim: its name in the login; a dot leads into an object, as in "realm_access.roles".
        only_lists: the claim must be a list; a text that equals a value gives nothing.
    """

    role: str
    claim: str
    values: tuple[str, ...]
    runs: tuple[str, ...] = EVERY_RUN
    only_lists: bool = False

    def fits(self, claims: Mapping[str, Any]) -> bool:
        """Return whether a login has one of the values, as a whole word of a list or as the whole text."""
        if self.claim == "email" and claims.get("email_verified") is False:
            return False  # anyone can write another's address into such a claim
        found = _claim(claims, self.claim)
        if isinstance(found, str):
            return not self.only_lists and found in self.values
        return isinstance(found, list | tuple | set) and any(isinstance(v, str) and v in self.values for v in found)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


DEFAULT = tuple(Grant(role, claim, (role,), only_lists=True) for role in (GROUP, PATIENT, ADMIN) for claim in CLAIMS)


@dataclass(frozen=True)
class Roles:
    """Who holds which role.

    Attributes:
        public: what the file says of readers without a role: "group" or "none"; None where it says nothing.
        public_runs: the runs whose results of groups such readers see.
    """

    grants: tuple[Grant, ...] = DEFAULT
    public: str | None = None
    public_runs: tuple[str, ...] = EVERY_RUN

    def role(self, claims: Mapping[str, Any], public: str, run: str | None = None) -> str:
        """Return the highest role of a reader on a run, or on any run where none is named.

        Args:
            claims: of the login; empty for readers who are not signed in.
            public: what everyone holds on the public runs.
        """
        open_to_all = run is None or is_named(run, self.public_runs)
        held = [public if open_to_all else NONE]
        if claims.get("is_logged_in") is True:
            held += [
                grant.role for grant in self.grants if grant.fits(claims) and (run is None or is_named(run, grant.runs))
            ]
        return highest(held)


def highest(held: Iterable[str]) -> str:
    """Return the highest of several roles; "none" of none."""
    return max(held, key=ROLES.index, default=NONE)


def lowest(held: Iterable[str]) -> str:
    """Return the lowest of several roles; "none" of none."""
    return min(held, key=ROLES.index, default=NONE)


def at_least(role: str, wanted: str) -> bool:
    """Return whether a role may what another one may."""
    return ROLES.index(role) >= ROLES.index(wanted)


def is_named(run: str, patterns: Iterable[str]) -> bool:
    """Return whether one of the patterns fits a run: its identifier (`demo-1e1dd3c4`) or its name (`demo`)."""
    names = (run, run.rpartition("-")[0])
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names if name)


def read_roles(place: Path) -> Roles:
    """Read a file of roles.

    Raises:
        RolesFileError: it cannot be read, or says something that is not understood.
    """
    try:
        found = tomllib.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise RolesFileError(f"the file of roles {place} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RolesFileError(f"the file of roles {place} is not TOML: {error}") from None
    _only(place, "it", found, ("public", "public_runs", "grant"))
    public = found.get("public")
    if public is not None and public not in PUBLIC:
        raise RolesFileError(f'{place}: public is {public!r}: write "group" or "none"')
    tables = found.get("grant", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise RolesFileError(f"{place}: write each grant as a table that begins with [[grant]]")
    grants = tuple(_grant(place, number, table) for number, table in enumerate(tables, 1))
    return Roles(grants, public, _texts(place, "public_runs", found.get("public_runs", list(EVERY_RUN))))


def _grant(place: Path, number: int, table: Mapping[str, Any]) -> Grant:
    where = f"grant {number}"
    _only(place, where, table, ("role", "claim", "values", "runs"))
    role, claim = table.get("role"), table.get("claim")
    if role not in ROLES[1:]:
        raise RolesFileError(f'{place}: the role of {where} is {role!r}: write "group", "patient" or "admin"')
    if not isinstance(claim, str) or not claim:
        raise RolesFileError(f'{place}: {where} needs claim, the name of a claim of the login, as in claim = "groups"')
    values = _texts(place, f"values of {where}", table.get("values"))
    return Grant(role, claim, values, _texts(place, f"runs of {where}", table.get("runs", list(EVERY_RUN))))


def _texts(place: Path, what: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(v, str) and v for v in value):
        raise RolesFileError(
            f'{place}: {what} must be a list of texts with at least one entry, as in ["memory-clinic"]'
        )
    return tuple(value)


def _only(place: Path, where: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
    strange = sorted(set(table) - set(known))
    if strange:
        raise RolesFileError(f"{place}: {where} has {strange[0]}, which is not known: use {', '.join(known)}")
