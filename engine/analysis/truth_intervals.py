"""Scores against a known truth over subjects, with their intervals and beside networks that know nothing of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np
from scipy import stats

from engine.analysis.truth import INTERVAL_VOXELS, SCORES, TruthScorer
from store.reading.truth import SCORE_RANGES

RANGES = np.array([SCORE_RANGES.get(score, (0, 1)) for score in SCORES])
CHUNK = 32  # mean maps of resamples in memory at once
MOST_NUMBERS = 1 << 24  # of the maps of all subjects: of thousands fewer voxels are taken


class MeanMap:
    """Scores of the mean map of subjects, whoever they are: level "group", of signed maps level "signed_group".

    Args:
        scorer: of the mean visible change.
        subjects: how many.
        relevance: turns a mean of signed maps into m; default: the maps that are added are m already.

    Attributes:
        total: (n,) weighted sum of all maps, of the brain voxels.
        sums, smooth_sums: (subjects, m) the same of each subject, of every so many voxels; and of smoothed maps.
    """

    # A resample holds two thirds of the people, some of them twice: its mean map is noisier and tends to score lower.
    shifts: ClassVar[bool] = True

    def __init__(
        self, scorer: TruthScorer, subjects: int, relevance: Callable[[np.ndarray], np.ndarray] = np.asarray
    ) -> None:
        self.relevance = relevance
        at_most = max(2000, min(INTERVAL_VOXELS, MOST_NUMBERS // max(subjects, 1)))
        self._scorer, self._thin, self._step = scorer, scorer.thinned(at_most), scorer.step(at_most)
        self.total = np.zeros(int(scorer.mask.sum()))
        size = (subjects, len(range(0, len(self.total), self._step)))
        self.sums, self.smooth_sums = np.zeros(size, np.float32), np.zeros(size, np.float32)

    def add(self, subject: int, values: np.ndarray, smoothed: np.ndarray, weight: float) -> None:
        """Add a map of a subject, as it is and smoothed: (n,) values of the brain voxels each."""
        self.total += weight * values
        self.sums[subject] += weight * values[:: self._step]
        self.smooth_sums[subject] += weight * smoothed[:: self._step]

    @classmethod
    def over(cls, networks: Sequence[MeanMap], times: Sequence[float]) -> MeanMap:
        """Return the mean of the maps of several networks on the same subjects, each of which weighs the same.

        Args:
            networks: at least one.
            times: how often each is counted.
        """
        first = networks[0]
        found = copy(first)
        for name in ("total", "sums", "smooth_sums"):
            setattr(found, name, np.zeros_like(getattr(first, name)))
        for one, count in zip(networks, times, strict=True):
            size = np.abs(one.total).sum(dtype=np.float64)
            if count and size > 0:  # by margins, a network that is surer of itself would outweigh the others
                found.total += count / size * one.total
                found.sums += np.float32(count / size) * one.sums
                found.smooth_sums += np.float32(count / size) * one.smooth_sums
        return found

    def value(self) -> np.ndarray:
        """Return the (SCORES,) of the mean over all maps."""
        smoothed = self._scorer.smooth(self.total)  # before signs are dropped, as in `drawn`
        return self._scorer.score(self.relevance(self.total), self.relevance(smoothed))

    def drawn(self, counts: np.ndarray) -> np.ndarray:
        """Return the (n, SCORES) of the mean with each subject as often as a row of `counts` (n, subjects) says."""
        weights = counts.astype(np.float32)
        found = []
        for start in range(0, len(weights), CHUNK):
            drawn = weights[start : start + CHUNK]
            # A sum of smoothed maps is smooth.
            sums, smoothed = self.relevance(drawn @ self.sums), self.relevance(drawn @ self.smooth_sums)
            found += [self._thin.score(*pair) for pair in zip(sums, smoothed, strict=True)]
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
            found.append(scores - _drawn_of(references[kind], chosen[:, 0] % len(references[kind]), counts))
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


def _drawn_of(networks: Sequence[Sample], chosen: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the (n, SCORES) of the network that is chosen for each row of `counts`, and of no other."""
    found = np.full((len(counts), len(SCORES)), np.nan)
    for number, one in enumerate(networks):
        rows = np.flatnonzero(chosen == number)
        if len(rows):
            found[rows] = one.drawn(counts[rows])
    return found


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
