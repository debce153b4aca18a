"""How patients differ: regions of every patient, temporal against cortex, spread, similarity, outliers."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from dashboard.data.selection import Selection
from dashboard.shell import page, sidebar, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.shared import trust_line, wording
from dashboard.views.variability import lobes, outliers, regions, sheet, similarity, spread
from dashboard.views.variability.patients import Patients
from store import NotInRunError

VIEWS: dict[str, tuple[str, Callable[[Patients], list[Download]]]] = {
    "regions": ("Patients and regions", regions.show),
    "lobes": ("Temporal, cortical", lobes.show),
    "spread": ("Spread maps", spread.show),
    "similarity": ("Similarity", similarity.show),
    "outliers": ("Outliers", outliers.show),
    "sheet": ("All heatmaps", sheet.show),
}


def sentence(patients: Patients) -> str:
    """Say in a sentence whose heatmaps are compared, and by which models."""
    chosen, rows = patients.selection, patients.rows
    whom = chosen.scan_filter.in_words()
    people = wording.people(rows, patients.diagnoses)
    return (
        f"How the heatmaps of {people} differ: {formatting.method_name(chosen.method).lower()}, "
        f"{formatting.MODEL_SETS[chosen.model_set].lower()}, evidence for {chosen.evidence()}."
        f"{f' Only {whom}.' if whom else ''}"
    )


def main(selection: Selection) -> None:
    """Show the Variability page."""
    patients = Patients(selection)
    head = page.Header("Variability", sentence(patients))
    view = url_state.choose(
        "v_view", "View", list(VIEWS), widget="segmented", words=lambda v: VIEWS[v][0], label_visibility="collapsed"
    )
    if patients.rows.empty:
        sidebar.nothing_passes()
        head.finish()
        return
    try:
        files = VIEWS[view][1](patients)
    except NotInRunError as error:
        st.info(f"{formatting.plain(error)}. It is made by the stage aggregate of run_pipeline.py.")
        files = []
    trust_line.show(selection.run, selection.model_set, selection.method)
    page.provenance(selection.run, formatting.MODEL_SETS[selection.model_set], f"evidence for {selection.evidence()}")
    head.finish(files)


page.body_of_selection("Variability", main)
