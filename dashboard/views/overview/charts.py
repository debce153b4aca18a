"""The charts of the Overview page, made once a run."""

from __future__ import annotations

import streamlit as st

from dashboard.data import runs
from dashboard.data.accuracy import confusion_counts, fold_metrics, judged_set, mean_and_sd, trained_models
from dashboard.data.cohort import ordered_diagnoses
from dashboard.data.runs import Run
from dashboard.drawing import charts, palette
from dashboard.drawing.chart import Chart
from dashboard.shell import access
from dashboard.text.paper import PAPER_METRICS
from dashboard.views.overview import regression_charts
from dashboard.views.overview import tables as judged
from dashboard.views.overview.tables import top_region_shares
from store.deriving.group_tables import large_cells
from store.keys import are_retrained

TOP_REGIONS = 10


@st.cache_resource(max_entries=8, show_spinner=False)
def networks(run: Run, links: bool) -> dict[str, Chart]:
    """Draw how well the networks do and who the cohort is: roc, confusion, learning, ages.

    With accuracy, auc and calibration where they exist.

    Of a regression: scatter, learning, ages; errors where they exist. Shared: never change them.

    Args:
        links: see `charts.confusion`; without them what is of single scans or of few is left out.
    """
    groups, metrics = runs.manifest(run)["groups"], runs.metrics(run)
    curves, scans = runs.table(run, "curves"), runs.table(run, "scans")
    predictions, training = runs.table(run, "predictions"), runs.table(run, "training")
    model_set = judged_set(predictions)
    if runs.answer(run).is_value:
        return _of_values(run, model_set, links)
    counts = confusion_counts(predictions, model_set, groups)
    figures = {
        "roc": charts.roc(curves, judged.roc_band(curves) if model_set == "folds" else None),
        "confusion": charts.confusion(counts, groups, links=links),
        "learning": charts.learning(training, trained_models(training, model_set)),
        "ages": charts.ages(scans, ordered_diagnoses(scans, groups), groups),
    }
    bins, folds = judged.calibration(curves, model_set), fold_metrics(metrics)
    if not links:
        bins = bins[large_cells(bins["scans"].to_numpy(float), access.fewest())].reset_index(drop=True)
        del figures["ages"]
        if ((counts > 0) & (counts < access.fewest())).any() or not counts.any():
            del figures["confusion"]
    if len(bins):
        figures["calibration"] = charts.calibration(bins, groups[0])
    if len(folds):
        found = folds.classifier.unique()
        summary = {(c, m): mean_and_sd(metrics, m, c) for c in found for m in charts.METRIC_NAMES}
        figures |= {m: charts.accuracy(folds, summary, PAPER_METRICS, [m]) for m in charts.METRIC_NAMES}
    return figures


def _of_values(run: Run, model_set: str, links: bool) -> dict[str, Chart]:
    """Draw how well a regression does; without `links` no chart of single scans."""
    answer, groups, metrics = runs.answer(run), runs.manifest(run)["groups"], runs.metrics(run)
    scans, training = runs.table(run, "scans"), runs.table(run, "training")
    predictions = runs.table(run, "predictions")
    own = predictions[(predictions.model_set == model_set) & ~are_retrained(predictions.model)]
    learnt = {"Mean squared error, SD²": "loss"}
    figures = {
        "scatter": regression_charts.predicted_and_true(own, answer, groups),
        "learning": charts.learning(training, trained_models(training, model_set), learnt),
        "ages": charts.ages(scans, ordered_diagnoses(scans, groups), groups),
    }
    if not links:
        del figures["scatter"], figures["ages"]
    folds = fold_metrics(metrics)
    if len(folds):
        found = folds.classifier.unique()
        summary = {(c, m): mean_and_sd(metrics, m, c) for c in found for m in regression_charts.SHOWN}
        units = {"mae": answer.unit, "r": ""}
        figures |= {m: regression_charts.error(m, folds, summary, units[m]) for m in regression_charts.SHOWN}
    return figures


@st.cache_resource(max_entries=8, show_spinner=False)
def top_regions(run: Run, model_set: str, target: str) -> dict[str, Chart]:
    """Return method -> chart of its first regions, all on one axis. Shared: never change them."""
    table, groups = runs.table(run, "group_regions"), runs.manifest(run)["groups"]
    methods = runs.available(run)[model_set]
    tops = {m: top_region_shares(table, model_set, m, target, groups, TOP_REGIONS) for m in methods}
    end = 1.05 * max([t[["positive", "negative"]].max().max() for t in tops.values() if len(t)], default=1.0)
    return {m: charts.top_regions(top, palette.method_colour(m), groups, end) for m, top in tops.items()}
