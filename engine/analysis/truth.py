"""How well a heatmap finds the imposed change (design, section 9)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, stats
from sklearn.metrics import average_precision_score, roc_auc_score

SCORES = (
    "voxel_auc", "average_precision", "mass_accuracy", "rank_accuracy", "pointing_game", "region_rank_correlation",
    "localisation_error_mm",
)  # fmt: skip


def truth_scores(
    relevance: np.ndarray, truth: np.ndarray, size: np.ndarray, mask: np.ndarray, labels: np.ndarray, grid_mm: int
) -> dict[str, float]:
    """Scores of one map of m against the truth; nan where the map or the truth is empty.

    Args:
        relevance: (x, y, z) m, not negative.
        truth: (x, y, z) bool.
        size: (x, y, z) continuous truth, mean |after - sham|, for the rank measure.
        mask: (x, y, z) bool brain mask; all scores are inside it.
        labels: (x, y, z) region index.
    Returns:
        voxel_auc, average_precision: of m as a detector of truth voxels.
        mass_accuracy: share of the relevance inside the truth; rank_accuracy: share of the |truth| most relevant
            voxels inside it (Arras et al. 2022, section 3.3).
        pointing_game: 1 if the most relevant voxel is inside (Zhang et al. 2018).
        region_rank_correlation: Spearman between regions' mean m and mean size of the change.
        localisation_error_mm: mean distance of the relevance from the truth.
    """
    found, real = relevance[mask].astype(np.float64), truth[mask]
    if not real.any() or real.all() or found.sum() <= 0:
        return dict.fromkeys(SCORES, np.nan)
    count = int(real.sum())
    top = np.argsort(-found, kind="stable")[:count]
    away = ndimage.distance_transform_edt(~truth)[mask] * grid_mm
    inside = labels[mask]
    voxels = np.maximum(np.bincount(inside), 1)
    per_region = [np.bincount(inside, values) / voxels for values in (found, size[mask])]
    present = np.bincount(inside) > 0
    return {
        "voxel_auc": float(roc_auc_score(real, found)),
        "average_precision": float(average_precision_score(real, found)),
        "mass_accuracy": float(found[real].sum() / found.sum()),
        "rank_accuracy": float(real[top].mean()),
        "pointing_game": float(real[found.argmax()]),
        "region_rank_correlation": float(stats.spearmanr(per_region[0][present], per_region[1][present]).statistic),
        "localisation_error_mm": float((away * found).sum() / found.sum()),
    }
