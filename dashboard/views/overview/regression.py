"""What the Overview page shows of a regression in the place of accuracy, ROC and calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import runs
from dashboard.data.accuracy import (
    LINEAR_BASELINES,
    fold_metrics,
    judged_set,
    mean_and_sd,
    metric_value,
    value_with_interval,
)
from dashboard.data.runs import Run
from dashboard.drawing.chart import Chart
from dashboard.shell import access, display, public
from dashboard.text import formatting
from dashboard.text.outputs import OutputDescription
from dashboard.views.overview import regression_charts
from dashboard.views.overview.all_metrics import draw_all_metrics
from store.keys import are_of_folds


def sentence(answer: OutputDescription, scans: pd.DataFrame, column: str) -> str:
    """Say what is predicted, and how it is shown."""
    low, high = formatting.three(scans[column].min()), formatting.three(scans[column].max())
    ends = f", from {low} to {answer.number(scans[column].max()) if answer.unit else high}"
    return (
        f"{answer.label} is predicted{'' if public.fewest() else ends}; "
        f"shown as two groups, divided at {answer.number(answer.middle)}"
    )


def cards(run: Run, metrics: pd.DataFrame, predictions: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Return (label, value, note) of the numbers one looks for first."""
    answer = runs.answer(run)
    found, n = [], predictions.model[are_of_folds(predictions.model)].nunique()
    unit = f" {answer.unit}" if answer.unit else ""
    if n:
        over = f"mean ± SD of {formatting.count(n, 'fold')}"
        error = formatting.mean_sd(*mean_and_sd(metrics, "mae")) + unit
        constant = f"{_of_the_mean(predictions)}{unit}"
        always = f"Mean absolute error{_together(metrics, 'mae')}; always predicting the mean: {constant}"
        found.append((f"MAE, {over}", error, always))
        r2 = formatting.mean_sd(*mean_and_sd(metrics, "r2"))
        r = formatting.mean_sd(*mean_and_sd(metrics, "r"))
        found.append((f"{formatting.ERRORS['r']}, {over}", r, f"R² {r2}{_together(metrics, 'r', ', r ')}"))
    held = int((predictions.model == "holdout").sum())
    if held:
        value, r = (formatting.three(metric_value(metrics, "holdout", m)) for m in ("mae", "r"))
        note = f"n = {formatting.count(held, 'scan')}; r {r}"
        found.append(("MAE, held-out test set", value + unit, note))
    linear = {c: mean_and_sd(metrics, "mae", c) for c in LINEAR_BASELINES}
    errors = {c: mean for c, (mean, _) in linear.items() if mean is not None}
    if errors:
        best = min(errors, key=lambda c: errors[c])
        value = formatting.mean_sd(*linear[best]) + unit
        found.append(("MAE, best linear baseline", value, formatting.CLASSIFIERS[best]))
    return found


def _together(metrics: pd.DataFrame, metric: str, name: str = ", ") -> str:
    """Write the 95 % interval of all folds together; empty where it is not known."""
    value, *ends = value_with_interval(metrics, "folds", metric)
    return (
        f"{name}of all folds {formatting.three(value)} ({formatting.interval(*ends)})"
        if formatting.interval(*ends)
        else ""
    )


def _of_the_mean(predictions: pd.DataFrame) -> str:
    """Return the mean absolute error of always predicting the mean of the folds' scans."""
    true = predictions.observed[predictions.model_set == "folds"]
    return formatting.three(float(np.abs(true - true.mean()).mean()))


def how_well(run: Run, metrics: pd.DataFrame, figures: dict[str, Chart]) -> None:
    """Show folds and baselines, predicted against true values, learning curves, and every metric as numbers."""
    answer, predictions = runs.answer(run), runs.table(run, "predictions")
    st.subheader("How well the networks do", anchor=False)
    if regression_charts.SHOWN[0] in figures:
        note = metrics.note[(metrics.classifier == "covariates")].head(1).tolist()
        st.caption(
            f"By scan. A dot is a fold (n = {fold_metrics(metrics).model.nunique()}), the diamond their mean "
            "± SD. The linear models are ridge regressions in the same folds"
            + (f"; covariates: {note[0]}." if note and note[0] else ".")
        )
        for place, metric in zip(st.columns(2, gap="large"), regression_charts.SHOWN, strict=True):
            display.chart(place, figures[metric], metric)
    else:
        st.caption("This run was not cross-validated: what follows is of the held-out test set.")
    draw_all_metrics(run, f"Errors in {answer.unit or 'points'}.")
    left, right = st.columns(2, gap="large")
    model_set = judged_set(predictions)
    left.markdown(
        f"**Predicted and true {formatting.plain(answer.label)}**, {formatting.MODEL_SETS[model_set].lower()}"
    )
    if "scatter" in figures:
        display.chart(left, figures["scatter"], "scatter")
        left.caption(
            "A dot is a scan, predicted by a network that never saw its subject. On the dotted line it is right."
        )
    else:
        left.caption(f"The values of single scans are {access.only_for_whom()}.")
    right.markdown("**Learning curves**")
    display.chart(right, figures["learning"], "learning")
    right.caption(
        "In squared standard deviations of the training scans: 1 is the error of always predicting their mean. "
        "The test curves are shown for inspection only; neither training nor the choice of a network used them."
    )


EXPLAINED = (
    "The cards say how far the networks are from the true value of scans that they never saw; a linear model that does "
    "as well needs no network. Bright places of the maps are where a change would alter the predicted value most, on "
    "average over a group. The groups, above and below the median, are for display: the networks learn the value.",
    r"\mathrm{MAE} = \frac1n \sum_i |\hat y_i - y_i|,\qquad "
    r"R^2 = 1 - \frac{\sum_i (\hat y_i - y_i)^2}{\sum_i (y_i - \bar y)^2}",
    "SD over folds with ddof 1. R² can be below 0: then the mean of the test scans would have been nearer.",
)
