"""From signed heatmaps to what averages, rankings and distances are made of (design, section 6, definitions)."""

from __future__ import annotations

import numpy as np
from scipy import stats

DISTANCE_UNIT = 1e4


def mass(heatmap: np.ndarray, gradient: bool) -> np.ndarray:
    """m: |h| for gradient methods, max(h, 0) of the chosen target for occlusions."""
    return np.abs(heatmap) if gradient else np.maximum(heatmap, 0)


def normalised(values: np.ndarray) -> np.ndarray:
    """Divided by its sum; zeros stay zeros."""
    total = values.sum(dtype=np.float64)
    return values / total if total > 0 else np.zeros_like(values)


def distance(first: np.ndarray, second: np.ndarray, grid_mm: int) -> float:
    """Euclidean distance of two maps, each divided by its sum, divided by (voxel mm)^1.5, x 1e4.

    The last factor makes grids comparable: a map of sum 1 has values like 1 / voxels, so the distance grows with the
    square root of the voxel volume. Source: Rieke et al. 2018, section 3.2 (at 1 mm the factor is 1).
    """
    difference = normalised(first).astype(np.float64) - normalised(second)
    return float(np.sqrt((difference**2).sum()) / grid_mm**1.5 * DISTANCE_UNIT)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman; nan if one side is constant."""
    return correlation_of_ranks(ranks(first), ranks(second))


def ranks(values: np.ndarray) -> np.ndarray:
    """(n,) ranks from 1, ties in the middle."""
    return stats.rankdata(values)


def correlation_of_ranks(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman of what has these ranks; nan if one side is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
