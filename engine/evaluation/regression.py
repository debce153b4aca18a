"""How well a target is predicted: per scan, per subject, over folds; and what ridge regression reaches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from engine.cohort.splits import Job
from engine.evaluation.baselines import Features, linear_pipeline
from engine.evaluation.metrics import rows_of_levels
from store.accuracy import by_subject, interval_rows

PENALTIES = np.logspace(-2, 4, 13)  # chosen by leave-one-out error on the training scans


def errors(observed: np.ndarray, value: np.ndarray) -> dict[str, float]:
    """Return the metrics of one test set.

    Args:
        observed, value: (n,) true and predicted, in the unit of the target.
    Returns:
        mae, rmse, r (Pearson) and r2 = 1 - sum of squared errors / sum of squares about the mean of this test set. What
        needs different values is missing (nan) where all are the same.
    """
    observed, value = np.asarray(observed, float), np.asarray(value, float)
    varies, both = bool(np.ptp(observed)), bool(np.ptp(observed) and np.ptp(value))
    return {
        "mae": float(mean_absolute_error(observed, value)),
        "rmse": float(root_mean_squared_error(observed, value)),
        "r": float(np.corrcoef(observed, value)[0, 1]) if both else np.nan,
        "r2": float(r2_score(observed, value)) if varies else np.nan,
    }


def error_rows(predictions: pd.DataFrame, classifier: str, ddof: int, note: str = "") -> list[dict]:
    """Return rows of the metrics table: of every model, mean and sd over the fold models, all folds together.

    A subject counts with the means over its scans.

    Args:
        predictions: columns model, subject, group, observed, value; scans of test sets only.
        ddof: of the standard deviation over folds.
    """
    return rows_of_levels(
        {"scan": predictions, "subject": by_subject(predictions, is_value=True)},
        lambda part: errors(part["observed"], part["value"]), classifier, ddof, note,
        interval_rows(predictions, "", is_value=True),
    )  # fmt: skip


def ridge_predictions(features: Features, scans: pd.DataFrame, jobs: Sequence[Job], column: str) -> pd.DataFrame:
    """Return test-set values by a ridge regression trained on each job's training scans.

    Args:
        features: index scan; or what makes them for each job.
        column: of the scans table, the target.
    Returns:
        columns model, scan, subject, group, observed, value.
    """
    table = scans.set_index("scan")
    parts = []
    for job in jobs:
        model = linear_pipeline(RidgeCV(PENALTIES))
        own = features(job) if callable(features) else features
        model.fit(own.loc[list(job.train)].to_numpy(), table.loc[list(job.train), column])
        test = table.loc[list(job.test)]
        value = model.predict(own.loc[list(job.test)].to_numpy())
        parts.append(
            test[["subject", "group", column]].rename(columns={column: "observed"}).assign(model=job.model, value=value)
        )
    return pd.concat(parts).rename_axis("scan").reset_index()
