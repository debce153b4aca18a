"""What this run is, how well its networks do, and where they look."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data import averages as data_averages
from dashboard.data import reference_run, runs
from dashboard.data.accuracy import (
    LINEAR_BASELINES,
    confusion_counts,
    fold_metrics,
    folds_in_words,
    judged_set,
    mean_and_sd,
    metric_value,
    trained_models,
    value_with_interval,
)
from dashboard.data.cohort import balance_sentence, cohort_table, exclusion_table, ordered_diagnoses
from dashboard.data.runs import Run
from dashboard.data.selection import Selection, explained_scans
from dashboard.drawing import charts
from dashboard.drawing.chart import Chart
from dashboard.shell import access, display, page, public, run_picker, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.text import paper as text_paper
from dashboard.text.outputs import answer_of
from dashboard.text.paper import PAPER_METRICS
from dashboard.views.overview import charts as overview_charts
from dashboard.views.overview import new_scans, regression
from dashboard.views.overview import queries as overview_queries
from dashboard.views.overview import tables as judged
from dashboard.views.overview import truth as overview_truth
from dashboard.views.overview.tables import subjects_in_ranking
from dashboard.views.shared import map_controls, map_grid
from store.export import nifti
from store.export.csv import neutralised
from store.keys import are_of_folds


def sentence(manifest: dict[str, Any], scans: pd.DataFrame) -> str:
    """Say in a sentence what the networks predict, and of whom."""
    groups, answer = manifest["groups"], answer_of(manifest)
    people, counted = public.people(scans, ordered_diagnoses(scans, groups))
    everyone = (
        f"{formatting.count(len(scans), 'scan')} of {formatting.count(scans.subject.nunique(), 'subject')} ({people})"
    )
    cohort_name = "simulated cohort" if manifest["simulated"] else manifest["cohort"]
    truth = " The disease was imposed on these brains, so the truth is known." if manifest["simulated"] else ""
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
    shown = regression.cards(run, metrics, predictions) if is_value else of_groups(metrics, predictions)
    said = reference_run.verdict(run)
    if said is not None and said.baseline:
        st.warning(f"**{said.baseline}**", icon=":material/show_chart:")
    columns = st.container(key="cards").columns(max(len(shown), 1))
    for column, (label, value, note) in zip(columns, shown, strict=False):
        with column.container(border=True):
            st.metric(label, value)
            st.caption(note)


def of_groups(metrics: pd.DataFrame, predictions: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return (label, value, note) of the cards where the networks tell two groups apart."""
    shown = []
    n = predictions.model[are_of_folds(predictions.model)].nunique()
    for metric, name in charts.METRIC_NAMES.items() if n else ():
        paper = " ± ".join(f"{v:.2f}" for v in PAPER_METRICS[metric])
        value = formatting.mean_sd(*mean_and_sd(metrics, metric))
        together = formatting.with_interval(*value_with_interval(metrics, "folds", metric))
        note = f"All folds together (95 % CI): {together}. The paper, ADNI: {paper}"
        shown.append((f"{name}, mean ± SD of {folds_in_words(metrics, metric)}", value, note))
    held = int(((predictions.model == "holdout") & predictions.correct.notna()).sum())
    if held:
        value, *sides = value_with_interval(metrics, "holdout", "accuracy")
        auc = formatting.with_interval(*value_with_interval(metrics, "holdout", "auc"))
        interval = formatting.interval(*sides) or "too few subjects for an interval"
        note = f"n = {formatting.count(held, 'scan')}; {interval}; AUC {auc}"
        shown.append(("Accuracy, held-out test set", formatting.three(value), note))
    linear = {c: mean_and_sd(metrics, "accuracy", c) for c in LINEAR_BASELINES}
    linear = {c: value for c, value in linear.items() if value[0] is not None}
    if linear:
        best = max(linear, key=lambda c: linear[c][0])
        together = formatting.with_interval(*value_with_interval(metrics, "folds", "accuracy", best))
        note = formatting.CLASSIFIERS[best] + (
            f"; all folds together {together}" if together != formatting.NONE else ""
        )
        shown.append(("Accuracy, best linear baseline", formatting.mean_sd(*linear[best]), note))
    return shown


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
        st.info(f"Its groups are of {access.FEW} subjects: their averages are {access.ONLY_FOR_ROLE}.")
        return
    averages = map_grid.averages_by_method(Selection(run, model_set, methods[0], target), look, columns)
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


