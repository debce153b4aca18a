"""What the Clinical page asks: evidence of every scan that passes, and its correlations with the scores."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.selection import Selection
from dashboard.views.clinical import correlations as correlated
from dashboard.views.clinical.correlations import Evidence
from dashboard.views.shared import region_relevance, region_values

ANSWERS = ("probability", "value")  # of the networks, among the features


class Correlations(NamedTuple):
    """The result of `clinical.correlations.correlations`; `sets` and `features` in the order of the page."""

    table: pd.DataFrame
    few: dict[tuple[str, str], int]
    sets: list[str]
    features: list[str]


@st.cache_data(max_entries=8, show_spinner=False)
def evidence(selection: Selection, merged: bool) -> Evidence:
    """Return the networks' answer and the share of the brain of every atlas region, the largest mean share first.

    Raises:
        NotInRunError: the run has no relevance of regions.
    """
    data = region_relevance.relevance(selection.run, selection.model_set)
    sums, areas = data.of_target(selection.method, selection.target), region_values.RegionSizes.of(data.regions, merged)
    passing = np.isfinite(sums).any(axis=1) & selection.scan_filter.passing(data.rows)
    keep = passing & (np.nansum(sums, axis=1) > 0)  # without relevance there is no share
    left_out = data.rows["scan"][passing].nunique() - data.rows["scan"][keep].nunique()
    answer = runs.answer(selection.run).column
    said = data.rows[answer].to_numpy(float)[keep]
    shares = region_values.per_scan(np.nan_to_num(sums[keep]), areas, "share")
    mean = shares.mean(axis=0) if len(shares) else np.zeros(len(areas.names))
    order = [place for place in np.argsort(-mean, kind="stable") if areas.inside[place] and areas.cm3[place] > 0]
    values, rows = np.column_stack([said, shares[:, order]]), data.rows[correlated.ROWS][keep]
    names = (answer, *(areas.names[place] for place in order))
    return Evidence(rows.reset_index(drop=True), values, names, int(left_out))


@st.cache_data(max_entries=16, show_spinner="Correlating with every region")
def correlations(selection: Selection, merged: bool, count: int | None, also: str) -> Correlations:
    """Correlate every score with the networks' answer, the first regions, and one more feature if it is missing.

    Args:
        count: of regions, those of the largest mean share; None: all.
    """
    found = evidence(selection, merged)
    features = list(found.names[: None if count is None else count + 1])
    features += [also] if also not in features else []
    chosen = Evidence(found.rows, found.values[:, [found.names.index(f) for f in features]], tuple(features))
    diagnoses = ordered_diagnoses(found.rows, runs.manifest(selection.run)["groups"])
    sets = correlated.sets_of_subjects(diagnoses)
    return Correlations(*correlated.correlations(chosen, correlated.known_scores(found.rows), sets), sets, features)
