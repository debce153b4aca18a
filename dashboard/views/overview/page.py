"""What this run is, how well its networks do, and where they look."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data import averages as data_averages
from dashboard.data import counted, reference_run, runs
from dashboard.data.cohort import balance_sentence, cohort_table, exclusion_table, ordered_diagnoses
from dashboard.data.runs import Run
from dashboard.data.selection import Selection
from dashboard.drawing.chart import Chart
from dashboard.shell import access, display, page, public, run_picker, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.text.outputs import answer_of
from dashboard.views.overview import by_site, classification, new_scans, regression
from dashboard.views.overview import charts as overview_charts
from dashboard.views.overview import truth as overview_truth
from dashboard.views.overview.tables import subjects_in_ranking
from dashboard.views.shared import map_controls, map_grid
from store import StoreError
from store.export import figure_1, nifti, paper_tables
from store.reading.truth import has_truth

IMPOSED = " The disease was imposed on these brains, so the truth is known."
NOT_IMPOSED = " No disease was imposed on these brains: whatever the heatmaps show, it is none."


def sentence(manifest: dict[str, Any], scans: pd.DataFrame, imposed: bool) -> str:
    """Say in a sentence what the networks predict, and of whom.

    Args:
        imposed: whether it is known where a simulated run's change lies; in a null cohort there is none.
    """
    groups, answer = manifest["groups"], answer_of(manifest)
    people, counted = public.people(scans, ordered_diagnoses(scans, groups))
    everyone = (
        f"{formatting.count(len(scans), 'scan')} of {formatting.count(scans.subject.nunique(), 'subject')} ({people})"
    )
    cohort_name = "simulated cohort" if manifest["simulated"] else manifest["cohort"]
    truth = (IMPOSED if imposed else NOT_IMPOSED) if manifest["simulated"] else ""
    what = f"{groups[0]} against {groups[1]}"
    if answer.is_value:
        what, truth = regression.sentence(answer, scans, manifest["target"]["column"]), ""
    return (
        f"**{formatting.plain(manifest['name'])}**: {formatting.plain(what)}, {formatting.plain(cohort_name)}, "
        f"{everyone if counted else people}, {manifest['grid_mm']:g} mm grid.{truth}"
    )


def cards(run: Run, metrics: pd.DataFrame, predictions: pd.DataFrame) -> None:
    """Show the numbers one looks for first."""
    is_value = runs.answer(run).is_value
    shown = regression.cards(run, metrics, predictions) if is_value else classification.cards(metrics, predictions)
    said = reference_run.verdict(run)
    if said is not None and said.baseline:
        st.warning(f"**{said.baseline}**", icon=":material/show_chart:")
    columns = st.container(key="cards").columns(max(len(shown), 1))
    for column, (label, value, note) in zip(columns, shown, strict=False):
        with column.container(border=True):
            st.metric(label, value)
            st.caption(note)


def choose_model_set(run: Run) -> str | None:
    """Choose which models explain; None where the run has no group averages."""
    sets = list(runs.available(run))
    if len(sets) < 2:
        return sets[0] if sets else None
    look = {"widget": "segmented", "words": formatting.MODEL_SETS.get, "label_visibility": "collapsed"}
    return url_state.choose("o_set", "Models", sets, **look)


def group_averages(run: Run, model_set: str, target: str, groups: list[str]) -> None:
    """Show every method: its name, and below it the average heatmap of each group side by side."""
    evidence = formatting.plain(target) if target in groups else f"the {target} group"
    st.caption(
        f"{formatting.SET_SENTENCES[model_set]} Mean over the subjects of each group, evidence for {evidence}. Three "
        "coronal slices, neurological convention: L is the left of the subject. Colour starts at the marked value, "
        "the median of the brain; both groups of a method share one scale."
    )
    methods = tuple(runs.available(run)[model_set])
    look = map_controls.as_in_the_paper(run, methods)
    columns = map_grid.columns_of(data_averages.diagnoses_of_groups(run, model_set), None)
    columns = public.groups(run, model_set, columns)
    if not columns:
        st.info(f"Its groups are of {access.few()} subjects: their averages are {access.only_for_whom()}.")
        return
    filters = map_grid.filters_of(columns)
    averages = map_grid.averages_by_method(Selection(run, model_set, methods[0], target), look, filters)
    with st.spinner("Drawing group averages", show_time=True):
        drawn = map_grid.draw_available(averages, columns, look)
    for method in methods:
        how = formatting.HOW_TO_READ.get(method)
        st.markdown(f"**{formatting.method_name(method)}**" + (f" &ensp; :small[:gray[{how}]]" if how else ""))
        own = [(panel, picture) for panel, picture in drawn.items() if panel.method == method]
        for column, (panel, picture) in zip(st.columns(2), own, strict=False):
            caption = f"{panel.heading}, {panel.people()}"
            display.brain_picture(column, picture, caption, map_grid.description(panel, look))


def ranking(run: Run, model_set: str, target: str, groups: list[str]) -> None:
    """Show the first regions of every method, as in the paper's table 1."""
    if not public.has_both_groups(run, model_set):
        return
    table = runs.table(run, "group_regions")
    n = [subjects_in_ranking(table, model_set, group) for group in groups]
    st.subheader("Regions that matter most", anchor=False)
    st.caption(
        "Share of the relevance of all atlas regions in the group average, left and right added. Bars and numbers: "
        f"{formatting.plain(groups[0])} (n = {formatting.count(n[0], 'subject')}); "
        f"blue tick: {formatting.plain(groups[1])} (n = {n[1]}). "
        f"One axis for all methods. {formatting.MODEL_SETS[model_set]}."
    )
    figures = list(overview_charts.top_regions(run, model_set, target).items())
    for start in range(0, len(figures), 4):
        for column, (method, figure) in zip(st.columns(4, gap="medium"), figures[start : start + 4], strict=False):
            column.markdown(f"**{formatting.method_name(method)}**")
            display.chart(column, figure, f"regions-{method}")


