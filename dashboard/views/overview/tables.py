"""How well the networks of a run do, beyond one number: frames in, frames out, without Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dashboard.data import runs
from dashboard.data.accuracy import folds_behind, trained_models, value_with_interval
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.runs import Run
from dashboard.text.formatting import CLASSIFIERS, ERRORS, mean_sd, region_name, three, with_interval
from store.keys import ModelName, are_of_folds

METRICS = {
    "accuracy": "Accuracy", "balanced_accuracy": "Balanced accuracy", "sensitivity": "Sensitivity",
    "specificity": "Specificity", "auc": "AUC", "auc_hard": "AUC of hard labels", "brier": "Brier score",
    **ERRORS,
}  # fmt: skip
Z = 1.959964  # of a normal distribution, 97.5 %
GRID = np.linspace(0, 1, 101)  # false positive rates at which folds are compared


def roc_band(curves: pd.DataFrame) -> pd.DataFrame | None:
    """Return mean and SD (ddof 1) of the folds' true positive rates: x, mean, low, high, folds; None below two folds.

    Each fold is interpolated linearly on a common grid; where a curve rises at one x, its upper end counts.
    """
    rows = curves[(curves["curve"] == "roc") & are_of_folds(curves["model"])].sort_values(["model", "point"])
    lines = [np.interp(GRID, part["x"], part["y"]) for _, part in rows.groupby("model")]
    if len(lines) < 2:
        return None
    mean, sd = np.mean(lines, axis=0), np.std(lines, axis=0, ddof=1)
    low, high = np.clip(mean - sd, 0, 1), np.clip(mean + sd, 0, 1)
    return pd.DataFrame({"x": GRID, "mean": mean, "low": low, "high": high, "folds": len(lines)})


def calibration(curves: pd.DataFrame, model_set: str) -> pd.DataFrame:
    """Return the predicted against the observed share of the positive group.

    Of all folds together, or of the held-out model.

    Returns:
        x, y, scans, and low and high: 95 % CI of y after Wilson (1927), each scan taken as independent.
    """
    rows = curves[(curves["curve"] == "calibration") & (curves["model"] == model_set)].sort_values("x")
    n, y = rows["scans"].fillna(1).to_numpy(float), rows["y"].to_numpy(float)
    centre = (y + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z * np.sqrt(y * (1 - y) / n + Z**2 / (4 * n**2)) / (1 + Z**2 / n)
    return pd.DataFrame({
        "x": rows["x"].to_numpy(float), "y": y, "scans": n.astype(int), "low": np.minimum(centre - half, y),
        "high": np.maximum(centre + half, y),
    })  # fmt: skip


def metrics_table(metrics: pd.DataFrame, level: str) -> pd.DataFrame:
    """Return every metric of every classifier as text: folds, their mean ± SD, all folds together, held-out test set.

    The last two with 95 % intervals over subjects. Where folds have no value, the mean says of how many it is.

    Args:
        level: scan or subject.
    """
    own = metrics[metrics["level"] == level]
    folds = trained_models(own, "folds")
    rows = []
    for classifier in [c for c in CLASSIFIERS if (own["classifier"] == c).any()]:
        part = own[own["classifier"] == classifier]
        for metric, name in METRICS.items():
            values = part[part["metric"] == metric].set_index("model")["value"]
            if values.empty:
                continue
            row = {"Classifier": CLASSIFIERS[classifier], "Metric": name}
            row |= {f"Fold {ModelName(fold).fold}": three(values.get(fold)) for fold in folds}
            if folds:
                row["Mean ± SD"] = mean_sd(values.get("mean"), values.get("sd"))
                known, all_folds = folds_behind(metrics, metric, classifier, level)
                row["Mean ± SD"] += f" (of {known} folds)" if 0 < known < all_folds else ""
            for model, heading in (("folds", "All folds (95 % CI)"), ("holdout", "Held out (95 % CI)")):
                if (own["model"] == model).any():
                    row[heading] = with_interval(*value_with_interval(metrics, model, metric, classifier, level))
            rows.append(row)
    return pd.DataFrame(rows)


def cells(counts: np.ndarray, groups: Sequence[str]) -> list[tuple[int, int, str]]:
    """Return (true, predicted, words) of the cells that hold scans."""
    return [
        (int(t), int(p), f"{groups[t]} predicted {groups[p]}: {int(n)}") for (t, p), n in np.ndenumerate(counts) if n
    ]


def values_of_cell(explained: pd.DataFrame, groups: Sequence[str], true: int, predicted: int) -> dict[str, Any]:
    """Return values of the sidebar's widgets that let just the scans of a cell pass, and of its first patient.

    Args:
        explained: every scan of the model set.
        true, predicted: places in `groups`; the cell has scans.
    """
    group = explained[explained["group"] == groups[true]]
    first = group[group["predicted"] == groups[predicted]].sort_values(["diagnosis", "subject"], kind="stable").iloc[0]
    values: dict[str, Any] = {
        "dx": ordered_diagnoses(group, groups), "ok": "correct" if true == predicted else "wrong",
        "sex": [], "ses": [], "sub": [], "p_subject": first["subject"], "p_scan": first["scan"],
    }  # fmt: skip
    ages = explained["age"].dropna()
    ends = (int(np.floor(ages.min())), int(np.ceil(ages.max()))) if len(ages) else (0, 0)
    return values | ({"age": ends} if ends[0] < ends[1] else {})


def all_metrics(run: Run) -> dict[str, pd.DataFrame]:
    """Return level -> every metric; by scan, and by subject where people have several scans."""
    metrics, scans = runs.metrics(run), runs.table(run, "scans")
    levels = ["scan", "subject"] if len(scans) > scans.subject.nunique() else ["scan"]
    return {level: metrics_table(metrics, level) for level in levels}


def top_region_shares(
    group_regions: pd.DataFrame, model_set: str, method: str, target: str, groups: Sequence[str], count: int = 10
) -> pd.DataFrame:
    """Return the positive group's first regions, in percent.

    Returns region, share of the group's average map, and the same in the other group.
    """
    rows = group_regions[
        (group_regions.model_set == model_set) & (group_regions.method == method) & (group_regions.target == target)
        & group_regions.merged.astype(bool)
    ]  # fmt: skip
    wide = rows.pivot_table(index="region", columns="diagnosis", values="share_of_average").reindex(
        columns=list(groups)
    )
    ranks = rows[rows.diagnosis == groups[0]].set_index("region")["rank"].dropna().sort_values()
    chosen = wide.loc[[r for r in ranks.index if r in wide.index][:count]] * 100
    names = [region_name(region) for region in chosen.index]
    return pd.DataFrame(
        {"region": names, "positive": chosen[groups[0]].to_numpy(), "negative": chosen[groups[1]].to_numpy()}
    )


def subjects_in_ranking(group_regions: pd.DataFrame, model_set: str, diagnosis: str) -> int:
    """Return the subjects behind the ranking of a diagnosis."""
    rows = group_regions[(group_regions.model_set == model_set) & (group_regions.diagnosis == diagnosis)]
    return int(rows.subjects.max()) if len(rows) else 0
