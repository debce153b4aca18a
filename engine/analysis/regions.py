"""Relevance of brain regions: per scan, per group with intervals, ranked (the paper's table 1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from store.accuracy import LEAST_SUBJECTS
from store.measures import density, divide, draw_subjects, interval_of_draws, rank_largest_first, to_shares
from store.reading.region_values import RegionValues

MOST_DRAWS = 1 << 24  # of subjects, that are multiplied at once


class RegionSums:
    """Sums over the regions 1..count of a labelled volume; voxels of no region are never looked at.

    `gather` takes what is needed of a map, anything may be done to it element by element, and `sums` adds it up.
    At 1 mm numpy.bincount takes 7 times as long for a map, scipy.ndimage.sum_labels 10 times; at 2 mm 15 and 23 times.

    Args:
        labels: (x, y, z) region index.
        owner: (x, y, z) for maps in a coarser native grid: 1 + the place, in C order, of the number that stands for a
            voxel; 0 for none. Default: maps are (x, y, z) themselves.
    """

    def __init__(self, labels: np.ndarray, count: int, owner: np.ndarray | None = None) -> None:
        flat = labels.ravel()
        inside = np.flatnonzero((flat > 0) & (flat <= count))
        self._counts = None
        if owner is None:
            self._at = inside[np.argsort(flat[inside], kind="stable")]
            bounds = np.searchsorted(flat[self._at], np.arange(1, count + 2))
            self._regions = np.flatnonzero(np.diff(bounds))
            self._starts = bounds[self._regions]
            self._count = count
        else:
            places = owner.ravel()[inside].astype(np.int64)
            width = int(owner.max()) + 1
            pairs = np.bincount((flat[inside].astype(np.int64) - 1) * width + places, minlength=count * width)
            self._counts = pairs.reshape(count, width)[:, 1:].astype(np.float64)

    def gather(self, values: np.ndarray) -> np.ndarray:
        """Return the (k,) values that `sums` needs of a map."""
        return values.ravel() if self._counts is not None else values.reshape(-1)[self._at]

    def sums(self, gathered: np.ndarray) -> np.ndarray:
        """Return the (count,) float64 sum over each region."""
        if self._counts is not None:
            return self._counts @ gathered[: self._counts.shape[1]]
        found = np.zeros(self._count)
        found[self._regions] = np.add.reduceat(gathered, self._starts, dtype=np.float64)
        return found


def region_frame(signed: np.ndarray, summed: np.ndarray, regions: pd.DataFrame) -> pd.DataFrame:
    """Return the relevance of every region in each scan, scan after scan.

    share = sum in the region / sum in the brain mask; share_atlas = / sum over atlas regions; density = share in
    percent per cm3. A scan without any relevance has no shares (nan); a region without voxels on the grid has no
    relevance (nan).

    Args:
        signed: (scans, regions) sum of h; summed: (scans, regions) sum of m.
        regions: the regions table, in the order of the sums; all regions together are the brain mask.
    """
    inside, there = regions["in_atlas"].to_numpy(bool), regions["volume_cm3"].to_numpy(float) > 0
    signed, summed = (np.where(there, sums, np.nan) for sums in (signed, summed))
    share = to_shares(summed)
    share_atlas = np.where(inside, divide(summed, np.nansum(summed[:, inside], axis=1, keepdims=True)), np.nan)
    return pd.DataFrame(
        {
            "region": np.tile(regions["region"].to_numpy(), len(signed)),
            "signed_sum": signed.ravel(),
            "sum": summed.ravel(),
            "share": share.ravel(),
            "share_atlas": share_atlas.ravel(),
            "density": density(share, regions["volume_cm3"].to_numpy(float)).ravel(),
        }
    )


def subject_shares(
    relevance: RegionValues, subjects: pd.Series, column: str, regions: pd.DataFrame, by: str
) -> pd.DataFrame:
    """Return the (subjects, regions) mean share over each subject's scans, and over the models that explain them.

    Scans without relevance have no share and are left out; a subject with nothing else has a row of nan. Subjects
    are in the order of their first scans.

    Args:
        relevance: of one method, target and diagnosis.
        subjects: scan -> subject.
        regions: the regions table, in the order of the values.
        by: region, or merged: left and right added.
    """
    values = _added(relevance.values[column], regions[by], names := list(regions[by].unique()))
    person, persons = pd.factorize(subjects.reindex(relevance.scans).to_numpy(object))
    order = np.argsort(person, kind="stable")
    starts, known = np.flatnonzero(np.diff(person[order], prepend=-1)), np.isfinite(values[order])
    total = np.add.reduceat(np.where(known, values[order], 0), starts, axis=0)
    return pd.DataFrame(divide(total, np.add.reduceat(known, starts, axis=0, dtype=float)), persons, names)


def _added(values: np.ndarray, labels: pd.Series, names: list[str]) -> np.ndarray:
    """Add up the columns with the same label, (scans, names); nan where all of them are."""
    member = (labels.to_numpy()[:, None] == np.array(names, object)[None]).astype(float)
    known = np.isfinite(values)
    return np.where(known @ member > 0, np.where(known, values, 0) @ member, np.nan)


def bootstrap_interval(values: np.ndarray, resamples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ((k,), (k,)) 2.5 and 97.5 percentiles of the mean over subjects, drawn with replacement.

    Missing (nan) below LEAST_SUBJECTS: the draws of two or three people say nothing of others. scipy.stats.bootstrap
    takes 2.5 times as long and draws otherwise, so that runs would differ from those made before.

    Args:
        values: (subjects, k).
    """
    if len(values) < LEAST_SUBJECTS:
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    draws = draw_subjects(len(values), resamples, seed)
    each = max(1, MOST_DRAWS // len(values))  # draws at a time: their product takes eight times their memory
    means = [draws[start : start + each] @ values for start in range(0, resamples, each)]
    return interval_of_draws(np.concatenate(means) / len(values))


@dataclass(frozen=True)
class Bootstrap:
    """How often subjects are drawn anew for an interval, and from which seed."""

    resamples: int
    seed: int


def group_frame(
    relevance: RegionValues,
    average_sums: np.ndarray,
    regions: pd.DataFrame,
    subjects: pd.Series,
    merged: bool,
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """Rank the regions of one group; `gain` is added by the caller, who knows the other group.

    Args:
        relevance: share and share_atlas of one model set, method, target and diagnosis.
        average_sums: (regions,) sum of the group average of m over each region.
    """
    by = "merged" if merged else "region"
    shares = subject_shares(relevance, subjects, "share", regions, by)
    known = shares.notna().any(axis=1)
    low, high = bootstrap_interval(shares[known].to_numpy(), bootstrap.resamples, bootstrap.seed)
    inside = regions.groupby(by, sort=False)["in_atlas"].all()
    average_sums = np.where(regions["volume_cm3"] > 0, average_sums, np.nan)
    of_average = regions.assign(sum=average_sums).groupby(by, sort=False)["sum"].sum(min_count=1)
    total = of_average[inside].sum()
    of_average = of_average[inside] / (total if total > 0 else np.nan)
    order = shares.columns
    frame = pd.DataFrame(
        {
            "merged": merged,
            "region": order,
            "share": shares.mean().to_numpy(),
            "share_low": low,
            "share_high": high,
            "share_atlas": subject_shares(relevance, subjects, "share_atlas", regions, by)
            .mean()
            .where(inside)
            .to_numpy(),
            "share_of_average": of_average.reindex(order).to_numpy(),
            "subjects": int(known.sum()),
            "without_relevance": int((~known).sum()),
        }
    )
    volume = regions.groupby(by)["volume_cm3"].sum().reindex(order).to_numpy()
    frame["density"] = density(frame["share"].to_numpy(), volume)
    frame["rank"] = rank_largest_first(frame["share_of_average"])
    return frame
