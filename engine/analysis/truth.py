"""How well a heatmap finds the imposed change (design, section 9)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage, stats

SCORES = (
    "voxel_auc", "average_precision", "mass_accuracy", "rank_accuracy", "pointing_game", "region_rank_correlation",
    "localisation_error_mm",
)  # fmt: skip


class TruthScorer:
    """Scores maps of m against one truth; what depends on the truth alone is computed once.

    Args:
        truth: (x, y, z) bool.
        size: (x, y, z) continuous truth, mean |after - sham|, for the rank measure.
        mask: (x, y, z) bool brain mask; all scores are inside it.
        labels: (x, y, z) region index.
    """

    def __init__(self, truth: np.ndarray, size: np.ndarray, mask: np.ndarray, labels: np.ndarray, grid_mm: int) -> None:
        self._mask, self._real, self._labels = mask, truth[mask], labels[mask]
        self._away_mm = ndimage.distance_transform_edt(~truth)[mask] * grid_mm
        self._voxels = np.bincount(self._labels)
        self._size = self._per_region(size[mask])

    def _per_region(self, values: np.ndarray) -> np.ndarray:
        sums = np.bincount(self._labels, values, minlength=len(self._voxels))
        return sums[self._voxels > 0] / self._voxels[self._voxels > 0]

    def __call__(self, relevance: np.ndarray) -> dict[str, float]:
        """Scores of one map (x, y, z), not negative; nan where the map is empty.

        voxel_auc, average_precision: of m as a detector of truth voxels (ties count half; in average precision they
        count as one step).
        mass_accuracy: share of the relevance inside the truth; rank_accuracy: share of the |truth| most relevant
        voxels inside it (Arras et al. 2022, section 3.3).
        pointing_game: 1 if the most relevant voxel is inside (Zhang et al. 2018).
        region_rank_correlation: Spearman between regions' mean m and mean size of the change.
        localisation_error_mm: mean distance of the relevance from the truth.
        """
        found, real = relevance[self._mask].astype(np.float32), self._real
        positives = int(real.sum())
        if not 0 < positives < len(real) or found.sum() <= 0:
            return dict.fromkeys(SCORES, np.nan)
        order = _descending(found)
        hits = real[order]
        last = np.flatnonzero(np.diff(found[order], append=-np.inf))  # the end of each run of equal values
        true = np.concatenate([[0], np.cumsum(hits)[last]])
        called = np.concatenate([[0], last + 1])
        false = called - true
        return {
            "voxel_auc": float(np.trapezoid(true, false) / (positives * (len(real) - positives))),
            "average_precision": float((np.diff(true) * true[1:] / called[1:]).sum() / positives),
            "mass_accuracy": float(found[real].sum(dtype=np.float64) / found.sum(dtype=np.float64)),
            "rank_accuracy": float(hits[:positives].mean()),
            "pointing_game": float(hits[0]),
            "region_rank_correlation": float(stats.spearmanr(self._per_region(found), self._size).statistic),
            "localisation_error_mm": float((self._away_mm * found).sum() / found.sum(dtype=np.float64)),
        }


def _descending(values: np.ndarray) -> np.ndarray:
    """(n,) places from the largest value to the smallest, equal ones in their order.

    The bits of numbers that are not negative rise with them, so that value and place are one key, and sorting keys is
    many times as fast as a stable argsort.

    Args:
        values: (n,) float32, not negative.
    """
    upside_down = np.uint32(0xFFFFFFFF) - (values + np.float32(0)).view(np.uint32)  # + 0: -0.0 is 0 too
    keys = (upside_down.astype(np.uint64) << np.uint64(32)) | np.arange(len(values), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.intp)
