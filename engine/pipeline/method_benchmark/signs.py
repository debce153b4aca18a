"""Whether averages keep more of the truth when they are taken of signed maps: a section of the findings."""

from __future__ import annotations

import pandas as pd

from engine.pipeline.method_benchmark.kinds_of_truth import AUC
from engine.pipeline.method_benchmark.leaderboard import UNTRAINED, VALUE, detectable, leaderboard, of_positive
from engine.pipeline.method_benchmark.words import counted, interval_words, markdown, with_ends
from store.benchmark import IMPOSED, Benchmark
from store.keys import explains

COLUMNS = ("cohort", "average", "best method", "voxel AUC", "untrained", "difference of the groups")
LEVELS = {"group": "absolute maps", "signed_group": "signed maps"}


def averages(benchmark: Benchmark) -> list[str]:
    """Say how near group averages come to what the data hold, with signs dropped before or after averaging."""
    cells = detectable(benchmark, truth=IMPOSED)
    table = benchmark.table("truth_scores")
    if not cells or not (table["level"] == "signed_group").any():
        return []
    boards = {
        (level, what): of_explanations(leaderboard(benchmark, AUC, cells, what, level))
        for level in LEVELS for what in (VALUE, UNTRAINED)
    }  # fmt: skip
    words = {key: interval_words(board) for key, board in boards.items()}
    columns = {
        f"{name}{', more than untrained' if what == UNTRAINED else ''}": words[level, what]
        for level, name in LEVELS.items() for what in (VALUE, UNTRAINED)
    }  # fmt: skip
    methods = boards["signed_group", VALUE]["method"].tolist()
    by_method = {"method": methods} | {name: [of.get(m, "–") for m in methods] for name, of in columns.items()}
    return [
        "## Signs dropped before averaging, or after?",
        f"Voxel AUC of averages over patients, mean over {counted(len(cells), 'cohort')}. The average of absolute maps "
        "keeps what any scan's map marks, its noise, too; that of signed maps, whose size is taken afterwards (of "
        "occlusions the positive part), what the maps have in common.",
        markdown(pd.DataFrame(by_method)),
        _gain(boards["group", UNTRAINED], boards["signed_group", UNTRAINED]),
        "The best of each cohort, beside the same method by untrained networks and the difference of the groups' "
        "training scans, which is the best that the data hold:",
        markdown(pd.DataFrame([best_of(table, cell, level, name) for cell in cells for level, name in LEVELS.items()])),
    ]


def of_explanations(board: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a leaderboard whose methods explain."""
    return board[board["method"].map(explains).astype(bool)].reset_index(drop=True)


def _gain(before: pd.DataFrame, after: pd.DataFrame) -> str:
    """Say which methods find more of the truth, beyond untrained networks, where signs are kept."""
    both = before.merge(after, on="method", suffixes=("_b", "_a"))
    if both.empty:
        return ""
    more = both.loc[both["mean_a"] > both["mean_b"], "method"].tolist()
    sure = both.loc[both["low_a"] > both["high_b"], "method"].tolist()
    return (
        f"Beyond untrained networks, {len(more)} of {counted(len(both), 'method')} find more of the truth where signs "
        f"are kept ({', '.join(more) or 'none'}); intervals that do not overlap have {', '.join(sure) or 'none'}."
    )


def best_of(table: pd.DataFrame, cell: str, level: str, name: str) -> dict[str, str]:
    """Return a row on the method whose average of a cohort finds most of the truth.

    Args:
        level: of truth scores.
        name: of this average, in words.
    """
    own = of_positive(table[(table["cell"] == cell) & (table["score"] == AUC)])
    own = own[(own["level"] == level) & own["method"].map(explains).astype(bool) & own["value"].notna()]
    if own.empty:
        return dict.fromkeys(COLUMNS, "–") | {"cohort": cell, "average": name}
    best = own.sort_values("value").iloc[-1]
    untrained = f"{best['reference']:.2f}" if pd.notna(best["reference"]) else "–"
    found = (
        cell, name, best["method"], with_ends(best["value"], best["value_low"], best["value_high"]),
        untrained, f"{best['group_difference']:.2f}",
    )  # fmt: skip
    return dict(zip(COLUMNS, found, strict=True))
