"""Scans whose heatmaps lie far from those of their diagnosis."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.data import reference_run, runs
from dashboard.data.selection import explained_scans
from dashboard.shell import names, page, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.shared import wording
from dashboard.views.shared.patient_links import draw_chart_of_patients, draw_table_of_patients
from dashboard.views.variability import charts as figures
from dashboard.views.variability import tables as between
from dashboard.views.variability.patients import Patients
from store import NotInRunError

COLUMNS = ("model_set", "model", "method", "scan", "distance_to_group")


def show(patients: Patients) -> list[Download]:
    """Show the limit, the chart, the list, and how to read it."""
    other = reference_run.of(patients.selection.run)
    if other is not None:
        st.info(
            "New scans belong to no group, so there is no average of others of the same kind to measure their distance "
            f"from. The page Patient shows what sets each scan apart from the cohort of "
            f"{formatting.plain(other.run_id)}: warnings, and the scan beside the groups of that run."
        )
        return []
    limit = url_state.slide("v_z", "Outlier: robust z above", 2.0, 6.0, 3.5, 0.5, width=320)
    if said := wording.target_of_distances(patients.selection):
        st.info(said)
    found = with_distance(patients)
    if found is None:
        st.info("This run has no distances between patients. They are made by the stage compare of run_pipeline.py.")
        return []
    if found.empty:
        st.info("None of these scans has a distance to others of its diagnosis: that takes two subjects.")
        return []
    shown = names.shown(found)
    who = between.describe_rows(shown, list(shown["scan"]), patients.answer)
    draw_chart_of_patients(st, figures.distances(shown, patients.diagnoses, patients.groups, who, limit), "v-distances")
    far = found[found["z"] > limit].reset_index(drop=True)
    st.markdown(f"**{len(far)} of {formatting.count(len(found), 'scan')}** with a robust z above {limit:g}")
    if len(far):
        _list(far, patients)
    way = "dot, or choose a row," if len(far) else "dot"
    st.caption(f"Click a {way} to open its patient. Lines: medians of the scans shown.")
    page.how_to_read(
        "A scan at the far right has a heatmap unlike those of the other patients of its diagnosis: worth a look at "
        "the scan, its registration and its label.",
        r"z_i = \frac{d_i - \mathrm{med}(d)}{1.4826 \cdot \mathrm{med}\,|d - \mathrm{med}(d)|},\quad d_i = 10^4\,"
        r"\ell^{-1.5} \left\lVert \frac{m_i}{\sum m_i} - \bar m_{-s} \right\rVert_2",
        "Distance of a scan's map, sum 1, to the mean map of the other subjects of the diagnosis, also sum 1; ℓ: edge "
        "of a voxel in mm. Medians of z: all explained scans of the diagnosis in this model set, whatever the "
        "filters. 3.5: Iglewicz and Hoaglin (1993).",
    )  # fmt: skip
    table = found[["subject", "scan", *patients.features, "distance", "z"]]
    return [Download.csv("Distances, CSV", f"{patients.file}_distances", lambda: table)]


def with_distance(patients: Patients) -> pd.DataFrame | None:
    """Return the scans that pass and have a distance, the farthest first; None in a run without distances."""
    chosen = patients.selection
    try:
        table = runs.table(chosen.run, "variability", COLUMNS)
    except NotInRunError:
        return None
    table = table[(table.model_set == chosen.model_set) & (table.method == chosen.method)]
    everyone = explained_scans(chosen.run, chosen.model_set)
    found = between.distances(everyone, table)[chosen.scan_filter.passing(everyone)]
    return found[found["distance"].notna()].sort_values("z", ascending=False, kind="stable").reset_index(drop=True)


def _list(far: pd.DataFrame, patients: Patients) -> None:
    """List the outliers; a chosen row opens the patient."""
    titles = {name: between.feature_name(name, patients.answer) for name in patients.features}
    titles = {"subject": "Subject", "scan": "Scan", **titles, "distance": "Distance", "z": "Robust z"}
    table = names.shown(far)[list(titles)].rename(columns=titles)
    number = st.column_config.NumberColumn(format="%.3g")
    config = {name: number for name in table.columns if pd.api.types.is_float_dtype(table[name])}
    draw_table_of_patients(st, table, far, "v-outliers", columns=config)
