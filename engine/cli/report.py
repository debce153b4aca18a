"""What a finished run says of itself: the JSON line and the summary."""

from __future__ import annotations

import math
import os
import shlex
from pathlib import Path

import pandas as pd

from engine.cli.options import DEFAULT_STORE
from store import RunReader, open_run
from store.accuracy import Estimate, difference, judged, judged_scans, metrics_of
from store.keys import ModelName, are_of_folds
from store.reading.verdict import baseline_scans, in_words, paired, verdict
from store.words import duration

CREDITS = ("Template:", "Atlas:", "Method:")
PAPER = "Rieke et al. 2018 on ADNI: accuracy 0.77 +- 0.06, AUC 0.78 +- 0.04"
SCORES = ("auc", "balanced_accuracy", "accuracy", "sensitivity", "specificity", "auc_hard", "brier")
ERRORS = ("mae", "rmse", "r", "r2")


def result(store: str | Path, run_id: str) -> dict:
    """Return the JSON values of a published run: run, store, seconds, peak_mib, metrics."""
    run = open_run(store, run_id)
    manifest = run.manifest
    outcome = {
        "run": run.run_id,
        "store": str(store),
        "simulated": run.simulated,
        **({"task": run.task, "target": run.target} if run.target else {}),
        "seconds": manifest["seconds"],
        "peak_mib": manifest["peak_mib"],
        "metrics": headline_metrics(run),
    }
    if judgement := verdict(run):
        outcome["verdict"] = {
            "separates": judgement.separates,
            "said": " ".join(filter(None, [judgement.caption, judgement.baseline])),
        }
    return outcome | new_scans(run) if run.reference_run else outcome


def new_scans(run: RunReader) -> dict:
    """Return what each network says of new scans, and what is unusual about them."""
    predictions = run.table("predictions")
    figure = "value" if run.target else "probability"
    scans = {
        scan: {model: round(float(number), 4) for model, number in zip(part["model"], part[figure], strict=True)}
        for scan, part in predictions.groupby("scan", sort=False)
    }
    flags = run.table("flags") if run.has_table("flags") else pd.DataFrame(columns=["scan", "text"])
    return {
        "reference_run": run.reference_run,
        "predicted": run.target["label"] if run.target else f"probability of {run.groups[0]}",
        figure: scans,
        "flags": flags[["scan", "text"]].to_dict("records"),
        "notices": run.manifest["notices"],
    }


def headline_metrics(run: RunReader) -> dict[str, float]:
    """Return the accuracy for the JSON line, each name with what the value is over.

    <metric>_mean and _sd, and _mean_folds where fewer than `folds` have a value; <metric>_folds, of the test scans of
    all folds together, and <metric>_holdout, with the ends _low and _high of their 95 % intervals; the same of the
    linear baselines, <baseline>_auc_...; <baseline>_auc_difference, network minus baseline, paired; truth scores where
    simulated.
    """
    table = metrics_of(run)
    table = table[table["level"] == "scan"]
    values: dict[str, float] = {}
    folds = table["model"][are_of_folds(table["model"])].nunique()

    def add(classifier: str, model: str, suffix: str, prefix: str = "", metrics: tuple[str, ...] = ()) -> None:
        rows = table[(table["classifier"] == classifier) & (table["model"] == model)]
        for row in rows.itertuples():
            if row.metric in metrics and pd.notna(row.value):
                name = f"{prefix}{row.metric}_{suffix}"
                values[name] = round(float(row.value), 4)
                ends = {"low": row.low, "high": row.high} if suffix in ("folds", "holdout") else {}
                values.update({f"{name}_{end}": round(float(x), 4) for end, x in ends.items() if pd.notna(x)})
                if suffix == "mean" and pd.notna(row.folds) and row.folds < folds:
                    values[f"{name}_folds"] = int(row.folds)

    if folds:
        values["folds"] = folds
    main = ERRORS if run.task == "regression" else SCORES
    add("cnn", "mean", "mean", metrics=main)
    add("cnn", "sd", "sd", metrics=main)
    add("cnn", "folds", "folds", metrics=main)
    add("cnn", "holdout", "holdout", metrics=main)
    for classifier in ("region_means", "covariates"):
        chosen = ("auc", "balanced_accuracy", *ERRORS)
        add(classifier, "mean", "mean", f"{classifier}_", chosen)
        add(classifier, "folds", "folds", f"{classifier}_", chosen)
        values |= _difference(run, classifier)
    if run.has_table("truth_scores"):
        scores = run.table(
            "truth_scores", method="sensitivity", level="group", score="voxel_auc", diagnosis=run.groups[0]
        )
        chosen = scores[scores["model_set"] == "holdout"]
        if len(chosen):
            values |= _truth(chosen.iloc[0])
    return values


