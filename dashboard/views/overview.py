"""What this run is, how well its networks do, and where they look."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import queries, selection, show, states, summaries
from dashboard.figures import charts, palette, words
from dashboard.queries import Run

TOP_REGIONS = 10


def header(manifest: dict[str, Any], scans: pd.DataFrame) -> None:
    """One line: what, of whom, by which models."""
    groups = manifest["groups"]
    st.title("Overview", anchor=False)
    people = ", ".join(
        f"{scans.subject[scans.diagnosis == d].nunique()} {d}" for d in summaries.ordered_diagnoses(scans, groups)
    )
    cohort_name = "simulated cohort" if manifest["simulated"] else manifest["cohort"]
    truth = " The disease was imposed on these brains, so the truth is known." if manifest["simulated"] else ""
    st.markdown(
        f"**{manifest['name']}**: {groups[0]} against {groups[1]}, {cohort_name}, {words.count(len(scans), 'scan')} of "
        f"{words.count(scans.subject.nunique(), 'subject')} ({people}), {manifest['grid_mm']:g} mm grid.{truth}"
    )


def cards(metrics: pd.DataFrame, predictions: pd.DataFrame) -> None:
    """The numbers one looks for first."""
    shown = []
    n = predictions.model[predictions.model.str.startswith("fold-")].nunique()
    for metric, name in charts.METRIC_NAMES.items() if n else ():
        paper = " ± ".join(f"{v:.2f}" for v in summaries.PAPER[metric])
        value = words.mean_sd(*summaries.mean_and_sd(metrics, metric))
        shown.append((f"{name}, mean ± SD of {words.count(n, 'fold')}", value, f"The paper, ADNI: {paper}"))
    held = int(((predictions.model == "holdout") & predictions.correct.notna()).sum())
    if held:
        value, auc = (words.three(summaries.metric_value(metrics, "holdout", m)) for m in charts.METRIC_NAMES)
        shown.append(("Accuracy, held-out test set", value, f"n = {words.count(held, 'scan')}; AUC {auc}"))
    linear = {c: summaries.mean_and_sd(metrics, "accuracy", c) for c in summaries.LINEAR}
    linear = {c: value for c, value in linear.items() if value[0] is not None}
    if linear:
        best = max(linear, key=lambda c: linear[c][0])
        shown.append(("Accuracy, best linear baseline", words.mean_sd(*linear[best]), words.CLASSIFIERS[best]))
    for column, (label, value, note) in zip(st.columns(max(len(shown), 1)), shown, strict=False):
        with column.container(border=True):
            st.metric(label, value)
            st.caption(note)


def choose_model_set(run: Run) -> str | None:
    """Which models explain; None where the run has no group averages."""
    sets = list(queries.available(run))
    if len(sets) < 2:
        return sets[0] if sets else None
    look = {"format_func": words.MODEL_SETS.get, "label_visibility": "collapsed"}
    chosen = st.segmented_control("Models", sets, default=sets[0], key="models", **look)
    return chosen or sets[0]


def group_averages(run: Run, model_set: str, target: str, groups: list[str]) -> None:
    """Every method: its name, and below it the average heatmap of each group side by side."""
    evidence = target if target in groups else f"the {target} group"
    st.caption(
        f"{words.SET_SENTENCES[model_set]} Mean over the subjects of each group, evidence for {evidence}. Three "
        "coronal slices, neurological convention: L is the left of the subject. Colour starts at the marked value, "
        "the median of the brain; both groups of a method share one scale."
    )
    for method in queries.available(run)[model_set]:
        how = words.HOW_TO_READ.get(method)
        st.markdown(f"**{words.method_name(method)}**" + (f" &ensp; :small[:gray[{how}]]" if how else ""))
        pictures = queries.group_pictures(run, model_set, method, target)
        for column, picture in zip(st.columns(2), pictures, strict=False):
            people = f"n = {words.count(picture.subjects, 'subject')}, {words.count(picture.scans, 'scan')}"
            column.image(picture.png, width="stretch", caption=f"{picture.diagnosis}, {people}")


def ranking(run: Run, model_set: str, target: str, groups: list[str]) -> None:
    """The paper's table 1: the first regions of every method."""
    table = queries.table(run, "group_regions")
    n = [summaries.subjects_in_ranking(table, model_set, group) for group in groups]
    st.subheader("Regions that matter most", anchor=False)
    st.caption(
        "Share of the relevance of all atlas regions in the group average, left and right added. Bars and numbers: "
        f"{groups[0]} (n = {words.count(n[0], 'subject')}); blue tick: {groups[1]} (n = {n[1]}). "
        f"One axis for all methods. {words.MODEL_SETS[model_set]}."
    )
    methods = queries.available(run)[model_set]
    tops = {m: summaries.top_regions(table, model_set, m, target, groups, TOP_REGIONS) for m in methods}
    end = 1.05 * max([t[["positive", "negative"]].max().max() for t in tops.values() if len(t)], default=1.0)
    for start in range(0, len(methods), 4):
        for column, method in zip(st.columns(4, gap="medium"), methods[start : start + 4], strict=False):
            column.markdown(f"**{words.method_name(method)}**")
            figure = charts.top_regions(tops[method], palette.method_colour(method), groups, end)
            show.chart(column, figure, f"regions-{method}")


