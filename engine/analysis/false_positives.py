"""What a heatmap marks beside the known truth, and its mirror image as the control.

See docs/definitions.md, Trust, Faithfulness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from engine.images.grid import FWHM_TO_SIGMA

MARKED_SHARE = 0.01  # of the brain's voxels
SMOOTHING_MM = 2.0  # full width at half maximum
TOLERANCE_MM = 2.0  # around the truth


@dataclass(frozen=True)
class BesideTruth:
    """Voxels (x, y, z) bool that are marked beside the truth and can be compared with their mirror image.

    Attributes:
        marked: marked outside, and their mirror image lies outside, too.
        mirrored: that mirror image.
        share_outside: share of all marked voxels that lie outside the truth; nan where none is marked.
    """

    marked: np.ndarray
    mirrored: np.ndarray
    share_outside: float


def marked_voxels(heatmap: np.ndarray, mask: np.ndarray, grid_mm: float) -> np.ndarray:
    """Return the hundredth of the brain's voxels with the largest |h|, smoothed by 2 mm; none of an empty map.

    Args:
        heatmap: (x, y, z) signed; mask: (x, y, z) bool brain mask.
    """
    size = np.where(mask, np.abs(heatmap), 0).astype(np.float32)
    smooth = ndimage.gaussian_filter(size, SMOOTHING_MM * FWHM_TO_SIGMA / grid_mm)[mask]
    chosen = np.argsort(-smooth, kind="stable")[: max(1, round(MARKED_SHARE * len(smooth)))]
    found = np.zeros(mask.shape, bool)
    of_brain = np.zeros(len(smooth), bool)
    of_brain[chosen] = smooth[chosen] > 0
    found[mask] = of_brain
    return found


def beside_truth(marked: np.ndarray, truth: np.ndarray, mask: np.ndarray, grid_mm: float) -> BesideTruth:
    """Select what is marked more than 2 mm outside the truth, and its mirror image.

    Args:
        marked, truth, mask: (x, y, z) bool; the first axis runs from left to right and is symmetric to the midline.
    """
    outside = mask.copy()
    if truth.any():
        outside &= ndimage.distance_transform_edt(~truth) * grid_mm > TOLERANCE_MM
    both = marked & outside & outside[::-1]
    count = int(marked.sum())
    share = float((marked & outside).sum() / count) if count else float("nan")
    return BesideTruth(both, both[::-1], share)
