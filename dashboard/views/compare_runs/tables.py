"""Two runs beside each other: what differs in settings, metrics, regions and distances. Frames in, frames out."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dashboard.data.accuracy import LINEAR_BASELINES, folds_behind, mean_and_sd, metric_value
from dashboard.data.settings import settings_table
from dashboard.text import formatting
from dashboard.views.compare_runs.queries import METRICS
from store.measures import rank_correlation

CLASSIFIERS = ("cnn", *LINEAR_BASELINES)
OF_ALL_SCANS = "All test scans, second − first (95 % CI)"
FACTS = ("device", "spec_version", "versions", "seeds")
HASHES, HASH_DIGITS = ("commit", "data_fingerprint"), 12
REGION_KEYS = ("model_set", "method", "target", "diagnosis")


def differing_settings(first: Mapping[str, Any], second: Mapping[str, Any], names: tuple[str, str]) -> pd.DataFrame:
    """Return the settings and facts in which two manifests differ: Setting, and a column a run."""
    found = [_settings(manifest) for manifest in (first, second)]
    keys = list(dict.fromkeys([*found[0], *found[1]]))
    sections = {key.rsplit(".", depth)[0] for key in keys for depth in range(1, key.count(".") + 1)}
    rows = [(key, *(own.get(key, formatting.NONE) for own in found)) for key in keys if key not in sections]
    return pd.DataFrame([row for row in rows if row[1] != row[2]], columns=["Setting", *names])


def _settings(manifest: Mapping[str, Any]) -> dict[str, str]:
    facts = {name: manifest[name] for name in FACTS if manifest.get(name)}
    hashes = {name: str(manifest[name])[:HASH_DIGITS] for name in HASHES if manifest.get(name)}
    rows = [settings_table(part) for part in (manifest.get("config", {}), facts, hashes)]
    return dict(pd.concat(rows).itertuples(index=False, name=None))


def metric_rows(metrics: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the metrics of a run: classifier, metric, judged, value, sd over the folds, n.

    `judged` is folds or holdout; n counts folds or scans.
    """
    held = int(((predictions.model == "holdout") & predictions.correct.notna()).sum())
    rows = []
    for classifier in CLASSIFIERS:
        for metric in METRICS:
            mean, sd = mean_and_sd(metrics, metric, classifier)
            folds, _ = folds_behind(metrics, metric, classifier)
            rows.append((classifier, metric, "folds", mean, sd, folds))
            value = metric_value(metrics, "holdout", metric, classifier)
            rows.append((classifier, metric, "holdout", value, None, held))
    frame = pd.DataFrame(rows, columns=["classifier", "metric", "judged", "value", "sd", "n"])
    return frame.astype({"value": float, "sd": float})


