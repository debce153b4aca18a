"""What readers who may not see single patients are shown of a run: its groups as they were published, and never of so
few subjects that one of them could be told from the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dashboard.data import runs
from dashboard.data.averages import Average
from dashboard.data.runs import Run
from dashboard.data.selection import explained_scans
from dashboard.shell import access, names
from dashboard.text.formatting import plain
from store.deriving import texts


def fewest() -> int:
    """Return the smallest number that this reader may see of a group or a count; 0 for those who may see patients."""
    return 0 if access.may_see_patients() else access.fewest()


def count(n: int) -> str:
    """Write a number of subjects or scans as this reader may see it."""
    return access.few() if 0 < n < fewest() else str(n)


def people(scans: pd.DataFrame, diagnoses: Sequence[str]) -> tuple[str, bool]:
    """Return '20 AD, fewer than 5 MCI', and whether numbers of all together may stand beside it."""
    counts = {d: scans.subject[scans.diagnosis == d].nunique() for d in diagnoses}
    return ", ".join(f"{count(n)} {plain(d)}" for d, n in counts.items()), min(counts.values(), default=0) >= fewest()


def groups(run: Run, model_set: str, columns: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return the columns (heading -> diagnoses) of which each diagnosis has enough subjects among the explained scans.

    Of a column of several the smallest counts: it would follow from the column less the others.
    """
    people, least = explained_scans(run, model_set).groupby("diagnosis").subject.nunique(), fewest()
    return {
        name: tuple(diagnoses)
        for name, diagnoses in columns.items()
        if min((int(people.get(d, 0)) for d in diagnoses), default=0) >= least
    }


def has_both_groups(run: Run, model_set: str) -> bool:
    """Return whether this reader may see both groups of a run, and so what is made of the two together."""
    least = fewest()
    if not least:
        return True
    rows = explained_scans(run, model_set)
    return all(rows.subject[rows.group == group].nunique() >= least for group in runs.manifest(run)["groups"])


def may_see_average(average: Average) -> bool:
    """Return whether this reader may be given an average: without the role, those of whole large groups as published.

    That is what the pages offer such a reader; what is served under an address of its own is checked again by this.
    """
    least, chosen = fewest(), average.selection
    if not least:
        return True
    if set(chosen.scan_filter.active()) - {"diagnosis"} or average.scale is not None or chosen.needs_streaming:
        return False
    own = runs.explained_target(chosen.run)
    if chosen.target != own and not {own, chosen.target} <= set(runs.manifest(chosen.run)["groups"]):
        return False
    rows = chosen.rows()
    people = rows.groupby("diagnosis").subject.nunique()
    return len(people) > 0 and bool((people >= least).all())


def large_cells(table: pd.DataFrame, together: str = "all") -> pd.DataFrame:
    """Keep the rows of a table of groups that this reader may see.

    Of a table with diagnoses, what is of all of them together goes where one of them is hidden: the hidden one would
    follow from the others.

    Args:
        table: subjects, and perhaps diagnosis, a row each.
        together: the diagnosis of all scans.
    """
    small = table["subjects"] < fewest()
    if "diagnosis" in table:
        everyone = table["diagnosis"] == together
        small = small | everyone if (small & ~everyone).any() else small
    return table[~small].reset_index(drop=True)


def manifest(run: Run) -> dict[str, Any]:
    """Return the manifest without settings that may name people or folders."""
    found = runs.manifest(run)
    if not fewest() and names.are_shown():
        return found
    return found | {"config": texts.settings_without_places(found.get("config", {}))}


def exclusions(table: pd.DataFrame, called: Sequence[str]) -> pd.DataFrame:
    """Put codes into the exclusions in the place of whatever could be a name or a value of one scan.

    Args:
        called: names of subjects and scans.
    """
    if not fewest() and names.are_shown():
        return table
    known = texts.name_parts(called)
    return table.assign(reason=[texts.kind_of(text, known) for text in table["reason"].fillna("")])
