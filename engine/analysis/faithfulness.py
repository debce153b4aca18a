"""Deletion and insertion: in which order parts of a scan are replaced, and what the curve of the margin says.

See docs/definitions.md, Trust, Faithfulness. Source: Samek et al. 2017, IEEE Transactions on Neural Networks and
Learning Systems 28:2660-2673 (regions removed one after another, most relevant first, against a random order); Petsiuk,
Das & Saenko 2018, arXiv 1806.07421, section 4.2 (deletion and insertion, area under the curve).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from store.accuracy import LEAST_SUBJECTS
from store.measures import draw_subjects, interval_of_draws

# Shares of the brain's voxels at which curves are given, and after which voxels are replaced together.
FRACTIONS = np.array([0, 1, 2, 5, *range(10, 101, 10)]) / 100
UNITS, DIRECTIONS = ("region", "voxel"), ("deletion", "insertion")
LEAST_DISTANCE = 0.1  # of the ends of a curve, in the median distance over scans; nearer ones would be divided by noise


@dataclass(frozen=True)
class Steps:
    """At which step each brain voxel is replaced.

    Attributes:
        of_voxel: (n,) from 1.
        fractions: (steps + 1,) share of the voxels that is replaced before the first and after each step.
    """

    of_voxel: np.ndarray
    fractions: np.ndarray

    @property
    def count(self) -> int:
        """Return how many steps there are."""
        return len(self.fractions) - 1


def voxel_steps(relevance: np.ndarray, rng: np.random.Generator) -> Steps:
    """Divide voxels by relevance, the largest first, where FRACTIONS divides them; equal ones by chance.

    Args:
        relevance: (n,) of the brain's voxels.
    """
    ends = np.rint(FRACTIONS * len(relevance)).astype(int)
    of_voxel = np.empty(len(relevance), int)
    of_voxel[_descending(relevance, rng)] = np.searchsorted(ends, np.arange(len(relevance)), side="right")
    return Steps(of_voxel, ends / len(relevance))


def region_steps(relevance: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> Steps:
    """Put regions in the order of their mean relevance, the largest first, a step each; equal ones by chance.

    Args:
        relevance: (n,) of the brain's voxels; labels: (n,) region of each of them.
    """
    present, region, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    order = _descending(np.bincount(region, relevance) / sizes, rng)
    step = np.empty(len(present), int)
    step[order] = np.arange(1, len(present) + 1)
    return Steps(step[region], np.concatenate([[0], np.cumsum(sizes[order])]) / len(labels))


def _descending(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the places from the largest value to the smallest, equal ones by chance."""
    return np.lexsort((rng.random(len(values)), -values))


def usable_scans(whole: np.ndarray, nothing: np.ndarray) -> np.ndarray:
    """Return (scans,) whether the margins of the whole and of the replaced scan are far enough apart for a curve.

    Far enough is a tenth of the median distance over the scans; and more than float32 rounding.
    """
    distance = np.abs(whole - nothing)
    rounding = 1e-5 * (1 + np.abs(whole) + np.abs(nothing))
    return (distance >= LEAST_DISTANCE * np.median(distance)) & (distance > rounding)


def curve_and_area(
    margins: np.ndarray, fractions: np.ndarray, whole: float, nothing: float
) -> tuple[np.ndarray, float]:
    """Return the (FRACTIONS,) normalised margin and the area under it: 0 everything replaced, 1 the whole scan.

    Between steps the margin is taken to change linearly with the share of voxels, on the curve as in the area.

    Args:
        margins: (steps + 1,) after each step; fractions: (steps + 1,) share of the voxels replaced, or shown.
        whole, nothing: margins of the two ends, which are not nearly equal.
    """
    normalised = (margins - nothing) / (whole - nothing)
    return np.interp(FRACTIONS, fractions, normalised), float(np.trapezoid(normalised, fractions))


@dataclass(frozen=True)
class Interval:
    """Mean over subjects, (k,), and its 95 % interval; nan where there is none."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean_over_subjects(values: np.ndarray, subjects: np.ndarray, resamples: int, seed: int) -> Interval:
    """Return the mean over subjects of the means over their scans, with its bootstrap interval.

    Args:
        values: (scans, k) without nan; subjects: (scans,) of whom they are. No interval below five subjects.
    """
    missing = np.full(values.shape[1], np.nan)
    if not len(values):
        return Interval(missing, missing, missing)
    _, place, counts = np.unique(subjects, return_inverse=True, return_counts=True)
    of_subject = np.zeros((len(counts), values.shape[1]))
    np.add.at(of_subject, place, values)
    of_subject /= counts[:, None]
    mean = of_subject.mean(axis=0)
    if len(counts) < LEAST_SUBJECTS:
        return Interval(mean, missing, missing)
    draws = draw_subjects(len(counts), resamples, seed, (13,)) @ of_subject / len(counts)
    return Interval(mean, *interval_of_draws(draws))