def compare_metrics(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Join `metric_rows` of two runs, without what neither has; `difference` is second minus first."""
    keys = ["classifier", "metric", "judged"]
    both = first.merge(second, on=keys, suffixes=("_a", "_b"), sort=False)
    both = both[both.value_a.notna() | both.value_b.notna()]
    return both.assign(difference=both.value_b - both.value_a).reset_index(drop=True)


def metrics_table(compared: pd.DataFrame, differences: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the compared metrics as text, the folds before the held-out test set.

    Args:
        differences: of `difference_rows`.
    """
    ordered = compared.sort_values("judged", kind="stable")
    return pd.DataFrame([
        {
            "Classifier": formatting.CLASSIFIERS.get(row.classifier, row.classifier), "Metric": METRICS[row.metric],
            "Judged on": formatting.MODEL_SETS[row.judged],
            "First": _metric(row.value_a, row.sd_a, row.n_a, row.judged),
            "Second": _metric(row.value_b, row.sd_b, row.n_b, row.judged), "Second − first": _signed(row.difference),
            **({} if differences is None else {OF_ALL_SCANS: _gap(differences, row)}),
        }
        for row in ordered.itertuples()
    ])  # fmt: skip


def difference_sentence(differences: pd.DataFrame) -> str:
    """Say by how much the networks differ, with the interval; empty where it is not known.

    Of all folds together where both runs have them, else of the held-out test set.
    """
    own = differences[(differences.classifier == "cnn") & differences.metric.isin(["auc", "mae"])]
    if own.empty:
        return ""
    row = own.sort_values("judged").iloc[0]  # folds before holdout
    of = "all folds together" if row.judged == "folds" else "the held-out test set"
    return f" Networks on {of}, {METRICS[row.metric]}, second − first (95 % CI): {_gap(differences, row)}."


def _gap(differences: pd.DataFrame, row: Any) -> str:
    """Write the difference of one metric with its interval, and whether the test scans are the same."""
    own = differences[
        (differences.classifier == row.classifier) & (differences.judged == row.judged)
        & (differences.metric == row.metric)
    ]  # fmt: skip
    if own.empty:
        return formatting.NONE
    found = own.iloc[0]
    ends = f"{_signed(found.low)} to {_signed(found.high)}" if np.isfinite(found.low) else "too few subjects"
    return f"{_signed(found.gap)} ({ends}), {'same scans' if found.paired else 'other scans'}"


def _metric(value: float, sd: float, n: int, judged: str) -> str:
    text = formatting.mean_sd(value, sd)
    return (
        text if text == formatting.NONE else f"{text} ({formatting.count(n, 'fold' if judged == 'folds' else 'scan')})"
    )


def _signed(value: float) -> str:
    if not np.isfinite(value):
        return formatting.NONE
    return f"{value:+.3f}".replace("-", "−")


def region_shares(group_regions: pd.DataFrame, model_set: str, method: str, target: str, diagnosis: str) -> pd.Series:
    """Return region (left and right added) -> its share of the atlas regions in the group average, in percent."""
    rows = group_regions[group_regions.merged.astype(bool)]
    for column, value in zip(REGION_KEYS, (model_set, method, target, diagnosis), strict=True):
        rows = rows[rows[column] == value]
    rows = rows[rows["rank"].notna()]
    return 100 * rows.set_index("region").share_of_average


def compare_regions(first: pd.Series, second: pd.Series) -> pd.DataFrame:
    """Join the regions that both runs have: region, share_a, share_b, rank_a, rank_b, difference.

    Rank 1 is the largest share; the largest change comes first.
    """
    both = pd.DataFrame({"share_a": first, "share_b": second}).dropna().rename_axis("region").reset_index()
    for run in "ab":
        both[f"rank_{run}"] = both[f"share_{run}"].rank(ascending=False, method="min").astype(int)
    both["difference"] = both.share_b - both.share_a
    return both.sort_values("difference", key=np.abs, ascending=False, kind="stable").reset_index(drop=True)


def spearman(compared: pd.DataFrame, one: str = "share_a", other: str = "share_b") -> float | None:
    """Return the rank correlation of two columns; None below three regions or where one has no spread."""
    value = rank_correlation(compared[one].to_numpy(float), compared[other].to_numpy(float), fewest=3)
    return value if np.isfinite(value) else None


def with_density(compared: pd.DataFrame, volumes: tuple[pd.Series, pd.Series]) -> pd.DataFrame:
    """Add volume_a, volume_b (cm3), density_a and density_b (percent per cm3) of the regions.

    Args:
        volumes: of each run, region (left and right added) -> cm3.
    """
    found = compared.copy()
    for run, own in zip("ab", volumes, strict=True):
        found[f"volume_{run}"] = found["region"].map(own).astype(float)
        found[f"density_{run}"] = found[f"share_{run}"] / found[f"volume_{run}"].where(found[f"volume_{run}"] > 0)
    return found


def regions_table(compared: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return the regions that changed most, as text."""
    return pd.DataFrame([
        {
            "Region": formatting.region_name(row.region),
            "First, % (rank)": f"{formatting.three(row.share_a)} ({row.rank_a})",
            "Second, % (rank)": f"{formatting.three(row.share_b)} ({row.rank_b})",
            "Second − first": f"{row.difference:+.2f}".replace("-", "−"),
        }
        for row in compared.head(count).itertuples()
    ])  # fmt: skip


def compare_distances(
    tables: tuple[pd.DataFrame, pd.DataFrame], model_set: str, diagnoses: tuple[str, str], methods: Sequence[str]
) -> pd.DataFrame:
    """Return distance and rank correlation of the group averages in each run, one row a pair of methods.

    NaN where a run has none.

    Args:
        methods: all that either run has.
    """
    place = {method: i for i, method in enumerate(formatting.in_order(list(methods)))}
    found = []
    for table, diagnosis in zip(tables, diagnoses, strict=True):
        rows = table[(table.model_set == model_set) & (table.level == "group") & (table.diagnosis == diagnosis)]
        pairs = [sorted(pair, key=place.__getitem__) for pair in zip(rows.method_a, rows.method_b, strict=True)]
        index = pd.MultiIndex.from_tuples([tuple(pair) for pair in pairs], names=["method_a", "method_b"])
        found.append(rows.set_index(index)[["distance", "rank_correlation", "scans"]])
    both = found[0].add_suffix("_first").join(found[1].add_suffix("_second"), how="outer").reset_index()
    order = both[["method_a", "method_b"]].map(place.__getitem__)
    return both.loc[order.sort_values(["method_a", "method_b"]).index].reset_index(drop=True)


def distances_table(compared: pd.DataFrame) -> pd.DataFrame:
    """Return the compared distances as text."""
    return pd.DataFrame([
        {
            "Methods": f"{formatting.method_name(row.method_a)} – {formatting.method_name(row.method_b)}",
            "Distance, first": formatting.three(row.distance_first),
            "Distance, second": formatting.three(row.distance_second),
            "Spearman, first": formatting.correlation(row.rank_correlation_first),
            "Spearman, second": formatting.correlation(row.rank_correlation_second),
        }
        for row in compared.itertuples()
    ])  # fmt: skip


@dataclass(frozen=True)
class People:
    """Whose averages a run has: its groups, or the diagnoses of new scans.

    Attributes:
        new: they are of new scans.
    """

    names: tuple[str, ...]
    new: bool = False


def pair_groups(first: People, second: People) -> list[tuple[str, str]]:
    """Pair the groups of two runs by their order; new scans with every group of the other run."""
    if first.new or second.new:
        return list(itertools.product(first.names, second.names))
    return list(zip(first.names, second.names, strict=True))


def say_new_scans(manifests: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """Say of each run of new scans that it has no accuracy and no group."""
    return [
        f"{name} holds new scans, explained by the networks of {manifest['reference_run']}: it has trained nothing and "
        "has no accuracy, and its scans belong to no group. Their average is over all new scans of a diagnosis."
        for manifest, name in zip(manifests, names, strict=True)
        if manifest.get("reference_run")
    ]


def say_what_differs(first: Mapping[str, Any], second: Mapping[str, Any], grids_match: bool) -> list[str]:
    """Say what two runs do not share, and what follows for a comparison."""
    found = []
    if list(first["groups"]) != list(second["groups"]):
        pairs = (f"{a} with {b}" for a, b in zip(first["groups"], second["groups"], strict=True))
        found.append(f"They separate different groups. {' and '.join(pairs)} are set beside each other by their place.")
    if first["simulated"] != second["simulated"]:
        found.append("One is simulated, the other of real heads: differences are of data and of models at once.")
    elif first.get("data_fingerprint") == second.get("data_fingerprint"):
        found.append("Both were made from the same scans and labels.")
    if not grids_match:
        found.append(
            f"Their grids differ ({first['grid_mm']:g} mm and {second['grid_mm']:g} mm): maps are shown at the same "
            "places in mm and are not subtracted."
        )
    atlases = [manifest.get("config", {}).get("atlas") for manifest in (first, second)]
    if atlases[0] != atlases[1]:
        found.append("Their atlases differ: regions are matched by name, and only those in both are ranked.")
    return found