def cohort(run: Run, scans: pd.DataFrame, groups: list[str], figures: dict[str, Chart]) -> None:
    """Show who is in the run, and who was left out."""
    st.subheader("Cohort", anchor=False)
    display.table(st, who(run, scans, groups))
    balance = balance_sentence(runs.table(run, "balance"), groups)
    st.caption(f"People are counted once a group, by their first scan. {formatting.plain(balance)}")
    left, right = st.columns(2, gap="large")
    left.markdown("**Age**")
    if "ages" not in figures:
        left.caption(f"By steps of five years: {access.only_for_whom()}.")
    elif scans["age"].notna().any():
        display.chart(left, figures["ages"], "ages")
    else:
        left.caption("No scan has an age.")
    right.markdown("**Left out**")
    excluded = left_out(run, scans)
    if len(excluded):
        display.table(right, excluded)
    else:
        right.caption("No scan was left out.")


def who(run: Run, scans: pd.DataFrame, groups: list[str]) -> pd.DataFrame:
    """Describe who is in the run, as this reader may see it."""
    if runs.holds_groups_only(run):
        return counted.cohort_table(runs.table(run, "group_counts"), groups, public.fewest())
    return cohort_table(scans, groups, public.fewest())


def left_out(run: Run, scans: pd.DataFrame) -> pd.DataFrame:
    """Return the exclusions by reason, as this reader may see them."""
    if runs.holds_groups_only(run):
        return counted.exclusion_table(runs.table(run, "exclusion_counts"), public.fewest())
    excluded = runs.table(run, "exclusions")
    names = [str(name) for table in (excluded, scans) for column in ("scan", "subject") for name in table[column]]
    return exclusion_table(public.exclusions(excluded, names), public.fewest())


def explain(run: Run) -> None:
    """Explain how to read the page."""
    page.how_to_read(*(regression if runs.answer(run).is_value else classification).EXPLAINED)


