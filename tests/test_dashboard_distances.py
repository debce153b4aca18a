"""The Distances page: tables and pictures of how far methods lie apart."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from plotly_schema import validated
from store_factory import METHODS, shared_store
from streamlit.testing.v1 import AppTest
from test_dashboard_views import copy_run, text_of

from dashboard.data import runs
from dashboard.drawing import ordering
from dashboard.shell import access
from dashboard.text import paper
from dashboard.text.formatting import method_name
from dashboard.views.distances import charts as distances_charts
from dashboard.views.distances import tables as between
from dashboard.views.shared import charts as shared_charts
from store import list_runs

VIEW = "views/distances/page.py"

pytestmark = pytest.mark.usefixtures("fresh_dashboard")


def pair_rows(values: dict[tuple[str, str], float], diagnosis: str = "AD") -> pd.DataFrame:
    rows = [
        {"method_a": a, "method_b": b, "diagnosis": diagnosis, "distance": value, "distance_sd": np.nan,
         "rank_correlation": 1 - value / 10, "rank_correlation_sd": np.nan, "scans": 3}
        for (a, b), value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


THREE = {
    ("area_occlusion", "sensitivity"): 8.0,
    ("guided_backprop", "area_occlusion"): 6.0,
    ("guided_backprop", "sensitivity"): 2.0,
}


def test_pairs_stand_in_the_order_of_the_paper_whatever_the_store_has():
    table = between.order_pairs(pair_rows(THREE))
    found = {(row.method_a, row.method_b): row.distance for row in table.itertuples()}
    assert found["sensitivity", "area_occlusion"] == 8
    assert found["guided_backprop", "area_occlusion"] == 6
    assert between.pairs_of(table) == [
        ("sensitivity", "guided_backprop"), ("sensitivity", "area_occlusion"), ("guided_backprop", "area_occlusion"),
    ]  # fmt: skip


def test_the_square_is_symmetric_and_missing_pairs_stay_missing():
    table = between.order_pairs(pair_rows({**THREE, ("occlusion", "sensitivity"): 3.0}))
    square = between.square(table, "AD", "distance", 0.0)
    assert list(square) == ["sensitivity", "guided_backprop", "occlusion", "area_occlusion"]
    assert square.loc["area_occlusion", "sensitivity"] == square.loc["sensitivity", "area_occlusion"] == 8
    assert np.isnan(square.loc["occlusion", "area_occlusion"])
    assert np.diag(square).tolist() == [0] * 4
    assert between.square(table, "NC", "distance", 0.0).isna().to_numpy().sum() == 12
    assert between.largest([square]) == 8
    assert between.largest([]) == 1


def test_table_2_has_the_papers_numbers_beside_ours_for_its_groups_only():
    table = pd.concat([between.order_pairs(pair_rows(THREE, d)) for d in ("AD", "MCI")])
    shown = between.table_2(table, ["AD", "MCI"], with_paper=True).set_index("Methods")
    row = shown.loc[f"{method_name('sensitivity')} – {method_name('area_occlusion')}"]
    assert row["AD, this run"] == "8.00"
    assert row[f"AD, {paper.SHORT}"] == "11.48"
    assert row["MCI"] == "8.00"
    assert row["Rank correlation, AD"] == "0.200"
    assert f"MCI, {paper.SHORT}" not in shown
    alone = between.table_2(table, ["AD"], with_paper=False)
    assert list(alone) == ["Methods", "AD", "Rank correlation, AD"]
    download = between.for_download(table, "group", with_paper=True)
    assert download.distance_paper_adni.tolist()[:3] == [11.48, 11.36, 4.09]
    assert download.distance_paper_adni.iloc[3:].isna().all()


def test_means_over_the_scans_that_pass_are_those_of_the_store():
    run = runs.Run(str(shared_store()), list_runs(shared_store())[0].run, "")
    table = runs.table(run, "scan_distances")
    rows = runs.table(run, "predictions").merge(runs.table(run, "scans")[["scan", "age"]], on="scan")
    scans = between.select_scans(table[table.model_set == "folds"], rows)
    summary = between.summary(scans).set_index(["diagnosis", "method_a", "method_b"])
    mine = table[(table.method_a == "sensitivity") & (table.method_b == "occlusion") & (table.model_set == "folds")]
    mine = mine[mine.scan.str.startswith("a")]
    found = summary.loc[("AD", "sensitivity", "occlusion")]
    assert found["distance"] == pytest.approx(mine.distance.mean())
    assert found["distance_sd"] == pytest.approx(mine.distance.std(ddof=1))
    assert found["scans"] == len(mine) == 4


def test_the_matrix_writes_each_value_once_in_its_cell():
    square = between.square(between.order_pairs(pair_rows(THREE)), "AD", "distance", 0.0)
    chart = shared_charts.matrix(square, low=0, high=8, colours=distances_charts.DISTANCE_COLOURS, what="distance")
    figure = validated(chart)
    texts = figure.data[1]
    written = {(x, y): text for x, y, text in zip(texts.x, texts.y, texts.text, strict=True)}
    assert len(written) == 6
    assert written[2, 0] == written[0, 2] == "8.00"
    assert figure.data[0].zmax == 8
    assert np.isnan(np.diag(np.array(figure.data[0].z, float))).all()
    assert list(figure.layout.xaxis.ticktext) == ["Sensitivity", "Guided", "Area"]


def test_the_tree_joins_the_nearest_first():
    square = between.square(between.order_pairs(pair_rows(THREE)), "AD", "distance", 0.0)
    figure = validated(distances_charts.dendrogram(ordering.linkage(square.to_numpy()), list(square), 8.0))
    assert list(figure.data[1].text) == ["2.00", "7.00"]
    assert list(figure.data[1].x) == pytest.approx([2, 7])
    leaves = list(figure.layout.yaxis.ticktext)
    assert abs(leaves.index(method_name("sensitivity")) - leaves.index(method_name("guided_backprop"))) == 1


def test_strips_show_scans_and_their_mean():
    scans = pd.DataFrame({
        "scan": ["s1", "s2", "s3"], "subject": ["a", "b", "c"], "diagnosis": ["AD", "AD", "NC"],
        "method_a": "sensitivity", "method_b": "occlusion", "distance": [2.0, 4.0, 9.0], "rank_correlation": 0.5,
    })  # fmt: skip
    pairs, look = [("sensitivity", "occlusion")], {"column": "distance"}
    figure = validated(distances_charts.strips(scans, pairs, ["AD", "NC"], ["AD", "NC"], **look))
    dots, means = figure.data[0], figure.data[1]
    assert dots.customdata[1].tolist() == ["b", "s2"]
    assert list(means.x) == [3]
    assert list(means.error_x.array) == pytest.approx([np.sqrt(2)])
    assert means.name == "AD, n = 2"
    assert np.abs(np.array(dots.y, float)).max() < 0.5
    hidden = distances_charts.strips(scans, pairs, ["AD", "NC"], ["AD", "NC"], points=False, **look)
    assert len(hidden.data) == 2
    empty = validated(distances_charts.strips(scans[:0], pairs, ["AD"], ["AD", "NC"], **look))
    assert empty.data[1].name == "AD, n = 0"


# -- the page -----------------------------------------------------------------------------------------------------


@pytest.fixture
def open_page(open_view):
    return partial(open_view, VIEW)


def headings(app: AppTest) -> list[str]:
    return [heading.value for heading in app.subheader]


def test_the_page_shows_table_2_pictures_and_trees(open_page):
    app = open_page(shared_store(), set="folds")
    assert not app.exception
    assert not app.error
    assert app.title[0].value == "Distances"
    assert headings(app) == ["Distances between methods", "Distance", "Which methods belong together"]
    assert f"AD, {paper.SHORT}" in app.table[0].value.columns
    assert len(app.table[0].value) == len(METHODS) * (len(METHODS) - 1) // 2
    other = open_page(shared_store(), set="folds", d_measure="rank_correlation")
    assert not other.exception
    assert headings(other)[1] == "Rank correlation"


def test_single_scans_follow_the_filters_and_group_averages_say_that_they_do_not(open_page):
    app = open_page(shared_store(), set="folds", ok="correct")
    assert not app.exception
    assert "only that on diagnosis applies" in " ".join(info.value for info in app.info)
    app = open_page(shared_store(), set="folds", ok="correct", d_level="scan")
    assert not app.exception
    assert "diagnosis applies" not in " ".join(info.value for info in app.info)
    assert "AD n = 2 scans" in text_of(app)
    assert f"AD, {paper.SHORT}" not in app.table[0].value.columns
    assert headings(app) == ["Distances between methods", "On every patient", "Distance"]
    assert "click one to open the patient" in text_of(app)


def test_another_target_is_said_not_to_act(open_page):
    app = open_page(shared_store(), set="folds", target="NC")
    assert "evidence for NC does not change them" in " ".join(info.value for info in app.info)


def test_a_diagnosis_without_stored_distances(open_page):
    app = open_page(shared_store(), set="folds", dx="MCI")
    assert not app.exception
    assert not app.error
    assert "no distances for MCI" in app.info[0].value


def test_a_filter_that_leaves_nothing(open_page):
    app = open_page(shared_store(), set="folds", dx="MCI", ok="wrong")
    assert not app.exception
    assert "No scan passes the filters" in app.info[0].value


def test_a_link_restores_the_page_and_a_wrong_part_is_named(open_page):
    app = open_page(shared_store(), set="holdout", d_level="scan", d_measure="rank")
    assert app.session_state["d_level"] == "scan"
    assert app.session_state["d_measure"] == "distance"
    assert "d_measure=rank" in text_of(app)


def test_other_groups_have_no_numbers_of_the_paper(open_page, tmp_path):
    folder = copy_run(tmp_path, "ages-1", groups=["older", "younger"])
    for name in ("scans", "predictions", "distances"):
        path = folder / "tables" / f"{name}.parquet"
        table = pd.read_parquet(path)
        for column in ("diagnosis", "group", "predicted"):
            if column in table:
                table[column] = table[column].replace({"AD": "older", "NC": "younger"})
        table.to_parquet(path, index=False)
    app = open_page(tmp_path, set="folds")
    assert not app.exception
    assert not app.error
    assert paper.SHORT not in " ".join(app.table[0].value.columns)
    assert "older" in app.table[0].value.columns


def test_a_run_without_distances_says_so(open_page, tmp_path):
    folder = copy_run(tmp_path, "less-1")
    (folder / "tables" / "scan_distances.parquet").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["contents"]["tables"]["scan_distances"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    app = open_page(tmp_path)
    assert not app.exception
    assert "has no distances" in app.info[0].value


def test_single_patients_are_hidden_without_the_role(open_page, monkeypatch):
    monkeypatch.setattr(access, "may_see_patients", lambda: False)
    monkeypatch.setattr(access, "FEWEST", 1)
    app = open_page(shared_store(), set="folds", d_level="scan")
    assert not app.exception
    assert "On every patient" in headings(app)
    assert "click one to open the patient" not in text_of(app)
