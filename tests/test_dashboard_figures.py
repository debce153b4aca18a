"""Figures, words and small tables, without Streamlit."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from plotly_schema import validated
from store_factory import shared_store

from dashboard.data.accuracy import confusion_counts, fold_metrics, mean_and_sd
from dashboard.data.cohort import cohort_table, exclusion_table
from dashboard.data.settings import settings_table
from dashboard.drawing import charts, cuts, palette, slices
from dashboard.text import formatting
from dashboard.text.paper import PAPER_METRICS
from dashboard.views.overview.tables import top_region_shares
from store import open_run

GROUPS = ["AD", "NC"]


def test_numbers_have_three_significant_digits():
    values = (0.77, 0.5, 12.34, 9.996, 1363276.0, 0.0001234, -0.767264, 0.0, float("nan"), None)
    texts = ["0.770", "0.500", "12.3", "10.0", "1,360,000", "0.000123", "−0.767", "0", "–", "–"]
    assert [formatting.three(v) for v in values] == texts
    assert formatting.mean_sd(0.77, 0.0612) == "0.770 ± 0.061"
    assert formatting.mean_sd(0.77, None) == "0.770"
    assert [formatting.duration(s) for s in (0.19, 54.6, 250, 7500)] == ["0.190 s", "55 s", "4 min 10 s", "2 h 5 min"]
    assert formatting.percent(0.0612) == "6.12 %"


def test_methods_keep_the_order_of_the_paper():
    found = formatting.in_order(["zeta", "occlusion", "sensitivity", "alpha", "occlusion"])
    assert found == ["sensitivity", "occlusion", "alpha", "zeta"]
    assert formatting.method_name("integrated_gradients") == "Integrated gradients"


def test_linear_weights_are_exact_for_straight_lines():
    values = 3.0 * np.arange(6) - 1
    places = np.array([0.0, 0.25, 2.5, 5.0])
    assert cuts.linear_weights(places, 6) @ values == pytest.approx(3 * places - 1)
    # Beyond the edge the edge value; a grid of one voxel has one value.
    assert cuts.linear_weights(np.array([-2.0, 9.0]), 6) @ values == pytest.approx([-1, 14])
    assert cuts.linear_weights(np.array([0.0, 3.0]), 1).tolist() == [[1.0], [1.0]]


def test_the_slices_of_the_paper_keep_their_places_on_any_grid():
    assert slices.paper_slices(229) == (80, 114, 149)
    fine, coarse = (slices.paper_positions(n, np.diag([k, k, k, 1.0])) for n, k in ((229, 1.0), (58, 4.0)))
    assert coarse == pytest.approx(fine, abs=4)


def test_nothing_is_coloured_below_the_threshold():
    colour, alpha = palette.hot(np.array([0.0, 0.2, 0.5, 1.0, 9.0]), 0.2, 1.0)
    assert colour.shape == (5, 3)
    assert alpha[:2].tolist() == [0, 0]
    assert np.all(np.diff(alpha) >= 0)
    assert alpha.max() <= 1


# Linear red, green and blue as seen with a deficiency; Machado, Oliveira & Fernandes 2009, severity 1.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    "deuteranopia": [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}
TO_XYZ = np.array([[0.4339, 0.3762, 0.1899], [0.2126, 0.7152, 0.0722], [0.0177, 0.1095, 0.8729]])  # of D65's white


def seen_lab(colour: str, deficiency: str) -> np.ndarray:
    """(3,) CIELAB of a hexadecimal colour as somebody sees it."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(DEFICIENCIES[deficiency] @ linear, 0, 1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_methods_are_told_apart_with_any_common_deficiency(deficiency):
    colours = [seen_lab(colour, deficiency) for colour in palette.METHODS.values()]
    apart = [np.linalg.norm(a - b) for a, b in itertools.combinations(colours, 2)]
    assert min(apart) > 15
    greys = [seen_lab(colour, deficiency) for colour in palette.BASELINES.values()]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(greys, 2)) > 12


def test_baselines_are_marked_wherever_a_method_is_named():
    from store.export.nifti import METHOD_TITLES
    from store.keys import BASELINES

    assert tuple(palette.BASELINES) == BASELINES
    for name in BASELINES:
        assert "(no explanation)" in formatting.method_name(name)
        assert "(no explanation)" in METHOD_TITLES[name]
        assert formatting.HOW_TO_READ[name].startswith("No explanation:")


def test_group_colours_hold_for_any_cohort():
    assert palette.group_colour("older", ["older", "younger"]) == palette.group_colour("AD", GROUPS) == "#D55E00"
    assert palette.group_colour("younger", ["older", "younger"]) == "#0072B2"
    assert palette.group_colour("MCI", GROUPS) == "#E69F00"


