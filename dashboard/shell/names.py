"""What persons, visits and sites are called on a page: as the store has it, or by pseudonyms.

Members and the person at this computer read the names of the store. Who has opened a signed link reads keyed
pseudonyms, and visits in months since the first one: a link is for somebody whom the agreement covers, and needs no
names. Rows keep their true names inside the server, where heatmaps are found by them; what is drawn or written goes
through here first.
"""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from dashboard.shell import access
from store.deriving.pseudonyms import visits

CALLED = ("subject", "scan", "site")  # columns whose values may name persons or places


def are_shown() -> bool:
    """Return whether this reader reads the names of the store."""
    return access.shared_link() is None


def shown_name(identifier: str) -> str:
    """Return what a subject, scan or site is called on the page of this reader."""
    return identifier if are_shown() else access.pseudonym(identifier)


def shown_names(identifiers: Collection[str]) -> dict[str, str]:
    """Return what each of many subjects, scans or sites is called on the page of this reader."""
    return {one: one for one in identifiers} if are_shown() else {one: access.pseudonym(one) for one in identifiers}


def shown(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a table as this reader may read it: subjects, scans and sites by pseudonym, visits without dates.

    Args:
        rows: any table; of its columns only subject, scan, site and session are changed, where it has them.
    """
    if are_shown():
        return rows
    changed = {
        name: rows[name].map(lambda value: access.pseudonym(value) if isinstance(value, str) and value else value)
        for name in CALLED
        if name in rows
    }
    if "session" in rows and "subject" in rows:
        known = visits(rows)
        changed["session"] = pd.Series(
            [known.get((str(s), str(v)), "") for s, v in zip(rows["subject"], rows["session"], strict=True)],
            index=rows.index, dtype=object,
        )  # fmt: skip
    return rows.assign(**changed)
