"""What the Overview page shows of networks that tell two groups apart: accuracy, ROC, calibration, confusion."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.data import runs
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
from dashboard.data.runs import Run
from dashboard.data.selection import explained_scans
from dashboard.drawing import charts
from dashboard.drawing.chart import Chart
from dashboard.shell import access, display, url_state
from dashboard.text import formatting
from dashboard.text import paper as text_paper
from dashboard.text.paper import PAPER_METRICS
from dashboard.views.overview import queries as overview_queries
from dashboard.views.overview import tables as judged
from dashboard.views.overview.all_metrics import draw_all_metrics
from store.keys import are_of_folds


def cards(metrics: pd.DataFrame, predictions: pd.DataFrame) -> list[tuple[str, str, str]]:
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
    accuracies = {c: mean for c, (mean, _) in linear.items() if mean is not None}
    if accuracies:
        best = max(accuracies, key=lambda c: accuracies[c])
        together = formatting.with_interval(*value_with_interval(metrics, "folds", "accuracy", best))
        note = formatting.CLASSIFIERS[best] + (
            f"; all folds together {together}" if together != formatting.NONE else ""
        )
        shown.append(("Accuracy, best linear baseline", formatting.mean_sd(*linear[best]), note))
    return shown


def how_well(run: Run, metrics: pd.DataFrame, predictions: pd.DataFrame, figures: dict[str, Chart]) -> None:
    """Show accuracy and AUC beside baselines and the paper, and the curves of the same models."""
    accuracy(run, metrics, figures)
    networks(run, metrics, predictions, figures)


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
    draw_all_metrics(
        run,
        f"{formatting.CLASSIFIERS['cnn']}, and linear models in the same folds. CI: bootstrap over subjects, widened "
        "to the score interval where it is wider, so that 1.000 is no certainty; none of fewer than 5 subjects a "
        "group. The AUC of all folds counts pairs of the same fold.",
    )


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
        right.caption(f"A cell holds {access.few()} scans: its counts are {access.only_for_whom()}.")
    st.markdown(f"**Learning curves**, {formatting.count(len(models), 'model')}")
    display.chart(st.container(), figures["learning"], "learning")
    st.caption("The test curves are shown for inspection only; neither training nor the choice of a network used them.")


def confusion(place: Any, run: Run, predictions: pd.DataFrame, model_set: str, figure: Chart) -> None:
    """Show the confusion matrix; its cells open their patients for readers who may see them."""
    groups = runs.manifest(run)["groups"]
    counts = confusion_counts(predictions, model_set, groups)
    may = access.may_see_patients()
    place.markdown(f"**Confusion matrix**, n = {formatting.count(int(counts.sum()), 'scan')}")
    clicked = display.chart(place, figure, "confusion", clicks=may)
    if not may:
        return
    if clicked:
        open_cell(run, model_set, groups, *clicked[:2])
    with place.popover("Open the patients of a cell", width="stretch"):
        for true, predicted, text in judged.cells(counts, groups):
            if st.button(formatting.plain(text), key=f"cell-{true}-{predicted}", type="tertiary"):
                open_cell(run, model_set, groups, true, predicted)


def open_cell(run: Run, model_set: str, groups: list[str], true: int, predicted: int) -> None:
    """Open the Patient page with the filters set to a cell of the confusion matrix."""
    values = judged.values_of_cell(explained_scans(run, model_set), groups, int(true), int(predicted))
    url_state.go("patient", {"set": model_set, **values})


EXPLAINED = (
    "The cards say how often the networks are right on scans that they never saw; a linear model that does as well "
    "needs no network. Bright places of the maps are where a change would alter the decision most, on average "
    "over a group.",
    r"\mathrm{accuracy} = \frac{TP + TN}{n},\qquad \mathrm{Brier} = \frac1n \sum_i (p_i - y_i)^2",
    f"SD over folds with ddof 1. Chance is 0.5 for accuracy of equal groups and for AUC. {text_paper.CITATION}",
)
