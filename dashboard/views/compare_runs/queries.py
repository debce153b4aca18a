"""What the Compare runs page asks: by how much the networks of two runs differ on their test scans."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.accuracy import LINEAR_BASELINES
from dashboard.data.runs import Run
from dashboard.text import formatting
from store import accuracy
from store.accuracy import FOLDS, Estimate, Judged, Valued, judged_scans
from store.reading import verdict
from store.reading.verdict import baseline_scans

METRICS = {
    "accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "auc": "AUC", "mae": formatting.ERRORS["mae"],
    "r": formatting.ERRORS["r"],
}  # fmt: skip


@st.cache_data(max_entries=8, show_spinner=False)
def differences(first: Run, second: Run) -> pd.DataFrame:
    """Return second minus first run in every metric, with intervals, as `difference_rows` does."""
    if runs.answer(first).is_value != runs.answer(second).is_value:
        return difference_rows({}, {}, ("", ""), False)
    if any(map(runs.holds_groups_only, (first, second))):
        return published_differences(runs.metrics(first), runs.metrics(second))
    positives = tuple(runs.manifest(run)["groups"][0] for run in (first, second))
    return difference_rows(_test_scans(first), _test_scans(second), positives, runs.answer(first).is_value)


def published_differences(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Subtract the published metrics of the first run from those of the second, as of independent numbers.

    For runs without scans: it cannot be known whether both judged the same.

    Args:
        first, second: metrics tables, with intervals.
    """
    keys = ["classifier", "model", "metric"]
    sides = [
        table[(table["level"] == "scan") & table["model"].isin([FOLDS, "holdout"]) & table["metric"].isin(METRICS)]
        for table in (first, second)
    ]
    rows = []
    for row in sides[0].merge(sides[1], on=keys, suffixes=("_a", "_b")).to_dict("records"):
        one, other = (Estimate(row[f"value_{s}"], row[f"low_{s}"], row[f"high_{s}"], 0) for s in "ab")
        gap = accuracy.unpaired(other, one)
        rows.append((row["classifier"], row["model"], row["metric"], gap.value, gap.low, gap.high, False))
    return pd.DataFrame(rows, columns=["classifier", "judged", "metric", "gap", "low", "high", "paired"])


def _test_scans(run: Run) -> dict[tuple[str, str], pd.DataFrame]:
    """Return (classifier, folds or holdout) -> the test scans with what the classifier said of them."""
    predictions, reader = runs.table(run, "predictions"), runs.opened(run)
    found = {("cnn", judged_on): judged_scans(predictions, judged_on) for judged_on in (FOLDS, "holdout")}
    return found | {(c, s): baseline_scans(reader, c, s) for c in LINEAR_BASELINES for s in (FOLDS, "holdout")}


def difference_rows(
    first: Mapping[tuple[str, str], pd.DataFrame], second: Mapping[tuple[str, str], pd.DataFrame],
    positives: tuple[str, str], is_value: bool,
) -> pd.DataFrame:  # fmt: skip
    """Subtract the metrics of the first run from those of the second over all test scans, with 95 % intervals.

    Returns classifier, judged, metric, gap, low, high, paired.

    Args:
        first, second: (classifier, judged) -> the test scans of a run, as `store.accuracy.judged` takes them.
        positives: the positive group of each run.
        is_value: both are regressions.
    """
    rows = []
    for classifier, judged in first:
        sides = first[classifier, judged], second.get((classifier, judged))
        if sides[1] is None or min(map(len, sides)) == 0:
            continue
        both = verdict.paired(*sides) if positives[0] == positives[1] else None
        one, other = (
            Valued(side) if is_value else Judged(side, positive)
            for side, positive in zip(both or sides, positives, strict=True)
        )
        if both is not None:
            found = accuracy.differences(other, one)
        else:
            of_one, of_other = accuracy.estimates(one), accuracy.estimates(other)
            found = {name: accuracy.unpaired(of_other[name], of_one[name]) for name in of_one}
        rows += [
            (classifier, judged, metric, gap.value, gap.low, gap.high, gap.paired)
            for metric, gap in found.items() if metric in METRICS
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=["classifier", "judged", "metric", "gap", "low", "high", "paired"])
