"""Compare runs: what differs, computed and shown."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from plotly_schema import validated
from store_factory import GROUPS, make_run, shared_store
from streamlit.testing.v1 import AppTest

import store
from dashboard.views.compare_runs import charts as figures
from dashboard.views.compare_runs import queries as compare_queries
from dashboard.views.compare_runs import tables as beside

PAGE = "views/compare_runs/page.py"
NAMES = ("one-1", "two-2")

pytestmark = pytest.mark.usefixtures("fresh_dashboard")


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """A newer simulated run with all methods, an older real one on a finer grid with two."""
    folder = tmp_path_factory.mktemp("two")
    make_run(folder, name="new", run_id=NAMES[0], created="2026-03-01T00:00:00")
    make_run(
        folder, name="old", run_id=NAMES[1], seed=1, simulated=False, shape=(7, 8, 7),
        methods=["sensitivity", "occlusion"],
    )  # fmt: skip
    return folder


# -- frames -----------------------------------------------------------------------------------------------------------


def test_only_settings_that_differ_are_listed():
    first = {"config": {"seed": 0, "training": {"epochs": 2, "rate": 0.1}, "join": None}, "device": "cpu"}
    second = {"config": {"seed": 0, "training": {"epochs": 3, "rate": 0.1}, "join": {"key": "id"}}, "commit": "a" * 40}
    table = beside.differing_settings(first, second, NAMES)
    assert table.to_numpy().tolist() == [
        ["training.epochs", "2", "3"], ["device", "cpu", "–"], ["join.key", "–", "id"], ["commit", "–", "a" * 12],
    ]  # fmt: skip
    assert beside.differing_settings(first, first, NAMES).empty


def metrics_of(values: dict) -> pd.DataFrame:
    rows = [
        {"classifier": c, "level": "scan", "model": m, "metric": k, "value": v, "note": ""}
        for (c, m, k), v in values.items()
    ]
    return pd.DataFrame(rows)


def test_metrics_stand_side_by_side():
    predictions = pd.DataFrame({"model": ["holdout"] * 3, "correct": [True, False, None]})
    folds = {("cnn", f"fold-{i}", "accuracy"): 0.5 for i in (1, 2)}
    first = {**folds, ("cnn", "mean", "accuracy"): 0.8, ("cnn", "sd", "accuracy"): 0.1}
    second = {("cnn", "holdout", "accuracy"): 0.75}
    rows = [beside.metric_rows(metrics_of(values), predictions) for values in (first, second)]
    compared = beside.compare_metrics(*rows)
    assert compared[["metric", "judged"]].to_numpy().tolist() == [["accuracy", "folds"], ["accuracy", "holdout"]]
    table = beside.metrics_table(compared)
    assert table["First"].tolist() == ["0.800 ± 0.100 (2 folds)", "–"]
    assert table["Second"].tolist() == ["–", "0.750 (2 scans)"]
    again = beside.metrics_table(beside.compare_metrics(rows[0], rows[0].assign(value=rows[0].value - 0.05)))
    assert again["Second − first"].tolist() == ["−0.050"]


def test_regions_are_ranked_among_those_of_both():
    first = pd.Series({"A": 40.0, "B": 30.0, "C": 20.0, "D": 10.0})
    second = pd.Series({"A": 10.0, "C": 20.0, "B": 15.0, "E": 55.0})
    compared = beside.compare_regions(first, second)
    assert compared.region.tolist() == ["A", "B", "C"]
    assert compared.rank_a.tolist() == [1, 2, 3]
    assert compared.rank_b.tolist() == [3, 2, 1]
    assert compared.difference.tolist() == [-30, -15, 0]
    assert beside.spearman(compared) == pytest.approx(-1)
    assert beside.spearman(compared.head(2)) is None
    assert beside.spearman(compared.assign(share_a=1.0)) is None


def test_regions_of_two_runs_are_compared_free_of_their_size():
    """Shares of large regions are large in both; by density the runs rank them the other way round."""
    regions = ["A", "B", "C", "D"]
    volumes = pd.Series([1.0, 2.0, 4.0, 8.0], regions)
    density = pd.Series([1.0, 1.1, 1.2, 1.3], regions)
    first, second = density * volumes, density[::-1].set_axis(regions) * volumes
    compared = beside.with_density(beside.compare_regions(first, second), (volumes, volumes))
    assert beside.spearman(compared) == pytest.approx(1)
    assert beside.spearman(compared, "share_a", "volume_a") == pytest.approx(1)
    assert beside.spearman(compared, "density_a", "density_b") == pytest.approx(-1)


def test_shares_of_regions_are_those_of_the_stored_average():
    run = store.open_run(shared_store())
    table = run.table("group_regions")
    shares = beside.region_shares(table, "folds", "occlusion", "AD", "NC")
    rows = table[
        (table.model_set == "folds") & (table.method == "occlusion") & (table.diagnosis == "NC") & table.merged
    ]
    assert shares.to_dict() == pytest.approx(dict(zip(rows.region, 100 * rows.share_of_average, strict=True)))
    assert beside.region_shares(table, "folds", "occlusion", "AD", "nobody").empty


def distances_of(pairs: dict, diagnosis: str) -> pd.DataFrame:
    return pd.DataFrame([
        {"model_set": "folds", "diagnosis": diagnosis, "level": "group", "method_a": a, "method_b": b, "distance": d,
         "rank_correlation": d / 10, "scans": 4}
        for (a, b), d in pairs.items()
    ])  # fmt: skip


def test_distances_match_whatever_the_order_of_a_pair():
    first = distances_of({("occlusion", "sensitivity"): 1.0, ("guided_backprop", "occlusion"): 2.0}, "AD")
    second = distances_of({("sensitivity", "occlusion"): 3.0}, "older")
    methods = ["sensitivity", "guided_backprop", "occlusion"]
    compared = beside.compare_distances((first, second), "folds", ("AD", "older"), methods)
    assert compared[["method_a", "method_b"]].to_numpy().tolist() == [
        ["sensitivity", "occlusion"], ["guided_backprop", "occlusion"],
    ]  # fmt: skip
    assert compared.distance_first.tolist() == [1, 2]
    assert compared.distance_second.iloc[0] == 3
    assert np.isnan(compared.distance_second.iloc[1])
    assert beside.distances_table(compared)["Distance, second"].tolist() == ["3.00", "–"]
    assert beside.compare_distances((first, second), "holdout", ("AD", "older"), methods).empty


def test_what_limits_a_comparison_is_said():
    first = {"groups": ["AD", "NC"], "simulated": True, "grid_mm": 1, "data_fingerprint": "a"}
    assert beside.say_what_differs(first, first, True) == ["Both were made from the same scans and labels."]
    second = {"groups": ["older", "younger"], "simulated": False, "grid_mm": 4, "config": {"atlas": {"path": "x"}}}
    words = " ".join(beside.say_what_differs(first, second, False))
    for part in ("AD with older and NC with younger", "simulated", "1 mm and 4 mm", "atlases differ"):
        assert part in words


# -- figures ----------------------------------------------------------------------------------------------------------


def test_the_scatter_names_what_moved_most():
    shares = pd.DataFrame({"share_a": np.arange(20.0), "share_b": np.arange(20.0)[::-1]})
    shares.index = [f"Region_{i}" for i in range(20)]
    compared = beside.compare_regions(shares.share_a, shares.share_b)
    figure = validated(figures.regions(compared, NAMES))
    assert figure.layout.xaxis.title.text == "share in one-1, %"
    assert figure.layout.yaxis.title.text == "share in two-2, %"
    assert len(figure.data[1].x) == 20
    assert {"Region 0", "Region 19"} <= {a.text for a in figure.layout.annotations}


def test_labels_do_not_lie_on_each_other():
    compared = beside.compare_regions(pd.Series({"A": 5.0, "B": 5.1}), pd.Series({"A": 9.0, "B": 9.0}))
    assert [row.region for row in figures.choose_labelled(compared, 10.0)] == ["A"]


def test_metrics_of_both_runs_are_drawn():
    run = store.open_run(shared_store())
    rows = beside.metric_rows(run.table("metrics"), run.table("predictions"))
    figure = validated(figures.metrics(beside.compare_metrics(rows, rows), NAMES, compare_queries.METRICS))
    assert {trace.name for trace in figure.data} == {
        f"{name}, {judged}" for name in NAMES for judged in ("cross-validation", "held-out")
    }
    assert [a.text for a in figure.layout.annotations] == ["Accuracy", "Balanced accuracy", "AUC"]


# -- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def open_page(open_view):
    return partial(open_view, PAGE)


def text_of(app: AppTest) -> str:
    return "\n".join(str(e.value) for kind in (app.markdown, app.caption, app.info, app.warning) for e in kind)


def captions(app: AppTest) -> list[str]:
    return [image.caption for element in app.get("image") for image in element.proto.imgs]


def test_one_run_has_nothing_to_be_compared_with(open_page):
    app = open_page(shared_store())
    assert not app.exception
    assert "is the only run of this store that opens" in text_of(app)
    assert app.code[0].value.startswith("python run_pipeline.py")


def test_two_runs_stand_side_by_side(open_page, two_runs):
    app = open_page(two_runs)
    assert not app.exception
    assert not app.error
    assert app.selectbox(key="c_other").value == NAMES[1]
    words = text_of(app)
    for part in (
        "SIMULATED",
        "REAL SCANS",
        "are not subtracted",
        "In one of the runs only: ",
        "Rank correlation of the d",
    ):
        assert part in words
    assert captions(app) == [
        "one-1: AD, n = 1 subject, 3 scans", "two-2: AD, n = 1 subject, 3 scans"
    ]  # fmt: skip


def test_runs_on_one_grid_are_subtracted(open_page, tmp_path):
    make_run(tmp_path, name="b", run_id="b-1", seed=1, methods=["sensitivity"], created="2026-01-01T00:00:00")
    make_run(tmp_path, name="a", run_id="a-1", methods=["sensitivity"], created="2026-03-01T00:00:00")
    app = open_page(tmp_path, c_group="2")
    assert not app.error
    assert captions(app)[-1] == "b-1 − a-1, own scale"
    assert captions(app)[0].startswith(f"a-1: {GROUPS[1]}, n = 2 subjects")


def test_a_link_opens_the_same_comparison(open_page, two_runs):
    app = open_page(
        two_runs, run=NAMES[1], c_other=NAMES[0], c_set="folds", c_method="occlusion", c_plane="axial", c_n="5",
        c_share="off",
    )  # fmt: skip
    assert not app.error
    assert app.selectbox(key="c_method").value == "occlusion"
    assert app.selectbox(key="c_n").value == "5"
    assert app.toggle(key="c_share").value is False
    assert captions(app)[0].startswith(NAMES[1])
    assert "not used" not in text_of(app)


def test_an_unknown_second_run_is_named(open_page, two_runs):
    app = open_page(two_runs, c_other="gone-9", c_made="2020-01-01")
    assert not app.error
    assert "`c_other=gone-9`" in text_of(app)
    assert "was made again since" in text_of(app)
    assert app.selectbox(key="c_other").value == NAMES[1]


def test_a_damaged_second_run_leaves_the_first_unharmed(open_page, tmp_path):
    make_run(tmp_path, name="a", run_id="a-1", methods=["sensitivity"], created="2026-03-01T00:00:00")
    damaged = make_run(tmp_path, name="b", run_id="b-1", seed=1, methods=["sensitivity"])
    (damaged / "tables" / "metrics.parquet").write_bytes(b"not parquet")
    app = open_page(tmp_path)
    assert not app.exception
    assert not app.error
    assert "The comparison ends here" in app.warning[0].value
    assert "b-1" in app.warning[0].value
