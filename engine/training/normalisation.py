"""Voxelwise z-scores from the training scans, streamed: memory does not grow with the number of scans. Or by scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

CHUNK = 8


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of each voxel over the training scans (population).

    Attributes:
        mean, std: (x, y, z) float32.
        mask: (x, y, z) bool brain mask; everything outside becomes 0.
        epsilon: added to the standard deviation; with 0, voxels that never vary give 0.
    """

    mean: np.ndarray
    std: np.ndarray
    mask: np.ndarray
    epsilon: float = 0.0

    def __call__(self, volumes: np.ndarray) -> np.ndarray:
        """Return (n, x, y, z) float32 z-scores of (n, x, y, z) intensities, 0 outside the mask."""
        return (volumes - self.mean) * self._factor

    @property
    def _factor(self) -> np.ndarray:
        spread = self.std + np.float32(self.epsilon)
        usable = self.mask & (spread > 0)
        return np.divide(1, spread, out=np.zeros_like(spread), where=usable)


@dataclass(frozen=True)
class ScanScaling:
    """Each scan from 0 to 1 by its own least and largest value; all outside the brain counts as 0.

    Source: Boehle et al. 2019.

    Attributes:
        mask: (x, y, z) bool brain mask; everything outside becomes 0.
    """

    mask: np.ndarray

    def __call__(self, volumes: np.ndarray) -> np.ndarray:
        """Return (n, x, y, z) float32 in 0..1 of (n, x, y, z) intensities; 0 outside the mask and in an empty scan."""
        inside = np.where(self.mask, volumes, 0).astype(np.float32, copy=False)
        low, high = (end(inside, axis=(1, 2, 3), keepdims=True) for end in (np.min, np.max))
        spread = np.where(high > low, high - low, np.float32(np.inf))
        return (inside - low) / spread * self.mask


@dataclass(frozen=True)
class ScanScores:
    """z-scores of each scan by its own mean and standard deviation in the brain.

    Attributes:
        mask: (x, y, z) bool brain mask; everything outside becomes 0.
    """

    mask: np.ndarray

    def __call__(self, volumes: np.ndarray) -> np.ndarray:
        """Return (n, x, y, z) float32 of (n, x, y, z) intensities; 0 outside the mask and in an empty scan."""
        inside = volumes[:, self.mask].astype(np.float64)
        mean, spread = inside.mean(axis=1, keepdims=True), inside.std(axis=1, keepdims=True)
        found = np.zeros(volumes.shape, np.float32)
        found[:, self.mask] = np.divide(inside - mean, spread, out=np.zeros_like(inside), where=spread > 0)
        return found


# Those that need nothing but the scan itself.
SCAN_WISE: dict[str, type[ScanScaling] | type[ScanScores]] = {"scan": ScanScaling, "zscore": ScanScores}


def fit_normalisation(
    read: Callable[[Sequence[str]], np.ndarray], scans: Sequence[str], mask: np.ndarray, epsilon: float = 0.0
) -> Normalisation:
    """Compute mean and spread of the named scans, read CHUNK at a time.

    Args:
        read: scan ids -> (n, x, y, z) float32 volumes.
        scans: training scans only.
    """
    reference = read(scans[:1])[0].astype(np.float64)  # a shift, so that squares of small differences are added
    total, squares = np.zeros_like(reference), np.zeros_like(reference)
    for start in range(0, len(scans), CHUNK):
        for volume in read(scans[start : start + CHUNK]):
            difference = volume - reference
            total += difference
            squares += difference * difference
    shift = total / len(scans)
    variance = np.maximum(squares / len(scans) - shift * shift, 0)
    variance[variance < 1e-12 * np.maximum(reference**2, 1e-12)] = 0  # rounding of a voxel that never varies
    mean, std = (reference + shift).astype(np.float32), np.sqrt(variance).astype(np.float32)
    mean[~mask] = 0
    std[~mask] = 0
    return Normalisation(mean, std, mask, epsilon)
