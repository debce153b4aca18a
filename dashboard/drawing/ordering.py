"""Which scans and methods are alike: clusters, a flat map of similarities, outliers. Arrays in, arrays out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

# SciPy is imported where it is called: its clustering takes as long to load as all else that the start of the
# dashboard loads together.
MAD_TO_SD = 1.4826  # median absolute deviation -> standard deviation, for normally distributed numbers


class SimilarityMap(NamedTuple):
    """The first two principal components of some rows, as points whose distances come closest to those of the rows.

    Attributes:
        points: (n, 2) in the unit of the features, centred on 0.
        explained: (2,) share of the variance on each axis.
    """

    points: np.ndarray
    explained: np.ndarray


def hierarchical_order(features: np.ndarray) -> np.ndarray:
    """Return the order of the rows in which similar ones are neighbours: the leaves of average linkage, Euclidean.

    Args:
        features: (n, d) finite numbers, one row a scan.
    Returns:
        (n,) row numbers. Equal input gives equal order.
    Raises:
        ValueError: not two dimensions, or a number is not finite.
    """
    from scipy.cluster import hierarchy  # noqa: PLC0415

    features = _check_table(features)
    if len(features) < 2:
        return np.arange(len(features))
    return leaf_order(hierarchy.linkage(features, "average"))


def linkage(distances: np.ndarray) -> np.ndarray:
    """Join the rows of a table of distances to a tree by average linkage (UPGMA).

    Args:
        distances: (n, n) symmetric, not negative.
    Returns:
        (n - 1, 4) as of scipy.cluster.hierarchy.linkage: the two clusters that are joined (< n: a row, n + i: the
        cluster of line i), their distance, and the rows in the new cluster.
    Raises:
        ValueError: not a symmetric table of numbers that are finite and not negative.
    """
    from scipy.cluster import hierarchy  # noqa: PLC0415
    from scipy.spatial.distance import squareform  # noqa: PLC0415

    distances = np.asarray(distances, dtype=float)
    square = distances.ndim == 2 and 0 < distances.shape[0] == distances.shape[1]
    if not (square and np.isfinite(distances).all() and (distances >= 0).all() and np.allclose(distances, distances.T)):
        raise ValueError(f"distances of shape {distances.shape} must be symmetric, finite and not negative")
    if len(distances) < 2:
        return np.empty((0, 4))
    return hierarchy.linkage(squareform(distances, checks=False), "average")


def leaf_order(tree: np.ndarray) -> np.ndarray:
    """Return the rows from left to right in the drawing of a tree, (n,); the tree is (n - 1, 4) as of `linkage`."""
    from scipy.cluster import hierarchy  # noqa: PLC0415

    return hierarchy.leaves_list(tree) if len(tree) else np.arange(1)


def similarity_map(features: np.ndarray) -> SimilarityMap:
    """Return the rows of a table as points of a plane: their first two principal components.

    The largest coordinate of each axis is positive, so that equal features give equal pictures. By NumPy's singular
    values: scikit-learn's PCA gives the same, and takes longer to load than this takes for 2000 scans.

    Args:
        features: (n, d) finite numbers, one row a scan.
    Raises:
        ValueError: as for `hierarchical_order`.
    """
    features = _check_table(features)
    left, singular, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    axes = min(2, len(singular))
    largest = np.abs(left[:, :axes]).argmax(axis=0)
    signs = np.where(left[largest, range(axes)] < 0, -1, 1)
    points, explained = np.zeros((len(features), 2)), np.zeros(2)
    points[:, :axes] = left[:, :axes] * signs * singular[:axes]
    explained[:axes] = singular[:axes] ** 2 / (np.square(singular).sum() or 1)
    return SimilarityMap(points, explained)


def _check_table(features: np.ndarray) -> np.ndarray:
    features = np.asarray(features, dtype=float)
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"features of shape {features.shape} must be a table of finite numbers")
    return features


def outliers(distances: pd.Series, groups: pd.Series) -> pd.Series:
    """Return how far each distance lies from those of its group: (distance - median) / (1.4826 x MAD).

    By group and with gaps this is shorter in pandas than by scipy.stats.median_abs_deviation, whose package the page
    would have to wait for.

    Args:
        distances: of each scan to the mean of its group; missing ones stay missing and do not count.
        groups: of each scan, with the same index.
    Returns:
        Robust z with the index of `distances`; missing where the group has no spread (a single scan, for example).
    """
    deviations = distances - distances.groupby(groups).transform("median")
    spread = MAD_TO_SD * deviations.abs().groupby(groups).transform("median")
    return deviations / spread.where(spread > 0)
