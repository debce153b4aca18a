"""The benchmark of methods: which cohorts, what its tables hold, and that its findings follow the numbers."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from engine.errors import UserError
from engine.pipeline.method_benchmark.cells import ALL, CELLS, DISTRIBUTED, FULL, NONE, QUICK, Cell, Extent, chosen
from engine.pipeline.method_benchmark.command import Request, run_benchmark
from engine.pipeline.method_benchmark.findings import findings, markdown
from engine.pipeline.method_benchmark.leaderboard import detectable, leaderboard, null_test, rank_agreement
from engine.progress import Progress
from store import list_runs
from store.benchmark import CELLS as CELL_TABLE
from store.benchmark import TABLES, Benchmark, cited, write_benchmark
from store.errors import BrokenRunError, StoreNotFoundError

METHODS = {"sensitivity": 0.30, "guided_backprop": 0.10, "occlusion": 0.20, "lrp": 0.25}
CELL_ROWS = (("typical_ad-1.4", "distributed", 0.8), ("left_hippocampus-2", "focal", 0.7), ("blobs-2", "focal", 0.4),
             ("null-0", "none", 0.45))  # fmt: skip


def cell_frame() -> pd.DataFrame:
    rows = [
        {
            "cell": name, "truth": "imposed", "scenario": name.split("-")[0], "effect": float(name.split("-")[1]),
            "extent": extent, "subjects": 40, "tested": 8, "networks": 5, "auc": low + 0.1, "auc_low": low,
            "auc_high": low + 0.15, "run": "r", "seed": 0, "seconds": 60.0,
        }
        for name, extent, low in CELL_ROWS
    ]  # fmt: skip
    return pd.DataFrame(rows)


def score_frame(**changes: float) -> pd.DataFrame:
    rows = []
    for cell, extent, _ in CELL_ROWS[:3]:
        for method, value in (METHODS | changes).items():
            value += 0.1 * (extent == "focal") * (method == "occlusion")
            for score in ("relevance_mass_accuracy", "voxel_auc"):
                row = {"cell": cell, "model_set": "holdout", "method": method, "diagnosis": "AD", "level": "group",
                       "score": score, "scans": 8, "subjects": 8}  # fmt: skip
                for what in ("value", "difference", "null_difference"):
                    row |= {what: value, f"{what}_low": value - 0.05, f"{what}_high": value + 0.05}
                row |= {"reference": 0.1, "reference_sd": 0.01, "null_reference": 0.1, "null_reference_sd": 0.01}
                rows.append(row)
    return pd.DataFrame(rows)


@pytest.fixture
def benchmark(tmp_path) -> Benchmark:
    return written(tmp_path)


def written(folder, scores: pd.DataFrame | None = None) -> Benchmark:
    manifest = {
        "command": "python run_pipeline.py benchmark --quick", "created": "2026-11-27T00:00:00", "device": "CPU",
        "seconds": 600.0, "reference_networks": {"untrained": 5, "null": 2},
    }  # fmt: skip
    frames = {"cells": cell_frame(), "truth_scores": score_frame() if scores is None else scores}
    return write_benchmark(folder, manifest, frames)


def test_trust_lines_cite_the_group_average_of_typical_ad(benchmark, tmp_path):
    found = cited(benchmark)
    assert {method: row["value"] for method, row in found.items()} == METHODS
    assert {row["cell"] for row in found.values()} == {"typical_ad-1.4"}
    assert found["lrp"]["kind"] == "simulated atrophy of typical AD, 1.4 times the published change"
    assert cited(None) == {}
    lost = cell_frame().assign(auc_low=0.4)
    assert cited(write_benchmark(tmp_path / "chance", {}, {"cells": lost, "truth_scores": score_frame()})) == {}


def test_the_cohorts_cover_every_scenario_and_three_effects_of_the_usual_one():
    names = [cell.name for cell in CELLS]
    assert len(set(names)) == len(names)
    assert sum(cell.scenario == "typical_ad" for cell in CELLS) == 3
    assert {"null", "confound", "suppressor", "blobs", "subtypes"} <= {cell.scenario for cell in CELLS}
    assert len(QUICK.cells) == 3
    assert FULL.networks >= 5
    assert QUICK.networks >= 5
    assert any(cell.measures == ALL for cell in QUICK.cells)


def test_some_scenarios_alone_and_unknown_ones_refused():
    assert {cell.scenario for cell in chosen(QUICK, ["blobs"]).cells} == {"blobs"}
    assert tuple(chosen(QUICK, []).cells) == tuple(QUICK.cells)
    with pytest.raises(UserError, match=r"--scenarios blob: there are .*blobs"):
        chosen(FULL, ["blob"])


def test_tables_come_back_with_all_columns(benchmark):
    assert list(benchmark.table("cells").columns) == list(CELL_TABLE.columns)
    scores = benchmark.table("truth_scores")
    assert list(scores.columns) == list(TABLES["truth_scores"].columns)
    assert len(scores) == 3 * 4 * 2
    assert benchmark.table("stability").empty


def test_cells_that_networks_do_not_find_are_in_no_mean(benchmark):
    assert detectable(benchmark) == ["typical_ad-1.4", "left_hippocampus-2"]
    assert detectable(benchmark, "focal") == ["left_hippocampus-2"]


def test_the_leaderboard_is_the_mean_over_cells_with_its_interval(benchmark):
    board = leaderboard(benchmark, "relevance_mass_accuracy", detectable(benchmark))
    assert board["method"].tolist() == ["sensitivity", "occlusion", "lrp", "guided_backprop"]
    assert board["mean"].tolist() == pytest.approx([0.30, 0.25, 0.25, 0.10])
    assert board["cells"].tolist() == [2] * 4
    # Half widths of 0.05 in two cells: of the mean 0.05 / sqrt(2).
    assert (board["high"] - board["mean"]).to_numpy() == pytest.approx(0.05 / np.sqrt(2))


def test_ranks_agree_with_themselves_and_not_with_their_reverse(benchmark):
    board = leaderboard(benchmark, "voxel_auc", ["typical_ad-1.4"])
    turned = board.assign(mean=-board["mean"])
    assert rank_agreement(board, board) == (pytest.approx(1.0), 4)
    assert rank_agreement(board, turned)[0] == pytest.approx(-1.0)
    assert np.isnan(rank_agreement(board.head(2), board)[0])


def test_the_null_test_is_welchs_with_holm(benchmark, tmp_path):
    found = null_test(benchmark, detectable(benchmark))
    assert (found["p_holm"] > 0.4).all()
    scores = score_frame()
    better = scores["method"] == "lrp"
    scores.loc[better, "null_reference"] = 0.5
    found = null_test(written(tmp_path / "other", scores), ["typical_ad-1.4"]).set_index("method")
    single = stats.ttest_ind_from_stats(0.5, 0.01, 2, 0.1, 0.01, 5, equal_var=False, alternative="greater").pvalue
    assert found.loc["lrp", "p"] == pytest.approx(single)
    assert found.loc["lrp", "p_holm"] == pytest.approx(min(1, 4 * single))


def test_findings_follow_the_numbers(benchmark, tmp_path):
    said = findings(benchmark)
    assert "simulated" in said
    assert "do not find what was imposed in blobs-2" in said
    assert "The plain gradient is number 1 of 4 (+0.30" in said
    assert "The null cohort ends at AUC 0.55 (0.45 to 0.60): chance." in said
    other = findings(written(tmp_path / "other", score_frame(sensitivity=-0.2)))
    assert "The plain gradient is number 4 of 4 (-0.20 (-0.24 to -0.16): less than untrained networks)." in other


def test_hostile_or_damaged_benchmarks_are_errors_in_words(tmp_path, benchmark):
    with pytest.raises(StoreNotFoundError, match="there is no benchmark"):
        _ = Benchmark(tmp_path / "nowhere").manifest
    (benchmark.folder / "cells.parquet").write_bytes(b"not a table")
    with pytest.raises(BrokenRunError, match="not readable"):
        benchmark.table("cells")
    (benchmark.folder / "benchmark.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(BrokenRunError, match="not a benchmark of format 1"):
        _ = Benchmark(benchmark.folder).manifest


def test_a_key_twice_is_not_written(tmp_path):
    twice = pd.concat([cell_frame(), cell_frame()])
    with pytest.raises(ValueError, match="not unique"):
        write_benchmark(tmp_path, {}, {"cells": twice})


def test_markdown_has_a_line_a_row():
    assert markdown(pd.DataFrame({"a": [1], "b": ["x"]})) == "| a | b |\n| --- | --- |\n| 1 | x |"


def test_a_small_benchmark_from_cohort_to_findings(tmp_path):
    """Two cohorts, twice: the second time nothing is computed again, and the same is found."""
    settings = {"cohort.simulation.solve_mm": 4, "training.epochs": 2, "split.folds": 2, "trust.scans": 2,
                "analysis.bootstrap": 100, "analysis.untrained_networks": 2}  # fmt: skip
    cells = (Cell("typical_ad", 1.0, DISTRIBUTED, ("stability",)), Cell("null", 0.0, NONE, ()))
    extent = Extent(cells, subjects=6, tested=2, networks=2, settings=settings)
    request = Request(extent, tmp_path, tmp_path / "benchmark", "cpu", "a test", methods=("sensitivity", "lrp"))
    first = run_benchmark(request, Progress(quiet=True))
    scores = first.table("truth_scores")
    assert set(scores["cell"]) == {"typical_ad-1"}
    assert {"sensitivity", "lrp", "sobel"} <= set(scores["method"])
    assert first.table("cells")["networks"].tolist() == [2, 2]
    assert first.table("cells")["tested"].tolist() == [2, 2]
    peaks = first.table("peaks")
    assert peaks["within"].dropna().between(0, 1).all()
    assert set(first.table("stability")["change"]) >= {"retrained"}
    runs = {info.run for info in list_runs(tmp_path)}
    assert len(runs) == 2
    again = run_benchmark(request, Progress(quiet=True))
    assert {info.run for info in list_runs(tmp_path)} == runs
    for name in TABLES:
        pd.testing.assert_frame_equal(again.table(name), first.table(name))
    text = (tmp_path / "benchmark" / "findings.md").read_text()
    assert "do not find what was imposed" in text or "find what was imposed in all of them" in text
