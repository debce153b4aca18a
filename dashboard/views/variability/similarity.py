"""Patients as points: the closer, the more alike are their heatmaps."""

from __future__ import annotations

import streamlit as st

from dashboard.shell import names, page, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.shared.patient_links import draw_chart_of_patients
from dashboard.views.variability import charts as figures
from dashboard.views.variability import tables as between
from dashboard.views.variability.patients import ROWS, SCANS, SUBJECTS, Patients, choose_rows, in_numbers
from dashboard.views.variability.tables import DISTANCES


def show(patients: Patients) -> list[Download]:
    """Show the controls, the points, and how to read them."""
    columns = st.columns([1, 1, 1.4, 1.6], vertical_alignment="bottom", gap="small")
    by_subject = choose_rows(columns[0])
    kind = url_state.choose(
        "v_distance", "Distance", list(DISTANCES), widget="segmented", words=DISTANCES.__getitem__, place=columns[1]
    )
    colour = patients.choose_feature("v_colour", "Colour", columns[2], "diagnosis")
    whole = patients.sample(by_subject=by_subject)
    found = between.drop_without_relevance(whole)
    if not len(found):
        return patients.none_left()
    made = between.similarity(found, kind)
    shown = names.shown(found.rows)
    who = between.describe_rows(shown, between.labels(shown, by_subject), patients.answer)
    figure = figures.similarity(
        made, shown, patients.covariate(colour, shown), patients.diagnoses, patients.groups, who
    )  # fmt: skip
    draw_chart_of_patients(st, figure, "v-similarity")
    shapes = ", ".join(f"{figures.symbol(d, patients.diagnoses)} {formatting.plain(d)}" for d in patients.diagnoses)
    without = formatting.count(len(whole) - len(found), ROWS[SUBJECTS if by_subject else SCANS].lower())
    st.caption(
        f"{in_numbers(found, by_subject)}. The two axes hold {formatting.three(100 * made.explained.sum())} % of the "
        f"variance between patients. Shapes: {shapes}. Click one to open its patient."
        + (f" Left out: {without} without any relevance in the atlas." if len(whole) > len(found) else "")
    )
    page.how_to_read(
        "Patients whose relevance is spread over the regions alike lie close together; two clouds would be two ways of "
        "deciding. The axes have no meaning of their own: only distances count, and only as far as the two axes hold "
        "the variance.",
        r"d_{\mathrm{Hellinger}}(p, q) = \sqrt{\tfrac12 \sum_r (\sqrt{p_r} - \sqrt{q_r})^2},\quad "
        r"d_{\mathrm{Euclidean}}(p, q) = \sqrt{\sum_r (p_r - q_r)^2}",
        "p and q: shares of the atlas regions, left and right apart. Classical multidimensional scaling, Torgerson "
        "(1952), Psychometrika 17.",
    )  # fmt: skip
    table = patients.exported(found).assign(axis_1=made.points[:, 0], axis_2=made.points[:, 1])
    return [Download.csv("These points, CSV", f"{patients.file}_similarity", lambda: table)]
