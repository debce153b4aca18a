"""How well a classifier separates the groups: per scan, per subject, over folds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, recall_score, roc_auc_score, roc_curve

from store.accuracy import FOLDS, by_subject, interval_rows, ranked_by
from store.keys import ModelName, are_of_folds

CALIBRATION_BINS = 10
CURVE_POINTS = 200


def scores(positive: np.ndarray, probability: np.ndarray, order: np.ndarray | None = None) -> dict[str, float]:
    """Return the metrics of one test set.

    Args:
        positive: (n,) bool, truly of the positive group.
        probability: (n,) of the positive group; predicted positive from 0.5 on.
        order: (n,) what scans are ranked by for the AUC: margins, which differ where probabilities are rounded to 0 or
            1; None: the probabilities.
    Returns:
        accuracy, balanced_accuracy, sensitivity, specificity, auc (of probabilities), auc_hard (of hard labels: equals
        the balanced accuracy, the original study's AUC), brier (mean squared error of the probability) and the
        confusion matrix. What needs both groups is missing (nan) with one.
    """
    positive, probability = np.asarray(positive, bool), np.asarray(probability, float)
    called = probability >= 0.5
    true_negative, false_positive, false_negative, true_positive = confusion_matrix(
        positive, called, labels=[False, True]
    ).ravel()
    sensitivity, specificity = (
        recall_score(positive, called, pos_label=group, zero_division=np.nan) for group in (True, False)
    )
    balanced = (sensitivity + specificity) / 2
    both = positive.any() and (~positive).any()
    return {
        "accuracy": float(accuracy_score(positive, called)),
        "balanced_accuracy": float(balanced),
        "sensitivity": float(sensitivity),
        "specificity": float(specificity),
        "auc": float(roc_auc_score(positive, probability if order is None else order)) if both else np.nan,
        "auc_hard": float(balanced),
        "brier": float(brier_score_loss(positive, probability)),
        "true_positive": float(true_positive),
        "false_negative": float(false_negative),
        "false_positive": float(false_positive),
        "true_negative": float(true_negative),
    }


def metric_rows(
    predictions: pd.DataFrame, groups: tuple[str, str], classifier: str, ddof: int, note: str = ""
) -> list[dict]:
    """Return rows of the metrics table: of every model, mean and sd over the fold models, all folds together.

    Args:
        predictions: columns model, subject, group, probability and perhaps margin; cohort scans of test sets only.
        ddof: of the standard deviation over folds.
    """
    return rows_of_levels(
        {"scan": predictions, "subject": by_subject(predictions)},
        lambda part: scores(part["group"] == groups[0], part["probability"], ranked_by(part)), classifier, ddof, note,
        interval_rows(predictions, groups[0]),
    )  # fmt: skip


def rows_of_levels(
    levels: Mapping[str, pd.DataFrame], score: Callable[[pd.DataFrame], dict[str, float]], classifier: str, ddof: int,
    note: str, intervals: pd.DataFrame,
) -> list[dict]:  # fmt: skip
    """Return rows of the metrics table: a score of each model's predictions, mean and sd over folds, intervals.

    A fold in which a score cannot be computed does not count for mean and sd; the column folds says how many do.

    Args:
        levels: scan and subject -> predictions, with the column model.
        score: predictions of one model -> metric -> value.
        ddof: of the standard deviation over folds.
        intervals: of store.accuracy.interval_rows, of the same predictions.
    """
    rows = []
    ends = intervals.set_index(["level", "model", "metric"])[["low", "high", "subjects"]].to_dict("index")
    for level, frame in levels.items():
        per_model = {model: score(part) for model, part in frame.groupby("model", sort=False)}
        folds = pd.DataFrame([values for model, values in per_model.items() if ModelName(model).fold])
        if len(folds):
            per_model["mean"] = folds.mean().to_dict()
            known = folds.notna().sum().to_dict()
        if len(folds) > ddof:
            per_model["sd"] = folds.std(ddof=ddof).to_dict()
        together = intervals[(intervals["level"] == level) & (intervals["model"] == FOLDS)]
        if len(together):
            per_model[FOLDS] = dict(zip(together["metric"], together["value"], strict=True))
        rows += [
            {
                "classifier": classifier, "level": level, "model": model, "metric": metric, "value": value,
                "note": note, **ends.get((level, model, metric), {}),
                **({"folds": known[metric]} if model in ("mean", "sd") else {}),
            }
            for model, values in per_model.items()
            for metric, value in values.items()
        ]  # fmt: skip
    return rows


def curve_rows(predictions: pd.DataFrame, groups: tuple[str, str]) -> list[dict]:
    """Return rows of the curves table: ROC and reliability, per model and of all out-of-fold predictions together."""
    rows = []
    parts = dict(tuple(predictions.groupby("model", sort=False)))
    pooled = predictions[are_of_folds(predictions["model"])]
    if len(pooled):
        parts["folds"] = pooled
    for model, part in parts.items():
        positive, probability = (part["group"] == groups[0]).to_numpy(), part["probability"].to_numpy()
        if positive.any() and not positive.all():
            false, true, _ = roc_curve(positive, ranked_by(part))
            keep = np.unique(np.linspace(0, len(false) - 1, min(len(false), CURVE_POINTS)).round().astype(int))
            rows += [_point(model, "roc", i, false[k], true[k]) for i, k in enumerate(keep)]
        # sklearn's calibration_curve puts edges into the other bin, and does not say how many scans a bin has.
        bins = np.minimum((probability * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        for i, b in enumerate(np.unique(bins)):
            own = bins == b
            rows.append(_point(model, "calibration", i, probability[own].mean(), positive[own].mean(), int(own.sum())))
    return rows


def _point(model: str, curve: str, point: int, x: float, y: float, scans: int | None = None) -> dict:
    return {"model": model, "curve": curve, "point": point, "x": float(x), "y": float(y), "scans": scans}
