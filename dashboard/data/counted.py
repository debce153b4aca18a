"""Runs that hold results of groups alone: how many scans there are, as rows without anything but their group.

Pages count rows of the tables scans and predictions. Such a run has none; its table group_counts says how many there
would be. The rows made here can be counted and hold nothing else: no value, no name, and they are never shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pandas as pd

from dashboard.text.formatting import NONE, mean_sd
from store import RunReader
from store.files.tables import conform, known_table
from store.group_tables import COHORT
from store.keys import are_retrained

MADE = ("scans", "predictions")


def rows(run: RunReader, name: str) -> pd.DataFrame:
    """Return rows to be counted in the place of a table of persons.

    Args:
        name: of MADE.
    """
    found = list(_scans(run) if name == "scans" else _predictions(run))
    if not found:
        return run.table(name)
    frame = pd.DataFrame(found)
    spec = known_table(name)
    for column in spec.columns:
        if column not in frame:
            frame[column] = None
    return conform(name, frame[list(spec.columns)])


def _numbered(run: RunReader, model_set: str) -> Iterator[tuple[Any, int, str, str]]:
    """Yield (row of group_counts, place among the scans of its diagnosis, scan, subject) for every counted scan."""
    counts = run.table("group_counts", model_set=model_set)
    everyone = (run.group_level or {}).get("subjects", {}).get(model_set, int(counts["subjects"].sum()))
    first = 0
    for row in counts.itertuples():
        for place in range(int(row.scans)):
            # Of people with scans of several diagnoses the last are counted as the first, so that the sum is right.
            subject = (first + place % max(int(row.subjects), 1)) % max(everyone, 1)
            yield row, place, f"{row.diagnosis}, scan {place + 1}", f"subject {subject + 1}"
        first += int(row.subjects)


def _scans(run: RunReader) -> Iterator[dict[str, Any]]:
    for row, place, scan, subject in _numbered(run, COHORT):
        tested = 0 if pd.isna(row.test_subjects) else int(row.test_subjects)
        yield {
            "scan": scan, "subject": subject, "diagnosis": row.diagnosis, "group": _known(row.group), "role": row.role,
            "holdout": place < tested, "simulated": run.simulated,
        }  # fmt: skip


def _predictions(run: RunReader) -> Iterator[dict[str, Any]]:
    models = run.table("models", ["model", "model_set"])
    models = models[~are_retrained(models["model"])]
    for model_set in ("folds", "holdout"):
        names = cycle(sorted(models["model"][models["model_set"] == model_set]) or [model_set])
        for row, place, scan, subject in _numbered(run, model_set):
            predicted, group = None, _known(row.group)
            if pd.notna(row.predicted_positive):
                predicted = run.groups[0 if place < int(row.predicted_positive) else 1]
            yield {
                "model": f"{next(names)}", "model_set": model_set, "scan": scan, "subject": subject,
                "diagnosis": row.diagnosis, "group": group, "predicted": predicted,
                "correct": None if group is None else group == predicted,
            }  # fmt: skip


def _known(group: Any) -> str | None:
    return str(group) if pd.notna(group) and group else None


def cohort_table(counts: pd.DataFrame, groups: list[str], fewest: int) -> pd.DataFrame:
    """Describe who is in the run, in the columns of `cohort.cohort_table`.

    Args:
        counts: the table group_counts.
        fewest: subjects, of whom a number is given.
    """
    own = counts[counts["model_set"] == COHORT].set_index("diagnosis")
    ordered = [g for g in groups if g in own.index] + sorted(d for d in own.index if d not in groups)
    return pd.DataFrame([_described(name, own.loc[name], fewest) for name in ordered])


def _described(diagnosis: str, row: pd.Series, fewest: int) -> dict[str, str]:
    tested, women, men = (row[name] for name in ("test_subjects", "women", "men"))
    share = NONE
    if pd.notna(women) and women + men > 0 and min(women, men) >= fewest:
        unknown = int(row["subjects"] - women - men)
        missing = f", {unknown} unknown" if unknown else ""
        share = f"{women} ({100 * women / (women + men):.0f} %{missing})" if unknown == 0 or unknown >= fewest else NONE
    large = row["subjects"] >= fewest
    return {
        "Group": diagnosis if row["role"] == "cohort" else f"{diagnosis} (explained, not trained on)",
        "Subjects": _crowd(row["subjects"], fewest), "Scans": str(row["scans"]) if large else NONE, "Women": share,
        "Age, mean ± SD (range)": _mean(row, "age", fewest), "MMSE, mean ± SD": _mean(row, "mmse", fewest),
        "In the test set": NONE if pd.isna(tested) else _crowd(tested, fewest),
    }  # fmt: skip


def _crowd(n: int, fewest: int) -> str:
    return f"fewer than {fewest}" if 0 < n < fewest else str(n)


def _mean(row: pd.Series, name: str, fewest: int) -> str:
    known = row[f"{name}_known"]
    if pd.isna(known) or known < fewest or 0 < row["subjects"] - known < fewest:
        return NONE
    text = mean_sd(float(row[f"{name}_mean"]), float(row[f"{name}_sd"]))
    return text if known == row["subjects"] else f"{text}, n = {known}"


def exclusion_table(counts: pd.DataFrame, fewest: int) -> pd.DataFrame:
    """Show the table exclusion_counts, in the columns of `cohort.exclusion_table`."""
    found = counts.sort_values("scans", ascending=False)
    few = f"fewer than {fewest}"
    numbers = {
        heading: [few if pd.isna(n) or 0 < n < fewest else str(n) for n in found[column]]
        for heading, column in (("Scans", "scans"), ("Subjects", "subjects"))
    }
    return pd.DataFrame({"Stage": found["stage"].tolist(), "Reason": found["reason"].tolist(), **numbers}).astype(str)