def _difference(run: RunReader, classifier: str) -> dict[str, float]:
    """Return network minus linear baseline over the test scans of all folds, with its interval, where known."""
    metric, is_value = ("mae", True) if run.task == "regression" else ("auc", False)
    both = paired(judged_scans(run.table("predictions"), "folds"), baseline_scans(run, classifier, "folds"))
    if both is None or both[0].empty:
        return {}
    first, second = (judged(frame, run.groups[0], is_value) for frame in both)
    if first is None or second is None:
        return {}
    gap, name = difference(first, second, metric), f"{classifier}_{metric}_difference"
    ends = {name: gap.value, f"{name}_low": gap.low, f"{name}_high": gap.high}
    return {key: round(value, 4) for key, value in ends.items() if math.isfinite(value)}


TRUTH_COLUMNS = {
    "truth_auc": "value", "truth_auc_low": "value_low", "truth_auc_high": "value_high",
    "truth_auc_untrained": "reference", "truth_auc_difference": "difference",
    "truth_auc_difference_low": "difference_low", "truth_auc_difference_high": "difference_high",
    "truth_auc_null": "null_reference", "truth_auc_null_difference": "null_difference",
    "truth_auc_null_difference_low": "null_difference_low", "truth_auc_null_difference_high": "null_difference_high",
    "truth_auc_ceiling": "ceiling", "truth_auc_group_difference": "group_difference",
}  # fmt: skip


def _truth(row: pd.Series) -> dict[str, float]:
    """Return the known values of one row of the truth scores; nothing if the score itself is missing."""
    scores = {name: row[column] for name, column in TRUTH_COLUMNS.items() if pd.notna(row[column])}
    return {name: round(float(number), 4) for name, number in scores.items()} if "truth_auc" in scores else {}


def summary(outcome: dict) -> list[str]:
    """Say the result of a run in lines for people."""
    lines = [f"run {outcome['run']} in {outcome['store']}" + (" (SIMULATED)" if outcome["simulated"] else "")]
    if "reference_run" in outcome:
        return [*lines, *_of_new_scans(outcome), *_costs(outcome)]
    lines += _errors(outcome["metrics"], outcome["target"]) if "target" in outcome else _scores(outcome["metrics"])
    if outcome.get("verdict", {}).get("said"):
        lines.append(f"  WARNING: {outcome['verdict']['said']}")
    return [*lines, *_costs(outcome)]


def _scores(metrics: dict[str, float]) -> list[str]:
    """Say how well networks tell two groups apart, beside the values of the paper."""
    lines = []
    if "auc_mean" in metrics:
        spread = metrics.get("auc_sd", float("nan"))
        lines.append(
            f"  AUC over folds {metrics['auc_mean']:.3f} +- {spread:.3f}{_folds(metrics, 'auc')}, balanced accuracy "
            f"{metrics.get('balanced_accuracy_mean', float('nan')):.3f}{_folds(metrics, 'balanced_accuracy')}"
        )
    if "auc_folds" in metrics:
        lines.append(
            f"  all folds together: AUC {_with_ends(metrics, 'auc_folds')}, balanced accuracy "
            f"{_with_ends(metrics, 'balanced_accuracy_folds')}; intervals over subjects"
        )
    if "region_means_auc_mean" in metrics:
        together, gap = "region_means_auc_folds", "region_means_auc_difference"
        more = f", all folds {_with_ends(metrics, together)}" if together in metrics else ""
        more += f"; network minus baseline {_with_ends(metrics, gap)}" if gap in metrics else ""
        lines.append(f"  linear baseline on region means: AUC {metrics['region_means_auc_mean']:.3f}{more}")
    if "auc_holdout" in metrics:
        lines.append(f"  fixed test set: AUC {_with_ends(metrics, 'auc_holdout')}")
    if "truth_auc" in metrics:
        lines += _truth_lines(metrics)
    return [*lines, f"  {PAPER}"]


