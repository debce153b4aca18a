"""Every chart keeps to Plotly's schema and has room for its words."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pandas as pd
import pytest
from plotly_schema import validated

from dashboard.drawing import charts, ordering, regions
from dashboard.drawing.chart import Chart, text_width
from dashboard.text.outputs import answer_of
from dashboard.views.clinical import charts as clinical_charts
from dashboard.views.compare_runs import charts as compare_runs_charts
from dashboard.views.compare_runs import tables as compare_runs_tables
from dashboard.views.distances import charts as distances_charts
from dashboard.views.patient import charts as patient_charts
from dashboard.views.regions import one_region_charts
from dashboard.views.shared import charts as shared_charts
from dashboard.views.variability import charts as variability_charts
from dashboard.views.variability.charts import Covariate

GROUPS = ["AD", "NC"]
MODULES = (
    charts,
    clinical_charts,
    compare_runs_charts,
    distances_charts,
    shared_charts,
    one_region_charts,
    patient_charts,
    regions,
    variability_charts,
)
NAMES = ["Hippocampus_L", "Insula_R", "Temporal_Mid"]
METHODS = ["sensitivity", "occlusion", "area_occlusion"]
SCANS = pd.DataFrame({
    "scan": list("stuv"), "subject": list("abcd"), "diagnosis": ["AD", "AD", "NC", "NC"], "age": [70.0, 75, 80, 72],
    "value": [0.1, 0.2, 0.3, 0.4], "distance": [1.0, 2, 9, 3], "z": [0.0, 0, 7, 1], "temporal_share": 0.2,
    "cortical_share": [0.4, 0.5, 0.45, 0.6], "rank_correlation": 0.5, "method_a": "sensitivity",
    "method_b": "occlusion",
})  # fmt: skip
WHO = list(SCANS["scan"])
RANKED = pd.DataFrame([
    {"diagnosis": d, "region": r, "value": 0.3, "low": low, "high": 0.4, "rank": rank, "subjects": 9.0}
    for d in GROUPS for rank, (r, low) in enumerate(zip(NAMES, (0.1, 0.2, np.nan), strict=True), 1)
])  # fmt: skip
SQUARE = pd.DataFrame([[0.0, 2, 8], [2, 0, np.nan], [8, np.nan, 0]], METHODS, METHODS)
COMPARED = compare_runs_tables.compare_regions(pd.Series({"A": 5.0, "B": 1.1}), pd.Series({"A": 4.0, "B": 9.0}))
KIND, AGE = Covariate("Diagnosis", SCANS["diagnosis"], GROUPS), Covariate("Age, years", SCANS["age"])


def folds(**more) -> pd.DataFrame:
    """Two folds of the networks."""
    return pd.DataFrame({"classifier": "cnn", "metric": "accuracy", "model": ["fold-1", "fold-2"], **more})


def measured() -> pd.DataFrame:
    """One metric of two runs."""
    rows = {"judged": ["folds", "holdout"], "sd_a": [0.1, np.nan], "sd_b": 0.1, "n_a": 5, "n_b": 4}
    return folds(value_a=0.7, value_b=0.9, **rows)


SAMPLES = {
    "charts.accuracy": lambda: charts.accuracy(
        folds(value=[0.8, 0.9]), {("cnn", "accuracy"): (0.85, 0.05)}, {"accuracy": (0.77, 0.06), "auc": (0.78, 0.04)}
    ),
    "charts.roc": lambda: charts.roc(
        pd.DataFrame({"curve": "roc", "model": "folds", "point": [0, 1], "x": [0, 1], "y": [0, 1]}),
        pd.DataFrame({"x": [0.0, 1], "mean": [0.1, 1], "low": [0, 1], "high": [0.2, 1]}),
    ),
    "charts.calibration": lambda: charts.calibration(
        pd.DataFrame({"x": [0.2], "y": [0.3], "low": [0.1], "high": [0.4], "scans": [9]}), "AD"
    ),
    "charts.learning": lambda: charts.learning(
        pd.DataFrame({"model": "m", "epoch": [1, 2], "loss": 1, "test_loss": 2, "accuracy": 0.5, "test_accuracy": 1}),
        ["m"],
    ),
    "charts.confusion": lambda: charts.confusion(np.array([[3, 0], [1, 2]]), GROUPS, links=True),
    "charts.ages": lambda: charts.ages(SCANS, GROUPS, GROUPS),
    "charts.top_regions": lambda: charts.top_regions(
        pd.DataFrame({"region": ["Insula"], "positive": [3.0], "negative": [np.nan]}), "#2A9D8F", GROUPS, 4
    ),
    "charts.timings": lambda: charts.timings({"train": 9.0}),
    "clinical.scatter": lambda: clinical_charts.scatter(
        SCANS.assign(score=SCANS["age"]), GROUPS, GROUPS, axes=("MMSE", "share, %"), factor=100, fitted=["AD"]
    ),
    "clinical.intervals": lambda: clinical_charts.intervals(
        pd.DataFrame({"among": [*GROUPS, "all"], "feature": NAMES[0], "rho": 0.1, "low": -0.2, "high": 0.4,
                      "subjects": 12}),
        NAMES[:1], [*GROUPS, "all"], GROUPS, axis="rho",
    ),
    "compare_runs.metrics": lambda: compare_runs_charts.metrics(
        measured(), ("one", "two"), {"accuracy": "Accuracy", "auc": "AUC"}
    ),
    "compare_runs.regions": lambda: compare_runs_charts.regions(COMPARED, ("one", "two")),
    "shared.matrix": lambda: shared_charts.matrix(
        SQUARE, low=0, high=8, colours=distances_charts.DISTANCE_COLOURS, what="distance", slim=True
    ),
    "distances.strips": lambda: distances_charts.strips(
        SCANS, [("sensitivity", "occlusion")], GROUPS, GROUPS, column="distance"
    ),
    "distances.dendrogram": lambda: distances_charts.dendrogram(
        ordering.linkage(SQUARE.fillna(3).to_numpy()), METHODS, 8
    ),
    "one_region_charts.distribution": lambda: one_region_charts.distribution(
        SCANS, GROUPS, GROUPS, axis="share, %", factor=100
    ),
    "one_region_charts.means": lambda: one_region_charts.means(SCANS, GROUPS, GROUPS, axis="share, %", factor=100),
    "one_region_charts.with_age": lambda: one_region_charts.with_age(
        SCANS, GROUPS, GROUPS, axis="share, %", factor=100
    ),
    "patient.against_group": lambda: patient_charts.against_group(
        pd.DataFrame({"region": NAMES, "share": 0.1, "mean": 0.2, "sd": [0.1, 0.1, np.nan], "percentile": 40, "n": 9}),
        "AD", "#2A9D8F",
    ),
    "patient.against_groups": lambda: patient_charts.against_groups(
        dict.fromkeys(
            GROUPS, pd.DataFrame({"region": NAMES, "share": 0.1, "mean": 0.2, "sd": [0.1, 0.1, np.nan], "n": 9})
        ),
        "#2A9D8F", GROUPS,
    ),
    "patient.visits": lambda: patient_charts.visits(
        pd.DataFrame({"age": [70.0, np.nan], "session": ["one", None], "probability": [0.4, 0.6]}),
        answer_of({"groups": ["AD", "NC"]}), "#D55E00",
    ),
    "regions.ranking": lambda: regions.ranking(
        RANKED, NAMES, GROUPS, GROUPS, axis="share", unit="%", factor=100, end=50, room=regions.room(NAMES)
    ),
    "regions.gains": lambda: regions.gains(RANKED, NAMES, GROUPS, "AD / NC"),
    "regions.bump": lambda: regions.bump(
        {"sensitivity": RANKED, "occlusion": RANKED}, "AD", 2, {"Insula_R": "cortical"}, "Insula_R"
    ),
    "variability.patients_by_regions": lambda: variability_charts.patients_by_regions(
        np.ones((4, 3)), NAMES, SCANS.assign(name=WHO, line=WHO), [KIND, AGE], GROUPS, z=False
    ),
    "variability.temporal_cortical": lambda: variability_charts.temporal_cortical(SCANS, GROUPS, GROUPS, WHO),
    "variability.similarity": lambda: variability_charts.similarity(
        ordering.SimilarityMap(np.ones((4, 2)), np.array([0.6, 0.2])), SCANS, AGE, GROUPS, GROUPS, WHO
    ),
    "variability.distances": lambda: variability_charts.distances(SCANS, GROUPS, GROUPS, WHO, 3.5),
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_every_property_is_one_of_plotlys(name):
    figure = validated(SAMPLES[name]())
    assert len(figure.data)
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        assert not axis.automargin
        assert axis.ticklabeloverflow == "allow"


def short_name(module) -> str:
    """The page of a page's charts, else the module's own name."""
    *_, folder, name = module.__name__.split(".")
    return folder if name == "charts" and folder != "drawing" else name


def test_no_chart_is_left_out():
    found = {
        f"{short_name(module)}.{name}"
        for module in MODULES
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and inspect.signature(function).return_annotation == "Chart"
        if not name.startswith("_")
    }
    assert found == set(SAMPLES)


@pytest.mark.parametrize("wrong", [{"tickfont_size": 12}, {"titel": "age"}, {"range": "all"}])
def test_what_plotly_does_not_know_is_found(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        validated(Chart().add(x=[1], y=[2]).x(**wrong).finish(200))


def test_numbers_reach_the_browser_with_their_gaps_and_the_chart_is_not_changed():
    chart = Chart().add(x=np.array([1.0, np.nan]), y=pd.Series([1, 2]), customdata=pd.Series(["a", None])).finish(200)
    before = {name: dict(part) for name, part in chart.layout.items() if isinstance(part, dict)}
    text = chart.plotly().to_json()
    assert '"customdata":["a",null]' in text
    assert "color" not in json.loads(text)["layout"].get("font", {})  # the browser knows the ink of the theme
    assert {name: part for name, part in chart.layout.items() if isinstance(part, dict)} == before


def test_a_chart_is_said_in_words():
    chart = Chart(2).add(x=[1], y=[1], name="AD").add(2, x=[1], y=[1], name="NC").x(title="age in years")
    chart.y(title="share, %").column_titles(["Left", "<b>Right</b>"])
    assert chart.finish(200).in_words() == "Chart of share, % against age in years. Left,  Right . AD, NC."
    assert SAMPLES["charts.confusion"]().in_words() == "Heatmap of true against predicted."
    assert all(make().in_words().endswith(".") for make in SAMPLES.values())


def test_columns_share_an_axis_or_have_their_own():
    shared = validated(Chart(2).add(2, x=[1], y=[1]).line(2, x=0.5).finish(200))
    assert (shared.data[0].xaxis, shared.data[0].yaxis) == ("x2", "y")
    assert (shared.layout.shapes[0].xref, shared.layout.shapes[0].yref) == ("x2", "y domain")
    assert shared.layout.xaxis.domain[1] < shared.layout.xaxis2.domain[0]
    own = validated(Chart(2, own_y=True).add(2, x=[1], y=[1]).finish(200))
    assert own.data[0].yaxis == own.layout.xaxis2.anchor == "y2"


def test_margins_follow_what_is_written():
    def margin(**options):
        return Chart().y(tickvals=[0], ticktext=options.pop("names", ["a"])).finish(200, **options).layout["margin"]

    long = "Temporal Pole Mid<br>and more"
    assert margin(names=[long])["l"] - margin()["l"] == pytest.approx(
        text_width("Temporal Pole Mid", 11.5) - text_width("a", 11.5)
    )
    assert margin(legend="above")["t"] > 29 > margin()["t"]
    assert margin(legend="below")["b"] - margin()["b"] > 29
    titled = Chart().x(title="share, %").finish(200).layout["margin"]
    assert titled["b"] - margin()["b"] > 13.5
    assert Chart().x(visible=False).y(visible=False).finish(200).layout["margin"]["l"] < 8
