"""The relevance of every region in every explained scan of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.data.selection import explained_scans
from dashboard.views.shared import region_values
from store.measures import to_shares
from store.reading.weights import equal_weights, scans_weigh_alike

TRUE, PREDICTED = "true", "predicted"
MOST_MATRICES = 12  # (method, target) that are kept of a model set; each has 1 MB for 1000 scans


@dataclass(frozen=True)
class Relevance:
    """The sum of m in every region for every explained scan of a model set.

    Attributes:
        rows: the scans, as in `explained_scans`.
        by_scan: whether every scan weighs the same in averages, not every subject.
        regions: the regions table.
        read: (method, target) -> (scans, regions) float64 for a group; NaN where a scan has no such heatmap.
        scale: method -> scale of its heatmaps in group averages: relative, margin or probability.
        gradients: methods whose sums are of |gradient of the margin|; the others have drops in `scale`.
    """

    rows: pd.DataFrame
    regions: pd.DataFrame
    read: Callable[[str, str], np.ndarray]
    scale: Mapping[str, str]
    gradients: frozenset[str]
    by_scan: bool

    def of_target(self, method: str, target: str) -> np.ndarray:
        """Return the sums for a group, or for each scan's own true or predicted group, (scans, regions).

        NaN where a scan has no such heatmap.
        """
        if target not in (TRUE, PREDICTED):
            return self.read(method, target)
        own = self.rows["group" if target == TRUE else "predicted"]
        values = np.full((len(self.rows), len(self.regions)), np.nan)
        for group in own.dropna().unique():
            mine = (own == group).fillna(False).to_numpy(bool)
            values[mine] = self.read(method, group)[mine]
        return values

    def entering_average(self, method: str, sums: np.ndarray) -> np.ndarray:
        """Return what the group average adds up, (scans, regions): m in the scale of the run's averages."""
        if method in self.gradients and self.scale[method] == "relative":
            return to_shares(sums)
        if method in self.gradients and self.scale[method] == "probability":
            p = self.rows["probability"].to_numpy(float)[:, None]
            return sums * p * (1 - p)
        return sums

    def groups(
        self, method: str, target: str, keep: np.ndarray, diagnoses: list[str]
    ) -> dict[str, region_values.Group]:
        """Return diagnosis -> its scans among those kept; one without scans is left out."""
        sums = self.of_target(method, target)
        average, keep = self.entering_average(method, sums), keep & np.isfinite(sums).all(axis=1)
        found = {}
        for diagnosis in diagnoses:
            chosen = keep & (self.rows["diagnosis"] == diagnosis).to_numpy(bool)
            if chosen.any():
                rows = self.rows[chosen]
                weight = self._weight(rows, np.isfinite(average[chosen]).any(axis=1))
                found[diagnosis] = region_values.Group(
                    sums[chosen], average[chosen], weight, rows["subject"], rows["scan"].nunique()
                )
        return found

    def _weight(self, rows: pd.DataFrame, averaged: np.ndarray) -> np.ndarray:
        """Return the weight w of each row.

        1 / (averaged scans of the subject), or 1 where scans weigh alike; 0 for what is not averaged.
        """
        weight = averaged.astype(float)
        weight[averaged] = equal_weights(rows[averaged], self.by_scan)
        return weight


@st.cache_resource(max_entries=2, show_spinner="Reading the regions of every scan")
def relevance(run: Run, model_set: str) -> Relevance:
    """Return the sums of a model set, in the order of `explained_scans`; a method's are read when they are asked for.

    Shared: never change it.


    Raises:
        NotInRunError: the run has no relevance of regions.
    """
    rows, regions = explained_scans(run, model_set), runs.table(run, "regions")
    place = pd.MultiIndex.from_frame(rows[["model", "scan"]])
    no_voxels = ~(regions["volume_cm3"].to_numpy(float) > 0)
    reader = runs.opened(run)

    @lru_cache(MOST_MATRICES)
    def read(method: str, target: str) -> np.ndarray:
        found = reader.region_values(model_set, method, target, ("sum",))
        row = place.get_indexer(found.pairs())
        values = np.full((len(rows), len(regions)), np.nan)
        values[row[row >= 0]] = found.values["sum"][row >= 0]
        values[np.ix_(np.isfinite(values).any(axis=1), no_voxels)] = 0  # missing in the table, see `per_scan`
        values.setflags(write=False)
        return values

    scale, gradients = scales(run, model_set)
    read(next(iter(scale), ""), runs.manifest(run)["groups"][0])  # says at once where there is nothing to read
    return Relevance(rows, regions, read, scale, gradients, scans_weigh_alike(reader, model_set))


def scales(run: Run, model_set: str) -> tuple[dict[str, str], frozenset[str]]:
    """Return method -> scale of its heatmaps in group averages, and the methods that are gradients."""
    analysis = runs.manifest(run).get("config", {}).get("analysis", {})
    cells = runs.table(run, "cells")
    methods = cells.loc[cells["model_set"] == model_set, "method"].unique()
    gradients = frozenset(filter(runs.opened(run).is_gradient, methods))
    scale = {m: analysis.get(*(runs.GRADIENT if m in gradients else runs.OCCLUSION)) for m in methods}
    return scale, gradients
