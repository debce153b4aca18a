"""Who is in a run: tables and sentences about its cohort. Frames in, frames out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dashboard.text.formatting import NONE, mean_sd, three

COVARIATES = {"age": "age", "sex": "sex", "icv": "intracranial volume", "site": "site"}


def ordered_diagnoses(scans: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """Return the two groups first, then the diagnoses that the models are only applied to."""
    found = [str(d) for d in scans.diagnosis.dropna().unique()]
    return [g for g in groups if g in found] + sorted(d for d in found if d not in groups)


def cohort_table(scans: pd.DataFrame, groups: Sequence[str], fewest: int = 0) -> pd.DataFrame:
    """Describe who is in the run: one row a diagnosis, people counted once (by their first scan).

    Args:
        fewest: subjects; of fewer no number is given, and of more no value of a single one.
    """
    rows = []
    for diagnosis in ordered_diagnoses(scans, groups):
        part = scans[scans.diagnosis == diagnosis]
        people = part.drop_duplicates("subject")
        rows.append({
            "Group": diagnosis if (part.role == "cohort").any() else f"{diagnosis} (explained, not trained on)",
            "Subjects": _crowd(len(people), fewest),
            "Scans": str(len(part)) if len(people) >= fewest else NONE,
            "Women": _share_of_women(people.sex, fewest),
            "Age, mean ± SD (range)": _mean_range(people.age, fewest=fewest),
            "MMSE, mean ± SD": _mean_range(people.mmse, with_range=False, fewest=fewest),
            "In the test set": _crowd(part[part.holdout.fillna(False).astype(bool)].subject.nunique(), fewest),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _crowd(n: int, fewest: int) -> str:
    return f"fewer than {fewest}" if 0 < n < fewest else str(n)


def _share_of_women(sex: pd.Series, fewest: int) -> str:
    known = sex[sex.isin(["F", "M"])]
    if known.empty:
        return NONE
    women = int((known == "F").sum())
    if min(women, len(known) - women) < fewest or 0 < len(sex) - len(known) < fewest:
        return NONE
    missing = f", {len(sex) - len(known)} unknown" if len(known) < len(sex) else ""
    return f"{women} ({100 * women / len(known):.0f} %{missing})"


def _mean_range(values: pd.Series, with_range: bool = True, fewest: int = 0) -> str:
    known = pd.to_numeric(values).dropna()
    if known.empty or len(known) < fewest or 0 < len(values) - len(known) < fewest:
        return NONE
    text = mean_sd(float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else None)
    if with_range and not fewest:
        text += f" ({known.min():.0f} to {known.max():.0f})"
    return text if len(known) == len(values) else f"{text}, n = {len(known)}"


def balance_sentence(balance: pd.DataFrame, groups: Sequence[str]) -> str:
    """Say how alike the groups are, in a sentence; empty where nothing was tested."""
    parts = [
        f"{COVARIATES.get(row.covariate, row.covariate)} {three(row.difference)} ({_p(row.p)})"
        for row in balance.itertuples()
        if np.isfinite(row.difference)
    ]
    if not parts:
        return ""
    return f"Standardised mean difference {groups[0]} against {groups[1]}, over subjects: {', '.join(parts)}."


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {three(value)}"


def exclusion_table(table: pd.DataFrame, fewest: int = 0) -> pd.DataFrame:
    """Count the scans that were left out, by stage and reason as it stands; no number below `fewest` is given."""
    counted = table.groupby(["stage", "reason"], dropna=False).agg(
        Scans=("scan", "nunique"), Subjects=("subject", "nunique")
    )
    counted = counted.reset_index().sort_values("Scans", ascending=False)
    for column in ("Scans", "Subjects"):
        counted[column] = [_crowd(n, fewest) for n in counted[column]]
    return counted.rename(columns={"stage": "Stage", "reason": "Reason"}).astype(str)
