"""Intervals of the ranking of regions, which a run with the relevance of each scan leaves to whoever shows it.

docs/definitions.md, Share and density; the draws of subjects are those of the run's own ranking.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from store.accuracy import LEAST_SUBJECTS
from store.measures import divide, draw_subjects, interval_of_draws, to_shares
from store.reading.reader import RunReader
from store.reading.settings import AnalysisSettings
from store.reading.weights import equal_weights, explained, scans_weigh_alike

COLUMNS = ["share_of_average_low", "share_of_average_high", "gain_low", "gain_high"]
KEY = ["model_set", "method", "target", "diagnosis", "merged", "region"]


class _Relevance:
    """The sums of m in every region of the scans that a model set explains."""

    def __init__(self, run: RunReader, model_set: str) -> None:
        self.run, self.rows = run, explained(run, model_set).reset_index(drop=True)
        self.regions = run.table("regions")
        self.by_scan = scans_weigh_alike(run, model_set)
        self._model_set, self._place = model_set, pd.MultiIndex.from_frame(self.rows[["model", "scan"]])

    def sums(self, method: str, target: str) -> np.ndarray:
        """Return (scans, regions) sum of m for a group, or for the group that was predicted or is true."""
        if target in ("true", "predicted"):
            own = self.rows["group" if target == "true" else "predicted"]
            values = np.full((len(self.rows), len(self.regions)), np.nan)
            for group in self.run.groups:
                mine = (own == group).fillna(False).to_numpy(bool)
                values[mine] = self.sums(method, group)[mine]
            return values
        values = np.full((len(self.rows), len(self.regions)), np.nan)
        found = self.run.region_values(self._model_set, method, target, ("sum",))
        row = self._place.get_indexer(found.pairs())
        values[row[row >= 0]] = found.values["sum"][row >= 0]
        empty = ~(self.regions["volume_cm3"].to_numpy(float) > 0)
        values[np.ix_(np.isfinite(values).any(axis=1), empty)] = 0
        return values

    def averaged(self, method: str, sums: np.ndarray) -> np.ndarray:
        """Return what the group average adds up: m, or m divided by its sum, or times p (1 - p)."""
        settings = AnalysisSettings.of(self.run)
        if not self.run.is_gradient(method) or settings.gradient_scale == "margin":
            return sums
        if settings.gradient_scale == "relative":
            return to_shares(sums)
        p = self.rows["probability"].to_numpy(float)[:, None]
        return sums * p * (1 - p)


def with_intervals(run: RunReader, table: pd.DataFrame) -> pd.DataFrame:
    """Add the intervals of share_of_average and gain to the rows of group_regions.

    Args:
        table: group_regions, or some of its rows.
    """
    frames = [frame for model_set in dict.fromkeys(table["model_set"]) for frame in _of_set(run, table, model_set)]
    plain = table.drop(columns=[c for c in COLUMNS if c in table])
    if not frames:
        return plain.assign(**dict.fromkeys(COLUMNS, np.nan))
    return plain.merge(pd.concat(frames, ignore_index=True), "left", KEY)


def _of_set(run: RunReader, table: pd.DataFrame, model_set: str) -> Iterator[pd.DataFrame]:
    relevance = _Relevance(run, model_set)
    own = table[table["model_set"] == model_set]
    for (method, target, merged), part in own.groupby(["method", "target", "merged"], sort=False):
        sums = relevance.sums(str(method), str(target))
        average = relevance.averaged(str(method), sums)
        by = relevance.regions["merged" if merged else "region"]
        names = list(dict.fromkeys(by))
        adding = (by.to_numpy()[:, None] == np.array(names)[None]).astype(float)
        inside = (adding * ~relevance.regions["in_atlas"].to_numpy(bool)[:, None]).sum(axis=0) == 0
        there = relevance.regions["volume_cm3"].to_numpy(float) @ adding > 0
        shares, found = {}, {}
        for diagnosis in dict.fromkeys(part["diagnosis"]):
            chosen = (relevance.rows["diagnosis"] == diagnosis).to_numpy(bool) & np.isfinite(sums).all(axis=1)
            rows = relevance.rows[chosen]
            enters = np.isfinite(average[chosen]).any(axis=1)
            weight = enters.astype(float)
            weight[enters] = equal_weights(rows[enters], relevance.by_scan)
            merged_sums = np.where(there, sums[chosen] @ adding, np.nan)
            shares[diagnosis] = _by_subject(
                divide(merged_sums, sums[chosen].sum(axis=1, keepdims=True)), rows["subject"], mean=True
            )
            parts = np.where(there, average[chosen] @ adding, np.nan)
            found[diagnosis] = _by_subject(weight[:, None] * parts, rows["subject"], mean=False)
        gain = _interval_of_gain(run, shares, len(names))
        for diagnosis, values in found.items():
            low, high = (
                _interval_of_share(run, values, inside)
                if len(shares[diagnosis]) >= LEAST_SUBJECTS
                else (np.full((2, len(names)), np.nan))
            )
            yield pd.DataFrame({
                "model_set": model_set, "method": method, "target": target, "diagnosis": diagnosis, "merged": merged,
                "region": names, "share_of_average_low": low, "share_of_average_high": high, "gain_low": gain[0],
                "gain_high": gain[1],
            })  # fmt: skip


def _by_subject(values: np.ndarray, subjects: pd.Series, mean: bool) -> np.ndarray:
    """Return the mean or sum over the scans of each subject that has any, (subjects, k), by their first scans."""
    grouped = pd.DataFrame(values).groupby(subjects.to_numpy(), sort=False)
    found = (grouped.mean() if mean else grouped.sum(min_count=1)).to_numpy()
    return found[np.isfinite(found).any(axis=1)]


def _counts(run: RunReader, subjects: int, stream: tuple[int, ...] = ()) -> np.ndarray:
    config = run.manifest.get("config", {})
    return draw_subjects(subjects, config.get("analysis", {}).get("bootstrap", 1000), config.get("seed", 0), stream)


def _interval_of_share(run: RunReader, values: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(values):
        missing = np.full(len(inside), np.nan)
        return missing, missing
    drawn = _counts(run, len(values)) @ values / len(values)
    total = np.nansum(drawn[:, inside], axis=1, keepdims=True)
    return interval_of_draws(np.where(inside, divide(drawn, total), np.nan))


def _interval_of_gain(run: RunReader, shares: dict[str, np.ndarray], k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the ratio of mean shares, subjects of both groups drawn; missing where one has too few."""
    sides = [shares.get(group, np.empty((0, k))) for group in run.groups]
    if min(map(len, sides)) < LEAST_SUBJECTS:
        missing = np.full(k, np.nan)
        return missing, missing
    first = _counts(run, len(sides[0])) @ sides[0] / len(sides[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        second = _counts(run, len(sides[1]), (1,)) @ sides[1] / len(sides[1])
        return interval_of_draws(first / second)
