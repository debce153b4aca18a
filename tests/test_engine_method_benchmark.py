"""The benchmark of methods: which cohorts, what its tables hold, and that its findings follow the numbers."""

from __future__ import annotations

import json
import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from phenotype_factory import OF_HEADS, make_heads
from scipy import stats

from engine.cli.benchmark_plan import plan_lines
from engine.cli.main import main as command_line
from engine.config.loading import parse_override
from engine.errors import RunError, UserError
from engine.parallel import local, tell
from engine.pipeline.method_benchmark import lanes, seeds
from engine.pipeline.method_benchmark.cells import (
    ALL,
    CELLS,
    DISTRIBUTED,
    FOCAL,
    FULL,
    NONE,
    QUICK,
    Cell,
    Extent,
    chosen,
    configuration,
    phenotype_cells,
)
from engine.pipeline.method_benchmark.command import Request, run_benchmark
from engine.pipeline.method_benchmark.findings import findings
from engine.pipeline.method_benchmark.kinds_of_truth import is_free_in_place
from engine.pipeline.method_benchmark.lanes import cohorts_at_once, completed, together
from engine.pipeline.method_benchmark.leaderboard import (
    contradictions,
    detectable,
    leaderboard,
    null_test,
    rank_agreement,
)
from engine.pipeline.method_benchmark.words import markdown
from engine.progress import Progress
from store import list_runs
from store.benchmark import CELLS as CELL_TABLE
from store.benchmark import PACKAGED, TABLES, Benchmark, cited, packaged, write_benchmark
from store.errors import BrokenRunError, StoreNotFoundError

ROOT = Path(__file__).parent.parent
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


def test_findings_lay_signed_averages_beside_those_of_absolute_maps(benchmark, tmp_path):
    assert "## Signs dropped" not in findings(benchmark)  # of a benchmark that was made before
    scores = score_frame()
    signed = scores[scores["score"] == "voxel_auc"].assign(level="signed_group", group_difference=0.97)
    for name in ("value", "difference"):
        more = np.where(signed["method"] == "lrp", 0.4, -0.05)
        for column in (name, f"{name}_low", f"{name}_high"):
            signed[column] += more
    text = findings(written(tmp_path / "signed", pd.concat([scores.assign(group_difference=0.97), signed])))
    section = text.split("## Signs dropped before averaging, or after?")[1].split("##")[0]
    assert (
        "1 of 4 methods find more of the truth where signs are kept (lrp); intervals that do not overlap have lrp"
        in section
    )
    assert "| lrp | 0.25 (0.21 to 0.29) | 0.25 (0.21 to 0.29) | 0.65 (0.61 to 0.69) | 0.65 (0.61 to 0.69) |" in section
    assert "| typical_ad-1.4 | absolute maps | sensitivity | 0.30 (0.25 to 0.35) | 0.10 | 0.97 |" in section
    assert "| typical_ad-1.4 | signed maps | lrp | 0.65 (0.60 to 0.70) | 0.10 | 0.97 |" in section


def test_findings_lay_the_average_over_networks_beside_one_network(benchmark, tmp_path):
    assert "## One network, or" not in findings(benchmark)  # of a benchmark that was made before
    scores = score_frame().assign(group_difference=0.97)
    auc = scores[(scores["score"] == "voxel_auc") & (scores["cell"] == "typical_ad-1.4")]
    together, signed = auc.assign(level="ensemble"), auc.assign(level="signed_ensemble")
    for column in ("value", "value_low", "value_high"):
        together[column] += np.where(together["method"] == "lrp", 0.3, 0.1)
    for column in ("difference", "difference_low", "difference_high"):
        together.loc[together["method"] == "occlusion", column] = np.nan  # fewer untrained networks
    text = findings(written(tmp_path / "ensembles", pd.concat([scores, together, signed])))
    section = text.split("## One network, or the average of several?")[1].split("##")[0]
    assert "mean over 1 cohort (typical_ad-1.4): the mean of the scores of 5 networks" in section
    assert "The average finds more for 4 of 4 methods, by +0.15 on average (+0.10 to +0.30)." in section
    row = next(line for line in section.splitlines() if line.startswith("| occlusion |")).split(" | ")
    assert row[4] == "–"
    assert "| typical_ad-1.4 | all networks | lrp | 0.55 (0.50 to 0.60) | 0.10 | 0.97 |" in section


