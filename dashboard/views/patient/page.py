"""One patient: the decision, where the network looked by every method, and how that compares with the group."""

from __future__ import annotations

import html
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data import reference_run, runs
from dashboard.data.selection import Selection
from dashboard.drawing import palette
from dashboard.shell import bound_link, display, names, page, url_state
from dashboard.text import formatting
from dashboard.views.patient import (
    against_people,
    charts,
    choice,
    in_words,
    linked_viewer,
    persons,
    pictures,
    reference_groups,
    surface,
)
from dashboard.views.patient import queries as patient_queries
from dashboard.views.patient import tables as patient_tables
from dashboard.views.patient.against_people import Question
from dashboard.views.patient.downloads import downloads
from dashboard.views.shared import trust_line

VISIT_WIDTH = 320  # pixels of a visit's slice


def decision(selection: Selection, row: pd.Series) -> None:
    """Show what every model says that may explain this scan."""
    answer = runs.answer(selection.run)
    answers, doubt = persons.answers(selection.run, row["scan"])
    verdict = {True: ", as labelled", False: ", not as labelled"}.get(row["correct"], "")
    value, spread = row[answer.column], f":small[:gray[{answers}]]"
    if answer.is_value:
        true = f", true {answer.number(row['observed'])}" if row["observed"] == row["observed"] else ""
        st.markdown(f"**{answer.name} {answer.number(value)}**{true} {spread}")
    else:
        st.markdown(f"**{answer.name} {answer.number(value)}**: {formatting.plain(row['predicted'])}{verdict} {spread}")
        st.html(probability_bar(float(value), f"{answer.name} {answer.number(value)}"))
    if doubt:
        st.warning(formatting.plain(doubt))


def probability_bar(value: float, description: str) -> str:
    """Return HTML of a bar from 0 to 1 with a mark where the decision turns."""
    return (
        f'<div role="img" aria-label="{html.escape(description)}" '
        'style="position:relative;height:16px;margin-bottom:2px">'
        '<div style="position:absolute;top:5px;width:100%;height:6px;border-radius:3px;background:#8888884d"></div>'
        f'<div style="position:absolute;top:5px;width:{100 * value:.2f}%;height:6px;border-radius:3px;'
        'background:var(--st-primary-color,#2b6a6e)"></div>'
        '<div style="position:absolute;left:50%;top:0;width:2px;height:16px;background:currentColor"></div></div>'
    )


def regions(asked: Question, method: str, against: dict, other: reference_run.Reference | None) -> None:
    """Show the patient's strongest regions against the group; against both where the decision is not as labelled, and
    of a new scan against those of its reference.
    """
    top = against_people.strongest(asked, method)
    st.subheader(f"Strongest regions, {formatting.method_name(method)}", anchor=False)
    if top.empty:
        st.info(
            f"By {formatting.method_name(method).lower()} nothing in this scan speaks for the explained group: the "
            "heatmap is 0 everywhere and has no shares of regions. Choose another method or other evidence."
        )
    elif reference_groups.knows(against, method):
        groups = tuple(runs.manifest(asked.run)["groups"])
        known = against_people.chart_of_groups(asked, method) if other is None else None
        display.chart(st, known or reference_groups.chart(against, method, top.region.tolist(), groups), "p-regions")
    else:
        display.chart(st, against_people.chart(asked, method), "p-regions")


def over_time(selection: Selection, visits: pd.DataFrame) -> None:
    """Show the decision at every visit of the person."""
    st.subheader("Visits", anchor=False)
    if len(visits) == 1:
        st.caption("One scan of this person is explained by these models.")
        return
    st.caption(f"{formatting.count(len(visits), 'scan')} of this person, in time order; choose one above.")
    display.chart(st, charts.visits(names.shown(visits), runs.answer(selection.run), palette.POSITIVE), "p-visits")


def same_slice(selection: Selection, visits: pd.DataFrame, row: pd.Series, method: str, view: dict[str, Any]) -> None:
    """Show the slice at the crosshair in every visit, on one colour scale."""
    if len(visits) == 1 or view.get("mm") is None:
        return
    answer = runs.answer(selection.run)
    titles = [
        f"{v.session or v.scan}, {answer.text(getattr(v, answer.column))}" for v in names.shown(visits).itertuples()
    ]
    drawn = tuple(zip(visits.model, visits.scan, titles, strict=True))
    chosen = visits[visits.scan == row["scan"]].iloc[0]
    threshold = pictures.threshold_of(selection, chosen.model, method, chosen.scan, view)
    pairs = pictures.view_pairs(view, view["mm"], threshold)
    st.markdown(f"**The same slice at every visit**, {formatting.method_name(method)}, one colour scale")
    picture = pictures.visits_png(selection.run, drawn, method, selection.target, pairs)
    st.image(picture, width=min(VISIT_WIDTH * len(drawn), 1200), output_format="PNG")


def why_wrong(selection: Selection, row: pd.Series) -> None:
    """Say which evidence shows why the decision is not as labelled.

    Maps of evidence for the label hide what spoke for the decision, those of occlusions wholly.
    """
    said, choose = st.columns([1, 0.3], vertical_alignment="center")
    decided, label = formatting.plain(row["predicted"]), formatting.plain(row["diagnosis"])
    if runs.opened(selection.run).target_of(row["model"], row["scan"], selection.target) == row["predicted"]:
        said.info(f"Decided as {decided}, labelled {label}. These maps show the evidence for {decided}, the decision.")
        return
    said.info(
        f"Decided as {decided}, labelled {label}. These maps show the evidence for the other group; what spoke for "
        f"{decided} is seen as evidence for {decided}."
    )
    if choose.button(f"Show the evidence for {decided}", key="p-why", width="stretch"):
        url_state.set_before_next_pass({"target": row["predicted"]})
        st.rerun()


