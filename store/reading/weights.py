"""Who weighs how much in averages: every subject the same, whatever its number of scans (or every scan).

The weight w of a scan is 1 / (scans of its subject that are averaged). What is averaged are the scans that pass the
filters; where each map is divided by its sum, those whose map has one: a map without any relevance has no share.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from store.errors import NoRelevanceError
from store.keys import are_retrained
from store.reading.open_run import OpenRun


def explained(run: OpenRun, model_set: str) -> pd.DataFrame:
    """Return the predictions of a model set, without those of retrained models, which explain the same scans again."""
    frame = run.whole_table("predictions")
    return frame[(frame["model_set"] == model_set) & ~are_retrained(frame["model"])]


def scans_weigh_alike(run: OpenRun, model_set: str) -> bool:
    """Return whether the run weighs every scan the same instead of every subject."""
    config = run.manifest.get("config")
    analysis = config.get("analysis") if isinstance(config, dict) else None
    if isinstance(analysis, dict) and "weights" in analysis:
        return analysis["weights"] == "scan"
    cells = run.whole_table("cells")
    cells = cells[cells["model_set"] == model_set]
    return len(cells) > 0 and np.allclose(cells["weight"], cells["scans"])


def without_relevance(run: OpenRun, method: str, rows: pd.DataFrame, target: str) -> np.ndarray:
    """Return whose map for a group is 0 everywhere, (rows,) bool.

    Args:
        rows: of the predictions table.
    """
    maps = run.whole_table("heatmaps")
    empty = maps[(maps["method"] == method) & (maps["scale"] == "margin") & ~(maps["absolute_sum"] > 0)]
    if empty.empty:
        return np.zeros(len(rows), bool)
    known = set(zip(empty["model"], empty["scan"], empty["target"], strict=True))
    positive, negative = run.groups

    def is_empty(model: str, scan: str) -> bool:
        if (model, scan, target) in known:
            return True
        return target == negative and (model, scan, positive) in known and run.is_antisymmetric(model, method)

    return np.array([is_empty(*pair) for pair in zip(rows["model"], rows["scan"], strict=True)], bool)


def equal_weights(rows: pd.DataFrame, by_scan: bool) -> np.ndarray:
    """Return the w of scans that are averaged together, (rows,): each subject has 1 in all, or each scan 1."""
    if by_scan or rows.empty:
        return np.ones(len(rows))
    return (1.0 / rows.groupby("subject")["scan"].transform("count")).to_numpy(float)


def cell_weights(rows: pd.DataFrame, contributes: np.ndarray, by_scan: bool) -> list[np.ndarray]:
    """Return the weights with which runs have made their group cells, each (rows,); 0 for what was left out.

    Each subject has 1 in its diagnosis; runs of before gave it 1 in the whole model set, and counted maps without
    relevance.

    Args:
        rows: all predictions of the model set.
        contributes: (rows,) bool.
    """
    if by_scan:
        return [contributes.astype(float), np.ones(len(rows))]
    counts = rows[contributes].groupby(["subject", "diagnosis"])["scan"].transform("count")
    ours = (1.0 / counts).reindex(rows.index).fillna(0.0).to_numpy(float)
    return [ours, (1.0 / rows.groupby("subject")["scan"].transform("count")).to_numpy(float)]


def nothing_to_average(run: OpenRun, method: str, scans: int) -> NoRelevanceError:
    """Make the error for where no map has any relevance."""
    which = "the one scan has no relevance" if scans == 1 else f"none of the {scans} scans has any relevance"
    return NoRelevanceError(f"run {run.run_id}: {which} by {method}, so there is no share to average")
