"""Temporal against cortical share of every patient."""

from __future__ import annotations

import streamlit as st

from dashboard.data import runs
from dashboard.shell import names, page
from dashboard.shell.page import Download
from dashboard.views.shared.patient_links import draw_chart_of_patients
from dashboard.views.variability import charts as figures
from dashboard.views.variability import tables as between
from dashboard.views.variability.patients import Patients, choose_rows, in_numbers


def show(patients: Patients) -> list[Download]:
    """Show the chart, and how to read it."""
    by_subject = choose_rows(st)
    found = patients.sample(by_subject=by_subject)
    if not len(found):
        return patients.none_left()
    regions = runs.table(patients.selection.run, "regions")
    if unknown := between.without_lobe(regions):
        first = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        st.warning(
            f"Of {len(unknown)} regions of this atlas the lobe is not known ({first}): they count as neither "
            "temporal nor cortical. Give the atlas's table of labels a column lobe (temporal, cortical or other)."
        )
    table = between.add_lobe_shares(found, regions)
    shown = names.shown(table)
    who = between.describe_rows(shown, between.labels(shown, by_subject), patients.answer)
    draw_chart_of_patients(st, figures.temporal_cortical(shown, patients.diagnoses, patients.groups, who), "v-lobes")
    st.caption(f"{in_numbers(found, by_subject)}. Crosses: mean ± SD of a diagnosis. Click a dot to open its patient.")
    page.how_to_read(
        "A dot far to the right is a patient whose decision rests on the temporal lobe, a dot far up one where it "
        "rests on the rest of the cortex. What is missing to 100 % lies in deep grey matter, cerebellum, ventricles "
        "and white matter.",
        r"\mathrm{share}_{L} = \frac{\sum_{v \in L} m_v}{\sum_{v \in \mathrm{brain}} m_v}",
        "Temporal: hippocampus, parahippocampal, amygdala, fusiform, Heschl and all temporal regions of the atlas. "
        "Cortical: all other cerebral cortex, without basal ganglia, thalamus, cerebellum and vermis.",
    )  # fmt: skip
    exported = patients.exported(found).assign(**table[["temporal_share", "cortical_share"]])
    return [Download.csv("These shares, CSV", f"{patients.file}_temporal-cortical", lambda: exported)]
