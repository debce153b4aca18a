"""How the methods of a benchmark compare: means over its cells, with intervals, and what their ranks have in common."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from store.benchmark import CHANCE, PHENOTYPE, Benchmark

Z = stats.norm.ppf(0.975)
LEAST_R2 = 0.1  # of a phenotype whose heatmaps are of any use
UNTRAINED, NULL, VALUE = "difference", "null_difference", "value"


def detectable(benchmark: Benchmark, extent: str | None = None, truth: str | None = None) -> list[str]:
    """Return the cells whose networks find something.

    Imposed changes: the 95 % interval of the AUC lies above 0.5. Phenotypes: R2 on the fixed test set is above 0.1.

    Args:
        extent: focal or distributed; default both.
        truth: kind of truth; default both.
    """
    cells = benchmark.table("cells")
    finds = np.where(cells["truth"] == PHENOTYPE, cells["r2"] > LEAST_R2, cells["auc_low"] > CHANCE)
    chosen = cells[finds & (cells["extent"] != "none")]
    if extent:
        chosen = chosen[chosen["extent"] == extent]
    if truth:
        chosen = chosen[chosen["truth"] == truth]
    return chosen["cell"].tolist()


def leaderboard(
    benchmark: Benchmark, score: str, cells: list[str], what: str = UNTRAINED, level: str = "group"
) -> pd.DataFrame:
    """Return methods from best to worst: columns method, mean, low, high, cells.

    The mean is over the cells that have the score, each the same; its interval takes the cells for independent.

    Args:
        what: column of truth_scores: value, difference (from untrained networks) or null_difference.
    """
    table = benchmark.table("truth_scores")
    table = table[table["cell"].isin(cells) & (table["score"] == score) & (table["level"] == level)]
    rows = []
    for method, part in of_positive(table).groupby("method", sort=False):
        known = part[part[what].notna()]
        if len(known):
            error = (known[f"{what}_high"] - known[f"{what}_low"]) / (2 * Z)
            mean, spread = known[what].mean(), Z * np.sqrt((error**2).sum()) / len(known)
            rows.append({"method": method, "mean": mean, "low": mean - spread, "high": mean + spread,
                         "cells": len(known)})  # fmt: skip
    frame = pd.DataFrame(rows, columns=["method", "mean", "low", "high", "cells"])
    return frame.sort_values("mean", ascending=score == "localisation_error_mm", ignore_index=True)


def of_positive(table: pd.DataFrame) -> pd.DataFrame:
    """Return the scores of the positive group of each cell."""
    groups = {cell: positive(part) for cell, part in table.groupby("cell")}
    return table[table["diagnosis"] == table["cell"].map(groups)]


def positive(table: pd.DataFrame) -> str:
    """Return the positive group of the scores of one cell: the one that has references."""
    own = table[table["reference"].notna()]
    return str(own["diagnosis"].iloc[0] if len(own) else table["diagnosis"].iloc[0] if len(table) else "")


def rank_agreement(first: pd.DataFrame, second: pd.DataFrame) -> tuple[float, int]:
    """Return (Spearman, methods) of the means of two leaderboards over the methods that both have."""
    both = first.merge(second, on="method", suffixes=("_a", "_b"))
    if len(both) < 3:
        return np.nan, len(both)
    return float(stats.spearmanr(both["mean_a"], both["mean_b"]).statistic), len(both)


def contradictions(first: pd.DataFrame, second: pd.DataFrame) -> tuple[int, int]:
    """Count pairs of methods that both leaderboards tell apart, and those of them that stand in the other order.

    Told apart: the 95 % intervals of the two methods do not overlap.
    """
    both = first.merge(second, on="method", suffixes=("_a", "_b")).to_dict("records")
    told, turned = 0, 0
    for one, other in combinations(both, 2):
        signs = [_sign(one, other, side) for side in ("a", "b")]
        told += 0 not in signs
        turned += signs[0] * signs[1] < 0
    return told, turned


def _sign(one: dict, other: dict, side: str) -> int:
    """Return 1 if a method is surely above another, -1 if it is surely below, else 0."""
    if one[f"low_{side}"] > other[f"high_{side}"]:
        return 1
    return -1 if one[f"high_{side}"] < other[f"low_{side}"] else 0


def null_test(benchmark: Benchmark, cells: list[str], score: str = "voxel_auc") -> pd.DataFrame:
    """Return per method whether networks trained where nothing was imposed find more of a truth than untrained ones.

    Welch's t test, one-sided, of the networks of each kind in each cell, p values of a method's cells joined by
    Fisher's method, then Holm over methods.

    Returns: columns method, more (mean difference), p, p_holm.
    """
    table = benchmark.table("truth_scores")
    table = table[table["cell"].isin(cells) & (table["score"] == score) & (table["level"] == "group")]
    sizes = benchmark.manifest["reference_networks"]
    rows = []
    for method, part in of_positive(table).groupby("method", sort=False):
        known = part.dropna(subset=["null_reference", "null_reference_sd", "reference", "reference_sd"])
        if known.empty:
            continue
        p = stats.ttest_ind_from_stats(
            known["null_reference"], known["null_reference_sd"], sizes["null"],
            known["reference"], known["reference_sd"], sizes["untrained"], equal_var=False, alternative="greater",
        ).pvalue  # fmt: skip
        joined = stats.combine_pvalues(np.clip(p, 1e-12, 1)).pvalue if len(known) > 1 else float(p[0])
        rows.append({"method": method, "more": (known["null_reference"] - known["reference"]).mean(), "p": joined})
    frame = pd.DataFrame(rows, columns=["method", "more", "p"])
    return frame.assign(p_holm=_holm(frame["p"].to_numpy(float)))


def _holm(p: np.ndarray) -> np.ndarray:
    """Return p values after Holm 1979, in their order."""
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))).clip(max=1)
    found = np.empty_like(adjusted)
    found[order] = adjusted
    return found
