"""Choosing among thousands of people: a search finds some, and only those are sent to the browser."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data.runs import Run
from dashboard.data.selection import explained_scans
from dashboard.shell import access, bound_link, names

MOST_OFFERED = 200  # names in a list; 10 000 take 0.5 MB in every pass and a second to draw


@functools.lru_cache(maxsize=8)
def by_pseudonym(run: Run, model_set: str) -> dict[str, str]:
    """Return pseudonym -> subject of everyone whom a model set explains. Shared: never change it."""
    return {access.pseudonym(subject): subject for subject in explained_scans(run, model_set).subject.unique()}


def offered(key: str, subjects: Sequence[str], chosen: Iterable[str], place: DeltaGenerator | None = None) -> list[str]:
    """Return the subjects to choose among: all where they are few, else the chosen and those that a search finds.

    Args:
        key: of the list; the search has its own.
        chosen: stay in the list whatever is searched.
        place: where the field of the search stands.
    """
    if len(subjects) <= MOST_OFFERED or bound_link.is_bound(key):
        return list(subjects)
    target = place if place is not None else st
    said = target.text_input(
        f"Find among {len(subjects):,} subjects", key=f"{key}-find", placeholder="part of an identifier, then Enter",
        help=f"The list below holds at most {MOST_OFFERED} subjects: the first, or those whose identifier has this "
        "part in it.",
    )  # fmt: skip
    wanted = said.strip().casefold()
    found = [one for one in subjects if wanted in names.shown_name(one).casefold()] if wanted else list(subjects)
    target.caption(_words(len(found), wanted))
    kept = dict.fromkeys(subject for subject in chosen if subject is not None)
    return list(kept | dict.fromkeys(found[: MOST_OFFERED - min(len(kept), MOST_OFFERED - 1)]))


def _words(found: int, wanted: str) -> str:
    """Say how many are found, and that a list holds only some of them."""
    some = f", the first {MOST_OFFERED} are in the list" if found > MOST_OFFERED else ""
    if not wanted:
        return f"The first {MOST_OFFERED} are in the list."
    return f"{found:,} found{some}." if found else "None found: the identifier is written otherwise, or filtered out."
