"""Which scans and methods are alike: clusters, a flat map of similarities, outliers. NumPy alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

MAD_TO_SD = 1.4826  # median absolute deviation -> standard deviation, for normally distributed numbers
_ROUNDING = 1e-12  # of squared distances, as a share of the largest squared length


class SimilarityMap(NamedTuple):
    """Points whose distances come closest to the given ones.

    Attributes:
        points: (n, 2) in the unit of the distances, centred on 0.
        explained: (2,) share of the variance on each axis.
    """

    points: np.ndarray
    explained: np.ndarray


def hierarchical_order(features: np.ndarray) -> np.ndarray:
    """Order of the rows in which similar ones are neighbours: the leaves of average linkage, Euclidean.

    Args:
        features: (n, d) finite numbers, one row a scan.
    Returns:
        (n,) row numbers. Equal input gives equal order; of equally close rows the first is taken.
    Raises:
        ValueError: not two dimensions, or a number is not finite.
    """
    features = np.asarray(features, dtype=float)
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(f"features of shape {features.shape} must be a table of finite numbers")
    if len(features) < 2:
        return np.arange(len(features))
    return leaf_order(linkage(euclidean(features)))


def euclidean(features: np.ndarray) -> np.ndarray:
    """(n, n) distances between rows."""
    centred = features - features.mean(axis=0, keepdims=True)
    products = centred @ centred.T
    lengths = np.diag(products)
    squares = lengths[:, None] + lengths[None, :] - 2 * products
    squares[squares < _ROUNDING * lengths.max(initial=0)] = 0
    return np.sqrt(squares)


def linkage(distances: np.ndarray) -> np.ndarray:
    """Average linkage (UPGMA) by the nearest-neighbour chain (Murtagh 1983), O(n^2).

    Args:
        distances: (n, n) symmetric, not negative.
    Returns:
        (n - 1, 4) as of scipy.cluster.hierarchy.linkage: the two clusters that are joined (< n: a row, n + i: the
        cluster of line i), their distance, and the rows in the new cluster.
    Raises:
        ValueError: not a symmetric table of numbers that are finite and not negative.
    """
    between = _checked(distances).copy()
    count = len(between)
    np.fill_diagonal(between, np.inf)
    sizes, chain, joins = np.ones(count), [], []
    for _ in range(count - 1):
        first, second = _nearest_pair(between, sizes, chain)
        joins.append((first, second, between[first, second], sizes[first] + sizes[second]))
        _join(between, sizes, first, second)
    return _by_height(np.array(joins).reshape(-1, 4), count)


def _checked(distances: np.ndarray) -> np.ndarray:
    distances = np.asarray(distances, dtype=float)
    square = distances.ndim == 2 and 0 < distances.shape[0] == distances.shape[1]
    if not (square and np.isfinite(distances).all() and (distances >= 0).all() and np.allclose(distances, distances.T)):
        raise ValueError(f"distances of shape {distances.shape} must be symmetric, finite and not negative")
    return distances


def _nearest_pair(between: np.ndarray, sizes: np.ndarray, chain: list[int]) -> tuple[int, int]:
    """Two clusters that are each other's nearest; `chain`, of ever nearer clusters, goes on from the last call."""
    if not chain:
        chain.append(int(np.flatnonzero(sizes)[0]))
    while True:
        last = chain[-1]
        nearest = int(between[last].argmin())
        if len(chain) > 1 and between[last, chain[-2]] <= between[last, nearest]:
            chain.pop()
            return tuple(sorted((last, chain.pop())))
        chain.append(nearest)


def _join(between: np.ndarray, sizes: np.ndarray, first: int, second: int) -> None:
    """Put the first cluster into the second; distances to others are means over all pairs of rows."""
    a, b = sizes[first], sizes[second]
    mean = (a * between[first] + b * between[second]) / (a + b)
    mean[second] = np.inf
    between[second], between[:, second] = mean, mean
    between[first], between[:, first] = np.inf, np.inf
    sizes[first], sizes[second] = 0, a + b


def _by_height(joins: np.ndarray, count: int) -> np.ndarray:
    """The joins from near to far, each cluster named by the line that made it."""
    joins = joins[np.argsort(joins[:, 2], kind="stable")]
    cluster, within = np.arange(count), np.arange(count)  # name of a root; row -> a row nearer to its root
    for line, join in enumerate(joins):
        roots = [_root(within, int(row)) for row in join[:2]]
        join[:2] = sorted(cluster[roots])
        within[roots[0]] = roots[1]
        cluster[roots[1]] = count + line
    return joins


def _root(within: np.ndarray, row: int) -> int:
    while within[row] != row:
        within[row] = within[within[row]]
        row = within[row]
    return row


def leaf_order(tree: np.ndarray) -> np.ndarray:
    """(n,) rows from left to right in the drawing of a tree, (n - 1, 4) as `linkage` gives it."""
    count, order = len(tree) + 1, []
    waiting = [2 * count - 2]
    while waiting:
        cluster = waiting.pop()
        if cluster < count:
            order.append(cluster)
        else:
            left, right = tree[cluster - count, :2].astype(int)
            waiting += [int(right), int(left)]
    return np.array(order)


def similarity_map(distances: np.ndarray) -> SimilarityMap:
    """Classical multidimensional scaling (Torgerson 1952) onto two axes.

    The largest coordinate of each axis is positive, so that equal distances give equal pictures.

    Args:
        distances: (n, n) symmetric, not negative.
    Raises:
        ValueError: as for `linkage`.
    """
    squares = _checked(distances) ** 2
    means = squares.mean(axis=0)
    products = -0.5 * (squares - means[None, :] - means[:, None] + means.mean())
    values, vectors = np.linalg.eigh(products)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    axes = min(2, len(values))
    largest = np.abs(vectors[:, :axes]).argmax(axis=0)
    signs = np.where(vectors[largest, range(axes)] < 0, -1, 1)
    points, explained = np.zeros((len(values), 2)), np.zeros(2)
    points[:, :axes] = vectors[:, :axes] * signs * np.sqrt(values[:axes])
    explained[:axes] = values[:axes] / (values.sum() or 1)
    return SimilarityMap(points, explained)


def outliers(distances: pd.Series, groups: pd.Series) -> pd.Series:
    """How far each distance lies from those of its group: (distance - median) / (1.4826 x MAD).

    Args:
        distances: of each scan to the mean of its group; missing ones stay missing and do not count.
        groups: of each scan, with the same index.
    Returns:
        Robust z with the index of `distances`; missing where the group has no spread (a single scan, for example).
    """
    deviations = distances - distances.groupby(groups).transform("median")
    spread = MAD_TO_SD * deviations.abs().groupby(groups).transform("median")
    return deviations / spread.where(spread > 0)
