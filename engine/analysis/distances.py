"""From signed heatmaps to what averages, rankings and distances are made of (docs/definitions.md)."""

from __future__ import annotations

import numpy as np

DISTANCE_UNIT = 1e4


def mass(heatmap: np.ndarray, gradient: bool) -> np.ndarray:
    """Return m: |h| for gradient methods, max(h, 0) of the explained class for occlusions."""
    return np.abs(heatmap) if gradient else np.maximum(heatmap, 0)


def normalised(values: np.ndarray) -> np.ndarray:
    """Divide a map by its sum; zeros stay zeros."""
    total = values.sum(dtype=np.float64)
    return values / total if total > 0 else np.zeros_like(values)


def has_relevance(values: np.ndarray) -> bool:
    """Return whether a map of m is more than 0 anywhere, so that it can be divided by its sum."""
    return bool(values.sum(dtype=np.float64) > 0)


def distance(first: np.ndarray, second: np.ndarray, grid_mm: int) -> float:
    """Return the Euclidean distance of two maps, each divided by its sum, divided by (voxel mm)^1.5, x 1e4.

    The last factor makes grids comparable: a map of sum 1 has values like 1 / voxels, so the distance grows with the
    square root of the voxel volume. Source: Rieke et al. 2018, section 3.2 (at 1 mm the factor is 1). A map without
    relevance cannot be divided by its sum and has no distance: nan.
    """
    if not (has_relevance(first) and has_relevance(second)):
        return float("nan")
    difference = normalised(first).astype(np.float64) - normalised(second)
    return float(np.sqrt((difference**2).sum()) / grid_mm**1.5 * DISTANCE_UNIT)
