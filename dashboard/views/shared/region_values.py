"""How much relevance falls on each region: scans and groups of subjects -> values of regions, arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dashboard.text import formatting
from store.files import geometry
from store.measures import density, divide, draw_subjects

OF_A_SCAN = {"share_of_average": "share_atlas", "gain": "share"}  # the measure of one scan that comes nearest


@dataclass(frozen=True)
class RegionSizes:
    """Names and volumes of the rows of a ranking: atlas regions, or left and right together.

    Attributes:
        names: (k,); inside: (k,) bool, in the atlas; cm3: (k,) volumes.
        adding: (regions, k) 0 or 1: which regions make a row.
    """

    names: tuple[str, ...]
    inside: np.ndarray
    cm3: np.ndarray
    adding: np.ndarray

    @classmethod
    def of(cls, regions: pd.DataFrame, merged: bool) -> RegionSizes:
        """Read the names and volumes from the regions table, in its order."""
        by = regions["merged" if merged else "region"]
        names = tuple(dict.fromkeys(by))
        adding = (by.to_numpy()[:, None] == np.array(names)[None]).astype(float)
        inside = (adding * ~regions["in_atlas"].to_numpy(bool)[:, None]).sum(axis=0) == 0
        return cls(names, inside, regions["volume_cm3"].to_numpy(float) @ adding, adding)


def per_scan(sums: np.ndarray, areas: RegionSizes, measure: str) -> np.ndarray:
    """Return one measure of every scan, (scans, k): share, share_atlas, density or sum.

    NaN in shares of a scan without any relevance, and in a region without voxels on the grid.

    Args:
        sums: (scans, regions) sum of m; 0 in regions without voxels.
    """
    merged = np.where(areas.cm3 > 0, sums @ areas.adding, np.nan)
    if measure == "sum":
        return merged
    if measure == "share_atlas":
        whole = np.nansum(merged[:, areas.inside], axis=1, keepdims=True)
        return np.where(areas.inside, divide(merged, whole), np.nan)
    share = divide(merged, sums.sum(axis=1, keepdims=True))
    return density(share, areas.cm3) if measure == "density" else share


def values_of_region(
    sums: np.ndarray, rows: pd.DataFrame, regions: pd.DataFrame, region: str, measure: str
) -> pd.DataFrame:
    """Return one region in every scan: scan, subject, diagnosis, age, value.

    Args:
        sums: (scans, regions) in the order of `rows`.
        region: name of the atlas, or without _L/_R for both sides.
        measure: of a scan, see `per_scan`.
    """
    areas = RegionSizes.of(regions, merged=region not in set(regions["region"]))
    values = per_scan(sums, areas, measure)[:, areas.names.index(region)]
    table = rows[["scan", "subject", "diagnosis", "age"]].assign(value=values)
    if table["scan"].duplicated().any():  # a new scan, explained by several models
        return table.groupby("scan", sort=False, as_index=False).agg(dict.fromkeys(table, "first") | {"value": "mean"})
    return table


@dataclass(frozen=True)
class Bootstrap:
    """Draws of subjects with replacement, as in the run's own ranking."""

    resamples: int
    seed: int

    def counts(self, subjects: int, stream: Sequence[int] = ()) -> np.ndarray:
        """Return how often each subject is drawn, (resamples, subjects)."""
        return draw_subjects(subjects, self.resamples, self.seed, tuple(stream))


def _by_subject(values: np.ndarray, subjects: pd.Series, mean: bool) -> np.ndarray:
    """Return the mean or sum over the scans of each subject, (subjects, k), in the engine's order.

    That is the order of their first scans.
    """
    grouped = pd.DataFrame(values).groupby(subjects.to_numpy(), sort=False)
    return (grouped.mean() if mean else grouped.sum(min_count=1)).to_numpy()


def _normalise(totals: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Divide each row by its sum over the atlas, (n, k); NaN outside."""
    return np.where(inside, divide(totals, np.nansum(totals[:, inside], axis=1, keepdims=True)), np.nan)


@dataclass(frozen=True)
class Group:
    """The heatmaps of one diagnosis: of a new scan one for each model of the set.

    Attributes:
        sums: (heatmaps, regions) sum of m.
        average: (heatmaps, regions) sum of what enters the group average: m, or m divided by its sum.
        weight: (heatmaps,) w of the group cells.
        subjects: (heatmaps,) subject of each.
        scans: how many.
    """

    sums: np.ndarray
    average: np.ndarray
    weight: np.ndarray
    subjects: pd.Series
    scans: int

    def matrix(self, areas: RegionSizes, measure: str) -> np.ndarray:
        """Return what is averaged over subjects, (subjects, k).

        Subjects without relevance have no share and are left out.
        """
        if measure == "share_of_average":
            average = np.where(areas.cm3 > 0, self.average @ areas.adding, np.nan)
            found = _by_subject(self.weight[:, None] * average, self.subjects, mean=False)
        else:
            measure = OF_A_SCAN.get(measure, measure)
            found = _by_subject(per_scan(self.sums, areas, measure), self.subjects, mean=True)
        return found[np.isfinite(found).any(axis=1)]

    def values(self, areas: RegionSizes, measure: str) -> np.ndarray:
        """Return the measure of the group, (k,); NaN where nobody has it."""
        matrix = self.matrix(areas, measure)
        mean = matrix.mean(axis=0, keepdims=True) if len(matrix) else np.full((1, len(areas.names)), np.nan)
        return (_normalise(mean, areas.inside) if measure == "share_of_average" else mean)[0]

    def draws(self, areas: RegionSizes, measure: str, bootstrap: Bootstrap, stream: Sequence[int] = ()) -> np.ndarray:
        """Return the measure of each draw of subjects, (resamples, k)."""
        values = self.matrix(areas, measure)
        if not len(values):
            return np.full((1, len(areas.names)), np.nan)
        drawn = bootstrap.counts(len(values), stream) @ values / len(values)
        return _normalise(drawn, areas.inside) if measure == "share_of_average" else drawn

    @property
    def size(self) -> int:
        """Count the subjects with relevance in any scan."""
        return int(self.subjects[self.sums.sum(axis=1) > 0].nunique())

    @property
    def without_relevance(self) -> int:
        """Count the subjects whose maps are 0 everywhere."""
        return int(self.subjects.nunique()) - self.size


def region_at(atlas: np.ndarray, affine: np.ndarray, regions: pd.DataFrame, mm: Sequence[float]) -> str:
    """Name the region of an (x, y, z) atlas at a position in mm; a dash outside."""
    region = geometry.region_at(atlas, affine, regions, mm)
    return formatting.region_name(region) if region else formatting.NONE
