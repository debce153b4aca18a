"""How many subjects and scans are behind the results of a run, without a row of any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from store.deriving.texts import kind_of, name_parts
from store.files.tables import known_table
from store.group_tables import COHORT
from store.reading.reader import RunReader
from store.reading.weights import explained


@dataclass(frozen=True)
class Counts:
    """What is counted in a run.

    Attributes:
        table: group_counts.
        fewest: subjects of a cell, below which nothing of it is published.
        hidden: model set, or cohort -> a diagnosis is missing in the table.
        hidden_in_test: a diagnosis of the fixed test set has too few subjects there, by which tables of trust are made.
        subjects: model set, or cohort -> subjects of all diagnoses together; without those that would tell a small one.
    """

    table: pd.DataFrame
    fewest: int
    hidden: Mapping[str, bool]
    hidden_in_test: bool
    subjects: Mapping[str, int]

    def diagnoses(self, model_set: str) -> set[str]:
        """Return the diagnoses of which results may be published."""
        return set(self.table["diagnosis"][self.table["model_set"] == model_set])

    def is_small(self, number: float) -> bool:
        """Return whether a number tells of too few: above 0 and below `fewest`."""
        return 0 < number < self.fewest


def count(run: RunReader, fewest: int) -> Counts:
    """Count the subjects and scans of every diagnosis, for all that were used and for each model set."""
    scans, cells = run.table("scans"), run.table("cells", ["model_set"])
    parts = {COHORT: scans}
    for model_set in dict.fromkeys(cells["model_set"]):
        own = explained(run, model_set)
        extra = [c for c in scans.columns if c not in own.columns or c == "scan"]
        parts[model_set] = own.merge(scans[extra], on="scan", how="left").drop_duplicates("scan")
    rows: list[dict[str, Any]] = []
    hidden, subjects = {}, {}
    for model_set, frame in parts.items():
        people = frame.groupby("diagnosis")["subject"].nunique()
        hidden[model_set] = bool((people < fewest).any())
        several = frame.groupby("subject")["diagnosis"].nunique()
        shared = set(several.index[several > 1])
        everyone = frame["subject"].nunique()
        if not hidden[model_set] and not 0 < people.sum() - everyone < fewest:
            subjects[model_set] = int(everyone)
        for diagnosis in people.index[people >= fewest]:
            part = frame[frame["diagnosis"] == diagnosis]
            row = {"model_set": model_set, "diagnosis": diagnosis, "shared": bool(part["subject"].isin(shared).any())}
            rows.append(row | _numbers(part) | (_who(part, fewest) if model_set == COHORT else {}))
    columns = list(known_table("group_counts").columns)
    table = pd.DataFrame(rows).reindex(columns=columns) if rows else pd.DataFrame(columns=columns)
    tested = scans[scans["holdout"].fillna(False).astype(bool)].groupby("diagnosis")["subject"].nunique()
    few_tested = bool((tested < fewest).any())
    return Counts(_with_decisions(table, parts, run, fewest), fewest, hidden, few_tested, subjects)


def _numbers(part: pd.DataFrame) -> dict[str, Any]:
    role = "cohort" if (part["role"] == "cohort").any() else "apply"
    groups = part["group"].dropna().unique()
    return {
        "group": str(groups[0]) if len(groups) == 1 else None, "role": role, "scans": int(part["scan"].nunique()),
        "subjects": int(part["subject"].nunique()),
    }  # fmt: skip


def _who(part: pd.DataFrame, fewest: int) -> dict[str, Any]:
    """Describe the people of a diagnosis by their first scan; what would tell of few is missing."""
    people = part.drop_duplicates("subject")
    tested = int(part["subject"][part["holdout"].fillna(False).astype(bool)].nunique())
    women, men = (int((people["sex"] == sex).sum()) for sex in ("F", "M"))
    unknown = len(people) - women - men
    may = not any(0 < n < fewest for n in (women, men, unknown))
    described: dict[str, Any] = {
        "test_subjects": None if any(0 < n < fewest for n in (tested, len(people) - tested)) else tested,
        "women": women if may else None, "men": men if may else None,
    }  # fmt: skip
    for name in ("age", "mmse"):
        known = pd.to_numeric(people[name]).dropna()
        if len(known) >= fewest and not 0 < len(people) - len(known) < fewest:
            mean, sd = float(known.mean()), float(known.std(ddof=1))
            described |= {f"{name}_known": len(known), f"{name}_mean": mean, f"{name}_sd": sd}
    return described


def _with_decisions(
    table: pd.DataFrame, parts: Mapping[str, pd.DataFrame], run: RunReader, fewest: int
) -> pd.DataFrame:
    """Add how many scans of each diagnosis are predicted as either group, where no cell of a model set is small."""
    for model_set, frame in parts.items():
        if model_set == COHORT:
            continue
        counts = pd.crosstab(frame["diagnosis"], frame["predicted"]).reindex(columns=list(run.groups), fill_value=0)
        people = frame.groupby("diagnosis")["subject"].nunique()
        counts = counts[people >= fewest]
        if ((counts > 0) & (counts < fewest)).any(axis=None):
            continue
        own = table["model_set"] == model_set
        for column, group in zip(("predicted_positive", "predicted_negative"), run.groups, strict=True):
            table.loc[own, column] = table.loc[own, "diagnosis"].map(counts[group])
    return table


def count_exclusions(run: RunReader, fewest: int) -> pd.DataFrame:
    """Return exclusion_counts: the scans that were left out, by stage and reason in words that name nobody."""
    left_out = run.table("exclusions")
    columns = ["stage", "reason", "scans", "subjects"]
    if left_out.empty:
        return pd.DataFrame(columns=columns)
    names = name_parts(identifiers(run))
    kinds = left_out.assign(
        reason=[kind_of(text, names) for text in left_out["reason"].fillna("")], stage=left_out["stage"].fillna("")
    )
    grouped = kinds.groupby(["stage", "reason"], dropna=False)
    found = grouped.agg(scans=("scan", "nunique"), subjects=("subject", "nunique")).reset_index()
    few = (found["subjects"] < fewest) | (found["scans"] < fewest)
    found[["scans", "subjects"]] = found[["scans", "subjects"]].astype("Int64").mask(few)
    return found[columns]


def identifiers(run: RunReader) -> set[str]:
    """Return what stands for a person, a scan or a place in a run: of scans that were used or left out."""
    found: set[str] = set()
    for name, columns in {"scans": ("scan", "subject", "source_hash"), "exclusions": ("scan", "subject")}.items():
        table = run.table(name)
        for column in columns:
            found |= {str(text) for text in table[column].dropna().unique()}
    return {text for text in found if text.strip()}


def smallest(frame: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column of counts as numbers, 0 where unknown."""
    return pd.to_numeric(frame[column]).fillna(0).to_numpy(float)