def test_cohort_counts_people_once():
    run = open_run(shared_store())
    table = cohort_table(run.table("scans"), GROUPS).set_index("Group")
    assert table.loc["AD", ["Subjects", "Scans"]].tolist() == ["2", "4"]
    assert table.loc["NC", ["Subjects", "Scans"]].tolist() == ["2", "3"]
    assert "MCI (explained, not trained on)" in table.index


def test_cohort_copes_with_what_is_unknown():
    scans = open_run(shared_store()).table("scans").assign(age=np.nan, mmse=np.nan, sex=None)
    table = cohort_table(scans, GROUPS)
    assert (table[["Women", "Age, mean ± SD (range)", "MMSE, mean ± SD"]] == "–").all(axis=None)
    assert charts.ages(scans, ["AD", "NC"], GROUPS).data == []


def test_confusion_counts_no_retrained_model():
    predictions = open_run(shared_store()).table("predictions")
    assert confusion_counts(predictions, "holdout", GROUPS).tolist() == [[2, 1], [1, 2]]
    assert confusion_counts(predictions, "folds", GROUPS).sum() == 7


def test_exclusions_name_nobody():
    table = pd.DataFrame({
        "scan": ["s1", "s2", "s3"], "subject": ["p1", "p1", "p2"], "stage": "ingest", "reason": ["a", "a", "b"],
    })  # fmt: skip
    counted = exclusion_table(table)
    assert list(counted.columns) == ["Stage", "Reason", "Scans", "Subjects"]
    assert counted[["Reason", "Scans", "Subjects"]].to_numpy().tolist() == [["a", "2", "1"], ["b", "1", "1"]]


@pytest.mark.parametrize(
    ("name", "written"),
    [("Middle temporal gyrus", "Middle temporal gyrus"),
     ("Medial orbital frontal gyrus", "Medial orbital frontal gyrus"),
     ("Inferior frontal gyrus, triangular", "Inf. frontal, triangular"),
     ("A region of another atlas, a long one", "A region of another atlas…")],
)  # fmt: skip
def test_names_of_regions_leave_room_for_their_numbers(name, written):
    table = pd.DataFrame({"region": [name], "positive": [4.0], "negative": [3.0]})
    figure = validated(charts.top_regions(table, "#123456", GROUPS, 5))
    assert figure.layout.annotations[0].text == written
    assert list(figure.data[0].customdata) == [name], "in full where the pointer is"


def test_top_regions_are_ranked_by_the_positive_group():
    table = pd.DataFrame([
        {"model_set": "folds", "method": "m", "target": "AD", "diagnosis": d, "merged": True, "region": r,
         "share_of_average": s, "rank": rank, "subjects": 3}
        for d, values in (("AD", (0.1, 0.3)), ("NC", (0.2, 0.05)))
        for r, s, rank in (("Temporal_Mid", values[0], 2), ("Fusiform", values[1], 1))
    ])  # fmt: skip
    top = top_region_shares(table, "folds", "m", "AD", GROUPS, 5)
    assert top.region.tolist() == ["Fusiform gyrus", "Middle temporal gyrus"]
    assert top.positive.tolist() == pytest.approx([30, 10])
    assert top.negative.tolist() == pytest.approx([5, 20])
    assert top_region_shares(table, "holdout", "m", "AD", GROUPS).empty


def test_settings_are_flat():
    table = settings_table({"a": {"b": 1, "c": {"d": None}}, "e": {}, "f": "x"})
    assert table.to_numpy().tolist() == [["a.b", "1"], ["a.c.d", "–"], ["e", "{}"], ["f", "x"]]


def test_charts_are_made_of_a_run():
    run = open_run(shared_store())
    metrics = run.table("metrics")
    summary = {("cnn", m): mean_and_sd(metrics, m) for m in charts.METRIC_NAMES}
    figure = validated(charts.accuracy(fold_metrics(metrics), summary, PAPER_METRICS))
    assert any("0.770 ± 0.060" in (t.text or ()) for t in figure.data)
    counts = confusion_counts(run.table("predictions"), "folds", GROUPS)
    assert charts.confusion(counts, GROUPS).data[0]["z"].sum() == pytest.approx(2)
    assert len(charts.learning(run.table("training"), ["fold-1", "fold-2"]).data) == 8
    assert len(charts.roc(run.table("curves")).data) == 2
    assert charts.timings({"train": 3.0}).data[0]["text"] == ["3.00 s"]


@pytest.mark.parametrize("module", ["dashboard.data.runs", "dashboard.data.cohort", "dashboard.drawing.slices"])
def test_the_dashboard_starts_without_the_engine(module):
    probe = f"import sys, {module}; import dashboard.drawing.charts; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "engine", "ants", "nilearn", "scipy"}.isdisjoint(loaded)
    if "drawing" in module:
        assert "streamlit" not in loaded
