"""A scan cut into segments by its own intensities, at several numbers of segments, each level nested in the finer one.

Supervoxels by a few rounds of k-means over intensity and place, begun on a lattice (the idea of SLIC: Achanta et al.
2012), merged by Ward's criterion along the borders that they share.

skimage.segmentation.slic takes 11 times as long at 2 mm and gives other supervoxels; sklearn's AgglomerativeClustering
gives the same segments, but takes 4 times as long, for it makes the tree anew for each level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage, sparse
from scipy.spatial import cKDTree
from sklearn.cluster import ward_tree

ROUNDS = 3  # of k-means; later ones move few voxels
SAMPLED = 250_000  # voxels that centres are means of
SUPERVOXELS = 8  # for each segment of the finest level
SMOOTHING_MM = 0.85  # standard deviation, about 2 mm full width at half maximum; less noise, fewer islands


def segmentations(
    intensities: np.ndarray, mask: np.ndarray, grid_mm: float, levels: Sequence[int], compactness: float
) -> np.ndarray:
    """Return the (levels, x, y, z) int32 number of each voxel's segment from 1, 0 outside the mask; deterministic.

    Args:
        intensities: (x, y, z) of a scan.
        mask: (x, y, z) bool brain mask.
        grid_mm: edge of a voxel.
        levels: number of segments of each level; a scan of fewer supervoxels has as many segments as it has of them.
        compactness: what the length of a supervoxel counts in standard deviations of the intensity; the greater, the
            rounder the segments.
    """
    edge = max(1.0, (mask.sum() / (SUPERVOXELS * max(levels))) ** (1 / 3))  # of a supervoxel, in voxels
    places = np.argwhere(mask)
    features = np.column_stack([_standardise(intensities, mask, grid_mm), places * (compactness / edge)])
    supervoxel = _supervoxels(features, (places // edge).astype(int))
    count = supervoxel.max() + 1
    numbered = np.zeros(mask.shape, np.int32)
    numbered[mask] = supervoxel + 1
    merges = _merges(_centres(features, supervoxel), _find_borders(numbered, count))
    found = np.zeros((len(levels), *mask.shape), np.int32)
    for level, segments in zip(found, levels, strict=True):
        level[mask] = _cut(merges, count, min(segments, count))[supervoxel] + 1
    return found


def _standardise(intensities: np.ndarray, mask: np.ndarray, grid_mm: float) -> np.ndarray:
    """Return the (n,) smoothed intensities in the mask, in standard deviations; what lies outside does not flow in."""
    sigma = SMOOTHING_MM / grid_mm
    inside = ndimage.gaussian_filter(np.where(mask, intensities, 0).astype(np.float32), sigma)[mask]
    values = inside / ndimage.gaussian_filter(mask.astype(np.float32), sigma)[mask]
    return values / (values.std() or 1.0)


def _supervoxels(features: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return the (n,) number of each voxel's supervoxel, from 0.

    Args:
        features: (n, f); cells: (n, 3) integers, where on the lattice each voxel lies at first.
    """
    few = features[:: max(1, len(features) // SAMPLED)]
    centres = _centres(features, _renumber(np.ravel_multi_index(cells.T, cells.max(axis=0) + 1)))
    threads = torch.get_num_threads()  # as many as this process has; each voxel is its own question
    for _ in range(ROUNDS):
        centres = _centres(few, _renumber(cKDTree(centres).query(few, workers=threads)[1]))
    return _renumber(cKDTree(centres).query(features, workers=threads)[1])


def _renumber(values: np.ndarray) -> np.ndarray:
    """Assign numbers from 0 without gaps to values, integers from 0: a centre may have lost all its voxels."""
    return (np.cumsum(np.bincount(values) > 0) - 1)[values]


def _centres(features: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return the (supervoxels, f) mean features of each supervoxel."""
    sums = np.column_stack([np.bincount(number, column) for column in features.T])
    return sums / np.bincount(number)[:, None]


def _find_borders(numbered: np.ndarray, count: int) -> sparse.csr_matrix:
    """Return which supervoxels touch, (count, count), symmetric.

    Args:
        numbered: (x, y, z) supervoxels from 1, 0 outside.
    """
    pairs = []
    for axis in range(3):
        along = np.moveaxis(numbered, axis, 0)
        first, second = along[:-1].ravel(), along[1:].ravel()
        touching = (first != second) & (first > 0) & (second > 0)
        pairs.append(np.stack([first[touching], second[touching]]) - 1)
    rows, columns = np.concatenate(pairs, axis=1)
    matrix = sparse.coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(count, count)).tocsr()
    return matrix + matrix.T


def _merges(centres: np.ndarray, borders: sparse.csr_matrix) -> np.ndarray:
    """Return which two supervoxels are merged at each step, (count - 1, 2); step i makes number count + i."""
    if len(centres) == 1:
        return np.empty((0, 2), int)
    return ward_tree(centres, connectivity=borders)[0]


def _cut(merges: np.ndarray, count: int, segments: int) -> np.ndarray:
    """Return the (count,) number of each supervoxel's segment, from 0, after the merges that leave so many segments."""
    owner = np.arange(2 * count - 1)
    for step in range(count - segments - 1, -1, -1):  # from the last to the first: owners are settled before the owned
        owner[merges[step]] = owner[count + step]
    return _renumber(owner[:count])
