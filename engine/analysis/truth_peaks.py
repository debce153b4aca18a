"""Is the truth where a map is highest? Scores of the most relevant voxels and regions, as in the study of Siegel et al.

Source: Siegel et al. 2025 (arXiv 2508.02560), whose names are kept, so that values can be laid beside theirs. Heatmaps
are smoothed by 2 mm first; a truth that is found within 2 mm is found. On grids of 3 and 4 mm neither reaches a
neighbouring voxel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy import ndimage

FWHM_MM = 2.0
NEAR_MM = 2.0
FAR_MM = 20.0
TOP_SHARE = 0.01  # of the brain voxels
PERCENTILE = 99.0  # of the relevance inside the truth
FEW_REGIONS = 3
FWHM_TO_SIGMA = 1 / math.sqrt(8 * math.log(2))


class Smoother:
    """Smooths maps by a Gaussian of 2 mm (FWHM); nothing is outside the brain.

    Args:
        mask: (x, y, z) bool brain mask.
        grid_mm: edge of a voxel.
    """

    def __init__(self, mask: np.ndarray, grid_mm: float) -> None:
        (box,) = ndimage.find_objects(mask.astype(np.uint8))
        self._inside, self._sigma = mask[box], FWHM_MM * FWHM_TO_SIGMA / grid_mm

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the (n,) float32 smoothed values of the brain voxels."""
        volume = np.zeros(self._inside.shape, np.float32)
        volume[self._inside] = values
        return ndimage.gaussian_filter(volume, self._sigma, mode="constant")[self._inside]


@dataclass(frozen=True)
class PeakTruth:
    """A truth as scores of peaks need it; all (n,) bool of the brain voxels.

    Attributes:
        inside: in the truth.
        near: in it or within 2 mm of it.
        near_or_mirrored: the same of the truth together with its mirror image, left to right.
        far: more than 20 mm away from it.
    """

    inside: np.ndarray
    near: np.ndarray
    near_or_mirrored: np.ndarray
    far: np.ndarray

    @classmethod
    def of(cls, away_mm: np.ndarray, mask: np.ndarray) -> PeakTruth:
        """Make it of distances from the truth, (x, y, z) in mm; the first axis is left to right, 0 mm in its middle."""
        mirrored = np.minimum(away_mm, away_mm[::-1])[mask]
        own = away_mm[mask]
        return cls(own == 0, own <= NEAR_MM, mirrored <= NEAR_MM, own > FAR_MM)

    def thinned(self, step: int) -> PeakTruth:
        """Return every n-th brain voxel of it."""
        return replace(self, **{field.name: getattr(self, field.name)[::step] for field in fields(self)})

    def score(self, smoothed: np.ndarray) -> list[float]:
        """Return relevance_mass_accuracy, relevance_mass_gain, mirrored_mass_accuracy and fpr of a map.

        Args:
            smoothed: (n,) smoothed relevance, not negative and not all 0.
        """
        accuracy, mirrored = top_shares(smoothed, [self.near, self.near_or_mirrored])
        beyond = np.nan
        if self.far.any():
            beyond = float(smoothed[self.far].max() > np.percentile(smoothed[self.inside], PERCENTILE))
        return [accuracy, accuracy / self.near.mean(), mirrored, beyond]


def top_shares(values: np.ndarray, places: Sequence[np.ndarray]) -> list[float]:
    """Return how much of the relevance of the top 1 % of voxels is inside each of some places.

    Where voxels are equal at the border of the top, each of them counts by the share of them for which there is room.

    Args:
        values: (n,) not negative and not all 0.
        places: (n,) bool each.
    """
    count = math.ceil(TOP_SHARE * len(values))
    least = np.partition(values, len(values) - count)[len(values) - count]
    above, equal = np.flatnonzero(values > least), np.flatnonzero(values == least)
    of_equal = float(least) * (count - len(above))  # relevance of those for which there is room
    total = values[above].sum(dtype=np.float64) + of_equal
    if not total > 0:
        return [np.nan] * len(places)
    return [float((values[above] @ place[above] + of_equal * place[equal].mean()) / total) for place in places]


def region_hits(means: np.ndarray, imposed: np.ndarray) -> list[float]:
    """Return tpr_strong and tpr_weak: was something imposed on the most relevant region, on one of the first three?

    Args:
        means: (regions,) mean relevance; imposed: (regions,) bool.
    """
    first = np.argsort(-means, kind="stable")[:FEW_REGIONS]
    return [float(imposed[first[0]]), float(imposed[first].any())]