def accuracy(metrics: pd.DataFrame) -> None:
    """Folds, baselines and the paper."""
    st.subheader("How well the networks do", anchor=False)
    folds = summaries.fold_metrics(metrics)
    if folds.empty:
        st.caption("This run was not cross-validated: what follows is of the held-out test set.")
        return
    found = folds.classifier.unique()
    summary = {(c, m): summaries.mean_and_sd(metrics, m, c) for c in found for m in charts.METRIC_NAMES}
    st.caption(
        f"By scan. A dot is a fold (n = {folds.model.nunique()}), the diamond their mean ± SD, the dotted line chance. "
        "The linear models were fitted in the same folds. The paper's cohort is ADNI: to compare with, not a target."
    )
    show.chart(st, charts.accuracy(folds, summary, summaries.PAPER), "accuracy")


def networks(run: Run, metrics: pd.DataFrame, predictions: pd.DataFrame, groups: list[str]) -> None:
    """ROC, confusion matrix and learning curves of the same models."""
    curves, training = queries.table(run, "curves"), queries.table(run, "training")
    model_set = summaries.judged_set(predictions)
    counts = summaries.confusion(predictions, model_set, groups)
    auc = summaries.metric_value(metrics, "mean" if model_set == "folds" else "holdout", "auc")
    models = summaries.models_of(training, model_set)
    left, middle, right = st.columns([1, 1, 1.6], gap="medium")
    left.markdown(f"**ROC**, AUC {words.three(auc)}")
    show.chart(left, charts.roc(curves), "roc")
    middle.markdown(f"**Confusion matrix**, n = {words.count(int(counts.sum()), 'scan')}")
    show.chart(middle, charts.confusion(counts, groups), "confusion")
    right.markdown(f"**Learning curves**, {words.count(len(models), 'model')}")
    show.chart(right, charts.learning(training, models), "learning")
    if model_set == "folds":
        left.caption("Thick: all out-of-fold predictions together; thin: each fold. AUC: mean of the folds.")
        middle.caption("Every scan judged once, by the fold that did not train on it.")
    right.caption("The test curves were watched and chose nothing.")


def cohort(run: Run, scans: pd.DataFrame, groups: list[str]) -> None:
    """Who is in the run, and who was left out."""
    st.subheader("Cohort", anchor=False)
    show.table(st, summaries.cohort(scans, groups))
    balance = summaries.balance_sentence(queries.table(run, "balance"), groups)
    st.caption(f"People are counted once a group, by their first scan. {balance}")
    left, right = st.columns(2, gap="large")
    left.markdown("**Age**")
    figure = charts.ages(scans, summaries.ordered_diagnoses(scans, groups), groups)
    show.chart(left, figure, "ages")
    right.markdown("**Left out**")
    excluded = queries.table(run, "exclusions")
    if len(excluded):
        show.table(right, summaries.exclusions(excluded))
    else:
        right.caption("No scan that was found was left out.")


def main() -> None:
    """The page."""
    run = selection.current_run()
    manifest, scans = queries.manifest(run), queries.table(run, "scans")
    metrics, predictions = queries.table(run, "metrics"), queries.table(run, "predictions")
    groups, target = manifest["groups"], queries.explained_target(run)
    header(manifest, scans)
    cards(metrics, predictions)
    st.subheader("Where the networks look", anchor=False)
    model_set = choose_model_set(run)
    if model_set is None:
        st.info("This run has no group averages. They are made by the stages explain and aggregate of run_pipeline.py.")
    else:
        group_averages(run, model_set, target, groups)
        ranking(run, model_set, target, groups)
    accuracy(metrics)
    networks(run, metrics, predictions, groups)
    cohort(run, scans, groups)
    st.caption(f"{states.RESEARCH_ONLY} Run {run.run_id}, made {manifest['created'][:10]}.")


main()
