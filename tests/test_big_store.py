"""The made-up run for measuring is valid, labelled, and its tables follow from its heatmaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from big_store import RETRAINED, big_store
from store_factory import METHODS

from store import RunReader, open_run
from store.keys import GroupKey
from store.spec import TABLES
from store.writing.validate import validate

SCANS = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return big_store(tmp_path_factory.mktemp("big"), scans=SCANS, grid_mm=4, processes=1)


@pytest.fixture(scope="module")
def run(folder) -> RunReader:
    return open_run(folder.parent, folder.name)


@pytest.fixture(scope="module")
def scans(run):
    return run.table("scans").set_index("scan")


def test_it_is_valid_and_says_that_it_is_made_up(folder, run):
    assert validate(folder) == []
    assert run.simulated
    assert "Random numbers" in run.manifest["cohort"]
    assert "not results" in run.manifest["notices"][0]


WRITTEN_THOUGH_OPTIONAL = {"baseline_predictions", "truth_regions", "truth_scores"}


@pytest.mark.parametrize(
    "name", [table.name for table in TABLES if not table.optional or table.name in WRITTEN_THOUGH_OPTIONAL]
)
def test_every_table_has_rows(run, name):
    assert len(run.table(name)) > 0


def test_the_cohort_has_what_a_dashboard_must_cope_with(run, scans):
    assert scans["diagnosis"].value_counts().to_dict() == {"AD": 18, "NC": 18, "MCI": 4}
    assert scans.index.str.len().max() > 40
    assert scans.groupby("subject").size().max() > 1
    assert scans["mmse"].isna().any()
    assert scans["age"].notna().all()
    assert scans["site"].nunique() > 1
    assert scans["holdout"].any()
    assert not scans["holdout"].all()


def test_both_model_sets_explain_by_all_methods_and_one_network_was_retrained(run):
    heatmaps = run.table("heatmaps")
    for model_set in ("folds", "holdout"):
        assert set(heatmaps.loc[heatmaps["model_set"] == model_set, "method"]) == set(METHODS)
    assert set(heatmaps.loc[heatmaps["model_set"] == "folds", "scan"]) == set(run.table("scans")["scan"])
    retrained = heatmaps[heatmaps["model"] == RETRAINED]
    assert set(retrained["method"]) == {"sensitivity"}
    assert set(retrained["scan"]) < set(heatmaps.loc[heatmaps["model"] == "holdout", "scan"])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", ["AD", "NC"])
def test_regions_follow_from_the_stored_heatmaps(run, method, target):
    row = run.table("predictions", model="fold-2").iloc[1]
    heatmap = run.heatmap("fold-2", method, row["scan"], target=target)
    mass = np.abs(heatmap) if METHODS[method].native_grid == "voxels" else np.maximum(heatmap, 0)
    sums = np.bincount(run.atlas.ravel(), mass.ravel())[1:]
    table = run.table("region_relevance", model="fold-2", method=method, target=target, scan=row["scan"])
    order = run.table("regions").set_index("region")["index"]
    table = table.set_index("region").loc[order.index]
    np.testing.assert_allclose(table["share"], sums / sums.sum(), atol=1e-4)


def test_group_maps_follow_from_the_stored_heatmaps(run):
    rows = run.table("predictions", model_set="folds")
    rows["weight"] = 1 / rows.groupby("subject")["scan"].transform("count")
    rows = rows[rows["diagnosis"] == "AD"]
    total = np.zeros(run.mask.shape)
    for row in rows.to_dict("records"):
        heatmap = run.heatmap(row["model"], "sensitivity", row["scan"], target="NC")
        total += row["weight"] * heatmap / np.abs(heatmap).sum()
    group = run.group_map(GroupKey("folds", "sensitivity", "NC", "relative"), diagnosis=["AD"], statistics=["mean"])
    expected = total / rows["weight"].sum()
    np.testing.assert_allclose(group.mean, expected, atol=1e-4 * np.abs(expected).max())
    assert group.subjects == rows["subject"].nunique()


def test_the_effect_is_where_it_was_put(run):
    found = run.table("group_regions", model_set="folds", method="area_occlusion", target="AD", diagnosis="AD")
    top = found[found["merged"]].nsmallest(10, "rank")["region"]
    assert top.str.startswith(("Temporal", "Hippocampus", "Fusiform", "ParaHippocampal", "Amygdala")).mean() > 0.5
