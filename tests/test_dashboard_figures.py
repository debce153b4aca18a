"""Figures, words and small tables, without Streamlit."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from plotly_schema import validated
from store_factory import shared_store

from dashboard import summaries
from dashboard.figures import charts, palette, slices, words
from store import open_run

GROUPS = ["AD", "NC"]


def test_numbers_have_three_significant_digits():
    values = (0.77, 0.5, 12.34, 9.996, 1363276.0, 0.0001234, -0.767264, 0.0, float("nan"), None)
    texts = ["0.770", "0.500", "12.3", "10.0", "1,360,000", "0.000123", "-0.767", "0", "–", "–"]
    assert [words.three(v) for v in values] == texts
    assert words.mean_sd(0.77, 0.0612) == "0.770 ± 0.061"
    assert words.mean_sd(0.77, None) == "0.770"
    assert [words.duration(s) for s in (0.19, 54.6, 250, 7500)] == ["0.190 s", "55 s", "4 min 10 s", "2 h 5 min"]
    assert words.percent(0.0612) == "6.12 %"


def test_methods_keep_the_order_of_the_paper():
    found = words.in_order(["zeta", "occlusion", "sensitivity", "alpha", "occlusion"])
    assert found == ["sensitivity", "occlusion", "alpha", "zeta"]
    assert words.method_name("integrated_gradients") == "Integrated gradients"


def test_linear_weights_are_exact_for_straight_lines():
    values = 3.0 * np.arange(6) - 1
    places = np.array([0.0, 0.25, 2.5, 5.0])
    assert slices.linear_weights(places, 6) @ values == pytest.approx(3 * places - 1)
    # Beyond the edge the edge value; a grid of one voxel has one value.
    assert slices.linear_weights(np.array([-2.0, 9.0]), 6) @ values == pytest.approx([-1, 14])
    assert slices.linear_weights(np.array([0.0, 3.0]), 1).tolist() == [[1.0], [1.0]]


def test_coronal_planes_meet_millimetres():
    """A volume that is y in mm gives planes of that value, on any grid."""
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = -96, -132, -78
    volume = np.broadcast_to((4.0 * np.arange(58) - 132)[None, :, None], (49, 58, 49))
    planes = slices.coronal_planes(volume, affine, [-52.0, -18.0, 17.0])
    assert planes.shape == (3, 49, 49)
    assert planes.mean(axis=(1, 2)) == pytest.approx([-52, -18, 17], abs=1e-4)
    assert slices.paper_slices(229) == (80, 114, 149)


def blob(affine, at_mm, shape=(49, 58, 49)) -> np.ndarray:
    """A small bright cube at a place in mm."""
    volume = np.zeros(shape, np.float32)
    i, j, k = np.round((np.asarray(at_mm) - affine[:3, 3]) / 4).astype(int)
    volume[i - 1 : i + 2, j - 1 : j + 2, k - 1 : k + 2] = 1
    return volume


def test_left_of_the_subject_is_left_in_the_picture_and_up_is_up():
    fine, coarse = np.diag([1.0, 1, 1, 1]), np.diag([4.0, 4, 4, 1])
    for affine in (fine, coarse):
        affine[:3, 3] = -96, -132, -78
    brain = np.full((193, 229, 193), 100, np.uint8)
    anatomy = slices.take_anatomy(brain, np.ones_like(brain), fine)
    volume = blob(coarse, (-40, -18, 50))
    planes = slices.coronal_planes(volume, coarse, anatomy.y_mm)
    picture = slices.strip(anatomy, planes, coarse, slices.Scale(0.1, 1.0, "x"))
    width = 2 * 193
    middle = picture[:386, width : 2 * width].astype(int)
    rows, columns = np.nonzero(middle[..., 0] - middle[..., 2] > 60)
    # One mm is two pixels; x = -40 is voxel 56, z = 50 is voxel 128 from below.
    assert columns.mean() == pytest.approx(2 * 56, abs=4)
    assert rows.mean() == pytest.approx(2 * (192 - 128), abs=4)


def test_scale_spans_both_groups_and_survives_flat_maps():
    mask = np.ones((4, 4, 4), bool)
    ramp = np.linspace(0, 1, 64).reshape(mask.shape)
    scale = slices.common_scale([ramp, 2 * ramp], mask, "u")
    assert 0 < scale.low < 1 < scale.high <= 2
    assert slices.common_scale([np.zeros(mask.shape)], mask, "u").high == 1
    sparse = np.zeros(mask.shape)
    sparse[0, 0, 0] = 3
    assert slices.common_scale([sparse], mask, "u").high > 0


def test_nothing_is_coloured_below_the_threshold():
    colour, alpha = palette.hot(np.array([0.0, 0.2, 0.5, 1.0, 9.0]), 0.2, 1.0)
    assert colour.shape == (5, 3)
    assert alpha[:2].tolist() == [0, 0]
    assert np.all(np.diff(alpha) >= 0)
    assert alpha.max() <= 1


def test_group_colours_hold_for_any_cohort():
    assert palette.group_colour("older", ["older", "younger"]) == palette.group_colour("AD", GROUPS) == "#D55E00"
    assert palette.group_colour("younger", ["older", "younger"]) == "#0072B2"
    assert palette.group_colour("MCI", GROUPS) == "#E69F00"


def test_cohort_counts_people_once():
    run = open_run(shared_store())
    table = summaries.cohort(run.table("scans"), GROUPS).set_index("Group")
    assert table.loc["AD", ["Subjects", "Scans"]].tolist() == ["2", "4"]
    assert table.loc["NC", ["Subjects", "Scans"]].tolist() == ["2", "3"]
    assert "MCI (explained, not trained on)" in table.index


def test_cohort_copes_with_what_is_unknown():
    scans = open_run(shared_store()).table("scans").assign(age=np.nan, mmse=np.nan, sex=None)
    table = summaries.cohort(scans, GROUPS)
    assert (table[["Women", "Age, mean ± SD (range)", "MMSE, mean ± SD"]] == "–").all(axis=None)
    assert charts.ages(scans, ["AD", "NC"], GROUPS).data == []


def test_confusion_counts_no_retrained_model():
    predictions = open_run(shared_store()).table("predictions")
    assert summaries.confusion(predictions, "holdout", GROUPS).tolist() == [[2, 1], [1, 2]]
    assert summaries.confusion(predictions, "folds", GROUPS).sum() == 7


def test_exclusions_name_nobody():
    table = pd.DataFrame({
        "scan": ["s1", "s2", "s3"], "subject": ["p1", "p1", "p2"], "stage": "ingest", "reason": ["a", "a", "b"],
    })  # fmt: skip
    counted = summaries.exclusions(table)
    assert list(counted.columns) == ["Stage", "Reason", "Scans", "Subjects"]
    assert counted[["Reason", "Scans", "Subjects"]].to_numpy().tolist() == [["a", "2", "1"], ["b", "1", "1"]]


def test_top_regions_are_ranked_by_the_positive_group():
    table = pd.DataFrame([
        {"model_set": "folds", "method": "m", "target": "AD", "diagnosis": d, "merged": True, "region": r,
         "share_of_average": s, "rank": rank, "subjects": 3}
        for d, values in (("AD", (0.1, 0.3)), ("NC", (0.2, 0.05)))
        for r, s, rank in (("Temporal_Mid", values[0], 2), ("Fusiform", values[1], 1))
    ])  # fmt: skip
    top = summaries.top_regions(table, "folds", "m", "AD", GROUPS, 5)
    assert top.region.tolist() == ["Fusiform", "Temporal Mid"]
    assert top.positive.tolist() == pytest.approx([30, 10])
    assert top.negative.tolist() == pytest.approx([5, 20])
    assert summaries.top_regions(table, "holdout", "m", "AD", GROUPS).empty


def test_settings_are_flat():
    table = summaries.settings({"a": {"b": 1, "c": {"d": None}}, "e": {}, "f": "x"})
    assert table.to_numpy().tolist() == [["a.b", "1"], ["a.c.d", "–"], ["e", "{}"], ["f", "x"]]


def test_charts_are_made_of_a_run():
    run = open_run(shared_store())
    metrics = run.table("metrics")
    summary = {("cnn", m): summaries.mean_and_sd(metrics, m) for m in charts.METRIC_NAMES}
    figure = validated(charts.accuracy(summaries.fold_metrics(metrics), summary, summaries.PAPER))
    assert any("0.770 ± 0.060" in (t.text or ()) for t in figure.data)
    counts = summaries.confusion(run.table("predictions"), "folds", GROUPS)
    assert charts.confusion(counts, GROUPS).data[0]["z"].sum() == pytest.approx(2)
    assert len(charts.learning(run.table("training"), ["fold-1", "fold-2"]).data) == 8
    assert len(charts.roc(run.table("curves")).data) == 2
    assert charts.timings({"train": 3.0}).data[0]["text"] == ["3.00 s"]


@pytest.mark.parametrize("module", ["dashboard.queries", "dashboard.summaries", "dashboard.figures.slices"])
def test_the_dashboard_starts_without_the_engine(module):
    probe = f"import sys, {module}; import dashboard.figures.charts; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "engine", "ants", "nilearn", "scipy"}.isdisjoint(loaded)
    if "figures" in module:
        assert "streamlit" not in loaded
