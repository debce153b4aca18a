"""Whether an average over several networks keeps more of the truth than the map of one: a section of the findings."""

from __future__ import annotations

import pandas as pd

from engine.pipeline.method_benchmark.kinds_of_truth import AUC
from engine.pipeline.method_benchmark.leaderboard import UNTRAINED, VALUE, detectable, leaderboard
from engine.pipeline.method_benchmark.signs import best_of, of_explanations
from engine.pipeline.method_benchmark.words import counted, interval_words, markdown
from store.benchmark import IMPOSED, Benchmark

ONE, TOGETHER, SIGNED = "group", "ensemble", "signed_ensemble"
LEVELS = {ONE: "one network", TOGETHER: "all networks", SIGNED: "all networks, signed maps"}
COLUMNS = {  # heading -> level and what of it
    "one network": (ONE, VALUE), "more than untrained": (ONE, UNTRAINED),
    "all networks": (TOGETHER, VALUE), "more than as many untrained": (TOGETHER, UNTRAINED),
    "all networks, signed maps": (SIGNED, VALUE), "signed, more than as many untrained": (SIGNED, UNTRAINED),
}  # fmt: skip


def ensembles(benchmark: Benchmark) -> list[str]:
    """Say how near the average over all networks comes to the truth; nothing where no cohort has it."""
    table = benchmark.table("truth_scores")
    have = set(table.loc[table["level"] == TOGETHER, "cell"])
    cells = [cell for cell in detectable(benchmark, truth=IMPOSED) if cell in have]
    if not cells:
        return []
    boards = {
        heading: of_explanations(leaderboard(benchmark, AUC, cells, what, level))
        for heading, (level, what) in COLUMNS.items()
    }
    methods = boards[LEVELS[TOGETHER]]["method"].tolist()
    words = {heading: interval_words(board) for heading, board in boards.items()}
    rows = {"method": methods} | {heading: [of.get(m, "–") for m in methods] for heading, of in words.items()}
    counts = benchmark.table("cells").set_index("cell").loc[cells, "networks"]
    number = f"{counts.min()}" if counts.min() == counts.max() else f"{counts.min()} to {counts.max()}"
    return [
        "## One network, or the average of several?",
        f"Voxel AUC of group averages, mean over {counted(len(cells), 'cohort')} ({', '.join(cells)}): the mean of the "
        f"scores of {number} networks that were trained alike, and the score of the average of their maps, in which "
        "each weighs the same. Beside that stands the average over as many untrained networks; occlusions have fewer.",
        markdown(pd.DataFrame(rows)),
        _gain(boards[LEVELS[ONE]], boards[LEVELS[TOGETHER]]),
        "The best of each cohort:",
        markdown(pd.DataFrame([best_of(table, cell, level, name) for cell in cells for level, name in LEVELS.items()])),
    ]  # fmt: skip


def _gain(one: pd.DataFrame, together: pd.DataFrame) -> str:
    """Say by how much the average over networks is nearer to the truth than their own maps are on average."""
    both = one.merge(together, on="method", suffixes=("_one", "_all"))
    gain = both["mean_all"] - both["mean_one"]
    more = int((gain > 0).sum())
    return (
        f"The average finds more for {more} of {counted(len(both), 'method')}, by {gain.mean():+.2f} on average "
        f"({gain.min():+.2f} to {gain.max():+.2f})."
    )
