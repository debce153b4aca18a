"""How far methods lie apart, of the group averages and on each scan. Frames in, frames out, without Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from dashboard.text import paper
from dashboard.text.formatting import NONE, heatmaps, in_order, mean_sd, method_name, three

UNBROKEN = "\u00a0±\u00a0"  # in narrow cells
PUBLISHED = ("AD", "NC")
LEVELS = {"group": "Group averages", "scan": "Single scans"}
COLUMNS = ["method_a", "method_b", "diagnosis", "distance", "distance_sd", "rank_correlation", "rank_correlation_sd"]


def pairs_of(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Return every pair of methods once, in the fixed order of methods."""
    return list(combinations(in_order([*table["method_a"], *table["method_b"]]), 2))


def order_pairs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the same rows with method_a before method_b in the fixed order."""
    order = {method: number for number, method in enumerate(in_order([*table["method_a"], *table["method_b"]]))}
    swap = (table["method_a"].map(order) > table["method_b"].map(order)).to_numpy(bool)
    first, second = table["method_a"].to_numpy(object), table["method_b"].to_numpy(object)
    return table.assign(method_a=np.where(swap, second, first), method_b=np.where(swap, first, second))


def select_groups(distances: pd.DataFrame, model_set: str, level: str) -> pd.DataFrame:
    """Return the stored rows of a model set and level, pairs in order."""
    return order_pairs(distances[(distances["model_set"] == model_set) & (distances["level"] == level)])


def select_scans(scan_distances: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the distances on the scans that pass, with subject, diagnosis and age, pairs in order.

    Args:
        rows: model, scan, subject, diagnosis, age of the scans that pass.
    """
    covariates = rows[["model", "scan", "subject", "diagnosis", "age"]]
    return order_pairs(scan_distances.merge(covariates, on=["model", "scan"]))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean and SD (ddof 1) over the scans of each diagnosis and pair, in the columns of the table distances."""
    grouped = table.groupby(["diagnosis", "method_a", "method_b"], sort=False)
    found = grouped.agg(
        distance=("distance", "mean"), distance_sd=("distance", "std"),
        rank_correlation=("rank_correlation", "mean"), rank_correlation_sd=("rank_correlation", "std"),
        scans=("scan", "nunique"),
    )  # fmt: skip
    return found.reset_index()


def unit_of_rows(scans: pd.DataFrame) -> str:
    """Return what the rows of a pair count: scans, or heatmaps where several models explain a new scan.

    Args:
        scans: from `select_scans`.
    """
    return "scans" if len(_maps(scans)) == scans["scan"].nunique() else "heatmaps"


def people(scans: pd.DataFrame, diagnoses: Sequence[str]) -> dict[str, str]:
    """Return diagnosis -> how many there are in words: '3 scans', or '6 heatmaps of 3 scans'."""
    maps = _maps(scans)
    own = {diagnosis: maps[maps["diagnosis"] == diagnosis] for diagnosis in diagnoses}
    return {diagnosis: heatmaps(len(part), part["scan"].nunique()) for diagnosis, part in own.items()}


def _maps(scans: pd.DataFrame) -> pd.DataFrame:
    """Return one row a scan and model."""
    return scans.drop_duplicates(["model", "scan"])


def square(table: pd.DataFrame, diagnosis: str, column: str, diagonal: float) -> pd.DataFrame:
    """Return the symmetric (methods, methods) matrix of a column; NaN where a pair is missing."""
    methods = in_order([*table["method_a"], *table["method_b"]])
    matrix = pd.DataFrame(np.nan, methods, methods)
    for row in table[table["diagnosis"] == diagnosis].itertuples():
        matrix.loc[row.method_a, row.method_b] = matrix.loc[row.method_b, row.method_a] = getattr(row, column)
    values = matrix.to_numpy().copy()
    np.fill_diagonal(values, diagonal)
    return pd.DataFrame(values, methods, methods)


def table_2(table: pd.DataFrame, diagnoses: Sequence[str], with_paper: bool) -> pd.DataFrame:
    """Return the paper's table 2 as text: one row a pair, distances here and published, then rank correlations.

    Args:
        table: from `select_groups` or `summary`.
        with_paper: the published values beside ours.
    """
    found = table.set_index(["method_a", "method_b", "diagnosis"])
    rows = []
    for a, b in pairs_of(table):
        row = {"Methods": f"{method_name(a)} – {method_name(b)}"}
        for diagnosis in diagnoses:
            beside = with_paper and diagnosis in PUBLISHED
            row[f"{diagnosis}, this run" if beside else diagnosis] = _text(found, (a, b, diagnosis), "distance")
            if beside:
                row[f"{diagnosis}, {paper.SHORT}"] = _published(a, b, diagnosis)
        for diagnosis in diagnoses:
            row[f"Rank correlation, {diagnosis}"] = _text(found, (a, b, diagnosis), "rank_correlation")
        rows.append(row)
    return pd.DataFrame(rows)


def _text(found: pd.DataFrame, key: tuple[str, str, str], column: str) -> str:
    if key not in found.index:
        return NONE
    value, sd = found.at[key, column], found.at[key, f"{column}_sd"]
    text = mean_sd(value, sd) if column == "distance" else _correlation(value, sd)
    return text.replace(" ± ", UNBROKEN)


def _correlation(value: float, sd: float) -> str:
    """Write a correlation with three decimals: three digits of a number near 0 would promise too much."""
    if not np.isfinite(value):
        return NONE
    return (f"{value:.3f} ± {sd:.3f}" if np.isfinite(sd) else f"{value:.3f}").replace("-", "−")


def _published(a: str, b: str, diagnosis: str) -> str:
    value = paper.distance(a, b, diagnosis)
    return NONE if value is None else f"{value:.2f}"


def for_download(table: pd.DataFrame, level: str, with_paper: bool) -> pd.DataFrame:
    """Return the distances as numbers, with those of the paper where it has them."""
    columns = [c for c in (*COLUMNS, "scans") if c in table]
    out = table[columns].assign(level=level)
    if with_paper:
        keys = zip(out["method_a"], out["method_b"], out["diagnosis"], strict=True)
        out["distance_paper_adni"] = [paper.distance(*key) for key in keys]
    return out


def largest(tables: Sequence[pd.DataFrame]) -> float:
    """Return the largest number of several matrices, for one scale; 1 where there is none."""
    values = np.concatenate([table.to_numpy(float).ravel() for table in tables]) if tables else np.empty(0)
    return float(np.nanmax(values)) if np.isfinite(values).any() else 1.0


def say_closest(table: pd.DataFrame, diagnosis: str) -> str:
    """Say which two methods lie nearest and which farthest; empty where there is one pair or none."""
    rows = table[(table["diagnosis"] == diagnosis) & table["distance"].notna()].sort_values("distance")
    if len(rows) < 2:
        return ""
    near, far = (
        f"{method_name(row.method_a)} and {method_name(row.method_b)} ({three(row.distance)})"
        for row in (rows.iloc[0], rows.iloc[-1])
    )
    return f"{diagnosis}: nearest are {near}, farthest {far}."
