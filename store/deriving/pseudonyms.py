"""Keyed pseudonyms of subjects, scans and sites, and visits as months since baseline."""

from __future__ import annotations

import hmac
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pandas as pd

from store.errors import NotWritableError, SpecViolationError

DIGITS, KEY_BYTES = 12, 32
DAYS_A_MONTH = 30.4375
_DATE = re.compile(r"(?<!\d)((?:19|20)\d\d)[-_/.]?(0[1-9]|1[0-2])[-_/.]?(0[1-9]|[12]\d|3[01])(?!\d)")
# What visits are usually called: nothing of it is a date or a name.
_VISIT = re.compile(
    r"(ses[-_ ]?)?(bl|sc|scmri|baseline|screening|month[-_ ]?\d{1,3}|[mvyd]\d{1,4}|visit[-_ ]?\d{1,3}|\d{1,3})", re.I
)


@dataclass
class Pseudonyms:
    """What the persons, scans and sites of a run are called in a store for others; the same key, the same names."""

    key: bytes
    _given: dict[tuple[str, str], str] = field(default_factory=dict)
    _words: tuple[int, re.Pattern[str]] | None = None

    @classmethod
    def kept(cls, place: Path, out: Path) -> Pseudonyms:
        """Read the key of a file, which is made where there is none, readable by its owner only.

        Raises:
            NotWritableError: the file lies in the store, others may read it, or it cannot be used.
        """
        if out.absolute() in (place.absolute(), *place.absolute().parents):
            raise NotWritableError(f"the key {place} would lie in the store that is given away: name another --key")
        try:
            with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_hex(KEY_BYTES).encode() + b"\n")
        except FileExistsError:
            if place.stat().st_mode & 0o077:
                raise NotWritableError(
                    f"others may read the key {place}: chmod 600 it, or name another --key"
                ) from None
        except OSError as error:
            raise NotWritableError(
                f"the key {place} cannot be written ({error.strerror}): name another --key"
            ) from None
        found = place.read_bytes().strip()
        if len(found) < KEY_BYTES:
            raise NotWritableError(f"the key {place} is shorter than {KEY_BYTES} letters: name another --key")
        return cls(found)

    def of(self, kind: str, name: str) -> str:
        """Return the pseudonym of a name: "sub-3f2a...".

        Args:
            kind: sub, scan or site; it begins the pseudonym.
        """
        if (kind, name) not in self._given:
            digest = hmac.new(self.key, f"{kind}\n{name}".encode(), "sha256").hexdigest()[:DIGITS]
            if f"{kind}-{digest}" in self._given.values():
                raise SpecViolationError("two names have the same pseudonym: use another --key")
            self._given[kind, name] = f"{kind}-{digest}"
        return self._given[kind, name]

    def hash_of(self, text: str) -> str:
        """Return what stands for a fingerprint of a file."""
        return hmac.new(self.key, f"file\n{text}".encode(), "sha256").hexdigest()

    def column(self, kind: str, values: pd.Series) -> pd.Series:
        """Return a column of names as pseudonyms; missing and empty ones stay."""
        names = {str(name): self.of(kind, str(name)) for name in values.dropna().unique() if str(name).strip()}
        return values.map(lambda name: names.get(str(name), name) if pd.notna(name) else name)

    def inside(self, text: str) -> str:
        """Return a text with pseudonyms in the place of every name that has one."""
        names: dict[str, str] = {}
        for (_, name), given in self._given.items():
            names.setdefault(name, given)
        if self._words is None or self._words[0] != len(names):
            ordered = sorted((n for n in names if len(n) > 1), key=len, reverse=True)
            words = "|".join(map(re.escape, ordered)) or "(?!)"
            self._words = len(names), re.compile(f"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])")
        return self._words[1].sub(lambda found: names[found[0]], text)


def date_in(text: str) -> date | None:
    """Return the date that stands in the name of a visit, such as 2019-03-04 or ses-20190304."""
    found = _DATE.search(text)
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


def visits(scans: pd.DataFrame) -> Mapping[tuple[str, str], str]:
    """Return (subject, session) -> the visit: months since the subject's first date, or its name where it has none.

    A name that could be a date or a person's is a number: visit-1, visit-2 in the order of the table.

    Args:
        scans: the scans table.
    """
    found: dict[tuple[str, str], str] = {}
    for subject, part in scans.groupby("subject", sort=False):
        sessions = list(dict.fromkeys(str(s) for s in part["session"].dropna() if str(s).strip()))
        dates = {session: known for session in sessions if (known := date_in(session)) is not None}
        first = min(dates.values(), default=None)
        for place, session in enumerate(sessions, 1):
            if session in dates and first is not None:
                months = round((dates[session] - first).days / DAYS_A_MONTH)
                found[str(subject), session] = f"month-{months}"
            else:
                found[str(subject), session] = session if _VISIT.fullmatch(session) else f"visit-{place}"
    return found
