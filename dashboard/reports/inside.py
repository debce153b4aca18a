"""How much of a heatmap lies inside the change imposed on a simulated brain, beside what knows nothing has there."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd

from dashboard.reports.subject import Subject
from dashboard.text.formatting import percent
from store import RunReader
from store.reading.truth import OF_EARLIER, VoxelTruth, has_truth, voxel_truth

REFERENCES = {"null_reference": "null", "reference": "untrained"}  # columns of truth_scores, the better one first


def words(subject: Subject, method: str, relevance: np.ndarray) -> list[str]:
    """Write sentences about one heatmap, from the longest to the shortest; none for a brain without imposed change.

    Args:
        relevance: (x, y, z) not negative, on the working grid.
    """
    total = float(relevance[subject.run.mask].sum())
    if not _imposed(subject) or not total > 0:
        return []
    truth = _truth(subject.run, subject.scan)
    share = f"{percent(float(relevance[truth.binary].sum()) / total)} inside the {_name(truth)}"
    brain = f"brain {percent(truth.binary.sum() / subject.run.mask.sum())}"
    known = [f"{REFERENCES[column]} {percent(value)}" for column, value in _references(subject.run, method).items()]
    # Where there is no room for both references, the better one stays.
    return [f"{share} ({', '.join([brain, *known[:count]])})" for count in range(len(known), -1, -1)]


def explanation(subject: Subject) -> str:
    """Say what the figures beside the names of the methods mean; empty where there are none."""
    if not _imposed(subject):
        return ""
    if _truth(subject.run, subject.scan).kind == OF_EARLIER:
        return " Shares beside the methods are of tissue whose volume was changed; it shows at its borders alone."
    return (
        " Shares beside the methods: relevance where the change is visible in this brain; brain: of all voxels; null: "
        "by networks trained where nothing was imposed; untrained: by networks that have learned nothing."
    )


def _imposed(subject: Subject) -> bool:
    severity = subject.row.severity
    return bool(np.isfinite(severity)) and severity > 0 and has_truth(subject.run)


def _name(truth: VoxelTruth) -> str:
    return "imposed change" if truth.kind == OF_EARLIER else "change"


@lru_cache(maxsize=1)
def _truth(run: RunReader, scan: str) -> VoxelTruth:
    return voxel_truth(run, scan)


def _references(run: RunReader, method: str) -> dict[str, float]:
    """Return the share inside the truth, mean over patients of the test set, by networks that know nothing of it."""
    if not run.has_table("truth_scores"):
        return {}
    rows = run.table(
        "truth_scores", method=method, score="mass_accuracy", level="scan", diagnosis=run.groups[0], model_set="holdout"
    )
    if rows.empty:
        return {}
    return {column: float(rows[column].iloc[0]) for column in REFERENCES if pd.notna(rows[column].iloc[0])}
