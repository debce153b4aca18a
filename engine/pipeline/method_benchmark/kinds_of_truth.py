"""Whether imposed changes and phenotypes rank the methods alike: a section of the findings."""

from __future__ import annotations

import math

import pandas as pd

from engine.pipeline.method_benchmark.leaderboard import contradictions, detectable, leaderboard, rank_agreement
from engine.pipeline.method_benchmark.words import counted, interval_words, markdown
from engine.relevance import METHODS
from store.benchmark import IMPOSED, PHENOTYPE, Benchmark
from store.keys import explains

RMA, AUC = "relevance_mass_accuracy", "voxel_auc"
TARGET_AGREEMENT = 0.8  # Spearman


def both_kinds(benchmark: Benchmark) -> list[str]:
    """Say whether both kinds of truth rank the methods alike."""
    kinds = {"imposed change": IMPOSED, "phenotype": PHENOTYPE}
    cells = {words: detectable(benchmark, truth=kind) for words, kind in kinds.items()}
    parts = []
    for score, words in ((RMA, "Relevance mass accuracy"), (AUC, "Voxel AUC")):
        boards = {name: leaderboard(benchmark, score, own) for name, own in cells.items()}
        boards = {name: board[board["method"].map(is_free_in_place)] for name, board in boards.items()}
        if all(len(board) for board in boards.values()):
            parts += _agreement(words, boards)
    if not parts:
        return []
    over = " and ".join(counted(len(own), name) for name, own in cells.items())
    return [
        "## Do both kinds of truth rank the methods alike?",
        f"Group averages, more than untrained networks, mean over {over}; methods that explain. Area occlusion is "
        "left out: it marks whole regions of the run's atlas, and a phenotype's structure (the ventricles) need not be "
        "one of them.",
        *parts,
    ]


def is_free_in_place(method: str) -> bool:
    """Return whether a method explains and can mark any place of the brain, whatever the atlas."""
    return explains(method) and METHODS[method].native_grid != "regions"


def _agreement(score: str, boards: dict[str, pd.DataFrame]) -> list[str]:
    """Lay the leaderboards of two kinds of truth beside each other and say how far they agree."""
    first, second = boards.values()
    agreement, methods = rank_agreement(first, second)
    told, turned = contradictions(first, second)
    words = {name: interval_words(board) for name, board in boards.items()}
    shared = [method for method in first["method"] if method in words[list(boards)[1]]]
    table = pd.DataFrame({"method": shared, **{name: [own[m] for m in shared] for name, own in words.items()}})
    if not math.isfinite(agreement):
        return [f"{score}: {methods} methods have both, too few for a rank correlation.", markdown(table)]
    said = f"{score}: Spearman {agreement:.2f} over {methods} methods (target 0.8)."
    if agreement < TARGET_AGREEMENT:
        said += (
            f" Below the target: of {methods * (methods - 1) // 2} pairs of methods, both kinds tell {told} apart "
            f"(intervals that do not overlap), and {turned} of these stand in the other order; the order of all others "
            "is open in one kind at least."
        )
    return [said, markdown(table)]
