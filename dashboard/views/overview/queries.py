"""What the Overview page shows of the whole run, made once a run."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.data import frames, runs
from dashboard.data.runs import Run
from dashboard.drawing import charts, palette
from dashboard.drawing.chart import Chart
from dashboard.shell.access import FEWEST
from dashboard.text import formatting
from dashboard.views.compare_runs import tables as beside
from dashboard.views.overview import regression_charts
from dashboard.views.overview import tables as judged
from store.accuracy import FOLDS, Judged, difference, judged_scans
from store.reading.verdict import baseline_scans, paired

TOP_REGIONS = 10


@st.cache_resource(max_entries=8, show_spinner=False)
def networks(run: Run, links: bool) -> dict[str, Chart]:
    """The charts of accuracy and cohort: roc, confusion, learning, ages; accuracy and calibration where they exist.

    Of a regression: scatter, learning, ages; errors where they exist. Shared: never change them.

    Args:
        links: see `charts.confusion`; without them what is of single scans or of few is left out.
    """
    groups, metrics = runs.manifest(run)["groups"], runs.metrics(run)
    curves, scans = runs.table(run, "curves"), runs.table(run, "scans")
    predictions, training = runs.table(run, "predictions"), runs.table(run, "training")
    model_set = frames.judged_set(predictions)
    if runs.answer(run).is_value:
        return _of_values(run, model_set, links)
    counts = frames.confusion(predictions, model_set, groups)
    figures = {
        "roc": charts.roc(curves, judged.roc_band(curves) if model_set == "folds" else None),
        "confusion": charts.confusion(counts, groups, links=links),
        "learning": charts.learning(training, frames.models_of(training, model_set)),
        "ages": charts.ages(scans, frames.ordered_diagnoses(scans, groups), groups),
    }
    bins, folds = judged.calibration(curves, model_set), frames.fold_metrics(metrics)
    if not links:
        bins = bins[bins["scans"] >= FEWEST].reset_index(drop=True)
        del figures["ages"]
        if ((counts > 0) & (counts < FEWEST)).any():
            del figures["confusion"]
    if len(bins):
        figures["calibration"] = charts.calibration(bins, groups[0])
    if len(folds):
        found = folds.classifier.unique()
        summary = {(c, m): frames.mean_and_sd(metrics, m, c) for c in found for m in charts.METRIC_NAMES}
        figures["accuracy"] = charts.accuracy(folds, summary, frames.PAPER)
    return figures


def _of_values(run: Run, model_set: str, links: bool) -> dict[str, Chart]:
    """The charts of a regression; without `links` none of single scans."""
    answer, groups, metrics = runs.answer(run), runs.manifest(run)["groups"], runs.metrics(run)
    scans, training = runs.table(run, "scans"), runs.table(run, "training")
    predictions = runs.table(run, "predictions")
    own = predictions[(predictions.model_set == model_set) & ~predictions.model.str.contains("-seed-", regex=False)]
    learnt = {"Mean squared error, SD²": "loss"}
    figures = {
        "scatter": regression_charts.predicted_and_true(own, answer, groups),
        "learning": charts.learning(training, frames.models_of(training, model_set), learnt),
        "ages": charts.ages(scans, frames.ordered_diagnoses(scans, groups), groups),
    }
    if not links:
        del figures["scatter"], figures["ages"]
    folds = frames.fold_metrics(metrics)
    if len(folds):
        found = folds.classifier.unique()
        summary = {(c, m): frames.mean_and_sd(metrics, m, c) for c in found for m in regression_charts.SHOWN}
        units = {"mae": answer.unit, "r": ""}
        figures |= {m: regression_charts.error(m, folds, summary, units[m]) for m in regression_charts.SHOWN}
    return figures


@st.cache_resource(max_entries=8, show_spinner=False)
def top_regions(run: Run, model_set: str, target: str) -> dict[str, Chart]:
    """Method -> chart of the first regions, all on one axis. Shared: never change them."""
    table, groups = runs.table(run, "group_regions"), runs.manifest(run)["groups"]
    methods = runs.available(run)[model_set]
    tops = {m: frames.top_regions(table, model_set, m, target, groups, TOP_REGIONS) for m in methods}
    end = 1.05 * max([t[["positive", "negative"]].max().max() for t in tops.values() if len(t)], default=1.0)
    return {m: charts.top_regions(top, palette.method_colour(m), groups, end) for m, top in tops.items()}


@st.cache_data(max_entries=8, show_spinner=False)
def auc_sentence(run: Run) -> str:
    """AUC of the networks and baselines over all folds with intervals, and their paired differences; may be empty."""
    metrics, groups, reader = runs.metrics(run), runs.manifest(run)["groups"], runs.opened(run)
    folds = judged_scans(runs.table(run, "predictions"), FOLDS)
    parts = []
    for classifier in ("cnn", *frames.LINEAR):
        text = formatting.with_interval(*frames.ends(metrics, FOLDS, "auc", classifier))
        if text == formatting.NONE:
            continue
        both = None if classifier == "cnn" else paired(folds, baseline_scans(reader, classifier, FOLDS))
        if both is not None:
            gap = difference(*(Judged(frame, groups[0]) for frame in both))
            text += (
                f", the network {formatting.signed(gap.value)} ({formatting.interval(gap.low, gap.high) or 'too few'})"
            )
        parts.append(f"{formatting.CLASSIFIERS[classifier]} {text}")
    return f" AUC of all folds together, 95 % CI over subjects: {'; '.join(parts)}." if parts else ""


@st.cache_data(max_entries=8, show_spinner=False)
def differences(first: Run, second: Run) -> pd.DataFrame:
    """Second minus first in every metric, with intervals; see `summaries_compare.difference_rows`."""
    if runs.answer(first).is_value != runs.answer(second).is_value:
        return beside.difference_rows({}, {}, ("", ""), False)
    positives = tuple(runs.manifest(run)["groups"][0] for run in (first, second))
    return beside.difference_rows(_test_scans(first), _test_scans(second), positives, runs.answer(first).is_value)


def _test_scans(run: Run) -> dict[tuple[str, str], pd.DataFrame]:
    """(classifier, folds or holdout) -> the test scans as it judged them."""
    predictions, reader = runs.table(run, "predictions"), runs.opened(run)
    found = {("cnn", judged_on): judged_scans(predictions, judged_on) for judged_on in (FOLDS, "holdout")}
    return found | {(c, s): baseline_scans(reader, c, s) for c in frames.LINEAR for s in (FOLDS, "holdout")}


def all_metrics(run: Run) -> dict[str, pd.DataFrame]:
    """scan, and subject where people have several scans -> every metric."""
    metrics, scans = runs.metrics(run), runs.table(run, "scans")
    levels = ["scan", "subject"] if len(scans) > scans.subject.nunique() else ["scan"]
    return {level: judged.metrics_table(metrics, level) for level in levels}
