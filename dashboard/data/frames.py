"""Tables of a run -> the small tables that pages show. Frames in, frames out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dashboard.text.formatting import NONE, count, mean_sd, region_name, three
from store.keys import ModelName, are_of_folds, are_retrained

PAPER = {"accuracy": (0.77, 0.06), "auc": (0.78, 0.04)}  # Rieke et al. 2018, ADNI, 5 folds
LINEAR = ("region_means", "covariates")
COVARIATES = {"age": "age", "sex": "sex", "icv": "intracranial volume", "site": "site"}


def ordered_diagnoses(scans: pd.DataFrame, groups: Sequence[str]) -> list[str]:
    """The two groups first, then the diagnoses that the models are only applied to."""
    found = [str(d) for d in scans.diagnosis.dropna().unique()]
    return [g for g in groups if g in found] + sorted(d for d in found if d not in groups)


def cohort(scans: pd.DataFrame, groups: Sequence[str], fewest: int = 0) -> pd.DataFrame:
    """Who is in the run: one row a diagnosis, people counted once (by their first scan).

    Args:
        fewest: subjects; of fewer no number is given, and of more no value of a single one.
    """
    rows = []
    for diagnosis in ordered_diagnoses(scans, groups):
        part = scans[scans.diagnosis == diagnosis]
        people = part.drop_duplicates("subject")
        rows.append({
            "Group": diagnosis if (part.role == "cohort").any() else f"{diagnosis} (explained, not trained on)",
            "Subjects": _crowd(len(people), fewest),
            "Scans": str(len(part)) if len(people) >= fewest else NONE,
            "Women": _share_of_women(people.sex, fewest),
            "Age, mean ± SD (range)": _mean_range(people.age, fewest=fewest),
            "MMSE, mean ± SD": _mean_range(people.mmse, with_range=False, fewest=fewest),
            "In the test set": _crowd(part[part.holdout.fillna(False).astype(bool)].subject.nunique(), fewest),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _crowd(n: int, fewest: int) -> str:
    return f"fewer than {fewest}" if 0 < n < fewest else str(n)


def _share_of_women(sex: pd.Series, fewest: int) -> str:
    known = sex[sex.isin(["F", "M"])]
    if known.empty:
        return NONE
    women = int((known == "F").sum())
    if min(women, len(known) - women) < fewest or 0 < len(sex) - len(known) < fewest:
        return NONE
    missing = f", {len(sex) - len(known)} unknown" if len(known) < len(sex) else ""
    return f"{women} ({100 * women / len(known):.0f} %{missing})"


def _mean_range(values: pd.Series, with_range: bool = True, fewest: int = 0) -> str:
    known = pd.to_numeric(values).dropna()
    if known.empty or len(known) < fewest or 0 < len(values) - len(known) < fewest:
        return NONE
    text = mean_sd(float(known.mean()), float(known.std(ddof=1)) if len(known) > 1 else None)
    if with_range and not fewest:
        text += f" ({known.min():.0f} to {known.max():.0f})"
    return text if len(known) == len(values) else f"{text}, n = {len(known)}"


def balance_sentence(balance: pd.DataFrame, groups: Sequence[str]) -> str:
    """How alike the groups are, in a sentence; empty where nothing was tested."""
    parts = [
        f"{COVARIATES.get(row.covariate, row.covariate)} {three(row.difference)} ({_p(row.p)})"
        for row in balance.itertuples()
        if np.isfinite(row.difference)
    ]
    if not parts:
        return ""
    return f"Standardised mean difference {groups[0]} against {groups[1]}, over subjects: {', '.join(parts)}."


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {three(value)}"


def exclusions(table: pd.DataFrame, fewest: int = 0) -> pd.DataFrame:
    """How many scans were left out, by stage and reason; reasons are as they stand, numbers below `fewest` are not."""
    counted = table.groupby(["stage", "reason"], dropna=False).agg(
        Scans=("scan", "nunique"), Subjects=("subject", "nunique")
    )
    counted = counted.reset_index().sort_values("Scans", ascending=False)
    for column in ("Scans", "Subjects"):
        counted[column] = [_crowd(n, fewest) for n in counted[column]]
    return counted.rename(columns={"stage": "Stage", "reason": "Reason"}).astype(str)


def fold_metrics(metrics: pd.DataFrame, level: str = "scan") -> pd.DataFrame:
    """Values of the fold models: classifier, metric, model, value."""
    chosen = metrics[(metrics.level == level) & are_of_folds(metrics.model)]
    return chosen[["classifier", "metric", "model", "value", "note"]]


def metric_value(
    metrics: pd.DataFrame, model: str, metric: str, classifier: str = "cnn", level: str = "scan"
) -> float | None:
    """One number of the metrics table; None where it is missing."""
    keys = {"classifier": classifier, "level": level, "model": model, "metric": metric}
    values = metrics.value.to_numpy()[np.logical_and.reduce([metrics[c].to_numpy() == v for c, v in keys.items()])]
    return float(values[0]) if len(values) and np.isfinite(values[0]) else None


def ends(
    metrics: pd.DataFrame, model: str, metric: str, classifier: str = "cnn", level: str = "scan"
) -> tuple[float | None, float | None, float | None]:
    """A number of the metrics table with the ends of its 95 % interval; None where they are missing.

    Args:
        model: folds (the test scans of all folds together) or holdout.
    """
    keys = {"classifier": classifier, "level": level, "model": model, "metric": metric}
    rows = metrics[np.logical_and.reduce([metrics[c].to_numpy() == v for c, v in keys.items()])]
    if rows.empty or "low" not in rows:
        return metric_value(metrics, model, metric, classifier, level), None, None
    found = rows[["value", "low", "high"]].iloc[0]
    return tuple(float(x) if pd.notna(x) and np.isfinite(x) else None for x in found)


def folds_behind(metrics: pd.DataFrame, metric: str, classifier: str = "cnn", level: str = "scan") -> tuple[int, int]:
    """(folds that have a value of the metric, folds): the mean and SD over folds are of the first."""
    rows = fold_metrics(metrics, level)
    rows = rows[(rows.classifier == classifier) & (rows.metric == metric)]
    return int(np.isfinite(rows.value.to_numpy(float)).sum()), len(rows)


def of_folds(metrics: pd.DataFrame, metric: str, classifier: str = "cnn", level: str = "scan") -> str:
    """'5 folds'; '3 of 5 folds' where the others lack a group, so that they have no value."""
    known, folds = folds_behind(metrics, metric, classifier, level)
    return count(folds, "fold") if known == folds else f"{known} of {count(folds, 'fold')}"


def mean_and_sd(metrics: pd.DataFrame, metric: str, classifier: str = "cnn") -> tuple[float | None, float | None]:
    """Mean and SD over the folds, as the run computed them."""
    return metric_value(metrics, "mean", metric, classifier), metric_value(metrics, "sd", metric, classifier)


def judged_set(predictions: pd.DataFrame) -> str:
    """Cross-validation where the run has it, else the held-out test set."""
    return "folds" if (predictions.model_set == "folds").any() else "holdout"


def models_of(training: pd.DataFrame, model_set: str) -> list[str]:
    """The trained models of a set, in order."""
    found = (str(m) for m in training.model.unique())
    return sorted(
        (m for m in found if (ModelName(m).fold is not None) == (model_set == "folds")), key=lambda m: (len(m), m)
    )


def confusion(predictions: pd.DataFrame, model_set: str, groups: Sequence[str]) -> np.ndarray:
    """(2, 2) scans: row true group, column predicted group. Retrained models count no scan twice."""
    rows = predictions[(predictions.model_set == model_set) & ~are_retrained(predictions.model)]
    return np.array([[int(((rows.group == t) & (rows.predicted == p)).sum()) for p in groups] for t in groups])


def top_regions(
    group_regions: pd.DataFrame, model_set: str, method: str, target: str, groups: Sequence[str], count: int = 10
) -> pd.DataFrame:
    """The positive group's first regions: region, share of its average map, the same in the other group; in percent."""
    rows = group_regions[
        (group_regions.model_set == model_set) & (group_regions.method == method) & (group_regions.target == target)
        & group_regions.merged.astype(bool)
    ]  # fmt: skip
    wide = rows.pivot_table(index="region", columns="diagnosis", values="share_of_average").reindex(
        columns=list(groups)
    )
    ranks = rows[rows.diagnosis == groups[0]].set_index("region")["rank"].dropna().sort_values()
    chosen = wide.loc[[r for r in ranks.index if r in wide.index][:count]] * 100
    names = [region_name(region) for region in chosen.index]
    return pd.DataFrame(
        {"region": names, "positive": chosen[groups[0]].to_numpy(), "negative": chosen[groups[1]].to_numpy()}
    )


def subjects_in_ranking(group_regions: pd.DataFrame, model_set: str, diagnosis: str) -> int:
    """Subjects behind the ranking of a diagnosis."""
    rows = group_regions[(group_regions.model_set == model_set) & (group_regions.diagnosis == diagnosis)]
    return int(rows.subjects.max()) if len(rows) else 0


def settings(config: Mapping[str, Any], prefix: str = "") -> pd.DataFrame:
    """Every setting as a row: section.name, value."""
    rows: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            rows.extend(settings(value, f"{prefix}{key}.").itertuples(index=False, name=None))
        else:
            rows.append((f"{prefix}{key}", _text(value)))
    return pd.DataFrame(rows, columns=["Setting", "Value"])


def _text(value: Any) -> str:
    if value is None:
        return NONE
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def pairs(values: Mapping[str, Any], key: str, value: str) -> pd.DataFrame:
    """A mapping as a table of two columns."""
    return pd.DataFrame([(str(k), _text(v)) for k, v in values.items()], columns=[key, value])
