"""Statistics over any set of scans, and one map a subject; heatmaps are read one after another.

docs/definitions.md, Group cells and averages.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pandas as pd

from store.errors import NotInRunError
from store.keys import GroupKey, HeatmapKey
from store.reading import weights
from store.reading.group_maps import STATISTICS, GroupMap, quantities_for, statistics_of
from store.reading.heatmaps import StoredHeatmap, locate, stored_numbers
from store.reading.open_run import OpenRun
from store.reading.read_ahead import WORKERS, ahead

Progress = Callable[[int, int], None]

_BLOCK = 1 << 18  # numbers whose products stay in the processor's cache while they are added
_KEY = ["model", "scan"]


@dataclass(frozen=True)
class Member:
    """One scan of the set: where its numbers lie, heatmap / stored number, and its weight w."""

    place: StoredHeatmap
    factor: float
    weight: float


class Sums:
    """The sums of w h, w |h| and w h^2, those that are needed, each (n,) float64."""

    def __init__(self, quantities: set[str], size: int) -> None:
        self.by_quantity = {quantity: np.zeros(size) for quantity in quantities}
        self._buffers = np.empty((2, min(size, _BLOCK)))

    def add(self, numbers: np.ndarray, factor: float, weight: float) -> None:
        """Add the heatmap numbers * factor, numbers (n,), with weight w."""
        for start in range(0, numbers.size, _BLOCK):
            block = numbers[start : start + _BLOCK]
            parts = {name: total[start : start + _BLOCK] for name, total in self.by_quantity.items()}
            weighted, other = self._buffers[:, : block.size]
            np.multiply(block, weight * factor, out=weighted)
            if "sum" in parts:
                parts["sum"] += weighted
            if "sum_abs" in parts:
                parts["sum_abs"] += np.abs(weighted, out=other)
            if "sum_sq" in parts:
                np.multiply(weighted, weighted, out=other)
                other /= weight
                parts["sum_sq"] += other


def subset_map(
    run: OpenRun, key: GroupKey, pairs: Sequence[tuple[str, str]], statistics: Sequence[str],
    progress: Progress | None,
) -> GroupMap:  # fmt: skip
    """Average the heatmaps of any set of scans; see RunReader.subset_map."""
    quantities = quantities_for(statistics)
    rows, places, left_out = _with_relevance(run, key, pairs)
    rows = rows.assign(weight=weights.equal_weights(rows, weights.scans_weigh_alike(run, key.model_set)))
    members = [Member(place, _factor(key, place), w) for place, w in zip(places, rows["weight"], strict=True)]
    attributes = run.attributes(members[0].place.path)
    brain = np.flatnonzero(run.mask) if attributes["native_grid"] == "voxels" else None
    shape = run.shape(members[0].place.path)[1:]
    sums = Sums(quantities, int(np.prod(shape)) if brain is None else brain.size)
    with closing(ahead(lambda member: _flat(run, member.place, brain), members, WORKERS)) as maps:
        for done, (member, numbers) in enumerate(zip(members, maps, strict=True), 1):
            sums.add(numbers, member.factor, member.weight)
            if progress is not None:
                progress(done, len(members))
    weight = float(rows["weight"].sum())
    maps = {
        name: run.full(_native(values, shape, brain), attributes)
        for name, values in statistics_of(sums.by_quantity, weight, statistics).items()
    }
    scans, subjects = (int(rows[name].nunique()) for name in ("scan", "subject"))
    return GroupMap(
        **{s: maps.get(s) for s in STATISTICS}, scans=scans, subjects=subjects, weight=weight,
        without_relevance=left_out,
    )  # fmt: skip


def _chosen(run: OpenRun, key: GroupKey, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return the rows of the pairs: model, scan, subject; for the true group without scans of no group."""
    known = weights.explained(run, key.model_set).set_index(_KEY)
    wanted = list(dict.fromkeys((str(model), str(scan)) for model, scan in pairs))
    if not wanted:
        raise NotInRunError("there is no scan to average: choose at least one")
    for model, scan in wanted:
        if (model, scan) not in known.index:
            raise NotInRunError(
                f"run {run.run_id}: model set {key.model_set} has no scan {scan} explained by model {model}"
            )
    rows = known.loc[wanted].reset_index()
    if key.target == "true":
        rows = rows[rows["group"].isin(run.groups)]
        if rows.empty:
            raise NotInRunError("none of these scans belongs to a group, so there is no true target: choose a group")
    return rows