def how_to_read(method: str) -> None:
    """Explain what the colours mean, and what they do not."""
    page.how_to_read(
        f"{formatting.HOW_TO_READ.get(method, '')} Warm places speak for the explained group, cool ones against it; a "
        "bright place is where this network looked, not proof of disease there.",
        r"\text{share}_r = \frac{\sum_{v \in r} m(v)}{\sum_{v \in \text{brain}} m(v)},\quad "
        r"m = |h| \text{ (gradients)},\ m = \max(h, 0) \text{ (occlusions)}",
        "Percentiles are among the other subjects of the same diagnosis (means over their scans, ties count half) and "
        "are not given below ten of them.",
    )


def adds_up(selection: Selection, model: str, row: pd.Series, method: str) -> None:
    """Say by how much the map misses the change of the margin that it should add up to; nothing for other methods."""
    missed = patient_queries.completeness_error(selection.run, model, method, row["scan"])
    if pd.notna(missed):
        st.caption(patient_tables.say_completeness(method, missed))


def in_3d(selection: Selection, model: str, row: pd.Series, method: str, view: dict[str, Any]) -> None:
    """Show the main heatmap inside a transparent brain, on request."""
    if url_state.toggle("p_3d", f"Show {formatting.method_name(method).lower()} in 3D"):
        start = pictures.threshold_of(selection, model, method, row["scan"], view)
        figure = pictures.glass(selection.run, model, method, row["scan"], selection.target, start.value)
        display.scene(st, figure, "p-3d-brain")
        st.caption(
            f"Surface where |relevance| is {formatting.three(start.value)}, as in the viewer ({start.percentile:.3g} % "
            "of the brain have no more); averaged over blocks of about 5 mm. Drag to turn."
        )


def main(selection: Selection) -> None:
    """Show the Patient page."""
    groups, other = runs.manifest(selection.run)["groups"], reference_run.of(selection.run)
    answer = runs.answer(selection.run)
    if choice.unknown_patient(selection):
        return
    top = st.container()
    nobody = not persons.who_pass(selection)
    if nobody and url_state.kept(choice.SUBJECT) is None and url_state.peek(choice.SUBJECT) is None:
        with top:
            page.Header("Patient", "No patient passes the filters of the sidebar.").finish()
        return
    known = persons.visits(selection.run, selection.model_set, choice.pick_subject(selection))
    visits, row = known.table, choice.pick_scan(known)
    with top:
        said = row if names.are_shown() else names.shown(visits).loc[row.name]
        head = page.Header("Patient", f"**{formatting.plain(said['subject'])}** · {patient_tables.covariates(said)}")
    decision(selection, row)
    reference_groups.flags(selection.run, row["scan"])
    if other is not None:
        reference_groups.notes(other, groups)
    if not patient_queries.has_target(selection.run, row["model"], row["scan"], selection.target):
        st.info(
            f"This scan belongs to no group, so {selection.evidence()} means nothing here: choose another evidence."
        )
        head.finish()
        return
    model = choice.pick_model(selection, row["scan"])
    methods = patient_queries.methods_of_scan(selection.run, model, row["scan"])
    asked = against_people.question(selection, model, row, methods, str(row["diagnosis"]))
    tables = against_people.tables(asked)
    against = reference_groups.tables(other, selection, model, row, methods) if other is not None else {}
    group = row["predicted"] if against else str(row["diagnosis"])
    if against:
        figures = against_people.viewer_figures(selection.run, {**tables, **against.get(group, {})})
    else:
        figures = against_people.figures(asked)
    if other is None and pd.notna(row["correct"]) and not row["correct"] and not answer.is_value:
        against = against_people.tables_of_groups(asked)
        why_wrong(selection, row)
    seen = linked_viewer.follow_view(
        lambda: linked_viewer.show(selection, model, row, figures, group), on_page=len(visits) > 1
    )
    view = seen.view
    method = view["method"] if view["method"] in tables else next(iter(tables))
    trust_line.show_beside(selection.run, selection.model_set, method, methods)
    in_words.show(selection, model, row["scan"], method)
    left, right = st.columns([1.4, 1], gap="medium")
    with left:
        top_regions = against_people.strongest(asked, method)
        regions(asked, method, against, other)
    with right:
        if other is not None and len(top_regions) and reference_groups.knows(against, method):
            reference_groups.percentiles(other, against, method, top_regions.region.tolist())
        if not bound_link.is_bound():  # it names other people
            in_words.show_similar(selection, model, row["scan"], method)
        over_time(selection, visits)
    if other is not None and reference_groups.knows(against, method):
        reference_groups.pictures(other, selection, model, row, method)
    adds_up(selection, model, row, method)
    same_slice(selection, visits, row, method, view)
    in_3d(selection, model, row, method, view)
    on_surface = surface.section(selection, model, row, method, view)
    how_to_read(method)
    page.provenance(selection.run, f"network: {formatting.network_name(model)}", f"evidence for {selection.evidence()}")
    head.finish([*downloads(selection, model, row, tables, seen, against), *on_surface])


page.body_of_selection("Patient", main)
