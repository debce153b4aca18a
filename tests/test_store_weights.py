"""Averages by subject under every filter, and maps without relevance, against direct computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from store_factory import SCANS, copy_of_shared_store, make_run, shared_store

from store import NotInRunError, RunReader, open_run
from store.keys import GroupKey, HeatmapKey

GRADIENT = "guided_backprop"


@pytest.fixture(scope="module")
def run() -> RunReader:
    return open_run(shared_store())


def direct_mean(run: RunReader, scans: list[tuple[str, str]], relative: bool = False) -> np.ndarray:
    """Mean over subjects of the mean over their scans, |h| of guided backpropagation for AD, from the heatmaps."""
    of_subject: dict[str, list[np.ndarray]] = {}
    for model, scan in scans:
        h = np.abs(run.heatmap(model, GRADIENT, scan, target="AD")).astype(float)
        if not relative or h.sum() > 0:
            of_subject.setdefault(SCANS[scan][0], []).append(h / h.sum() if relative else h)
    return np.mean([np.mean(maps, axis=0) for maps in of_subject.values()], axis=0)


def pairs(run: RunReader, keep) -> list[tuple[str, str]]:
    rows = run.table("predictions", model_set="folds")
    return [(r.model, r.scan) for r in rows.itertuples() if keep(r)]


def test_subjects_weigh_the_same_under_a_filter_on_sessions(run):
    """a1 has three sessions, n1 two; in the first all subjects have one scan: 1 each, not 1/3, 1 and 1/2."""
    chosen = pairs(run, lambda r: r.scan.endswith("-1"))
    found = run.subset_map(GroupKey("folds", GRADIENT, "AD"), chosen, statistics=["mean_abs"])
    np.testing.assert_allclose(found.mean_abs, direct_mean(run, chosen), atol=2e-4)
    assert found.weight == found.subjects == 5


@pytest.mark.parametrize("filters", [{"predicted": ["AD"]}, {"correct": True}, {"correct": False}])
def test_subjects_weigh_the_same_where_a_filter_parts_their_scans(run, filters):
    def passes(row) -> bool:
        if "predicted" in filters:
            return row.predicted == "AD"
        return row.diagnosis in run.groups and (row.diagnosis == row.predicted) == filters["correct"]

    chosen = pairs(run, passes)
    found = run.group_map(GroupKey("folds", GRADIENT, "AD"), statistics=["mean_abs"], **filters)
    np.testing.assert_allclose(found.mean_abs, direct_mean(run, chosen), atol=2e-4)
    assert found.weight == found.subjects == len({SCANS[scan][0] for _, scan in chosen})
    assert not run.cells_answer(GroupKey("folds", GRADIENT, "AD"), **filters)
    assert run.cells_answer(GroupKey("folds", GRADIENT, "AD"), diagnosis=["AD"])


# -- maps without relevance -------------------------------------------------------------------------------------------


EMPTY = ("a1-2", "n2-1")  # one of three scans of a1, the only one of n2


@pytest.fixture(scope="module")
def empty(tmp_path_factory) -> RunReader:
    """A run in which guided backpropagation finds nothing for AD in two scans, its cells as older runs made them."""
    return open_run(with_empty_maps(tmp_path_factory.mktemp("empty"), EMPTY).parent)


def with_empty_maps(folder: Path, scans: tuple[str, ...]) -> Path:
    import store_factory

    series = store_factory._write_series

    def write(writer, content, key, method, explained):
        series(writer, content, key, method, explained)
        if key[1] == GRADIENT and key[2] == "AD":
            mine = [scan for scan in explained if scan in scans]
            values = np.zeros((len(mine), *content.shape), np.float32)
            rows = [list(SCANS).index(scan) for scan in mine]
            writer.put_heatmaps(
                HeatmapKey(*key), rows=rows, scans=mine, values=values,
                absolute_sums=[0.0] * len(mine),
            )  # fmt: skip
            for scan in mine:
                content.heatmaps[(*key, scan)] = np.zeros(content.shape, np.float32)

    scaled = store_factory._scaled

    def safe(content, key, scale, method, scan):
        with np.errstate(invalid="ignore"):
            return np.nan_to_num(scaled(content, key, scale, method, scan))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_factory, "_write_series", write)
        patch.setattr(store_factory, "_scaled", safe)
        return make_run(folder)


def test_a_map_without_relevance_is_in_no_average_of_shares(empty):
    everyone = pairs(empty, lambda row: True)
    found = empty.group_map(GroupKey("folds", GRADIENT, "AD", "relative"), statistics=["mean_abs"])
    np.testing.assert_allclose(found.mean_abs, direct_mean(empty, everyone, relative=True), atol=2e-5)
    assert (found.scans, found.subjects, found.weight, found.without_relevance) == (6, 4, 4, 2)
    assert found.mean_abs.sum() == pytest.approx(1, abs=1e-3)  # a mean of shares is a share
    again = empty.subset_map(GroupKey("folds", GRADIENT, "AD", "relative"), everyone, statistics=["mean_abs"])
    np.testing.assert_allclose(again.mean_abs, found.mean_abs, atol=2e-5)
    assert again.without_relevance == 2


def test_a_map_without_relevance_is_a_map_of_no_change_on_the_scale_of_the_margin(empty):
    found = empty.group_map(GroupKey("folds", GRADIENT, "AD"), statistics=["mean_abs"])
    np.testing.assert_allclose(found.mean_abs, direct_mean(empty, pairs(empty, lambda row: True)), atol=2e-4)
    assert (found.scans, found.without_relevance) == (8, 0)


def test_where_no_map_has_relevance_there_is_no_average(tmp_path):
    run = open_run(with_empty_maps(tmp_path, ("n1-1", "n1-2", "n2-1")).parent)
    with pytest.raises(NotInRunError, match="none of the 3 scans has any relevance by guided_backprop"):
        run.group_map(GroupKey("folds", GRADIENT, "AD", "relative"), diagnosis=["NC"])
    with pytest.raises(NotInRunError, match="the one scan has no relevance by guided_backprop"):
        run.subset_map(GroupKey("folds", GRADIENT, "AD", "relative"), [("fold-1", "n2-1")])
    assert not run.group_map(GroupKey("folds", GRADIENT, "AD"), diagnosis=["NC"]).mean_abs.any()


def test_cells_that_the_engine_writes_answer_alone(tmp_path):
    """Weights by subject and diagnosis over the maps that have relevance, as `engine.pipeline.aggregate` gives them."""
    from engine.analysis.cells import scan_weights

    folder = with_empty_maps(tmp_path, EMPTY)
    rows = pd.read_parquet(folder / "tables/predictions.parquet")
    rows = rows[rows["model_set"] == "folds"]
    weights = scan_weights(rows, "subject", ~rows["scan"].isin(EMPTY))
    assert weights["fold-1", "a1-2"] == weights["fold-1", "n2-1"] == 0
    assert weights["fold-1", "a1-1"] == 1 / 2
    cells = pd.read_parquet(folder / "tables/cells.parquet")
    mine = (cells[["model_set", "method", "target", "scale"]] == ["folds", GRADIENT, "AD", "relative"]).all(axis=1)
    for place in cells.index[mine]:
        inside = rows[(rows["diagnosis"] == cells.diagnosis[place]) & (rows["predicted"] == cells.predicted[place])]
        cells.loc[place, "weight"] = sum(weights[m, s] for m, s in zip(inside["model"], inside["scan"], strict=True))
    cells.to_parquet(folder / "tables/cells.parquet")
    assert open_run(tmp_path).cells_answer(GroupKey("folds", GRADIENT, "AD", "relative"), diagnosis=["AD"])


def test_a_converter_weighs_one_in_each_diagnosis(tmp_path):
    """n1 is of NC twice and of AD once; cells of a run that knows weigh the last scan as one subject."""
    folder = copy_of_shared_store(tmp_path)
    table = folder / "tables/predictions.parquet"
    rows = pd.read_parquet(table)
    rows.loc[rows["scan"] == "a2-1", "subject"] = "n1"
    rows.to_parquet(table)
    run = open_run(tmp_path)
    chosen = pairs(run, lambda r: r.diagnosis == "AD")
    found = run.group_map(GroupKey("folds", GRADIENT, "AD"), diagnosis=["AD"], statistics=["mean_abs"])
    np.testing.assert_allclose(found.mean_abs, direct_mean(run, chosen), atol=2e-4)
    assert found.weight == found.subjects == 2
