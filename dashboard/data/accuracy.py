"""How well the networks of a run do, from its tables metrics and predictions. Frames in, numbers out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dashboard.text.formatting import count
from store.keys import ModelName, are_of_folds, are_retrained

LINEAR_BASELINES = ("region_means", "covariates")


def fold_metrics(metrics: pd.DataFrame, level: str = "scan") -> pd.DataFrame:
    """Return the values of the fold models: classifier, metric, model, value."""
    chosen = metrics[(metrics.level == level) & are_of_folds(metrics.model)]
    return chosen[["classifier", "metric", "model", "value", "note"]]


def metric_value(
    metrics: pd.DataFrame, model: str, metric: str, classifier: str = "cnn", level: str = "scan"
) -> float | None:
    """Return one number of the metrics table; None where it is missing."""
    keys = {"classifier": classifier, "level": level, "model": model, "metric": metric}
    values = metrics.value.to_numpy()[np.logical_and.reduce([metrics[c].to_numpy() == v for c, v in keys.items()])]
    return float(values[0]) if len(values) and np.isfinite(values[0]) else None


def value_with_interval(
    metrics: pd.DataFrame, model: str, metric: str, classifier: str = "cnn", level: str = "scan"
) -> tuple[float | None, float | None, float | None]:
    """Return a number of the metrics table with the ends of its 95 % interval; None where they are missing.

    Args:
        model: folds (the test scans of all folds together) or holdout.
    """
    keys = {"classifier": classifier, "level": level, "model": model, "metric": metric}
    rows = metrics[np.logical_and.reduce([metrics[c].to_numpy() == v for c, v in keys.items()])]
    if rows.empty or "low" not in rows:
        return metric_value(metrics, model, metric, classifier, level), None, None
    found = rows[["value", "low", "high"]].iloc[0]
    value, low, high = (float(x) if pd.notna(x) and np.isfinite(x) else None for x in found)
    return value, low, high


def folds_behind(metrics: pd.DataFrame, metric: str, classifier: str = "cnn", level: str = "scan") -> tuple[int, int]:
    """Count (folds that have a value of the metric, folds): the mean and SD over folds are of the first."""
    rows = fold_metrics(metrics, level)
    rows = rows[(rows.classifier == classifier) & (rows.metric == metric)]
    return int(np.isfinite(rows.value.to_numpy(float)).sum()), len(rows)


def folds_in_words(metrics: pd.DataFrame, metric: str, classifier: str = "cnn", level: str = "scan") -> str:
    """Return '5 folds'; '3 of 5 folds' where the others lack a group, so that they have no value."""
    known, folds = folds_behind(metrics, metric, classifier, level)
    return count(folds, "fold") if known == folds else f"{known} of {count(folds, 'fold')}"


def mean_and_sd(metrics: pd.DataFrame, metric: str, classifier: str = "cnn") -> tuple[float | None, float | None]:
    """Return mean and SD over the folds, as the run computed them."""
    return metric_value(metrics, "mean", metric, classifier), metric_value(metrics, "sd", metric, classifier)


def judged_set(predictions: pd.DataFrame) -> str:
    """Return the model set that is judged: cross-validation where the run has it, else the held-out test set."""
    return "folds" if (predictions.model_set == "folds").any() else "holdout"


def trained_models(training: pd.DataFrame, model_set: str) -> list[str]:
    """Return the trained models of a set, in order."""
    found = (str(m) for m in training.model.unique())
    return sorted(
        (m for m in found if (ModelName(m).fold is not None) == (model_set == "folds")), key=lambda m: (len(m), m)
    )


def confusion_counts(predictions: pd.DataFrame, model_set: str, groups: Sequence[str]) -> np.ndarray:
    """Count scans, (2, 2): row true group, column predicted group. Retrained models count no scan twice."""
    rows = predictions[(predictions.model_set == model_set) & ~are_retrained(predictions.model)]
    return np.array([[int(((rows.group == t) & (rows.predicted == p)).sum()) for p in groups] for t in groups])