def accuracy(run: Run, metrics: pd.DataFrame, figures: dict[str, Chart]) -> None:
    """Show folds, baselines and the paper, and every metric as numbers."""
    st.subheader("How well the networks do", anchor=False)
    if "accuracy" in figures:
        st.caption(
            f"By scan. A dot is a fold (n = {fold_metrics(metrics).model.nunique()}), the diamond their mean "
            "± SD, the dotted line chance. The linear models were fitted in the same folds. The paper's cohort is "
            f"ADNI: for comparison, not a target.{overview_queries.auc_sentence(run)}"
        )
        for place, metric in zip(st.columns(2, gap="medium"), charts.METRIC_NAMES, strict=True):
            display.chart(place, figures[metric], metric)
    else:
        st.caption("This run was not cross-validated: what follows is of the held-out test set.")
    box = url_state.fold("o_metrics", "All metrics")
    if box is not None:
        for level, table in judged.all_metrics(run).items():
            box.caption(
                f"By {level}. {formatting.CLASSIFIERS['cnn']}, and linear models in the same folds. CI: bootstrap over "
                "subjects, widened to the score interval where it is wider, so that 1.000 is no certainty; none of "
                "fewer than 5 subjects a group. The AUC of all folds counts pairs of the same fold."
            )
            box.dataframe(neutralised(table), hide_index=True)


def networks(run: Run, metrics: pd.DataFrame, predictions: pd.DataFrame, figures: dict[str, Chart]) -> None:
    """Show ROC, calibration, confusion matrix and learning curves of the same models."""
    training, model_set = runs.table(run, "training"), judged_set(predictions)
    which = "mean" if model_set == "folds" else "holdout"
    left, middle, right = st.columns(3, gap="medium")
    left.markdown(f"**ROC**, AUC {formatting.three(metric_value(metrics, which, 'auc'))}")
    together = formatting.with_interval(*value_with_interval(metrics, model_set, "auc"))
    display.chart(left, figures["roc"], "roc")
    models = trained_models(training, model_set)
    if model_set == "folds":
        note = (
            f"Thick: all out-of-fold predictions together. AUC: mean of {folds_in_words(metrics, 'auc')}; all "
            f"folds (95 % CI): {together}."
        )
        spread = f" Dashed and shaded: mean ± SD of {formatting.count(len(models), 'fold')}."
        left.caption(note + (spread if len(figures["roc"].data) > 2 else ""))
    elif "(" in together:
        left.caption(f"AUC (95 % CI): {together}.")
    if "calibration" in figures:
        brier = formatting.three(metric_value(metrics, which, "brier"))
        middle.markdown(f"**Calibration**, Brier score {brier}")
        display.chart(middle, figures["calibration"], "calibration")
        middle.caption("Scans in tenths of p; larger dots hold more. Lines: 95 % CI (Wilson). Dotted: p is right.")
    if "confusion" in figures:
        confusion(right, run, predictions, model_set, figures["confusion"])
    else:
        right.markdown("**Confusion matrix**")
        right.caption(f"A cell holds {access.FEW} scans: its counts are {access.ONLY_FOR_ROLE}.")
    st.markdown(f"**Learning curves**, {formatting.count(len(models), 'model')}")
    display.chart(st, figures["learning"], "learning")
    st.caption("The test curves are shown for inspection only; neither training nor the choice of a network used them.")


def confusion(place: Any, run: Run, predictions: pd.DataFrame, model_set: str, figure: Chart) -> None:
    """Show the confusion matrix; its cells open their patients for readers who may see them."""
    groups = runs.manifest(run)["groups"]
    counts = confusion_counts(predictions, model_set, groups)
    may = access.may_see_patients()
    place.markdown(f"**Confusion matrix**, n = {formatting.count(int(counts.sum()), 'scan')}")
    options = {"on_select": "rerun", "selection_mode": "points"} if may else {}
    event = display.chart(place, figure, "confusion", **options)
    if not may:
        return
    points = event["selection"]["points"] if "selection" in event else []
    if points and points[0].get("customdata"):
        open_cell(run, model_set, groups, *points[0]["customdata"][:2])
    with place.popover("Open the patients of a cell", width="stretch"):
        for true, predicted, text in judged.cells(counts, groups):
            if st.button(formatting.plain(text), key=f"cell-{true}-{predicted}", type="tertiary"):
                open_cell(run, model_set, groups, true, predicted)


