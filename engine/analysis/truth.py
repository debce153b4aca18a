"""How well heatmaps find the imposed change: scores, and their intervals over subjects.

See docs/definitions.md, Known truth.

Two truths that are never mixed. Voxelwise scores are against the visible change (store/reading/truth.py). Scores by
region are against the log-Jacobian that was imposed on each region: shrinking shows at borders, so it is no voxel
truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol

import numpy as np
from scipy import ndimage, stats

from engine.analysis.truth_peaks import PeakTruth, Smoother, region_hits
from store.measures import rank_correlation
from store.reading.truth import SCORE_RANGES

VOXEL_SCORES = (
    "voxel_auc", "average_precision", "mass_accuracy", "rank_accuracy", "pointing_game", "localisation_error_mm",
)  # fmt: skip
PEAK_SCORES = ("relevance_mass_accuracy", "relevance_mass_gain", "mirrored_mass_accuracy", "fpr")
REGION_SCORES = ("region_rank_correlation", "region_share", "tpr_strong", "tpr_weak")
SCORES = VOXEL_SCORES + PEAK_SCORES + REGION_SCORES
RANGES = np.array([SCORE_RANGES.get(score, (0, 1)) for score in SCORES])
CHUNK = 32  # mean maps of resamples in memory at once
INTERVAL_VOXELS = 40_000  # intervals of mean maps are computed on at most about as many voxels
MOST_NUMBERS = 1 << 25  # of the maps of all subjects: of thousands fewer voxels are taken


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


# -- over subjects ------------------------------------------------------------------------------------------------


class MeanMap:
    """Scores of the mean map of subjects, whoever they are: level "group".

    Args:
        scorer: of the mean visible change.
        subjects: how many.
    """

    # A resample holds two thirds of the people, some of them twice: its mean map is noisier and tends to score lower.
    shifts: ClassVar[bool] = True

    def __init__(self, scorer: TruthScorer, subjects: int) -> None:
        at_most = max(2000, min(INTERVAL_VOXELS, MOST_NUMBERS // max(subjects, 1)))
        self._scorer, self._thin, self._step = scorer, scorer.thinned(at_most), scorer.step(at_most)
        self._total = np.zeros(int(scorer.mask.sum()))
        size = (subjects, len(range(0, len(self._total), self._step)))
        self._sums, self._smooth_sums = np.zeros(size, np.float32), np.zeros(size, np.float32)

    def add(self, subject: int, values: np.ndarray, smoothed: np.ndarray, weight: float) -> None:
        """Add a map of a subject, as it is and smoothed: (n,) values of the brain voxels each."""
        self._total += weight * values
        self._sums[subject] += weight * values[:: self._step]
        self._smooth_sums[subject] += weight * smoothed[:: self._step]

    def value(self) -> np.ndarray:
        """Return the (SCORES,) of the mean over all maps."""
        return self._scorer.score(self._total)

    def drawn(self, counts: np.ndarray) -> np.ndarray:
        """Return the (n, SCORES) of the mean with each subject as often as a row of `counts` (n, subjects) says."""
        weights = counts.astype(np.float32)
        found = []
        for start in range(0, len(weights), CHUNK):
            drawn = weights[start : start + CHUNK]
            pairs = zip(drawn @ self._sums, drawn @ self._smooth_sums, strict=True)  # a sum of smoothed maps is smooth
            found += [self._thin.score(one, smoothed) for one, smoothed in pairs]
        return np.array(found)


@dataclass
class MeanScore:
    """Mean over subjects of the scores of their scans: level "scan". Scans without a score do not count."""

    shifts: ClassVar[bool] = False

    subjects: int
    _sums: np.ndarray = field(init=False)
    _weights: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._sums, self._weights = (np.zeros((self.subjects, len(SCORES))) for _ in range(2))

    def add(self, subject: int, scores: np.ndarray, weight: float) -> None:
        """Add the (SCORES,) of a scan of a subject."""
        known = np.isfinite(scores)
        self._sums[subject, known] += weight * scores[known]
        self._weights[subject, known] += weight

    def value(self) -> np.ndarray:
        """Return the (SCORES,) mean over all subjects."""
        return self.drawn(np.ones((1, self.subjects)))[0]

    def drawn(self, counts: np.ndarray) -> np.ndarray:
        """Return the (n, SCORES) mean with each subject as often as a row of `counts` (n, subjects) says."""
        sums, weights = counts @ self._sums, counts @ self._weights
        return np.divide(sums, weights, out=np.full(sums.shape, np.nan), where=weights > 0)


class Sample(Protocol):
    """Scores of the maps of subjects, which can be drawn again."""

    @property
    def shifts(self) -> bool:
        """Return whether scores of resamples lie to one side of the score."""

    def value(self) -> np.ndarray:
        """Return the (SCORES,) of all subjects."""

    def drawn(self, counts: np.ndarray) -> np.ndarray:
        """Return the (n, SCORES) with each subject as often as a row of `counts` (n, subjects) says."""


@dataclass(frozen=True)
class Compared:
    """Scores beside those of reference networks on the same scans; all (SCORES,).

    Attributes:
        reference, reference_sd: mean and spread over the networks; nan where there are none, or one.
        difference, low, high: value - reference, and its 95 % interval.
    """

    reference: np.ndarray
    reference_sd: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Interval:
    """Scores with their 95 % interval, (SCORES,) each, and beside each kind of reference."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    compared: dict[str, Compared]


