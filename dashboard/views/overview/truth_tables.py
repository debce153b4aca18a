"""How well heatmaps of a simulated run find what was imposed: frames in, frames and words out, without Streamlit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from dashboard.text.formatting import MODEL_SETS, NONE, count, method_name, three
from store.keys import explains

SCORES = {
    "voxel_auc": "Voxel AUC", "average_precision": "Average precision", "mass_accuracy": "Share of relevance inside",
    "rank_accuracy": "Strongest voxels inside", "pointing_game": "Strongest voxel inside",
    "localisation_error_mm": "Mean distance from it, mm", "region_rank_correlation": "Regions, rank correlation",
    "region_share": "Share in imposed regions", "relevance_mass_accuracy": "Relevance mass accuracy, top 1 %",
    "relevance_mass_gain": "Relevance mass gain, times by chance", "mirrored_mass_accuracy": "The same with its mirror",
    "fpr": "False positive beyond 20 mm", "tpr_strong": "Most relevant region imposed on",
    "tpr_weak": "One of the first three imposed on",
}  # fmt: skip
LEVELS = {
    "group": "mean heatmap", "signed_group": "mean of signed heatmaps", "scan": "each scan",
    "ensemble": "mean heatmap of all networks together",
    "signed_ensemble": "mean of signed heatmaps of all networks together",
}  # fmt: skip
SHOWN = {"voxel_auc": "Voxel AUC, visible change", "region_rank_correlation": "Rank correlation, imposed regions"}
SHOWN_BEFORE = {"voxel_auc": "Voxel AUC, changed tissue", "region_rank_correlation": "Rank correlation, regions"}
KINDS = {"null_": "networks trained where nothing was imposed", "": "untrained networks"}  # the better reference first
BEFORE_VISIBLE_CHANGE = (
    "This run is older than the visible change: it is scored against the tissue whose volume was changed, which shows "
    "at its borders alone, so that even the difference of the pictures reaches a voxel AUC of about 0.75 only. "
    "Intervals and ceilings are in newer runs of the pipeline."
)


def select_patients(scores: pd.DataFrame, positive: str) -> pd.DataFrame:
    """Return the rows of mean heatmaps of the positive group, of the fixed test set where there is one."""
    own = scores[(scores["diagnosis"] == positive) & (scores["level"] == "group")]
    held = own[own["model_set"] == "holdout"]
    return held if len(held) else own


def reference_of(row: Any) -> tuple[str, float, float, float] | None:
    """Return (words, difference, low, high) beside the best reference of a row of the scores; None without any."""
    for prefix, words in KINDS.items():
        difference = getattr(row, f"{prefix}difference")
        if pd.notna(difference):
            return words, difference, getattr(row, f"{prefix}difference_low"), getattr(row, f"{prefix}difference_high")
    return None


def say_answer(own: pd.DataFrame) -> str:
    """Say which method finds the visible change best, and whether it beats networks that know nothing of it.

    Args:
        own: of `select_patients`.
    """
    known = own[(own["score"] == "voxel_auc") & own["value"].notna()]
    rows = known[known["method"].map(explains).astype(bool)]
    if rows.empty:
        return "No heatmap of these patients holds relevance, so there is no score."
    best = max(rows.itertuples(), key=lambda row: row.value)
    value = _with_interval(best.value, best.value_low, best.value_high)
    text = f"{method_name(best.method)} finds the change best: voxel AUC {value}"
    known = reference_of(best)
    if known is None:
        return f"{text}. What networks that never saw it would reach was not computed."
    words, difference, low, high = known
    text += f", {_signed(difference)}{_interval(low, high)} against {words}"
    if low > 0:
        return f"{text}."
    if pd.isna(low):
        return f"{text}; the interval of this difference is not known."
    return f"{text}. **That is no better than those networks.**"


def say_baseline(own: pd.DataFrame) -> str:
    """Say what the best map reaches that asks no network; empty where there is none.

    Args:
        own: of `select_patients`.
    """
    rows = own[(own["score"] == "voxel_auc") & own["value"].notna()]
    rows = rows[~rows["method"].map(explains).astype(bool)]
    if rows.empty:
        return ""
    best = max(rows.itertuples(), key=lambda row: row.value)
    value = _with_interval(best.value, best.value_low, best.value_high)
    return f"The best map that asks no network is {method_name(best.method)}: voxel AUC {value}."


def say_ensemble(scores: pd.DataFrame, positive: str) -> str:
    """Say what the average over all networks of the fixed test set reaches; empty where there is one alone."""
    rows = scores[(scores["level"] == "ensemble") & (scores["diagnosis"] == positive)]
    rows = rows[(rows["score"] == "voxel_auc") & rows["value"].notna() & rows["method"].map(explains).astype(bool)]
    if rows.empty:
        return ""
    best = max(rows.itertuples(), key=lambda row: row.value)
    value = _with_interval(best.value, best.value_low, best.value_high)
    return f"Averaged over {count(int(best.networks), 'network')}, the best is {method_name(best.method)}: {value}."


def say_ceilings(own: pd.DataFrame) -> str:
    """Say what could be reached at most; empty where it is not known."""
    rows = own[own["score"] == "voxel_auc"].dropna(subset=["ceiling"])
    if rows.empty:
        return ""
    best = rows["group_difference"].iloc[0]
    data = "" if pd.isna(best) else f"; the difference of the groups in the training scans has {best:.3f}"
    return f"The truth's own map has a voxel AUC of {rows['ceiling'].iloc[0]:.3f}{data}."


def table(scores: pd.DataFrame, positive: str) -> pd.DataFrame:
    """Return every score in words, one row each.

    The mean heatmaps of the positive group in the fixed test set come first.
    """
    first = [scores["model_set"] != "holdout", scores["diagnosis"] != positive, scores["level"] != "group"]
    order = pd.concat(first, axis=1, keys=range(3)).sort_values([0, 1, 2], kind="stable").index
    scores = scores.loc[order]
    rows = [
        {
            "Models": MODEL_SETS.get(row.model_set, row.model_set), "Method": method_name(row.method),
            "Scans of": row.diagnosis, "Map": LEVELS.get(row.level, row.level),
            "Score": SCORES.get(row.score, row.score),
            "Value [95 % CI]": _with_interval(row.value, row.value_low, row.value_high),
            "Untrained": _spread(row.reference, row.reference_sd),
            "Nothing imposed": _spread(row.null_reference, row.null_reference_sd),
            "Difference [95 % CI]": _best_difference(row),
            "Groups' difference": _number(row.group_difference), "Ceiling": _number(row.ceiling),
            "n": count(int(row.scans), "scan"), "No reference because": "" if pd.isna(row.note) else row.note,
        }
        for row in scores.itertuples()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _best_difference(row: Any) -> str:
    known = reference_of(row)
    return NONE if known is None else f"{_signed(known[1])}{_interval(*known[2:])}"


def _number(value: float) -> str:
    return NONE if pd.isna(value) else three(value)


def _spread(mean: float, sd: float) -> str:
    return NONE if pd.isna(mean) else _minus(mean) + (f" ± {sd:.3f}" if pd.notna(sd) else "")


def _with_interval(value: float, low: float, high: float) -> str:
    return NONE if pd.isna(value) else f"{_minus(value)}{_interval(low, high)}"


def _interval(low: float, high: float) -> str:
    return f" [{_minus(low)}, {_minus(high)}]" if np.isfinite(low) and np.isfinite(high) else ""


def _minus(value: float) -> str:
    return f"{value:.3f}".replace("-", "\N{MINUS SIGN}")


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")
