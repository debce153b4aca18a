"""How two groups of training scans differ, voxel by voxel: Welch's t, and a linear classifier with its pattern.

See docs/definitions.md, Maps that explain nothing. The weights of a linear classifier are a sum of scans, so that it
is learned from the products of pairs of scans: memory does not grow with voxels times scans.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.svm import SVC

C = 1.0  # penalty of the support vector machine; with many more voxels than scans, any that is not tiny separates
TOLERANCE = 1e-6  # of its solution; scikit-learn stops at 1e-3, where weights differ by 0.2 % between orders of scans
BLOCK_BYTES = 2**28  # of the scans that are in memory at once, twice


def contrast_groups(
    read: Callable[[Sequence[str]], np.ndarray], positive: Sequence[str], negative: Sequence[str]
) -> dict[str, np.ndarray]:
    """Return the maps t_map, linear_weights and linear_pattern of two groups of scans, (voxels,) float32 each.

    All are positive where more speaks for the positive group. Voxels that never vary are 0.

    Args:
        read: scans -> (scans, voxels) float32.
        positive, negative: names of the scans; at least two each.
    Raises:
        ValueError: a group of fewer than two scans.
    """
    if min(len(positive), len(negative)) < 2:
        raise ValueError("maps of the training groups need at least two training scans of each group")
    scans = [*positive, *negative]
    sizes, is_positive = (len(positive), len(negative)), np.arange(len(scans)) < len(positive)
    block = max(1, BLOCK_BYTES // (4 * read(scans[:1]).shape[1]))
    starts = range(0, len(scans), block)
    products = np.zeros((len(scans), len(scans)))
    sums: list[list] = [[0.0, 0.0], [0.0, 0.0]]  # of values and their squares, by group
    for start in starts:
        own = read(scans[start : start + block])
        for row, value in enumerate(own, start):
            group = 0 if is_positive[row] else 1
            sums[group][0] = sums[group][0] + value.astype(np.float64)
            sums[group][1] = sums[group][1] + np.square(value, dtype=np.float64)
        for other in (first for first in starts if first <= start):
            beside = own if other == start else read(scans[other : other + block])
            found = own @ beside.T
            products[start : start + len(own), other : other + len(beside)] = found
            products[other : other + len(beside), start : start + len(own)] = found.T
    weight, along = _linear(products, is_positive)
    weights, pattern = (np.zeros(len(sums[0][0])) for _ in range(2))
    for start in starts:
        own = read(scans[start : start + block])
        weights += weight[start : start + len(own)] @ own
        pattern += along[start : start + len(own)] @ own
    maps = {"t_map": _welch(sums, sizes), "linear_weights": weights, "linear_pattern": pattern}
    return {name: values.astype(np.float32) for name, values in maps.items()}


def _welch(sums: list[list], sizes: tuple[int, int]) -> np.ndarray:
    """Return Welch's t of each voxel, first group minus second; 0 where neither varies."""
    means = [of_group[0] / size for of_group, size in zip(sums, sizes, strict=True)]
    spread = np.zeros_like(means[0])
    for (_, squares), mean, size in zip(sums, means, sizes, strict=True):
        spread += np.maximum(squares - size * mean**2, 0) / (size - 1) / size
    difference = means[0] - means[1]
    varies = spread > 1e-12 * (1 + means[0] ** 2 + means[1] ** 2)  # what is left of equal values is rounding
    return np.divide(difference, np.sqrt(spread), out=np.zeros_like(difference), where=varies)


def _linear(products: np.ndarray, is_positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how much of each scan is in the weights and in the activation pattern of a linear classifier.

    The pattern is cov(x, s) / var(s) with the decision value s of each scan (Haufe et al. 2014, equation 6): a sum of
    scans, too.

    Args:
        products: (scans, scans) of pairs of scans.
    """
    machine = SVC(kernel="precomputed", C=C, class_weight="balanced", tol=TOLERANCE).fit(products, is_positive)
    weight = np.zeros(len(products))
    weight[machine.support_] = machine.dual_coef_[0]
    decision = products @ weight
    centred = decision - decision.mean()
    return weight, centred / np.square(centred).sum()
