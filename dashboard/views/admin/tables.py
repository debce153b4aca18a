"""Signed links and the audit as tables for people."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dashboard.links import words
from dashboard.links.signed import SignedLink
from dashboard.links.tables import Event
from dashboard.serving.roles import PATIENT

NEVER = "never"


def links(found: Sequence[SignedLink], titles: dict[str, str], now: float) -> pd.DataFrame:
    """Return a row for each link: for whom, what it shows, whether it opens, and how often it was opened."""
    return pd.DataFrame({
        "Link": [link.label for link in found],
        "For": [link.note for link in found],
        "View": [titles.get(link.page, link.page) for link in found],
        "Run": [link.run for link in found],
        "Shows": ["single patients" if link.role == PATIENT else "groups" for link in found],
        "Opens": [opens(link, now) for link in found],
        "Password": ["yes" if link.password else "no" for link in found],
        "Opened": [f"{link.opened} ×" for link in found],
        "Last opened": [words.minute(link.opened_last) if link.opened_last else NEVER for link in found],
        "Made": [words.minute(link.made_at) for link in found],
        "By": [link.made_by for link in found],
        "Revoked by": [link.revoked_by or "" for link in found],
    })  # fmt: skip


def opens(link: SignedLink, now: float) -> str:
    """Say until when a link opens, or since when it does not."""
    standing = link.standing(now)
    return words.until(link.ends_at, now) if standing == "open" else standing


def audit(found: Sequence[Event], titles: dict[str, str]) -> pd.DataFrame:
    """Return a row for each line of the audit."""
    return pd.DataFrame({
        "When (UTC)": [words.minute(event.at) for event in found],
        "Who": [event.who for event in found],
        "Did": [event.what for event in found],
        "Link": [event.link for event in found],
        "View": [titles.get(event.page, event.page) for event in found],
        "Run": [event.run for event in found],
    })  # fmt: skip
