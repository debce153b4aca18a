"""Sentences that several pages say."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dashboard.data import runs
from dashboard.data.selection import TARGET_WORDS, Selection
from dashboard.text.formatting import plain


def people(rows: pd.DataFrame, diagnoses: Sequence[str]) -> str:
    """Say how many subjects there are of each diagnosis: 80 AD, 80 NC and 19 MCI subjects."""
    parts = [f"{rows['subject'][rows['diagnosis'] == d].nunique()} {plain(d)}" for d in diagnoses]
    listed = " and ".join(part for part in (", ".join(parts[:-1]), *parts[-1:]) if part)
    return f"{listed or 'no'} subject{'' if rows['subject'].nunique() == 1 else 's'}"


def evidence_of_distances(selection: Selection) -> str:
    """Name the target for which the run stored its distances, for Markdown."""
    target = runs.explained_target(selection.run)
    return plain(TARGET_WORDS.get(target, target))


def target_of_distances(selection: Selection) -> str:
    """Say that distances do not follow the chosen evidence; empty where they were computed for it."""
    if selection.target == runs.explained_target(selection.run):
        return ""
    return (
        f"Distances were computed for the run's configured target, evidence for {evidence_of_distances(selection)}; "
        f"the choice of evidence for {selection.evidence()} does not change them."
    )


def file_name(selection: Selection) -> str:
    """Return how names of files begin that hold a table of all methods."""
    filtered = "_filtered" if selection.scan_filter.active() else ""
    return f"{selection.run.run_id}_{selection.model_set}_{selection.target}{filtered}"