def downloads(run: Run, tables: dict[str, pd.DataFrame], model_set: str | None, target: str) -> list[Download]:
    """Return tables, figure 1 and the report; single patients only for readers who may see them."""
    reader, groups, name = runs.opened(run), runs.manifest(run)["groups"], run.run_id
    least = public.fewest()

    def report() -> bytes:
        # The report loads matplotlib, which no page starts with.
        from dashboard.reports import cohort_report  # noqa: PLC0415

        return cohort_report(reader, model_set=model_set, target=target, created=None, fewest=least)

    excluded = left_out(run, tables["scans"])
    files = [
        Download.csv("Metrics, CSV", f"{name}_metrics", lambda: tables["metrics"]),
        Download.csv("Cohort by group, CSV", f"{name}_cohort", lambda: who(run, tables["scans"], groups)),
        Download.csv("Left out, counted, CSV", f"{name}_left-out", lambda: excluded),
    ]
    if model_set is not None and public.has_both_groups(run, model_set):
        figure = f"{name}_figure-1_{model_set}"
        of_persons = [Download.pdf("Cohort report, PDF", f"{name}_cohort-report_{model_set}", report)]
        files = [
            *([] if runs.holds_groups_only(run) else of_persons),
            Download.png(
                "Figure 1, group averages, PNG", figure,
                lambda: figure_1.figure_one(reader, model_set=model_set, target=target),
            ),
            *for_the_paper(run, f"{name}_for-the-paper"),
            *files,
        ]  # fmt: skip
    files += overview_truth.downloads(run)
    if access.may_see_patients():
        files += [
            Download.csv("Scans, CSV", f"{name}_scans", lambda: tables["scans"]),
            Download.csv("Predictions, CSV", f"{name}_predictions", lambda: tables["predictions"]),
            Download.csv("Left out, by scan, CSV", f"{name}_exclusions", lambda: tables["exclusions"]),
        ]
    return files


def for_the_paper(run: Run, name: str) -> list[Download]:
    """Offer tables, figure and methods in one file, where this reader may see what they are made of."""
    reader = runs.opened(run)
    try:
        model_set = nifti.paper_model_set(reader)
        has_distances = not reader.table("distances", ["level"], model_set=model_set, level="group").empty
    except StoreError:
        return []
    if not has_distances or not access.may_see_patients():  # the text names the youngest and the oldest
        return []
    return [
        Download("For the paper, ZIP", f"{name}.zip", lambda: paper_tables.paper_archive(reader), "application/zip")
    ]


def main() -> None:
    """Show the Overview page."""
    run = run_picker.current_run()
    tables = {name: runs.table(run, name) for name in ("scans", "predictions", "exclusions")}
    tables["metrics"] = runs.metrics(run)
    scans, metrics, predictions = tables["scans"], tables["metrics"], tables["predictions"]
    manifest = runs.manifest(run)
    groups, target = manifest["groups"], runs.explained_target(run)
    head = page.Header("Overview", sentence(manifest, scans, has_truth(runs.opened(run))))
    if reference_run.nothing_judged(run):
        new_scans.section(run)
        cohort(run, scans, groups, overview_charts.networks(run, access.may_see_patients()))
        page.provenance(run)
        head.finish([*new_scans.downloads(run), *downloads(run, tables, None, target)])
        return
    cards(run, metrics, predictions)
    st.subheader("Where the networks look", anchor=False)
    model_set = choose_model_set(run)
    if model_set is None:
        st.info("This run has no group averages. They are made by the stages explain and aggregate of run_pipeline.py.")
    else:
        group_averages(run, model_set, target, groups)
        ranking(run, model_set, target, groups)
    overview_truth.section(run)
    figures = overview_charts.networks(run, access.may_see_patients())
    if runs.answer(run).is_value:
        regression.how_well(run, metrics, figures)
    else:
        classification.how_well(run, metrics, predictions, figures)
    of_sites = by_site.section(run)
    cohort(run, scans, groups, figures)
    explain(run)
    page.provenance(run)
    head.finish([*downloads(run, tables, model_set, target), *of_sites])


page.body(main)
