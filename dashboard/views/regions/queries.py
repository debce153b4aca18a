"""What the Regions page asks: the relevance of every region in every scan, and rankings of a selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import frames as data_frames
from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.data.selection import Selection, explained_scans
from dashboard.text import paper as text_paper
from dashboard.views.regions import table_1 as first
from dashboard.views.regions import tables as regional
from store import NotInRun
from store.reading.weights import equal_weights, scans_weigh_alike

TRUE, PREDICTED = "true", "predicted"


@dataclass(frozen=True)
class Relevance:
    """Sum of m in every region for every explained scan of a model set.

    Attributes:
        rows: the scans, as in `filters.explained`.
        by_scan: whether every scan weighs the same in averages, not every subject.
        regions: the regions table.
        sums: (method, target) -> (scans, regions) float64; NaN where a scan has no such heatmap.
        scale: method -> scale of its heatmaps in group averages: relative, margin or probability.
        gradients: methods whose sums are of |gradient of the margin|; the others have drops in `scale`.
    """

    rows: pd.DataFrame
    regions: pd.DataFrame
    sums: Mapping[tuple[str, str], np.ndarray]
    scale: Mapping[str, str]
    gradients: frozenset[str]
    by_scan: bool

    def of_target(self, method: str, target: str) -> np.ndarray:
        """(scans, regions) for a group, or each scan's own true or predicted group; NaN where there is none."""
        if target not in (TRUE, PREDICTED):
            return self._stored(method, target)
        own = self.rows["group" if target == TRUE else "predicted"]
        values = np.full((len(self.rows), len(self.regions)), np.nan)
        for group in own.dropna().unique():
            mine = (own == group).fillna(False).to_numpy(bool)
            values[mine] = self._stored(method, group)[mine]
        return values

    def _stored(self, method: str, target: str) -> np.ndarray:
        missing = (len(self.rows), len(self.regions))
        return self.sums[method, target] if (method, target) in self.sums else np.full(missing, np.nan)

    def entering_average(self, method: str, sums: np.ndarray) -> np.ndarray:
        """(scans, regions) what the group average adds up: m in the scale of the run's averages."""
        if method in self.gradients and self.scale[method] == "relative":
            return regional.shares(sums)
        if method in self.gradients and self.scale[method] == "probability":
            p = self.rows["probability"].to_numpy(float)[:, None]
            return sums * p * (1 - p)
        return sums

    def groups(self, method: str, target: str, keep: np.ndarray, diagnoses: list[str]) -> dict[str, regional.Group]:
        """Diagnosis -> its scans among those kept; one without scans is left out."""
        sums = self.of_target(method, target)
        average, keep = self.entering_average(method, sums), keep & np.isfinite(sums).all(axis=1)
        found = {}
        for diagnosis in diagnoses:
            chosen = keep & (self.rows["diagnosis"] == diagnosis).to_numpy(bool)
            if chosen.any():
                rows = self.rows[chosen]
                weight = self._weight(rows, np.isfinite(average[chosen]).any(axis=1))
                found[diagnosis] = regional.Group(
                    sums[chosen], average[chosen], weight, rows["subject"], rows["scan"].nunique()
                )
        return found

    def _weight(self, rows: pd.DataFrame, averaged: np.ndarray) -> np.ndarray:
        """(rows,) w: 1 / (averaged scans of the subject), or 1 where scans weigh alike; 0 for what is not averaged."""
        weight = averaged.astype(float)
        weight[averaged] = equal_weights(rows[averaged], self.by_scan)
        return weight


