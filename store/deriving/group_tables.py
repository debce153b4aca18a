"""The tables of a run that may be published: of groups of enough subjects, and of nobody alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from store.accuracy import metrics_of
from store.deriving import rankings
from store.deriving.counts import Counts, smallest
from store.files.tables import known_table
from store.keys import ModelName, are_retrained
from store.reading.reader import RunReader
from store.spec import TABLES

ALL_TOGETHER = "all"  # in the place of a diagnosis, in tables of trust
OF_PERSONS = ("scan", "subject")  # columns that make a row one of a person
COUNTS_OF_DECISIONS = ("true_positive", "false_negative", "false_positive", "true_negative")
FEW_COUNTED = ("without_relevance", "empty", "left_out")  # small numbers that are not needed
# Tables that do not count subjects -> the table that does, and the columns that both have.
COUNTED_BY = {
    "faithfulness_curves": ("faithfulness", ["model_set", "method", "target", "diagnosis"]),
    "stability_pairs": ("stability", ["model_set", "method", "target", "diagnosis"]),
}
TESTED = ("test_loss", "test_accuracy", "test_auc", "validation_loss", "validation_accuracy", "validation_auc")


def is_of_persons(name: str) -> bool:
    """Return whether a table has rows of single persons."""
    return not set(OF_PERSONS).isdisjoint(known_table(name).columns)


def names_of_tables(run: RunReader) -> list[str]:
    """List the tables of a run without persons: those with rows of persons only where they must be there, empty."""
    return [
        spec.name for spec in TABLES
        if (not spec.optional if is_of_persons(spec.name) else run.has_table(spec.name))
    ]  # fmt: skip


def publishable(run: RunReader, name: str, counts: Counts) -> pd.DataFrame:
    """Return the rows and numbers of a table that may be published.

    Args:
        name: of `names_of_tables`.
    """
    if is_of_persons(name):
        return run.table(name).iloc[:0]
    if name in _SPECIAL:
        return _SPECIAL[name](run, counts)
    return _without_few(run, name, run.table(name), counts)


def _without_few(run: RunReader, name: str, table: pd.DataFrame, counts: Counts) -> pd.DataFrame:
    """Leave out rows of too few subjects, those of all together where one of them is left out, and small numbers."""
    if "subjects" in table or name in COUNTED_BY or "scans" in table:
        few = _subjects(run, name, table) < counts.fewest
        table, dropped = table[~few], table[few]
        if "diagnosis" in table:
            table = _of_published_diagnoses(table, dropped, counts)
    for column in FEW_COUNTED:
        if column in table:
            numbers = smallest(table, column)
            table = table.assign(**{column: table[column].mask((numbers > 0) & (numbers < counts.fewest))})
    return table.reset_index(drop=True)


def _subjects(run: RunReader, name: str, table: pd.DataFrame) -> np.ndarray:
    """Return how many subjects are behind each row of a table; of scans where subjects are not counted."""
    if name in COUNTED_BY:
        other, keys = COUNTED_BY[name]
        counted = run.table(other) if run.has_table(other) else pd.DataFrame(columns=[*keys, "subjects"])
        least = counted.groupby(keys, as_index=False)["subjects"].min()
        return smallest(table[keys].merge(least, "left", keys), "subjects")
    if "subjects" not in table:
        return smallest(table, "scans")
    return np.where(
        table["subjects"].notna(), smallest(table, "subjects"), smallest(table, "scans") if ("scans" in table) else 0
    )


def _of_published_diagnoses(table: pd.DataFrame, dropped: pd.DataFrame, counts: Counts) -> pd.DataFrame:
    known = {model_set: counts.diagnoses(model_set) for model_set in table["model_set"].unique()}
    keep = [
        d == ALL_TOGETHER or d in known[s] for s, d in zip(table["model_set"], table["diagnosis"], strict=True)
    ]  # fmt: skip
    small = {s for s, d, ok in zip(table["model_set"], table["diagnosis"], keep, strict=True) if not ok}
    hidden = small | set(dropped["model_set"]) | ({"holdout"} if counts.hidden_in_test else set())
    together = (table["diagnosis"] == ALL_TOGETHER) & table["model_set"].isin(hidden)
    return table[np.array(keep, bool) & ~together.to_numpy(bool)]


def _group_regions(run: RunReader, counts: Counts) -> pd.DataFrame:
    table = _without_few(run, "group_regions", run.table("group_regions"), counts)
    table = rankings.with_intervals(run, table) if run.has_table("region_relevance") else table
    for model_set in table["model_set"].unique():
        groups = {
            str(g) for g in counts.table["group"][counts.table["model_set"] == model_set].dropna()
        }  # fmt: skip
        if not groups >= set(run.groups):  # the hidden group's share would follow from the other's and the gain
            own = table["model_set"] == model_set
            table.loc[own, ["gain", "gain_low", "gain_high"]] = np.nan
    return table


def _distances(run: RunReader, counts: Counts) -> pd.DataFrame:
    return _without_few(run, "distances", run.table("distances"), counts)


def _metrics(run: RunReader, counts: Counts) -> pd.DataFrame:
    table = metrics_of(run)
    table = table[~table["metric"].isin(COUNTS_OF_DECISIONS)]
    small = small_models(run, counts.fewest)
    return table[~table["model"].isin(small)].reset_index(drop=True)


def small_models(run: RunReader, fewest: int) -> set[str]:
    """Return the networks whose numbers are not published, in the tables of accuracy and training.

    Where a fold has too few test subjects of a group, those of no fold: the missing one would follow from the mean.
    """
    judged = run.table("predictions")
    judged = judged[judged["group"].notna()]
    people = judged.groupby(["model", "group"])["subject"].nunique()
    few = {str(model) for model, _ in people.index[people < fewest]}
    folds = {str(m) for m in judged["model"].unique() if ModelName(m).fold is not None}
    found = few | (folds if few & folds else set())
    if few & folds and _of_all_folds(judged, folds) < fewest:
        found |= {"folds", "mean", "sd"}
    return found


def _of_all_folds(judged: pd.DataFrame, folds: set[str]) -> int:
    own = judged[judged["model"].isin(folds) & ~are_retrained(judged["model"])]
    return int(own.groupby("group")["subject"].nunique().min()) if len(own) else 0


def _curves(run: RunReader, counts: Counts) -> pd.DataFrame:
    """Leave out curves of small test sets, and points of the calibration that few scans are behind."""
    table = run.table("curves")
    table = table[~table["model"].isin(small_models(run, counts.fewest))]
    keep = np.ones(len(table), bool)
    for _, places in table.groupby("model").indices.items():
        part = table.iloc[places]
        bins = places[(part["curve"] == "calibration").to_numpy(bool)]
        keep[bins] = large_cells(smallest(table.iloc[bins], "scans"), counts.fewest)
    return table[keep].reset_index(drop=True)


def large_cells(numbers: np.ndarray, fewest: int) -> np.ndarray:
    """Return which cells of a whole may be published, (n,) bool: not the small ones.

    Where one alone is small, not the next larger either: it would follow from the sum of all.
    """
    small = numbers < fewest
    if small.sum() == 1 and len(numbers) > 1:
        small = small | (numbers == numbers[~small].min())
    return ~small


def _training(run: RunReader, counts: Counts) -> pd.DataFrame:
    table = run.table("training")
    few = table["model"].isin(small_models(run, counts.fewest))
    return table.assign(**{column: table[column].mask(few) for column in TESTED})


def _models(run: RunReader, counts: Counts) -> pd.DataFrame:
    """Keep how the networks were trained; their weights are not published, as they hold means of scans."""
    table = run.table("models").assign(weights_sha256=None)
    for column in ("training_scans", "training_subjects", "test_scans", "validation_scans"):
        numbers = smallest(table, column)
        table[column] = table[column].mask((numbers > 0) & (numbers < counts.fewest))
    return table


def _balance(run: RunReader, counts: Counts) -> pd.DataFrame:
    """Keep how alike the groups are in what enough of both are known of; nothing of sites, which may be small."""
    table = run.table("balance")
    own = counts.table[(counts.table["model_set"] == "cohort")]
    groups = own[own["group"].isin(run.groups)]
    both = set(groups["group"]) == set(run.groups) and not counts.hidden["cohort"]
    known = {
        "age": both and groups["age_known"].notna().all() if "age_known" in groups else False,
        "sex": both and groups["women"].notna().all(), "icv": both,
    }  # fmt: skip
    hide = ~table["covariate"].map(lambda name: bool(known.get(name, False))).astype(bool)
    numbers = ["positive", "negative", "difference", "p"]
    return table.assign(note="", **{column: table[column].mask(hide) for column in numbers})


def _truth_subtypes(run: RunReader, counts: Counts) -> pd.DataFrame:
    table, scans = run.table("truth_subtypes"), run.table("scans")
    people = scans[scans["severity"] > 0].groupby("subtype")["subject"].nunique()
    keep = (people >= counts.fewest).all() and set(table["subtype"]) <= set(people.index)
    return table if keep else table.iloc[:0]


_SPECIAL: dict[str, Callable[[RunReader, Counts], pd.DataFrame]] = {
    "group_regions": _group_regions, "metrics": _metrics, "curves": _curves, "training": _training,
    "models": _models, "balance": _balance, "truth_subtypes": _truth_subtypes, "distances": _distances,
}  # fmt: skip