def _with_relevance(
    run: OpenRun, key: GroupKey, pairs: Sequence[tuple[str, str]]
) -> tuple[pd.DataFrame, list[StoredHeatmap], int]:
    """Return the rows of the pairs whose heatmaps can be averaged, where these lie, and how many scans cannot.

    A heatmap without relevance has no share.
    """
    rows = _chosen(run, key, pairs)
    found = [_locate(run, key, model, scan) for model, scan in zip(rows["model"], rows["scan"], strict=True)]
    has_share = [key.scale != "relative" or place.absolute_sum > 0 for place in found]
    left_out = int(rows["scan"][[not has for has in has_share]].nunique())
    rows = rows[has_share].reset_index(drop=True)
    if rows.empty:
        raise weights.nothing_to_average(run, key.method, left_out)
    return rows, list(itertools.compress(found, has_share)), left_out


def _factor(key: GroupKey, place: StoredHeatmap) -> float:
    """Return heatmap / stored number, in the scale of the average."""
    return place.factor / (place.absolute_sum if key.scale == "relative" else 1.0)


def _locate(run: OpenRun, key: GroupKey, model: str, scan: str) -> StoredHeatmap:
    group = run.target_of(model, scan, key.target)
    return locate(run, HeatmapKey(model, key.method, group, "margin" if key.scale == "relative" else key.scale), scan)


def _flat(run: OpenRun, place: StoredHeatmap, brain: np.ndarray | None) -> np.ndarray:
    """Read the stored numbers of a heatmap, (n,): of the brain's voxels, or the whole native grid."""
    numbers = stored_numbers(run, place).ravel()
    return numbers if brain is None else numbers.take(brain, mode="clip")  # clip: without a copy of the index


def _native(values: np.ndarray, shape: tuple[int, ...], brain: np.ndarray | None) -> np.ndarray:
    """Put (n,) float64 values back in their native grid, float32."""
    if brain is None:
        return values.astype(np.float32).reshape(shape)
    volume = np.zeros(shape, np.float32)
    volume.ravel()[brain] = values
    return volume


@dataclass(frozen=True)
class SubjectMaps:
    """One map a subject, coarse enough to be tested: the mean over its scans.

    Attributes:
        subjects: in the order of their first scan.
        models: that explain each subject; "" where several do.
        values: (subjects, units) float32; a unit is a block of voxels, a position or a region.
        left_out: scans without relevance, which have no share.
    """

    subjects: tuple[str, ...]
    models: tuple[str, ...]
    values: np.ndarray
    left_out: int
    to_volume: Callable[[np.ndarray], np.ndarray]


def subject_maps(
    run: OpenRun, key: GroupKey, pairs: Sequence[tuple[str, str]], statistic: str, block_mm: float,
    progress: Progress | None,
) -> SubjectMaps:  # fmt: skip
    """Read one coarse map a subject; see RunReader.subject_maps."""
    rows, places, left_out = _with_relevance(run, key, pairs)
    attributes, shape = run.attributes(places[0].path), run.shape(places[0].path)[1:]
    is_fine = attributes["native_grid"] == "voxels"
    brain = np.flatnonzero(run.mask) if is_fine else None
    labels = _blocks(run, block_mm) if is_fine else np.arange(int(np.prod(shape)))
    sizes = np.bincount(labels)
    subjects = tuple(dict.fromkeys(rows["subject"].astype(str)))
    number, values = {name: n for n, name in enumerate(subjects)}, np.zeros((len(subjects), len(sizes)), np.float32)
    with closing(ahead(lambda place: _flat(run, place, brain), places, WORKERS)) as maps:
        for done, (subject, place, numbers) in enumerate(zip(rows["subject"], places, maps, strict=True), 1):
            one = _sized(numbers * np.float32(_factor(key, place)), statistic)
            values[number[str(subject)]] += np.bincount(labels, one, len(sizes)) / sizes
            if progress is not None:
                progress(done, len(places))
    values /= rows.groupby("subject", sort=False).size().to_numpy()[:, None]
    by_subject = rows.groupby("subject", sort=False)["model"].unique()
    models = tuple(str(names[0]) if len(names) == 1 else "" for names in by_subject)

    def to_volume(units: np.ndarray) -> np.ndarray:
        native = units[labels].astype(np.float32)
        return run.full(_native(native, shape, brain), attributes)

    return SubjectMaps(subjects, models, values, left_out, to_volume)


def _sized(numbers: np.ndarray, statistic: str) -> np.ndarray:
    """Return what a statistic is the mean of: |h|, the positive part of h, or h."""
    if statistic == "mean_abs":
        return np.abs(numbers)
    return np.maximum(numbers, 0) if statistic == "mean_positive" else numbers


def _blocks(run: OpenRun, block_mm: float) -> np.ndarray:
    """Return for each voxel of the brain the number of its block, a cube with an edge of at most block_mm."""
    edge = max(int(block_mm / run.manifest["grid_mm"]), 1)
    corner = [axis // edge for axis in np.nonzero(run.mask)]
    numbers = np.ravel_multi_index(corner, [int(axis.max()) + 1 for axis in corner])
    return np.unique(numbers, return_inverse=True)[1].ravel()
