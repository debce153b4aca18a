"""The networks' evidence against age and clinical scores: a value a subject, rank correlations of every pair.

Frames and arrays in, frames out, without Streamlit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from store.measures import FEWEST, false_discovery_rate, p_values, partial_spearman, spearman, spearman_interval

TOGETHER = "all"  # every diagnosis together
SCORES = {"mmse": "MMSE", "cdr": "CDR", "cdr_sb": "CDR sum of boxes", "age": "Age"}
ROWS = ["subject", "scan", "diagnosis", "sex", *SCORES]
CONTROLS = ("age", "sex")
POINT = ["subject", "scan", "diagnosis", "score", "value"]
COLUMNS = [
    "among", "score", "feature", "subjects", "rho", "low", "high", "p", "q", "partial_rho", "partial_subjects",
    "partial_p", "partial_q", "controlled_for",
]  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What the networks answer and where their relevance lies, scan by scan, to be set against scores.

    Attributes:
        rows: explained scans: ROWS.
        values: (scans, k) answer of the networks and shares of regions; NaN where a scan has none.
        names: of the k columns.
        left_out: scans whose heatmaps are 0 everywhere, so that they have no share.
    """

    rows: pd.DataFrame
    values: np.ndarray
    names: tuple[str, ...]
    left_out: int = 0

    def known(self, score: str) -> Evidence:
        """Return the scans that have the score and every value."""
        keep = np.isfinite(self.values).all(axis=1) & self.rows[score].notna().to_numpy(bool)
        return self.taken(keep)

    def of(self, diagnosis: str) -> Evidence:
        """Return the scans of a diagnosis, or of all."""
        return self if diagnosis == TOGETHER else self.taken((self.rows["diagnosis"] == diagnosis).to_numpy(bool))

    def taken(self, keep: np.ndarray) -> Evidence:
        """Return the scans where `keep` is True."""
        return Evidence(self.rows[keep].reset_index(drop=True), self.values[keep], self.names)

    def by_subject(self) -> Evidence:
        """Return one row a subject, the means over its scans; sex, diagnosis and scan are those of its first."""
        person, _ = pd.factorize(self.rows["subject"])
        first = np.unique(person, return_index=True)[1]
        means = self.rows[list(SCORES)].groupby(person).mean().to_numpy()
        values = pd.DataFrame(self.values).groupby(person).mean().to_numpy()
        rows = self.rows.iloc[first].reset_index(drop=True)
        return Evidence(rows.assign(**dict(zip(SCORES, means.T, strict=True))), values, self.names)


def known_scores(rows: pd.DataFrame) -> list[str]:
    """Return the scores that at least one scan has."""
    return [score for score in SCORES if rows[score].notna().any()]


def sets_of_subjects(diagnoses: Sequence[str]) -> list[str]:
    """Return the sets of subjects to correlate in: each diagnosis, and, if there are several, all together."""
    return [*diagnoses, *([TOGETHER] if len(diagnoses) > 1 else [])]


def points(found: Evidence, score: str, feature: str) -> pd.DataFrame:
    """Return the dots of a scatter chart: subject, scan, diagnosis, score and value, one row a subject and diagnosis.

    Score and value are means over the scans of the subject.
    """
    known, place = found.known(score), found.names.index(feature)
    parts = [known.of(diagnosis).by_subject() for diagnosis in known.rows["diagnosis"].unique()]
    frames = [part.rows.assign(score=part.rows[score], value=part.values[:, place])[POINT] for part in parts]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=POINT)


def correlations(found: Evidence, scores: Sequence[str], sets: Sequence[str]) -> tuple[pd.DataFrame, dict]:
    """Correlate every score with every column of the evidence, within each set of subjects.

    Args:
        sets: diagnoses, or all.
    Returns:
        COLUMNS, a row a pair; and (score, set) -> subjects of those with fewer than ten, which have no rows. q is over
        all rows, of the partial correlations over theirs.
    """
    frames, few = [], {}
    for score in scores:
        known = found.known(score)
        for name in sets:
            people = known.of(name).by_subject()
            if len(people.rows) < FEWEST:
                few[score, name] = len(people.rows)
            else:
                frames.append(_pairs(people, score).assign(among=name))
    if not frames:
        return pd.DataFrame(columns=COLUMNS), few
    table = pd.concat(frames, ignore_index=True)
    q = {f"{part}q": false_discovery_rate(table[f"{part}p"].to_numpy(float)) for part in ("", "partial_")}
    return table.assign(**q)[COLUMNS], few


def _pairs(people: Evidence, score: str) -> pd.DataFrame:
    """Correlate one score with every column, over subjects."""
    own, n = people.rows[score].to_numpy(float), len(people.rows)
    rho = spearman(own, people.values)
    low, high = spearman_interval(rho, n)
    frame = pd.DataFrame({
        "score": score, "feature": people.names, "subjects": n, "rho": rho, "low": low, "high": high,
        "p": p_values(rho, n - 2),
    })  # fmt: skip
    return frame.assign(**_partial(people, score))


def _partial(people: Evidence, score: str) -> dict[str, object]:
    """Correlate one score with every column without age and sex, over the subjects in whom both are known."""
    controls = _controls(people.rows, score)
    complete = controls.notna().all(axis=1).to_numpy(bool)
    n = int(complete.sum()) if len(controls.columns) else 0
    nothing = {"partial_rho": np.nan, "partial_subjects": n, "partial_p": np.nan, "controlled_for": ""}
    if n < FEWEST:
        return nothing
    own = people.rows[score].to_numpy(float)[complete]
    rho = partial_spearman(own, people.values[complete], controls.to_numpy(float)[complete])
    p = p_values(rho, n - 2 - len(controls.columns))
    names = ", ".join(controls.columns)
    return {"partial_rho": rho, "partial_subjects": n, "partial_p": p, "controlled_for": names}


def _controls(rows: pd.DataFrame, score: str) -> pd.DataFrame:
    """Return age and sex as numbers, to be partialled out.

    One that is the score itself, does not differ, or is known of fewer than ten subjects is left out.
    """
    sex = rows["sex"].map({"F": 1.0, "M": 0.0}).astype(float)
    numbers = pd.DataFrame({"age": rows["age"].astype(float), "sex": sex})
    return numbers[[c for c in CONTROLS if c != score and numbers[c].count() >= FEWEST and numbers[c].nunique() > 1]]