@st.cache_resource(max_entries=2, show_spinner="Reading the regions of every scan")
def relevance(run: Run, model_set: str) -> Relevance:
    """The sums of a model set, in the order of `filters.explained`. Shared: never change it.

    Raises:
        NotInRun: the run has no relevance of regions.
    """
    rows = explained_scans(run, model_set)
    regions = runs.table(run, "regions")
    wanted = ["model", "method", "target", "scan", "region", "sum"]
    table = runs.opened(run).table("region_relevance", wanted, model_set=model_set)
    place = {pair: number for number, pair in enumerate(zip(rows["model"], rows["scan"], strict=True))}
    series = table["model"].astype("category"), table["scan"].astype("category")
    pairs = pd.MultiIndex.from_product([c.cat.categories for c in series])
    of_pair = np.array([place.get(pair, -1) for pair in pairs])
    row = of_pair[series[0].cat.codes.to_numpy(np.int64) * len(series[1].cat.categories) + series[1].cat.codes]
    column = pd.Categorical(table["region"], categories=regions["region"]).codes
    sums, no_voxels = {}, ~(regions["volume_cm3"].to_numpy(float) > 0)
    for key, part in table.groupby(["method", "target"], observed=True).indices.items():
        values = np.full((len(rows), len(regions)), np.nan)
        part = part[(row[part] >= 0) & (column[part] >= 0)]
        values[row[part], column[part]] = table["sum"].to_numpy(float)[part]
        values[np.ix_(np.isfinite(values).any(axis=1), no_voxels)] = 0  # missing in the table, see `per_scan`
        values.setflags(write=False)
        sums[key] = values
    scale, gradients = _scales(run, model_set)
    by_scan = scans_weigh_alike(runs.opened(run), model_set)
    return Relevance(rows, regions, sums, scale, gradients, by_scan)


def _scales(run: Run, model_set: str) -> tuple[dict[str, str], frozenset[str]]:
    analysis = runs.manifest(run).get("config", {}).get("analysis", {})
    cells = runs.table(run, "cells")
    methods = cells.loc[cells["model_set"] == model_set, "method"].unique()
    gradients = frozenset(filter(runs.opened(run).is_gradient, methods))
    scale = {m: analysis.get(*(runs.GRADIENT if m in gradients else runs.OCCLUSION)) for m in methods}
    return scale, gradients


def unit_of_sum(run: Run, model_set: str, method: str) -> str:
    """What the measure `sum` adds up over the voxels of a region."""
    scale, gradients = _scales(run, model_set)
    if method in gradients:
        return runs.answer(run).unit_of("|d margin| per z-score")
    return runs.answer(run).unit_of(f"drop of {scale.get(method, 'margin')}")


def unit_of(selection: Selection, method: str, measure: str) -> str:
    """The unit of a measure for a method."""
    if measure == "sum":
        return unit_of_sum(selection.run, selection.model_set, method)
    return regional.MEASURES[measure].unit


def uses_stored(selection: Selection) -> bool:
    """Whether the run's own ranking answers: no filter but perhaps that on diagnosis, which only picks rows."""
    return set(selection.scan_filter.active()) <= {"diagnosis"}


def bootstrap(run: Run) -> regional.Bootstrap:
    """The draws of the run's own ranking."""
    config = runs.manifest(run).get("config", {})
    return regional.Bootstrap(config.get("analysis", {}).get("bootstrap", 1000), config.get("seed", 0))


@st.cache_data(max_entries=24, show_spinner=False)
def _rankings(anyone: Selection, measure: str, merged: bool) -> dict[str, pd.DataFrame]:
    methods = runs.available(anyone.run)[anyone.model_set]
    found = {method: _ranking(anyone, method, measure, merged) for method in methods}
    return {method: frame for method, frame in found.items() if len(frame)}


def rankings(selection: Selection, measure: str, merged: bool) -> dict[str, pd.DataFrame]:
    """Method -> its ranking for the scans that pass, see `summaries_regions.ranking`; none where nothing is known.

    The filter on diagnosis picks among the results, so that the gain keeps both groups.
    """
    return _rankings(selection.of(method=""), measure, merged)


