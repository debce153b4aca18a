"""How alike two heatmaps of the same shape are: rank correlation and structural similarity, with and without sign.

docs/definitions.md, Randomisation.
"""

from __future__ import annotations

import numpy as np
from skimage.metrics import structural_similarity

from engine.images.geometry import bounding_box
from store.measures import rank_correlation

SIMILARITIES = ("rank_correlation", "rank_correlation_absolute", "ssim", "ssim_absolute")
WINDOW = 7  # voxels along each axis
TOP_PERCENTILE = 99  # of |h|: the full scale of a map, beyond which it is clipped


def similarities(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Compare two signed heatmaps (x, y, z) inside the brain: (SIMILARITIES,), 1 where they are alike.

    A map without relevance is like no other: nan. A map of one value has no rank correlation: nan.
    """
    one, other = first[mask].astype(np.float64), second[mask].astype(np.float64)
    if not one.any() or not other.any():
        return np.full(len(SIMILARITIES), np.nan)
    return np.array(
        [
            rank_correlation(one, other),
            rank_correlation(np.abs(one), np.abs(other)),
            structural_similarity_in_brain(first, second, mask),
            structural_similarity_in_brain(first, second, mask, signed=False),
        ]
    )


def structural_similarity_in_brain(
    first: np.ndarray, second: np.ndarray, mask: np.ndarray, signed: bool = True
) -> float:
    """Return the structural similarity (SSIM) of two heatmaps (x, y, z), the mean over the windows in the brain.

    Each map is scaled to its own range first (`scaled`); the windows are cubes of WINDOW voxels around every voxel of
    the mask, all their voxels alike, K1 0.01, K2 0.03, and the range 1. Source: Wang, Bovik, Sheikh & Simoncelli 2004,
    IEEE Transactions on Image Processing 13, 600-612; the window of skimage.metrics.structural_similarity, as in
    the published code of Arun et al. 2021.
    """
    box = bounding_box(mask)
    margin = WINDOW // 2  # windows around voxels of the mask reach no further
    crop = tuple(slice(max(s.start - margin, 0), s.stop + margin) for s in box)
    inside = mask[crop]
    maps = [scaled(heatmap, mask, signed)[crop] for heatmap in (first, second)]
    _, local = structural_similarity(*maps, win_size=WINDOW, data_range=1.0, full=True)
    return float(local[inside].mean(dtype=np.float64))


def scaled(heatmap: np.ndarray, mask: np.ndarray, signed: bool) -> np.ndarray:
    """Bring a heatmap (x, y, z) to its own range, (x, y, z) float32 from 0 to 1.

    Divided by the 99th percentile of |h| in the brain and clipped, so that a few large voxels do not make all others
    alike. Without sign, |h| goes from 0 to 1. With sign, no relevance is 0.5, as in a picture in two colours: around 0
    the index would call a map and its negative alike, for it multiplies the sign of the means by that of the pattern.

    Args:
        heatmap: not 0 everywhere in the mask. Outside the mask it counts as no relevance.
    """
    size = np.abs(heatmap[mask])
    top = np.percentile(size, TOP_PERCENTILE) or size.max()  # fewer than 1 % of the voxels hold relevance: the largest
    values = np.where(mask, heatmap / top, 0)
    values = np.clip(values, -1, 1) / 2 + 0.5 if signed else np.minimum(np.abs(values), 1)
    return values.astype(np.float32)