def test_what_ships_is_small_of_groups_and_says_what_the_findings_say():
    shipped = packaged()
    assert shipped is not None
    files = [file for file in PACKAGED.iterdir() if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 10_000_000
    assert {file.stem for file in files} <= {*TABLES, "benchmark"}
    assert findings(shipped) == (ROOT / "docs/findings.md").read_text(encoding="utf-8")
    for name in TABLES:
        assert not {"scan", "subject"} & set(shipped.table(name).columns), name
    assert {"sensitivity", "guided_backprop", "occlusion", "area_occlusion"} <= set(cited(shipped))
    assert " --store" not in shipped.manifest["command"]  # of no machine


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
    assert [cell.name for cell in chosen(QUICK, ["typical_ad-2", "null"]).cells] == ["typical_ad-2", "null-0"]
    assert tuple(chosen(QUICK, []).cells) == tuple(QUICK.cells)
    with pytest.raises(UserError, match=r"--scenarios blob: there are .*blobs"):
        chosen(FULL, ["blob"])


def test_any_effect_and_number_of_subjects_of_a_scenario():
    cells = chosen(QUICK, ["null", "blobs-2.2:80", "left_hippocampus:100"]).cells
    assert [(c.name, c.subjects) for c in cells] == [("left_hippocampus-2.4", 100), ("blobs-2.2", 80), ("null-0", 0)]
    one = configuration(cells[1], QUICK, 0)
    assert (one.cohort.simulation.effect, one.cohort.simulation.positive, one.split.holdout_per_group) == (2.2, 80, 12)
    assert one.cohort.simulation.noise_sd == configuration(CELLS[9], FULL, 0).cohort.simulation.noise_sd
    assert configuration(cells[2], QUICK, 0).cohort.simulation.negative == QUICK.subjects
    for name, message in (
        ("blobs:30", "how many subjects a group, 60 or more"), ("blobs:many", "how many subjects"),
        ("blobs-big", "there are"), ("null-2", "there are"), ("blobs--1", "there are"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=f"--scenarios {name}: .*{message}"):
            chosen(QUICK, [name])
    with pytest.raises(UserError, match="blobs-2 is named twice"):
        chosen(QUICK, ["blobs:60", "blobs-2:80"])


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


def test_another_seed_is_laid_beside_the_first(benchmark, tmp_path):
    scores = score_frame()
    said = seeds.compared(benchmark, written(tmp_path / "again", scores))
    assert "seed 0, first and seed 0, second" in said
    assert "Spearman 1.00 over 4 methods" in said
    assert "The ranking is the same up to the intervals." in said
    far = scores.copy()
    for column in ("difference", "difference_low", "difference_high"):
        far[column] = -far[column]
    turned = seeds.compared(benchmark, written(tmp_path / "far", far))
    assert "Spearman -1.00" in turned
    assert "The ranking is not the same" in turned


def test_nothing_in_common_and_no_benchmark_are_errors_in_words(benchmark, tmp_path):
    lost = written(tmp_path / "lost")
    pd.read_parquet(lost.folder / "cells.parquet").assign(auc_low=0.3).to_parquet(lost.folder / "cells.parquet")
    with pytest.raises(UserError, match="no cohort is in both benchmarks"):
        seeds.compared(benchmark, Benchmark(lost.folder))
    with pytest.raises(StoreNotFoundError, match="there is no benchmark"):
        seeds.compared(benchmark, Benchmark(tmp_path / "nowhere"))


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


def only(frame: pd.DataFrame, *cells: str) -> pd.DataFrame:
    return frame[frame["cell"].isin(cells)]


def test_benchmarks_that_were_computed_apart_are_joined(benchmark, tmp_path, capsys):
    """The first has a cohort of its own and one of the second; what the second says of that one is not taken."""
    manifest = benchmark.manifest | {"command": "first", "created": "2026-12-01", "device": "CPU"}
    scores, cells = benchmark.table("truth_scores"), benchmark.table("cells")
    write_benchmark(tmp_path / "a", manifest, {
        "cells": only(cells, "typical_ad-1.4", "null-0"),
        "truth_scores": only(scores, "typical_ad-1.4").assign(value=0.99),
    })  # fmt: skip
    output = tmp_path / "out"
    folders = f"{tmp_path / 'a'},{benchmark.folder}"
    assert command_line({}, ["benchmark", "--join", folders, "--output", str(output)]) == 0
    found = Benchmark(output)
    assert sorted(found.table("cells")["cell"]) == sorted(cells["cell"])
    assert found.manifest["cells"] == ["typical_ad-1.4", "blobs-2", "null-0", "left_hippocampus-2"], "as in one go"
    assert found.manifest["device"] == "CPU"
    assert found.manifest["commands"] == ["first", benchmark.manifest["command"]]
    assert found.manifest["seconds"] == cells["seconds"].sum()
    mine = found.table("truth_scores").set_index("cell")["value"]
    assert (mine["typical_ad-1.4"] == 0.99).all()
    theirs = only(scores, "blobs-2")["value"].to_numpy()
    assert (mine["blobs-2"].to_numpy() == theirs).all()
    text = (output / "findings.md").read_text()
    assert f"Made by `first`, `{benchmark.manifest['command']}` (2026-12-01, CPU" in text
    assert (
        command_line({}, ["benchmark", "--join", f"{output},{benchmark.folder}", "--output", str(tmp_path / "again")])
        == 0
    )
    assert (tmp_path / "again" / "findings.md").read_text() == text


@pytest.mark.parametrize(
    ("folders", "error"),
    [("{a}", "two or more"), ("{a},{a}/none", "there is no benchmark"), ("{a},{b}", "has seed 1"), (None, "--output")],
)
def test_benchmarks_that_cannot_be_joined_are_refused(benchmark, tmp_path, capsys, folders, error):
    other = write_benchmark(tmp_path / "b", benchmark.manifest | {"seed": 1}, {"cells": cell_frame()})
    named = (folders or "{a},{b}").format(a=benchmark.folder, b=other.folder)
    output = [] if folders is None else ["--output", str(tmp_path / "out")]
    assert command_line({}, ["benchmark", "--join", named, *output]) in (1, 2)
    assert error in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


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
    assert "do not find what was imposed" in text or "find what was imposed wherever something was" in text


def _one(folder, cell: Cell, progress: Progress) -> tuple[Path, bool]:
    """Stands for a run: says something, and writes how many threads it had."""
    if cell.scenario == "blobs":
        os.kill(os.getpid(), signal.SIGKILL)
    progress.say("computed")
    with progress.task("scans", 2) as task:
        task.advance(2)
    for _ in local.run(tell, ["a scan says"], 1, progress.say):  # as each stage of a run does
        pass
    (folder / cell.name).write_text(str(torch.get_num_threads()))
    return folder / cell.name, cell.effect > 0


@pytest.mark.parametrize("processes", [1, 2])
def test_cohorts_are_computed_beside_each_other_by_one_thread_each(tmp_path, capfd, processes):
    cells, before = (Cell("typical_ad", 1.0, DISTRIBUTED), Cell("null", 0.0, NONE)), torch.get_num_threads()
    found = completed(cells, partial(_one, tmp_path), "cpu", processes, Progress())
    assert list(found) == list(cells)
    assert [is_new for _, is_new in found.values()] == [True, False]
    assert [folder.read_text() for folder, _ in found.values()] == ["1", "1"]
    assert torch.get_num_threads() == before
    said = capfd.readouterr().err
    assert ("typical_ad-1: computed" in said) == (processes == 2), "whose line it is, where several speak"
    assert said.count("computed") >= 2
    assert said.count("a scan says") == 2


def test_a_cohort_whose_process_ends_is_named(tmp_path):
    cells = (Cell("blobs", 2.0, FOCAL), Cell("null", 0.0, NONE))
    with pytest.raises(RunError, match=r"the process of blobs-2 ended \(code -9\).*--processes 1"):
        completed(cells, partial(_one, tmp_path), "cpu", 2, Progress(quiet=True))


@pytest.mark.parametrize(
    ("count", "device", "asked", "memory", "expected"),
    [(13, "cpu", None, 1e12, 4), (13, "cpu", None, 8e9, 2), (13, "cpu", None, 1e9, 1), (2, "cpu", None, 1e12, 2),
     (13, "cpu", 3, 1e9, 3), (13, "cuda", None, 1e12, 1)],
)  # fmt: skip
def test_cohorts_at_once_are_those_that_cores_and_memory_are_there_for(
    monkeypatch, count, device, asked, memory, expected
):
    monkeypatch.setattr(lanes.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(lanes, "_memory", lambda: memory)
    assert cohorts_at_once(count, device, asked) == expected


def test_how_long_cohorts_take_beside_each_other():
    assert together([3.0, 1.0, 1.0, 2.0], 1) == 7
    assert together([3.0, 1.0, 1.0, 2.0], 2) == 4
    assert together([1.0], 4) == 1


# -- the second kind of truth --------------------------------------------------------------------------------------

ON_PHENOTYPES = {"sensitivity": 0.10, "guided_backprop": 0.30, "occlusion": 0.20, "lrp": 0.15}


def with_phenotypes(folder, of_phenotypes: dict[str, float] = ON_PHENOTYPES, width: float = 0.05) -> Benchmark:
    """The benchmark above and two phenotypes, of which the networks predict the first."""
    cells = [
        {"cell": f"phenotype-{name}", "truth": "phenotype", "scenario": name, "effect": np.nan, "extent": "focal",
         "subjects": 120, "tested": 20, "networks": 5, "r2": r2, "r2_low": r2 - 0.2, "r2_high": r2 + 0.2, "run": "r",
         "seed": 0, "seconds": 60.0}
        for name, r2 in (("ventricles", 0.5), ("pallidum", 0.05))
    ]  # fmt: skip
    scores = score_frame(**of_phenotypes).query("cell == 'typical_ad-1.4'").assign(diagnosis="higher phenotype")
    for what in ("value", "difference"):
        scores[f"{what}_low"], scores[f"{what}_high"] = scores[what] - width, scores[what] + width
    scores = scores.assign(null_difference=np.nan, null_reference=np.nan)
    others = score_frame().assign(null_reference=0.1)
    # Those of the other group have no references; and no benchmark may mix them up with the positive one.
    lower = scores.assign(diagnosis="lower phenotype", value=0.9, reference=np.nan, difference=np.nan)
    own = [part.assign(cell="phenotype-ventricles") for part in (scores, lower)]
    lost = scores.assign(cell="phenotype-pallidum", difference=5.0)
    frames = {
        "cells": pd.concat([cell_frame(), pd.DataFrame(cells)], ignore_index=True),
        "truth_scores": pd.concat([others, *own, lost], ignore_index=True),
    }
    manifest = written(folder / "imposed").manifest
    return write_benchmark(folder, {key: value for key, value in manifest.items() if key != "format"}, frames)


def test_phenotypes_count_where_their_r2_is_above_a_tenth(tmp_path):
    benchmark = with_phenotypes(tmp_path)
    assert detectable(benchmark, truth="phenotype") == ["phenotype-ventricles"]
    assert detectable(benchmark, truth="imposed") == ["typical_ad-1.4", "left_hippocampus-2"]
    board = leaderboard(benchmark, "relevance_mass_accuracy", detectable(benchmark, truth="phenotype"))
    assert dict(zip(board["method"], board["mean"], strict=True)) == pytest.approx(ON_PHENOTYPES)
    both = leaderboard(benchmark, "relevance_mass_accuracy", detectable(benchmark), "value").set_index("method")
    assert both.loc["lrp", "mean"] == pytest.approx((0.25 + 0.25 + 0.15) / 3)  # each cell by its own positive group
    assert set(cited(benchmark)) == set(METHODS)  # trust lines go on citing the simulated disease


def test_findings_lay_both_kinds_of_truth_beside_each_other(tmp_path):
    said = findings(with_phenotypes(tmp_path / "a"))
    assert "phenotypes are of **real heads**" in said
    assert "| ventricles | 0.50 (0.30 to 0.70) | yes |" in said
    assert "| pallidum | 0.05 (-0.15 to 0.25) | no |" in said
    assert "mean over 2 imposed changes and 1 phenotype;" in said
    expected = stats.spearmanr([0.30, 0.10, 0.25, 0.25], list(ON_PHENOTYPES.values())).statistic
    assert f"Relevance mass accuracy: Spearman {expected:.2f} over 4 methods (target 0.8)." in said
    assert "of 6 pairs of methods" in said
    assert "do not find what was imposed in blobs-2" in said
    assert "Phenotypes of real heads" not in findings(written(tmp_path / "c"))


def test_methods_that_mark_whole_regions_are_not_compared_on_structures_that_are_none():
    names = ["sensitivity", "occlusion", "area_occlusion", "segment_occlusion", "t_map"]
    assert [name for name in names if is_free_in_place(name)] == ["sensitivity", "occlusion", "segment_occlusion"]


def test_only_methods_that_both_kinds_tell_apart_can_contradict_each_other():
    def board(**values):
        rows = [{"method": m, "mean": v, "low": v - 0.05, "high": v + 0.05} for m, v in values.items()]
        return pd.DataFrame(rows)

    first = board(a=0.1, b=0.3, c=0.32)
    assert contradictions(first, board(a=0.3, b=0.1, c=0.5)) == (2, 1)  # b and c are not told apart by the first
    assert contradictions(first, first) == (2, 0)
    assert contradictions(first, board(a=0.3, b=0.3, c=0.3)) == (0, 0)


def test_the_plan_says_about_how_long_each_cohort_takes(tmp_path):
    def lines(*scenarios: str, methods: tuple[str, ...] = ("lrp",)) -> list[str]:
        extent = chosen(QUICK, scenarios)
        request = Request(extent, tmp_path, tmp_path / "out", "cpu", "", methods=methods)
        return list(plan_lines(request, Progress(quiet=True)))

    first, null, total = lines("null")
    assert first == (
        "benchmark of 1 cohort, 60 subjects a group, 12 of each in the fixed test set, 5 networks; nothing is computed"
    )
    own = null.split("; about ")[1]
    assert null == f"  null-0: none; stability; about {own}"
    assert total == f"  in all about {own}, finished cohorts too"
    assert lines("typical_ad-1.4", "null")[-1] != total
    assert lines("null", methods=("lrp", "occlusion"))[-1] != total
    assert not list(tmp_path.iterdir())


def test_cells_of_phenotypes_are_read_beside_their_table(tmp_path):
    table = tmp_path / "made.csv"
    with pytest.raises(UserError, match=r"made\.json beside it does not say what its phenotypes are"):
        phenotype_cells(table, tmp_path, {})
    table.with_suffix(".json").write_text(json.dumps({"phenotypes": {"putamen": {"regions": ["Putamen_L"]}}}))
    cells = phenotype_cells(table, tmp_path / "heads", {"explain.folds": [], "training.epochs": 7})
    assert [cell.name for cell in cells] == ["phenotype-putamen"]
    config = configuration(cells[0], QUICK, 3, ["lrp"])
    assert (config.target, config.phenotype.regions, config.training.epochs) == ("phenotype", ["Putamen_L"], 7)
    assert config.cohort.columns["phenotype"] == "putamen"
    assert config.cohort.data == tmp_path / "heads"
    assert (config.split.holdout_per_group, config.trust.networks) == (QUICK.tested, QUICK.networks - 1)
    assert config.explain.holdout == ["lrp"]
    assert [cell.scenario for cell in chosen(QUICK, ["putamen", "null"], cells).cells] == ["null", "putamen"]
    assert len(chosen(QUICK, [], cells).cells) == len(QUICK.cells) + 1
    with pytest.raises(UserError, match=r"--scenarios caudate: there are .*putamen"):
        chosen(QUICK, ["caudate"], cells)


def test_a_benchmark_of_real_heads_from_cohort_to_findings(tmp_path):
    values = np.random.default_rng(1).normal(size=14)
    table = make_heads(tmp_path, values)
    table.with_suffix(".json").write_text(
        json.dumps({"phenotypes": {"inside": {"regions": ["Putamen_L", "Putamen_R"]}}})
    )
    settings = dict(parse_override(text) for text in OF_HEADS)
    settings |= {"cohort.path": "{path}", "cohort.columns": {"subject": "subject"}, "training.epochs": 2,
                 "split.folds": 2, "analysis.bootstrap": 100, "analysis.untrained_networks": 2}  # fmt: skip
    cells = phenotype_cells(table, tmp_path, settings)
    extent = Extent(cells, subjects=6, tested=2, networks=2)
    request = Request(extent, tmp_path / "s", tmp_path / "b", "cpu", "a test", methods=("sensitivity", "lrp"))
    made = run_benchmark(request, Progress(quiet=True))
    (row,) = made.table("cells").to_dict("records")
    assert (row["cell"], row["truth"], row["subjects"], row["networks"]) == ("phenotype-inside", "phenotype", 13, 2)
    assert np.isfinite(row["r2"])
    assert np.isnan(row["auc"])
    scores = made.table("truth_scores")
    assert {"sensitivity", "lrp", "sobel"} <= set(scores["method"])
    assert "Phenotypes of real heads" in (tmp_path / "b" / "findings.md").read_text()
