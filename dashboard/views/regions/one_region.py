"""One region in every patient: its spread by diagnosis and its relation to age. A part of the Regions page."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.selection import Selection
from dashboard.shell import access, display, names
from dashboard.text import formatting
from dashboard.views.regions import one_region_charts as figures
from dashboard.views.regions import queries as asked
from dashboard.views.regions import tables as regional
from dashboard.views.shared import region_values
from dashboard.views.shared.patient_links import draw_chart_of_patients
from store.measures import rank_correlation


def section(selection: Selection, ranked_by: str, regions: pd.DataFrame, region: str) -> pd.DataFrame:
    """Show the charts of a region; return its values, one row a scan.

    Args:
        ranked_by: the measure of the ranking; single scans have the one that comes nearest.
    """
    measure = region_values.OF_A_SCAN.get(ranked_by, ranked_by)
    inside = bool(regions["in_atlas"][(regions["merged"] == region) | (regions["region"] == region)].all())
    if measure == "share_atlas" and not inside:
        measure = "share"
    table = asked.scans_of(selection, selection.method, region, measure)
    if table.empty:
        st.caption(f"No scan has a heatmap by {formatting.method_name(selection.method)} for this evidence.")
        return table
    axis, unit, factor = {
        "share_atlas": ("share of the atlas", "%", 100.0), "share": ("share of the brain", "%", 100.0),
        "density": ("density", "% per cm³", 1.0),
        "sum": ("sum", asked.unit_of_sum(selection.run, selection.model_set, selection.method), 1.0),
    }[measure]  # fmt: skip
    groups = runs.manifest(selection.run)["groups"]
    diagnoses = ordered_diagnoses(table, groups)
    look: dict[str, Any] = {"axis": f"{axis}, {unit}", "factor": factor}
    may = access.may_see_patients()
    left, right = st.columns([1.4, 1], gap="large")
    left.markdown(f"**{formatting.region_name(region)}**, {formatting.method_name(selection.method)}")
    if not may:
        display.chart(left, figures.means(table, diagnoses, groups, **look), "r-strip")
        left.caption("  \n".join(spread_words(regional.spread(table, diagnoses), factor, unit, quartiles=False)))
        return table.iloc[:0]
    shown = names.shown(table)
    draw_chart_of_patients(left, figures.distribution(shown, diagnoses, groups, **look), "r-strip")
    left.caption("  \n".join(spread_words(regional.spread(table, diagnoses), factor, unit)))
    if table["age"].notna().any():
        right.markdown("**With age**")
        draw_chart_of_patients(right, figures.with_age(shown, diagnoses, groups, **look), "r-age")
        right.caption(age_words(table, diagnoses))
    return table.assign(region=region, method=selection.method, measure=measure)


def spread_words(spread: pd.DataFrame, factor: float, unit: str, quartiles: bool = True) -> list[str]:
    """Write median, quartiles and mean ± SD of each diagnosis; without `quartiles`, which are scans, mean ± SD."""
    lines = []
    for row in spread.itertuples():
        low, median, high = (formatting.three(v * factor) for v in (row.lower, row.median, row.upper))
        mean = formatting.mean_sd(row.mean * factor, row.sd * factor)
        n = f"n = {formatting.count(row.scans, 'scan')} of {formatting.count(row.subjects, 'subject')}"
        middle = f"median {median} (quartiles {low} to {high}), " if quartiles else ""
        lines.append(f"**{formatting.plain(row.diagnosis)}** {middle}mean ± SD {mean} {unit}, {n}.")
    return lines


def age_words(table: pd.DataFrame, diagnoses: list[str]) -> str:
    """Say how the region goes with age, by diagnosis."""
    parts = []
    for diagnosis in diagnoses:
        part = table[table["diagnosis"] == diagnosis]
        known = part.dropna(subset=["age", "value"])
        rho, n = rank_correlation(known["age"].to_numpy(float), known["value"].to_numpy(float), fewest=3), len(known)
        parts.append(f"{formatting.plain(diagnosis)} {formatting.correlation(rho)} (n = {formatting.count(n, 'scan')})")
    return f"Spearman with age: {', '.join(parts)}. Lines: least squares."
