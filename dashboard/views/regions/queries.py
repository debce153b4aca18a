"""What the Regions page asks: the relevance of every region in every scan, and rankings of a selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.runs import Run
from dashboard.data.selection import Selection
from dashboard.text import paper as text_paper
from dashboard.views.regions import ranking as region_ranking
from dashboard.views.regions import table_1 as first
from dashboard.views.shared import region_relevance, region_values
from store import NotInRunError


def unit_of_sum(run: Run, model_set: str, method: str) -> str:
    """Return the unit of the measure `sum`, which adds up over the voxels of a region."""
    scale, gradients = region_relevance.scales(run, model_set)
    if method in gradients:
        return runs.answer(run).unit_of("|d margin| per z-score")
    return runs.answer(run).unit_of(f"drop of {scale.get(method, 'margin')}")


def unit_of(selection: Selection, method: str, measure: str) -> str:
    """Return the unit of a measure for a method."""
    if measure == "sum":
        return unit_of_sum(selection.run, selection.model_set, method)
    return region_ranking.MEASURES[measure].unit


def uses_stored(selection: Selection) -> bool:
    """Say whether the run's own ranking answers.

    It does where no filter is set but perhaps that on diagnosis, which only picks rows.
    """
    return set(selection.scan_filter.active()) <= {"diagnosis"}


def bootstrap(run: Run) -> region_values.Bootstrap:
    """Return the draws of the run's own ranking."""
    config = runs.manifest(run).get("config", {})
    return region_values.Bootstrap(config.get("analysis", {}).get("bootstrap", 1000), config.get("seed", 0))


@st.cache_data(max_entries=24, show_spinner=False)
def _rankings(anyone: Selection, measure: str, merged: bool) -> dict[str, pd.DataFrame]:
    methods = runs.available(anyone.run)[anyone.model_set]
    found = {method: _ranking(anyone, method, measure, merged) for method in methods}
    return {method: frame for method, frame in found.items() if len(frame)}


def rankings(selection: Selection, measure: str, merged: bool) -> dict[str, pd.DataFrame]:
    """Return method -> its ranking for the scans that pass, as `ranking.ranking` makes it.

    The filter on diagnosis picks among the results, so that the gain keeps both groups.
    """
    return _rankings(selection.of(method=""), measure, merged)


def _ranking(selection: Selection, method: str, measure: str, merged: bool) -> pd.DataFrame:
    run, names = selection.run, runs.manifest(selection.run)["groups"]
    if runs.holds_groups_only(run):
        return _published(selection, method, measure, merged)
    data = region_relevance.relevance(run, selection.model_set)
    diagnoses = ordered_diagnoses(data.rows, names)
    keep = replace(selection.scan_filter, diagnosis=None).passing(data.rows)
    groups = data.groups(method, selection.target, keep, diagnoses)
    frame = region_ranking.ranking(groups, data.regions, measure, merged, names, bootstrap(run))
    if uses_stored(selection) and len(frame):
        stored = _stored(run, selection, method)
        if len(stored) and _knows_missing(frame, stored):
            frame = region_ranking.use_stored(frame, stored, data.regions, measure, merged)
    chosen = selection.scan_filter.diagnosis
    return frame if chosen is None else frame[frame["diagnosis"].isin(chosen)].reset_index(drop=True)


def _published(selection: Selection, method: str, measure: str, merged: bool) -> pd.DataFrame:
    """Return the ranking that a run without persons has published."""
    frame = region_ranking.published(
        _stored(selection.run, selection, method), runs.table(selection.run, "regions"), measure, merged
    )
    counts = runs.opened(selection.run).table("group_counts", model_set=selection.model_set)
    frame["scans"] = frame["diagnosis"].map(counts.set_index("diagnosis")["scans"])
    order = ordered_diagnoses(frame, runs.manifest(selection.run)["groups"])
    chosen = selection.scan_filter.diagnosis
    kept = [frame[frame["diagnosis"] == d] for d in order if chosen is None or d in chosen]
    return pd.concat(kept, ignore_index=True) if kept else frame


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
    """Return group -> the paper's table 1 for the scans that pass: as text, as numbers, and its number of subjects."""
    return _table_1(selection.of(method=""), with_paper)


def _stored(run: Run, selection: Selection, method: str) -> pd.DataFrame:
    """Return the rows of the run's own ranking; none in a run without it."""
    try:
        table = runs.table(run, "group_regions")
    except NotInRunError:
        return pd.DataFrame()
    keys = {"model_set": selection.model_set, "method": method, "target": selection.target}
    return table[np.logical_and.reduce([table[column] == value for column, value in keys.items()])]


def _knows_missing(frame: pd.DataFrame, stored: pd.DataFrame) -> bool:
    """Say whether stored shares leave out subjects without relevance; older runs counted them as shares of 0."""
    return not (frame["without_relevance"] > 0).any() or bool(stored["without_relevance"].notna().all())


def scans_of(selection: Selection, method: str, region: str, measure: str) -> pd.DataFrame:
    """Return one region in every scan that passes: scan, subject, diagnosis, age, value."""
    data = region_relevance.relevance(selection.run, selection.model_set)
    sums = data.of_target(method, selection.target)
    keep = selection.scan_filter.passing(data.rows) & np.isfinite(sums).all(axis=1)
    return region_values.values_of_region(sums[keep], data.rows[keep], data.regions, region, measure)


def numbers(selection: Selection, measure: str, rankings: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return every region of every ranking in one table, in the unit of the measure."""
    frames, factor = [], region_ranking.MEASURES[measure].factor
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
