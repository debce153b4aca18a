"""Whether two benchmarks, alike but for their seed, say the same of the methods of the cohorts that both have."""

from __future__ import annotations

import math

import pandas as pd

from engine.errors import UserError
from engine.pipeline.method_benchmark.leaderboard import contradictions, detectable, leaderboard, rank_agreement
from engine.pipeline.method_benchmark.randomised import failing
from engine.pipeline.method_benchmark.words import interval_words, markdown
from store.benchmark import Benchmark
from store.keys import explains

SCORES = {"relevance_mass_accuracy": "Relevance mass accuracy", "voxel_auc": "Voxel AUC"}


def compared(first: Benchmark, second: Benchmark) -> str:
    """Lay two benchmarks beside each other, cohort by cohort, as Markdown.

    Raises:
        UserError: they share no cohort whose networks find something in both.
    """
    seeds = [f"seed {one.manifest.get('seed', 0)}" for one in (first, second)]
    if seeds[0] == seeds[1]:
        seeds = [f"{seed}, {which}" for seed, which in zip(seeds, ("first", "second"), strict=True)]
    own = [detectable(one) for one in (first, second)]
    cells = [cell for cell in own[0] if cell in own[1]]
    if not cells:
        raise UserError(
            "--against: no cohort is in both benchmarks with networks that find what was imposed; in the first are "
            f"{', '.join(own[0]) or 'none'}, in the second {', '.join(own[1]) or 'none'}"
        )
    parts = [f"# The same cohorts again: {seeds[0]} and {seeds[1]}"]
    for cell in cells:
        parts += [f"## {cell}", *_of_cell(first, second, cell, seeds)]
    return "\n\n".join(parts) + "\n"


def _of_cell(first: Benchmark, second: Benchmark, cell: str, seeds: list[str]) -> list[str]:
    parts = []
    for score, words in SCORES.items():
        boards = [leaderboard(one, score, [cell]) for one in (first, second)]
        boards = [board[board["method"].map(explains)].reset_index(drop=True) for board in boards]
        if all(len(board) for board in boards):
            parts += _ranking(words, boards, seeds)
    parts += _stability(first, second, cell)
    fails = [failing(one, [cell]) for one in (first, second)]
    if all(fail is not None for fail in fails):
        named = [", ".join(sorted(fail or {})) or "none" for fail in fails]
        parts.append(f"Fail randomisation: {seeds[0]} {named[0]}; {seeds[1]} {named[1]}.")
    return parts


def _ranking(score: str, boards: list[pd.DataFrame], seeds: list[str]) -> list[str]:
    """Say how far two leaderboards agree, and show both."""
    agreement, methods = rank_agreement(*boards)
    told, turned = contradictions(*boards)
    within = _overlapping(*boards)
    said = f"{score}, more than untrained networks: Spearman {agreement:.2f} over {methods} methods. "
    if not math.isfinite(agreement):
        said = f"{score}, more than untrained networks: {methods} methods in both, too few for a rank correlation. "
    same = not turned and within == methods
    said += (
        f"Of {methods * (methods - 1) // 2} pairs of methods, both tell {told} apart (their intervals do not overlap), "
        f"and {turned} of these stand in the other order; the two intervals of {within} of {methods} methods overlap. "
        + ("The ranking is the same up to the intervals" if same else "The ranking is not the same")
        + (", which are too wide to put any pair in order in both." if same and not told else ".")
    )
    own = [interval_words(board) for board in boards]
    shared = [method for method in boards[0]["method"] if method in own[1]]
    table = pd.DataFrame({"method": shared, **{s: [o[m] for m in shared] for s, o in zip(seeds, own, strict=True)}})
    return [said, markdown(table)]


def _overlapping(first: pd.DataFrame, second: pd.DataFrame) -> int:
    """Count the methods whose two intervals overlap."""
    both = first.merge(second, on="method", suffixes=("_a", "_b"))
    return int(((both["low_a"] <= both["high_b"]) & (both["low_b"] <= both["high_a"])).sum())


def _stability(first: Benchmark, second: Benchmark, cell: str) -> list[str]:
    """Say how far the order of methods by stability under retraining agrees."""
    found = []
    for one in (first, second):
        table = one.table("stability")
        rows = table[
            (table["cell"] == cell) & (table["change"] == "retrained") & (table["diagnosis"] == "all")
            & (table["measure"] == "dice") & (table["level"] == "group") & table["method"].map(explains)
        ]  # fmt: skip
        found.append(rows.rename(columns={"value": "mean"})[["method", "mean"]])
    agreement, methods = rank_agreement(*found)
    if not math.isfinite(agreement):
        return []
    return [f"Stability under retraining (Dice of group averages): Spearman {agreement:.2f} over {methods} methods."]