def _with_ends(metrics: dict[str, float], name: str) -> str:
    """Write a value with its interval: 0.950 (95 % CI 0.911 to 0.980)."""
    low, high = (metrics.get(f"{name}_{end}", math.nan) for end in ("low", "high"))
    return in_words("", Estimate(metrics.get(name, math.nan), low, high, 0), digits=3).strip()


def _folds(metrics: dict[str, float], name: str) -> str:
    """Write over how many folds a mean is, (3 of 5 folds), where some have no value."""
    counted, folds = metrics.get(f"{name}_mean_folds"), metrics.get("folds")
    return f" ({counted} of {folds} folds: the others lack a group)" if counted and folds and counted < folds else ""


def _truth_lines(metrics: dict[str, float]) -> list[str]:
    """Say how well the mean gradient of patients finds the imposed change, between reference and ceiling."""
    scores = {name.removeprefix("truth_auc_"): value for name, value in metrics.items() if name.startswith("truth_auc")}
    interval = f" ({scores['low']:.3f} to {scores['high']:.3f})" if "low" in scores else ""
    best = f", the groups' difference itself {scores['group_difference']:.3f}" if "group_difference" in scores else ""
    ceiling = f"; ceiling {scores['ceiling']:.3f}{best}" if "ceiling" in scores else ""
    lines = [f"  |gradient| finds the visible change with voxel AUC {metrics['truth_auc']:.3f}{interval}{ceiling}"]
    for name, prefix in (("untrained", ""), ("null", "null_")):
        if name in scores:
            ends = [scores.get(f"{prefix}difference_{end}", math.nan) for end in ("low", "high")]
            what = "untrained networks" if name == "untrained" else "networks trained where nothing was imposed"
            more = f"{scores[f'{prefix}difference']:+.3f} ({ends[0]:+.3f} to {ends[1]:+.3f}) more"
            lines.append(f"    {what} {scores[name]:.3f}: {more}")
    return lines


def _errors(metrics: dict[str, float], target: dict) -> list[str]:
    """Say how large the errors of a regression are."""
    parts = (("over folds", "mean", ""), ("linear baseline on region means", "mean", "region_means_"),
              ("linear baseline on covariates", "mean", "covariates_"), ("fixed test set", "holdout", ""))  # fmt: skip
    unit = f" {target['unit']}" if target["unit"] else ""
    return [
        f"  {target['label']} {part}: mean absolute error {metrics[f'{prefix}mae_{model}']:.3g}{unit}, "
        f"r {metrics.get(f'{prefix}r_{model}', math.nan):.3f}"
        for part, model, prefix in parts
        if f"{prefix}mae_{model}" in metrics
    ]


def _of_new_scans(outcome: dict) -> list[str]:
    """Say in a line what networks answer for each new scan, its warnings below; then the run's notices."""
    lines = []
    for scan, models in outcome["value" if "value" in outcome else "probability"].items():
        folds = [p for model, p in models.items() if ModelName(model).fold]
        words = [f"{model} {p:.2f}" for model, p in models.items() if not ModelName(model).fold]
        if folds:
            mean, low, high = sum(folds) / len(folds), min(folds), max(folds)
            words.insert(0, f"{mean:.2f} by {len(folds)} fold models ({low:.2f} to {high:.2f})")
        lines.append(f"  {scan}: {outcome['predicted']} {', '.join(words)}")
        lines += [f"    WARNING: {flag['text']}" for flag in outcome["flags"] if flag["scan"] == scan]
    return lines + [f"  {notice}" for notice in outcome["notices"] if not notice.startswith(CREDITS)]


def _costs(outcome: dict) -> list[str]:
    total = sum(outcome["seconds"].values())
    return [
        f"  {duration(total)} in all, peak memory {outcome['peak_mib']} MiB",
        f"look at it: {dashboard_command(outcome['store'])}",
    ]


def dashboard_command(store: str | Path) -> str:
    """Return the command that opens a store in the dashboard, which finds the usual store without its name."""
    command = "streamlit run dashboard/app.py"
    is_address = "://" in str(store)
    if not is_address and "BRAINWHY_STORE" not in os.environ and Path(store).resolve() == DEFAULT_STORE.resolve():
        return command
    return f"{command} -- --store {shlex.quote(str(store))}"