def _ranking(selection: Selection, method: str, measure: str, merged: bool) -> pd.DataFrame:
    run, names = selection.run, runs.manifest(selection.run)["groups"]
    data = relevance(run, selection.model_set)
    diagnoses = data_frames.ordered_diagnoses(data.rows, names)
    keep = replace(selection.scan_filter, diagnosis=None).passing(data.rows)
    groups = data.groups(method, selection.target, keep, diagnoses)
    frame = regional.ranking(groups, data.regions, measure, merged, names, bootstrap(run))
    if uses_stored(selection) and len(frame):
        stored = _stored(run, selection, method)
        if len(stored) and _knows_missing(frame, stored):
            frame = regional.with_stored(frame, stored, data.regions, measure, merged)
    chosen = selection.scan_filter.diagnosis
    return frame if chosen is None else frame[frame["diagnosis"].isin(chosen)].reset_index(drop=True)


@st.cache_data(max_entries=24, show_spinner=False)
def _table_1(anyone: Selection, with_paper: bool) -> dict[str, tuple[pd.DataFrame, pd.DataFrame, int]]:
    regions, found = runs.table(anyone.run, "regions"), {}
    frames = _rankings(anyone, "share_of_average", True)
    for diagnosis in runs.manifest(anyone.run)["groups"]:
        subjects = [f["subjects"][f["diagnosis"] == diagnosis] for f in frames.values()]
        if not any(len(part) for part in subjects):
            continue
        paper = text_paper.TABLE_1.get(diagnosis, {}) if with_paper else {}
        texts = first.beside_paper(frames, diagnosis, regions, paper)
        n = max(int(part.max()) for part in subjects if len(part))
        found[diagnosis] = texts, first.first_regions(frames, diagnosis), n
    return found


def table_1(selection: Selection, with_paper: bool) -> dict[str, tuple[pd.DataFrame, pd.DataFrame, int]]:
    """Group -> the paper's table 1 for the scans that pass: as text, as numbers, and how many subjects it is of."""
    return _table_1(selection.of(method=""), with_paper)


def _stored(run: Run, selection: Selection, method: str) -> pd.DataFrame:
    """Rows of the run's own ranking; none in a run without it."""
    try:
        table = runs.table(run, "group_regions")
    except NotInRun:
        return pd.DataFrame()
    keys = {"model_set": selection.model_set, "method": method, "target": selection.target}
    return table[np.logical_and.reduce([table[column] == value for column, value in keys.items()])]


def _knows_missing(frame: pd.DataFrame, stored: pd.DataFrame) -> bool:
    """Whether stored shares leave out who has no relevance; runs of before counted them as shares of 0."""
    return not (frame["without_relevance"] > 0).any() or bool(stored["without_relevance"].notna().all())


def scans_of(selection: Selection, method: str, region: str, measure: str) -> pd.DataFrame:
    """One region in every scan that passes: scan, subject, diagnosis, age, value."""
    data = relevance(selection.run, selection.model_set)
    sums = data.of_target(method, selection.target)
    keep = selection.scan_filter.passing(data.rows) & np.isfinite(sums).all(axis=1)
    return regional.of_region(sums[keep], data.rows[keep], data.regions, region, measure)


def numbers(selection: Selection, measure: str, rankings: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Every region of every ranking in one table, in the unit of the measure."""
    frames, factor = [], regional.MEASURES[measure].factor
    for method, frame in rankings.items():
        values = {c: frame[c].astype(float) * factor for c in ("value", "low", "high")}
        unit = unit_of(selection, method, measure)
        out = frame.assign(**values, method=method, measure=measure, unit=unit)
        frames.append(out.sort_values(["diagnosis", "rank"], kind="stable"))
    columns = [
        "method", "diagnosis", "rank", "region", "measure", "value", "low", "high", "unit", "subjects",
        "without_relevance", "scans", "in_atlas",
    ]  # fmt: skip
    return pd.concat(frames, ignore_index=True)[columns]
