"""After training: predictions of every network on what it may explain, metrics, baselines, balance of the groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from engine.cohort.scans import Cohort
from engine.cohort.splits import Job
from engine.evaluation.baselines import Features, balance_rows, covariate_table, logistic_predictions, region_means
from engine.evaluation.harmonisation import harmonised
from engine.evaluation.metrics import curve_rows, metric_rows
from engine.evaluation.regression import error_rows, ridge_predictions
from engine.pipeline.run import Run
from engine.training.objective import Objective, Regression
from engine.training.trainer import probability
from store.spec import table_spec

CURVES, METRICS, BASELINE_PREDICTIONS = (table_spec(name) for name in ("curves", "metrics", "baseline_predictions"))


def prediction_rows(job: Job, margin: np.ndarray, scans: pd.DataFrame, groups: tuple[str, str]) -> pd.DataFrame:
    """Return rows of the predictions table for the scans that a network explains.

    Args:
        margin: (n,) of the positive group, in the order of job.explain.
        scans: index scan.
    """
    rows = scans.loc[list(job.explain)]
    predicted = np.where(margin >= 0, groups[0], groups[1])
    correct = pd.array(predicted == rows["group"].to_numpy(), dtype="boolean")
    correct[(rows["role"] != "cohort").to_numpy()] = pd.NA
    return pd.DataFrame(
        {
            "model": job.model,
            "model_set": job.model_set,
            "scan": list(job.explain),
            "subject": rows["subject"].to_numpy(),
            "diagnosis": rows["diagnosis"].to_numpy(),
            "group": rows["group"].to_numpy(),
            "probability": probability(margin),
            "margin": margin,
            "predicted": predicted,
            "correct": correct,
        }
    )


def value_rows(job: Job, margin: np.ndarray, scans: pd.DataFrame, cohort: Cohort, learned: Regression) -> pd.DataFrame:
    """Return rows of the predictions table of a regression: there is a value in place of a probability.

    Args:
        margin: (n,) predicted value in standard deviations of the training scans, in the order of job.explain.
        scans: index scan.
        learned: with the mean and sd of the training scans.
    """
    target = cohort.target
    assert target is not None
    higher, lower = cohort.groups
    value = learned.mean + learned.sd * margin
    predicted = np.where(value >= target.threshold, higher, lower)
    rows = prediction_rows(job, margin, scans, cohort.groups)
    correct = pd.Series(predicted == rows["group"].to_numpy(), rows.index, "boolean").where(rows["correct"].notna())
    return rows.assign(
        probability=np.nan,
        predicted=predicted,
        correct=correct,
        value=value,
        observed=scans.loc[list(job.explain), target.column].to_numpy(float),
    )


def answer_rows(job: Job, margin: np.ndarray, scans: pd.DataFrame, cohort: Cohort, learned: Objective) -> pd.DataFrame:
    """Return rows of the predictions table: of a regression those of value_rows, else of prediction_rows."""
    if isinstance(learned, Regression):
        return value_rows(job, margin, scans, cohort, learned)
    return prediction_rows(job, margin, scans, cohort.groups)


def evaluation_tables(run: Run, jobs: Sequence[Job], predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the tables metrics, baseline_predictions, curves and balance.

    Args:
        run: after preprocessing.
        predictions: all rows of the predictions table.
    """
    groups, ddof, target = run.groups, run.config.split.sd_ddof, run.cohort.target
    scans = run.cohort.scans
    tested = predictions[predictions["group"].isin(groups)]
    rows = error_rows(tested, "cnn", ddof) if target else metric_rows(tested, groups, "cnn", ddof)
    trained, said = any(job.train for job in jobs), []

    def of_jobs(features: pd.DataFrame, classifier: str) -> Features:
        is_harmonised = classifier == "region_means" and run.config.harmonisation.region_means == "combat"
        return (lambda job: _harmonised(run, features, job)) if is_harmonised else features

    for classifier, (features, note) in _baseline_features(run, scans).items() if trained else ():
        if not features.shape[1]:
            continue
        if target:
            linear = ridge_predictions(of_jobs(features, classifier), scans, jobs, target.column)
            rows += error_rows(linear, classifier, ddof, note)
        else:
            linear = logistic_predictions(of_jobs(features, classifier), scans, jobs, groups[0])
            rows += metric_rows(linear, groups, classifier, ddof, note)
        said.append(linear.assign(classifier=classifier))
    baselines = pd.concat(said, ignore_index=True) if said else pd.DataFrame()
    return {
        "metrics": pd.DataFrame(rows, columns=list(METRICS.columns)),
        "baseline_predictions": baselines.reindex(columns=list(BASELINE_PREDICTIONS.columns)),
        "curves": pd.DataFrame([] if target else curve_rows(tested, groups), columns=list(CURVES.columns)),
        "balance": pd.DataFrame(
            balance_rows(scans, groups, run.cohort.defining),
            columns=["covariate", "positive", "negative", "difference", "test", "p", "note"],
        ),
    }


def _harmonised(run: Run, features: pd.DataFrame, job: Job) -> pd.DataFrame:
    """Take the effects of sites out of region means, as the training scans of a network show them."""
    scans, target = run.cohort.scans, run.cohort.target
    table = scans.set_index("scan")
    label = table[target.column].astype(float) if target else table["group"] == run.groups[0]
    taken = {*run.cohort.defining, *([target.column] if target else [])}
    return harmonised(features, scans, job, label, [name for name in ("age", "sex", "icv") if name not in taken])


def _baseline_features(run: Run, scans: pd.DataFrame) -> dict[str, tuple[pd.DataFrame, str]]:
    cohort = scans[scans["role"] == "cohort"]
    atlas = run.atlas
    means = region_means(run.cache.read, cohort["scan"].tolist(), atlas.labels, len(atlas.regions))
    covariates, names = covariate_table(cohort, run.cohort.defining)
    regions = f"{means.shape[1]} regions"
    if run.config.harmonisation.region_means == "combat":
        regions += ", sites harmonised by ComBat on training scans"
    return {"region_means": (means, regions), "covariates": (covariates, ", ".join(names))}
