"""Does relevance follow the tissue that is there: tissue of regions, and its correlation with their relevance.

See docs/definitions.md, Anatomy.
"""

from __future__ import annotations

import numpy as np

from engine.images.template import white_matter_level
from store.accuracy import LEAST_SUBJECTS
from store.measures import ENDS

FLUID, GREY = 0.3, 0.6  # of white matter intensity: up to the first there is no tissue, from the second on nothing else
FLAT = 1e-9  # of the spread over all subjects, below which a draw has none


def tissue_share(volume: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Estimate which share of each brain voxel is tissue, (n,) in the order of volume[mask], 0 to 1.

    0 up to 30 % of white matter intensity, 1 from 60 % on, linear between: a voxel at the border of tissue and fluid
    is a mixture of both. Mean intensity would not do: what a shrinking hippocampus loses is in part white matter's
    gain, and the region becomes brighter.

    Args:
        volume: (x, y, z) intensities of a T1-weighted scan; white matter is the 90th percentile of the brain.
    """
    level = white_matter_level(volume, mask)
    relative = np.zeros(int(mask.sum())) if np.isnan(level) else volume[mask] / level
    return np.clip((relative - FLUID) / (GREY - FLUID), 0, 1)


def correlations(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return Pearson's correlation over subjects of each column of two tables, (draws, k); nan where one is constant.

    Args:
        first, second: (subjects, k).
        counts: (draws, subjects) how often a draw holds each subject.
    """
    first, second = first - first.mean(axis=0), second - second.mean(axis=0)
    total = counts.sum(axis=1, keepdims=True)
    means = counts @ first / total, counts @ second / total
    spread = [counts @ values**2 / total - mean**2 for values, mean in zip((first, second), means, strict=True)]
    together = counts @ (first * second) / total - means[0] * means[1]
    known = np.all([of > FLAT**2 * (v**2).mean(axis=0) for of, v in zip(spread, (first, second), strict=True)], axis=0)
    size = np.sqrt(np.maximum(spread[0], 0) * np.maximum(spread[1], 0))
    return np.clip(np.divide(together, size, out=np.full(size.shape, np.nan), where=known & (size > 0)), -1, 1)


def correlations_with_intervals(
    first: np.ndarray, second: np.ndarray, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the correlation of each column and its 95 % interval, three (k,); nan below five subjects.

    The interval is the 2.5 and 97.5 percentile over draws of subjects; draws in which a column is constant have no
    correlation and are left out.

    Args:
        first, second: (subjects, k).
        draws: (resamples, subjects), how often each subject is in a draw.
    """
    nothing = np.full(first.shape[1], np.nan)
    if len(first) < LEAST_SUBJECTS:
        return nothing, nothing.copy(), nothing.copy()
    value = correlations(first, second, np.ones((1, len(first))))[0]
    known, low, high = np.isfinite(value), nothing.copy(), nothing.copy()
    if known.any():
        drawn = correlations(first[:, known], second[:, known], draws)
        low[known], high[known] = np.nanpercentile(drawn, ENDS, axis=0)
    return value, low, high


def z_scores(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return (scans, k) values as z-scores of the people of a reference, ddof 1; nan where these do not differ.

    Args:
        reference: (people, k).
    """
    if len(reference) < 2:
        return np.full(values.shape, np.nan)
    mean, spread = reference.mean(axis=0), reference.std(axis=0, ddof=1)
    away = values - mean
    return np.divide(away, spread, out=np.full(away.shape, np.nan), where=spread > FLAT * np.abs(mean))