def with_intervals(
    sample: Sample, references: Mapping[str, Sequence[Sample]], subjects: int, resamples: int, seed: int
) -> Interval:
    """Return scores with bootstrap intervals over subjects; of differences, over subjects and reference networks.

    A resample takes the same people for the network and for its reference, and one of the reference networks: a network
    that was trained is one, too, and one that knows nothing must not differ from its like by the chance of its weights.

    Args:
        references: kind -> a sample for each network, of the same subjects in the same order.
    """
    value = sample.value()
    known = {kind: np.array([one.value() for one in networks]) for kind, networks in references.items()}

    def statistic(people: np.ndarray, *networks: np.ndarray) -> np.ndarray:
        counts = np.array([np.bincount(row % subjects, minlength=subjects) for row in people])
        scores = sample.drawn(counts)
        found = [scores]
        for kind, chosen in zip(references, networks, strict=True):
            of_networks = np.array([one.drawn(counts) for one in references[kind]])
            found.append(scores - of_networks[chosen[:, 0] % len(of_networks), np.arange(len(counts))])
        return np.concatenate(found, axis=1)

    points = np.concatenate([value, *(value - _mean(known[kind]) for kind in references)])
    ends = _bootstrap(statistic, [subjects, *map(len, references.values())], resamples, seed, points, sample.shifts)
    lows, highs = (np.split(end, len(references) + 1) for end in ends)
    compared = {
        kind: Compared(_mean(known[kind]), _sd(known[kind]), value - _mean(known[kind]), lows[i], highs[i])
        for i, kind in enumerate(references, start=1)
    }
    low, high = (np.clip(end, RANGES[:, 0], RANGES[:, 1]) for end in (lows[0], highs[0]))
    return Interval(value, low, high, compared)


def _bootstrap(
    statistic: Callable[..., np.ndarray],
    sizes: Sequence[int],
    resamples: int,
    seed: int,
    points: np.ndarray,
    shifts: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return (low, high) of a statistic of places drawn from several lots; nan below two subjects.

    Args:
        statistic: (resamples, size) places of each lot, modulo its size -> (resamples, n).
        points: (n,) the statistic of what was not resampled.
        shifts: resamples lie to one side of it, so that their spread tells, not their place.
    """
    if sizes[0] < 2:
        return np.full(len(points), np.nan), np.full(len(points), np.nan)
    # The library wants at least two of everything.
    found = stats.bootstrap(
        tuple(np.arange(max(size, 2)) for size in sizes),
        lambda *places, **_: np.moveaxis(statistic(*(np.atleast_2d(p) for p in places)), 0, -1),
        n_resamples=resamples, vectorized=True, method="percentile", rng=np.random.default_rng([seed, 11]),
    )  # fmt: skip
    if shifts:
        away = stats.norm.ppf(0.975) * found.standard_error
        return points - away, points + away
    return found.confidence_interval.low, found.confidence_interval.high


def _mean(scores: np.ndarray) -> np.ndarray:
    """Return the (SCORES,) mean over networks of (networks, SCORES); nan where one has no score."""
    return scores.mean(axis=0) if len(scores) else np.full(len(SCORES), np.nan)


def _sd(scores: np.ndarray) -> np.ndarray:
    return scores.std(axis=0, ddof=1) if len(scores) > 1 else np.full(len(SCORES), np.nan)
