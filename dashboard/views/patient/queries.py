"""What the Patient page asks: shares of regions for everyone, models of a scan, visits of a person."""

from __future__ import annotations

import pandas as pd

from dashboard.data import runs, shares
from dashboard.data.kept import kept
from dashboard.data.runs import Run
from store import NotInRunError
from store.keys import ModelName

MOST_SCANS = 2048  # of whom a list or a sentence is kept


def region_shares(run: Run, model_set: str, method: str, target: str) -> pd.DataFrame:
    """Return the shares of regions in every scan, kept; see `data.shares`."""
    return shares.region_shares(runs.opened(run), model_set, method, target)


@kept(MOST_SCANS)
def models_of_scan(run: Run, model_set: str, scan: str) -> tuple[str, ...]:
    """Return the models of a set that explain a scan, the first trained first, the retrained ones after it."""
    table = runs.table(run, "predictions")
    found = table.model[(table.model_set == model_set) & (table.scan == scan)]
    return tuple(sorted(found, key=lambda m: (ModelName(m).retrained, m)))


def predictions_of_scan(run: Run, scan: str) -> pd.DataFrame:
    """Return what every model says that may explain a scan.

    Returns model, model_set, probability, value, margin, predicted, correct.
    """
    table = runs.table(run, "predictions")
    found = table[table.scan == scan]
    return found[["model", "model_set", "probability", "value", "margin", "predicted", "correct"]].reset_index(
        drop=True
    )


def visits(rows: pd.DataFrame, subject: str) -> pd.DataFrame:
    """Return the explained scans of a person in time order: by age, then by session."""
    own = rows[rows.subject == subject]
    return own.sort_values(["age", "session", "scan"], kind="stable").reset_index(drop=True)


def methods_of_scan(run: Run, model: str, scan: str) -> list[str]:
    """Return the methods with a heatmap of this scan by this model, in the fixed order."""
    return _methods_of_scans(run).get((model, scan), [])


@kept(8)
def _methods_of_scans(run: Run) -> dict[tuple[str, str], list[str]]:
    """Return (model, scan) -> methods with a heatmap, in the fixed order."""
    table = runs.table(run, "heatmaps", ("model", "method", "scan"))
    found: dict[tuple[str, str], list[str]] = {}
    for model, method, scan in zip(*(table[name].tolist() for name in ("model", "method", "scan")), strict=True):
        found.setdefault((model, scan), []).append(method)
    return {key: runs.in_order(methods) for key, methods in found.items()}


def completeness_error(run: Run, model: str, method: str, scan: str) -> float:
    """Return which share of the margin's change a heatmap misses that should add up to it; NaN for other methods.

    Of the positive group's map; the other one is its negative.
    """
    return _completeness_errors(run).get((model, method, scan), float("nan"))


@kept(8)
def _completeness_errors(run: Run) -> dict[tuple[str, str, str], float]:
    """Return (model, method, scan) -> what its maps miss; only those that should add up to something."""
    table = runs.table(run, "heatmaps")
    if "completeness_error" not in table:
        return {}
    known = table[table["completeness_error"].notna()]
    return known.groupby(["model", "method", "scan"])["completeness_error"].max().astype(float).to_dict()


def has_target(run: Run, model: str, scan: str, target: str) -> bool:
    """Say whether the target means a group for this scan; a new scan has no true group."""
    try:
        runs.opened(run).target_of(model, scan, target)
    except NotInRunError:
        return False
    return True


@kept(16)
def subject_means(run: Run, model_set: str, method: str, target: str) -> pd.DataFrame:
    """Return the mean shares of regions of every subject; see `data.shares`. It is kept: change nothing in it."""
    return shares.subject_means(runs.opened(run), region_shares(run, model_set, method, target))