def open_cell(run: Run, model_set: str, groups: list[str], true: int, predicted: int) -> None:
    """Open the Patient page with the filters set to a cell of the confusion matrix."""
    values = judged.values_of_cell(explained_scans(run, model_set), groups, int(true), int(predicted))
    url_state.go("patient", {"set": model_set, **values})


def cohort(run: Run, scans: pd.DataFrame, groups: list[str], figures: dict[str, Chart]) -> None:
    """Show who is in the run, and who was left out."""
    st.subheader("Cohort", anchor=False)
    display.table(st, cohort_table(scans, groups, public.fewest()))
    balance = balance_sentence(runs.table(run, "balance"), groups)
    st.caption(f"People are counted once a group, by their first scan. {formatting.plain(balance)}")
    left, right = st.columns(2, gap="large")
    left.markdown("**Age**")
    if "ages" not in figures:
        left.caption(f"By steps of five years: {access.ONLY_FOR_ROLE}.")
    elif scans["age"].notna().any():
        display.chart(left, figures["ages"], "ages")
    else:
        left.caption("No scan has an age.")
    right.markdown("**Left out**")
    excluded = runs.table(run, "exclusions")
    if len(excluded):
        display.table(right, left_out(excluded, scans))
    else:
        right.caption("No scan was left out.")


def left_out(excluded: pd.DataFrame, scans: pd.DataFrame) -> pd.DataFrame:
    """Return the exclusions by reason, as this reader may see them."""
    names = [str(name) for table in (excluded, scans) for column in ("scan", "subject") for name in table[column]]
    return exclusion_table(public.exclusions(excluded, names), public.fewest())


def explain(run: Run) -> None:
    """Explain how to read the page."""
    if runs.answer(run).is_value:
        page.how_to_read(*regression.EXPLAINED)
        return
    page.how_to_read(
        "The cards say how often the networks are right on scans that they never saw; a linear model that does as well "
        "needs no network. Bright places of the maps are where a change would alter the decision most, on average "
        "over a group.",
        r"\mathrm{accuracy} = \frac{TP + TN}{n},\qquad \mathrm{Brier} = \frac1n \sum_i (p_i - y_i)^2",
        f"SD over folds with ddof 1. Chance is 0.5 for accuracy of equal groups and for AUC. {text_paper.CITATION}",
    )  # fmt: skip


def downloads(run: Run, tables: dict[str, pd.DataFrame], model_set: str | None, target: str) -> list[Download]:
    """Return tables, figure 1 and the report; single patients only for readers who may see them."""
    reader, groups, name = runs.opened(run), runs.manifest(run)["groups"], run.run_id
    least = public.fewest()

    def report() -> bytes:
        # The report loads matplotlib, which no page starts with.
        from dashboard.reports import cohort_report

        return cohort_report(reader, model_set=model_set, target=target, created=None, fewest=least)

    counted = left_out(tables["exclusions"], tables["scans"])
    files = [
        Download.csv("Metrics, CSV", f"{name}_metrics", lambda: tables["metrics"]),
        Download.csv("Cohort by group, CSV", f"{name}_cohort", lambda: cohort_table(tables["scans"], groups, least)),
        Download.csv("Left out, counted, CSV", f"{name}_left-out", lambda: counted),
    ]
    if model_set is not None and public.has_both_groups(run, model_set):
        figure = f"{name}_figure-1_{model_set}"
        files = [
            Download.pdf("Cohort report, PDF", f"{name}_cohort-report_{model_set}", report),
            Download.png(
                "Figure 1, group averages, PNG", figure,
                lambda: nifti.figure_one(reader, model_set=model_set, target=target),
            ),
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


def main() -> None:
    """Show the Overview page."""
    run = run_picker.current_run()
    tables = {name: runs.table(run, name) for name in ("scans", "predictions", "exclusions")}
    tables["metrics"] = runs.metrics(run)
    scans, metrics, predictions = tables["scans"], tables["metrics"], tables["predictions"]
    manifest = runs.manifest(run)
    groups, target = manifest["groups"], runs.explained_target(run)
    head = page.Header("Overview", sentence(manifest, scans))
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
        accuracy(run, metrics, figures)
        networks(run, metrics, predictions, figures)
    cohort(run, scans, groups, figures)
    explain(run)
    page.provenance(run)
    head.finish(downloads(run, tables, model_set, target))


page.body(main)
