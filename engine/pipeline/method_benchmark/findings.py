"""What a benchmark has found, in words made from its numbers: the text of docs/findings.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from engine.pipeline.method_benchmark.ensembles import ensembles
from engine.pipeline.method_benchmark.kinds_of_truth import AUC, RMA, both_kinds
from engine.pipeline.method_benchmark.leaderboard import (
    LEAST_R2,
    NULL,
    UNTRAINED,
    VALUE,
    detectable,
    leaderboard,
    null_test,
    rank_agreement,
)
from engine.pipeline.method_benchmark.randomised import failing, last_steps
from engine.pipeline.method_benchmark.signs import averages
from engine.pipeline.method_benchmark.words import counted, interval_words, label, markdown, with_ends
from store.benchmark import IMPOSED, PHENOTYPE, Benchmark
from store.keys import explains

FINDINGS = "findings.md"
NAMED = 2  # commands in the text
# Mean relevance mass accuracy over 13 tasks in Siegel et al. 2025 (arXiv 2508.02560).
PUBLISHED = {
    "smoothgrad": 0.293, "input_x_gradient": 0.263, "deeplift": 0.257, "lrp": 0.191, "guided_backprop": 0.155,
    "guided_grad_cam": 0.135, "grad_cam": 0.048,
}  # fmt: skip


def findings(benchmark: Benchmark) -> str:
    """Return the findings as Markdown; questions whose numbers are missing are named as such."""
    manifest = benchmark.manifest
    parts = [
        "# What the benchmark found",
        f"Made by {_commands(manifest)} ({manifest['created'][:10]}, {manifest['device']}, "
        f"{manifest['seconds'] / 60:.0f} min); the text is made from the tables by `engine/pipeline/method_benchmark`. "
        + _whose(benchmark),
        *_cells(benchmark), *_phenotypes(benchmark), *_standing(benchmark), *averages(benchmark), *ensembles(benchmark),
        *_guided(benchmark), *_focal(benchmark), *both_kinds(benchmark), *_stable(benchmark),
        *_randomised(benchmark), *_null(benchmark), *_peaks(benchmark),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _commands(manifest: Mapping[str, Any]) -> str:
    """Name the command, or, of a benchmark that was put together, the commands."""
    commands = manifest.get("commands") or [manifest["command"]]
    named = ", ".join(f"`{command}`" for command in commands[:NAMED])
    rest = len(commands) - NAMED
    return named + (f" and {counted(rest, 'command')} more, named in `benchmark.json`" if rest > 0 else "")


def _whose(benchmark: Benchmark) -> str:
    """Say which cohorts are simulated."""
    if _of_kind(benchmark, PHENOTYPE).empty:
        return "All cohorts are **simulated**: what holds here need not hold for people."
    return (
        "Cohorts with imposed changes are **simulated**, and what holds there need not hold for people; phenotypes are "
        "of **real heads** that nobody altered."
    )


def _of_kind(benchmark: Benchmark, truth: str) -> pd.DataFrame:
    cells = benchmark.table("cells")
    return cells[cells["truth"] == truth]


def _phenotypes(benchmark: Benchmark) -> list[str]:
    """Say which phenotypes the networks predict."""
    cells = _of_kind(benchmark, PHENOTYPE)
    if cells.empty:
        return []
    usable = detectable(benchmark, truth=PHENOTYPE)
    table = pd.DataFrame({
        "phenotype": cells["scenario"],
        "R² on the fixed test set": [with_ends(r.r2, r.r2_low, r.r2_high) for r in cells.itertuples()],
        "usable": ["yes" if name in usable else "no" for name in cells["cell"]],
        "people": cells["subjects"], "scored": cells["tested"], "networks": cells["networks"],
    })  # fmt: skip
    return [
        "## Phenotypes of real heads",
        "R² is the mean over the networks, its interval that of the held-out one over people; usable above "
        f"{LEAST_R2:g}. Others enter no mean below.",
        markdown(table),
    ]


def _cells(benchmark: Benchmark) -> list[str]:
    cells = _of_kind(benchmark, IMPOSED)
    if cells.empty:
        return []
    table = pd.DataFrame({
        "cohort": cells["scenario"], "effect": cells["effect"].map("{:g}".format), "extent": cells["extent"],
        "AUC of the networks": [with_ends(r.auc, r.auc_low, r.auc_high) for r in cells.itertuples()],
        "subjects": cells["subjects"], "scored patients": cells["tested"], "networks": cells["networks"],
    })  # fmt: skip
    lost = sorted(set(cells.loc[cells["extent"] != "none", "cell"]) - set(detectable(benchmark, truth=IMPOSED)))
    told = (
        f"The networks do not find what was imposed in {', '.join(lost)} (the interval of the AUC holds 0.5): heatmaps "
        "of these are in no mean below."
        if lost
        else "The networks find what was imposed wherever something was."
    )
    return ["## Cohorts", markdown(table), told]


def _standing(benchmark: Benchmark) -> list[str]:
    """Say where each method stands, beside what was published."""
    cells = detectable(benchmark, truth=IMPOSED)
    boards = [leaderboard(benchmark, RMA, cells, what) for what in (VALUE, UNTRAINED, NULL)]
    auc = leaderboard(benchmark, AUC, cells)
    if boards[0].empty:
        return []
    joined = boards[0][["method"]].copy()
    for name, board in zip(
        ("mass accuracy", "more than untrained", "more than trained on nothing", "voxel AUC, more than untrained"),
        (*boards, auc), strict=True,
    ):  # fmt: skip
        joined[name] = joined["method"].map(interval_words(board)).fillna("–")
    joined["published mass accuracy"] = joined["method"].map(PUBLISHED).map("{:.3f}".format, na_action="ignore")
    joined["method"] = [label(method) for method in joined["method"]]
    shared = boards[0][boards[0]["method"].isin(PUBLISHED)]
    sentences = [_place(boards[1], "sensitivity", "The plain gradient")]
    sentences += [
        _place(boards[1], method, label)
        for method, label in (("occlusion", "Cube occlusion"), ("area_occlusion", "Area occlusion"),
                              ("segment_occlusion", "Segment occlusion"))
    ]  # fmt: skip
    if len(shared) > 2:
        agreement, methods = rank_agreement(
            shared, pd.DataFrame({"method": list(PUBLISHED), "mean": list(PUBLISHED.values())})
        )
        sentences.append(
            f"The order of the {methods} methods that Siegel et al. 2025 (arXiv 2508.02560) scored, too, agrees with "
            f"theirs with Spearman {agreement:.2f}."
        )
    return [
        "## Which method finds the change",
        f"Relevance mass accuracy of group averages, mean over {counted(len(cells), 'cohort')}, with 95 % intervals "
        "over subjects and networks; methods in the order of it. What counts is the difference from networks that know "
        "nothing.",
        markdown(joined.fillna("–")), " ".join(filter(None, sentences)),
    ]  # fmt: skip


def _place(board: pd.DataFrame, method: str, label: str) -> str:
    """Say the place of a method among the methods that explain."""
    ranked = board[board["method"].map(explains).astype(bool)].reset_index(drop=True)
    where = np.flatnonzero((ranked["method"] == method).to_numpy())
    if not len(where):
        return ""
    row = ranked.iloc[where[0]]
    if row["low"] > 0:
        verdict = "more than untrained networks"
    elif row["high"] < 0:
        verdict = "less than untrained networks"
    else:
        verdict = "no more than untrained networks can be told"
    gain = with_ends(row["mean"], row["low"], row["high"], sign=True)
    return f"{label} is number {where[0] + 1} of {len(ranked)} ({gain}: {verdict})."


def _guided(benchmark: Benchmark) -> list[str]:
    """Say how guided backprop fares by each score on the same scans."""
    cells = detectable(benchmark, truth=IMPOSED)
    rows = []
    for score in (RMA, AUC, "average_precision", "mass_accuracy", "region_rank_correlation", "tpr_weak"):
        for what, name in ((VALUE, "the score itself"), (UNTRAINED, "more than untrained")):
            board = leaderboard(benchmark, score, cells, what)
            board = board[board["method"].map(explains).astype(bool)].reset_index(drop=True)
            place = np.flatnonzero((board["method"] == "guided_backprop").to_numpy())
            if len(place):
                row = board.iloc[place[0]]
                rows.append({"score": score, "taken": name,
                             "guided backprop": with_ends(row["mean"], row["low"], row["high"]),
                             "place": f"{place[0] + 1} of {len(board)}", "best": board["method"].iloc[0]})  # fmt: skip
    if not rows:
        return []
    places = [int(row["place"].split()[0]) for row in rows]
    spread = (
        f"Its place among the same maps of the same scans runs from {min(places)} to {max(places)}, by the score and "
        "by whether what untrained networks mark is taken off: two studies that score in two ways can both be right."
        if max(places) - min(places) > 2
        else f"Its place is {min(places)} to {max(places)}, whichever way it is scored: the scores do not explain why "
        "two studies disagree."
    )
    return ["## Is guided backprop good or bad?", markdown(pd.DataFrame(rows)), spread]


def _focal(benchmark: Benchmark) -> list[str]:
    """Compare the methods where the change is focal and where it is distributed (section 4.3 of the paper)."""
    boards = {}
    for extent in ("focal", "distributed"):
        if cells := detectable(benchmark, extent, IMPOSED):
            boards[extent] = leaderboard(benchmark, RMA, cells)
    if len(boards) < 2:
        return ["## Focal or distributed?", "There are not both kinds of cohorts that the networks can tell apart."]
    agreement, methods = rank_agreement(*boards.values())
    both = boards["focal"].merge(boards["distributed"], on="method", suffixes=("_f", "_d"))
    table = pd.DataFrame({
        "method": both["method"].map(label),
        "focal": [with_ends(r.mean_f, r.low_f, r.high_f, sign=True) for r in both.itertuples()],
        "distributed": [with_ends(r.mean_d, r.low_d, r.high_d, sign=True) for r in both.itertuples()],
    })  # fmt: skip
    return [
        "## Focal or distributed?",
        "Section 4.3 of Rieke et al. 2018 finds occlusion focused and gradients distributed, and could not say which "
        "is right. Mass accuracy, more than untrained networks:",
        markdown(table), f"Both orders of {methods} methods agree with Spearman {agreement:.2f}.",
    ]  # fmt: skip


def _stable(benchmark: Benchmark) -> list[str]:
    """Say how stable each method is when the network is trained again."""
    table = benchmark.table("stability")
    again = (table["change"] == "retrained") & (table["diagnosis"] == "all")
    table = table[again & table["cell"].isin(detectable(benchmark))]
    if table.empty:
        return []
    wide = table.pivot_table(index="method", columns=["level", "measure"], values="value", aggfunc="mean")
    wide.columns = [f"{measure}, {level}" for level, measure in wide.columns]
    wide = wide.sort_values(wide.columns[0], ascending=False)
    shown = wide.map("{:.2f}".format).reset_index()
    shown["method"] = shown["method"].map(label)
    most, least = wide.index[0], wide.index[-1]
    return [
        "## How stable under training again?",
        "The same test scans by networks trained alike but for the seed, mean over cohorts:", markdown(shown),
        f"By {wide.columns[0]}, {most} is the most stable ({wide.iloc[0, 0]:.2f}) and {least} the least "
        f"({wide.iloc[-1, 0]:.2f}).",
    ]  # fmt: skip


def _randomised(benchmark: Benchmark) -> list[str]:
    """Say which methods fail when the network is drawn anew (Arun et al. 2021)."""
    last, fails = last_steps(benchmark), failing(benchmark)
    if fails is None:
        return []
    cells = last["cell"].nunique()
    named = ", ".join(f"{method} (in {count} of {cells})" for method, count in fails.items())
    rest = sorted(set(last["method"]) - set(fails))
    return [
        "## Which methods fail randomisation?",
        "All layers drawn anew; a method fails where the structural similarity, signed or absolute, does not fall "
        f"below that of maps of different scans. Fail: {named or 'none'}. Pass: {', '.join(rest) or 'none'}.",
    ]


def _null(benchmark: Benchmark) -> list[str]:
    """Say whether networks trained on nothing find the truth better than untrained ones."""
    cells = benchmark.table("cells")
    parts = ["## Where nothing is imposed"]
    null = cells[cells["scenario"] == "null"]
    for row in null.itertuples():
        verdict = "chance" if row.auc_low <= 0.5 <= row.auc_high else "NOT chance"
        parts.append(f"The null cohort ends at AUC {with_ends(row.auc, row.auc_low, row.auc_high)}: {verdict}.")
    test = null_test(benchmark, detectable(benchmark, truth=IMPOSED))
    if len(test):
        beats = test.loc[test["p_holm"] < 0.05, "method"].tolist()
        said = f"find more of the truths than untrained ones by {', '.join(beats)}" if beats else (
            "find no more of the truths than untrained ones, by any method"
        )  # fmt: skip
        parts.append(f"Networks trained on twins without the change {said} (Welch's t, Holm, p < 0.05).")
        if beats:
            parts.append(
                "They were never told of the change: what these methods find of it they find without knowledge, as "
                "something unusual in the scan ([truth.md](truth.md#reference-chance-is-not-05)). For them the "
                "difference from null networks counts, not the score."
            )
    return parts if len(parts) > 1 else []


def _peaks(benchmark: Benchmark) -> list[str]:
    """Say how often the most relevant voxel lies at the truth."""
    peaks = benchmark.table("peaks")
    peaks = peaks[peaks["cell"].isin(detectable(benchmark))]
    if peaks.empty:
        return []
    best = peaks.sort_values("within", ascending=False).groupby("cell", sort=False).head(1)
    table = pd.DataFrame({
        "cohort": best["cell"], "best method": best["method"],
        "peak within 10 mm": [with_ends(r.within, r.within_low, r.within_high) for r in best.itertuples()],
        "patients": best["patients"],
    })  # fmt: skip
    return ["## Does the peak lie at the truth?", "Of correctly classified patients:", markdown(table)]
