"""What simpler models reach in the same folds, and whether the groups differ in what should not tell them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from engine.cohort.splits import Job

COVARIATES = ("age", "sex", "icv", "site")
CHUNK = 8

Features: TypeAlias = pd.DataFrame | Callable[[Job], pd.DataFrame]


def region_means(
    read: Callable[[Sequence[str]], np.ndarray], scans: Sequence[str], labels: np.ndarray, count: int
) -> pd.DataFrame:
    """Return the mean intensity of each region in each scan, (scans, regions 1..count), index scan.

    nilearn's NiftiLabelsMasker takes 3 to 4 times as long and leaves out regions without a voxel on the grid.

    Args:
        labels: (x, y, z) region indices on the working grid.
    """
    flat = labels.ravel()
    size = np.maximum(np.bincount(flat, minlength=count + 1)[1 : count + 1], 1)
    rows = []
    for start in range(0, len(scans), CHUNK):
        for volume in read(scans[start : start + CHUNK]):
            rows.append(np.bincount(flat, volume.ravel(), minlength=count + 1)[1 : count + 1] / size)
    return pd.DataFrame(rows, index=list(scans))


def covariate_table(scans: pd.DataFrame, defining: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Return (numbers, names): the usable covariates of each scan, index scan.

    Left out: covariates that are all missing or never vary, and those that define the groups.
    """
    columns, names = {}, []
    for name in COVARIATES:
        values = scans[name]
        known = values.dropna() if name in {"age", "icv"} else values[values != ""]
        if name in defining or known.nunique() < 2:
            continue
        names.append(name)
        if name in {"age", "icv"}:
            columns[name] = values.to_numpy(float)
        else:
            columns |= {f"{name}={level}": (values == level).to_numpy(float) for level in sorted(known.unique())[1:]}
    return pd.DataFrame(columns, index=scans["scan"].to_list()), names


def linear_pipeline(model: BaseEstimator) -> Pipeline:
    """Return a linear model of standardised features, missing ones replaced by their median."""
    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler(), model)


def logistic_predictions(features: Features, scans: pd.DataFrame, jobs: Sequence[Job], positive: str) -> pd.DataFrame:
    """Return test-set probabilities of a logistic regression trained on each job's training scans.

    Args:
        features: index scan; or what makes them for each job.
    Returns:
        columns model, scan, subject, group, probability.
    """
    table = scans.set_index("scan")
    parts = []
    for job in jobs:
        model = linear_pipeline(LogisticRegression(max_iter=5000))
        own = features(job) if callable(features) else features
        model.fit(own.loc[list(job.train)].to_numpy(), table.loc[list(job.train), "group"] == positive)
        test = table.loc[list(job.test)]
        parts.append(
            pd.DataFrame(
                {
                    "model": job.model,
                    "scan": test.index,
                    "subject": test["subject"].to_numpy(),
                    "group": test["group"].to_numpy(),
                    "probability": model.predict_proba(own.loc[list(job.test)].to_numpy())[:, 1],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def balance_rows(scans: pd.DataFrame, groups: tuple[str, str], defining: Sequence[str]) -> list[dict]:
    """Return the balance table: each covariate compared between the groups over subjects (their first scan).

    Welch's t-test for age and intracranial volume, Fisher's exact test for sex, chi-squared for site.
    """
    people = scans[scans["role"] == "cohort"].drop_duplicates("subject")
    sides = [people[people["group"] == group] for group in groups]
    rows = []
    for name in COVARIATES:
        note = "defines the groups" if name in defining else ""
        if name in {"age", "icv"}:
            first, second = (side[name].dropna().to_numpy() for side in sides)
            if min(len(first), len(second)) > 1:
                rows.append(_numeric(name, first, second, note))
        elif (people[name] != "").any():
            rows.append(_categorical(name, sides, note))
    return rows


def _numeric(name: str, first: np.ndarray, second: np.ndarray, note: str) -> dict:
    spread = np.sqrt((first.var(ddof=1) + second.var(ddof=1)) / 2)
    return {
        "covariate": name,
        "positive": first.mean(),
        "negative": second.mean(),
        "difference": (first.mean() - second.mean()) / spread if spread else 0.0,
        "test": "Welch t",
        "p": stats.ttest_ind(first, second, equal_var=False).pvalue if spread else 1.0,
        "note": note,
    }


def _categorical(name: str, sides: list[pd.DataFrame], note: str) -> dict:
    levels = sorted({*sides[0][name], *sides[1][name]} - {""})
    counts = np.array([[(side[name] == level).sum() for level in levels] for side in sides])
    share = counts[:, 0] / np.maximum(counts.sum(axis=1), 1) if name == "sex" else np.array([np.nan, np.nan])
    spread = np.sqrt((share * (1 - share)).mean())
    fisher = counts.shape == (2, 2)
    enough = len(levels) > 1 and (counts.sum(axis=1) > 0).all()
    p = (stats.fisher_exact(counts)[1] if fisher else stats.chi2_contingency(counts)[1]) if enough else np.nan
    return {
        "covariate": name,
        "positive": share[0],
        "negative": share[1],
        "difference": (share[0] - share[1]) / spread if spread else np.nan,
        "test": "Fisher exact" if fisher else "chi-squared",
        "p": p,
        "note": note,
    }
