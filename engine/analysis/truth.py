"""How well a heatmap finds the imposed change.

See docs/definitions.md, Known truth.

Two truths that are never mixed. Voxelwise scores are against the visible change (store/reading/truth.py). Scores by
region are against the log-Jacobian that was imposed on each region: shrinking shows at borders, so it is no voxel
truth.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from engine.analysis.truth_peaks import PeakTruth, Smoother, region_hits
from store.measures import rank_correlation

VOXEL_SCORES = (
    "voxel_auc", "average_precision", "mass_accuracy", "rank_accuracy", "pointing_game", "localisation_error_mm",
)  # fmt: skip
PEAK_SCORES = ("relevance_mass_accuracy", "relevance_mass_gain", "mirrored_mass_accuracy", "fpr")
REGION_SCORES = ("region_rank_correlation", "region_share", "tpr_strong", "tpr_weak")
SCORES = VOXEL_SCORES + PEAK_SCORES + REGION_SCORES
INTERVAL_VOXELS = 40_000  # intervals of mean maps are computed on at most about as many voxels


@dataclass(frozen=True)
class RegionTruth:
    """Where the change was imposed.

    Attributes:
        size: (regions,) |mean imposed log-Jacobian| of region 1, 2, ...; 0 where nothing was imposed.
        named: (regions,) bool, regions that count; what is left of the brain mask is no region.
    """

    size: np.ndarray
    named: np.ndarray


class TruthScorer:
    """Scores maps of m against one truth; what depends on the truth alone is computed once.

    Args:
        truth: (x, y, z) bool, the binary visible change.
        mask: (x, y, z) bool brain mask; all scores are inside it.
        labels: (x, y, z) region index from 1.
        regions: what was imposed on each of them.
        grid_mm: edge of a voxel.
    """

    def __init__(
        self, truth: np.ndarray, mask: np.ndarray, labels: np.ndarray, regions: RegionTruth, grid_mm: float
    ) -> None:
        self.mask, self._labels, self._regions = mask, labels[mask], regions
        self._real = truth[mask]
        away_mm = (ndimage.distance_transform_edt(~truth) * grid_mm).astype(np.float32)
        self._away_mm, self._peaks = away_mm[mask], PeakTruth.of(away_mm, mask)
        self.smooth = Smoother(mask, grid_mm)

    @property
    def nbytes(self) -> int:
        """Return the bytes of its arrays."""
        return sum(part.nbytes for part in (self._labels, self._away_mm, self._real, *vars(self._peaks).values()))

    def thinned(self, at_most: int = INTERVAL_VOXELS) -> TruthScorer:
        """Return a scorer of every n-th brain voxel, at most about `at_most` of them; see `step`."""
        other = copy(self)
        other.__dict__.pop("_voxels", None)
        step = self.step(at_most)
        parts = {name: getattr(self, name)[::step] for name in ("_real", "_away_mm", "_labels")}
        for name, part in {**parts, "_peaks": self._peaks.thinned(step)}.items():
            setattr(other, name, part)
        return other

    def step(self, at_most: int = INTERVAL_VOXELS) -> int:
        """Return every how many brain voxels `thinned` takes one."""
        return -(-len(self._real) // at_most)

    @cached_property
    def _voxels(self) -> np.ndarray:
        return np.bincount(self._labels, minlength=len(self._regions.size) + 1)[1:]

    def __call__(self, relevance: np.ndarray) -> dict[str, float]:
        """Score one map (x, y, z), not negative; nan where the map is empty.

        voxel_auc, average_precision: of m as a detector of truth voxels (ties count half; in average precision they
        count as one step).
        mass_accuracy: share of the relevance inside the truth; rank_accuracy: share of the |truth| most relevant
        voxels inside it (Arras et al. 2022, section 3.3).
        pointing_game: 1 if the most relevant voxel is inside (Zhang et al. 2018).
        localisation_error_mm: mean distance of the relevance from the truth.
        region_rank_correlation: Spearman between the mean m of regions and the |log-Jacobian| imposed on them.
        region_share: share of the relevance of all named regions in those on which something was imposed.
        relevance_mass_accuracy, relevance_mass_gain, mirrored_mass_accuracy, fpr, tpr_strong, tpr_weak: see
        truth_peaks.py.
        """
        return dict(zip(SCORES, self.score(relevance[self.mask]).tolist(), strict=True))

    def score(self, found: np.ndarray, smoothed: np.ndarray | None = None) -> np.ndarray:
        """Return the (SCORES,) of one map as (n,) values of the brain voxels.

        Args:
            smoothed: the same after `smooth`, which has to be given where the scorer is thinned.
        """
        found, real = found.astype(np.float32), self._real
        if not found.sum(dtype=np.float64) > 0:
            return np.full(len(SCORES), np.nan)
        positives = int(real.sum())
        voxelwise = [np.nan] * len(VOXEL_SCORES + PEAK_SCORES)
        if 0 < positives < len(real):
            smoothed = self.smooth(found) if smoothed is None else smoothed
            voxelwise = self._voxelwise(found, real, positives) + self._peaks.score(smoothed)
        return np.array([*voxelwise, *self._by_region(found)])

    def _voxelwise(self, found: np.ndarray, real: np.ndarray, positives: int) -> list[float]:
        """Return the VOXEL_SCORES; one sorting serves all of them.

        sklearn's roc_auc_score and average_precision_score give the same to 1e-16 and take 11 times as long at 1 mm, 17
        times at 2 mm.
        """
        order = _descending(found)
        hits = real[order]
        last = np.flatnonzero(np.diff(found[order], append=-np.inf))  # the end of each run of equal values
        true = np.concatenate([[0], np.cumsum(hits)[last]])
        called = np.concatenate([[0], last + 1])
        total = found.sum(dtype=np.float64)
        return [
            np.trapezoid(true, called - true) / (positives * (len(real) - positives)),
            (np.diff(true) * true[1:] / called[1:]).sum() / positives,
            found[real].sum(dtype=np.float64) / total,
            hits[:positives].mean(),
            float(hits[0]),
            float(self._away_mm @ found) / total,
        ]

    def _by_region(self, found: np.ndarray) -> list[float]:
        sums = np.bincount(self._labels, found, minlength=len(self._regions.size) + 1)[1:]
        counted = self._regions.named & (self._voxels > 0)
        size, total = self._regions.size[counted], sums[counted].sum()
        if not total > 0 or not size.any():
            return [np.nan] * len(REGION_SCORES)
        means = sums[counted] / self._voxels[counted]
        return [
            rank_correlation(means, size),
            sums[counted][size > 0].sum() / total,
            *region_hits(means, size > 0),
        ]


def _descending(values: np.ndarray) -> np.ndarray:
    """Return the (n,) places from the largest value to the smallest, equal ones in their order.

    The bits of numbers that are not negative rise with them, so that value and place are one key, and sorting keys is
    many times as fast as a stable argsort.

    Args:
        values: (n,) float32, not negative.
    """
    upside_down = np.uint32(0xFFFFFFFF) - (values + np.float32(0)).view(np.uint32)  # + 0: -0.0 is 0 too
    keys = (upside_down.astype(np.uint64) << np.uint64(32)) | np.arange(len(values), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.intp)
