"""The Variability page: frames against direct computation, charts, and every view on a tiny store."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from plotly_schema import validated
from store_factory import copy_of_shared_store
from streamlit.testing.v1 import AppTest

from dashboard.drawing.ordering import SimilarityMap
from dashboard.shell import access
from dashboard.views.shared import tiles
from dashboard.views.shared.region_values import RegionSizes
from dashboard.views.variability import charts as figures
from dashboard.views.variability import sheet
from dashboard.views.variability import tables as between
from dashboard.views.variability.charts import Covariate
from dashboard.views.variability.patients import Patients, in_numbers

GROUPS = ["AD", "NC"]
VIEWS = ("regions", "lobes", "spread", "similarity", "outliers", "sheet")


# -- frames -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def regions() -> pd.DataFrame:
    """Hippocampus left and right, insula, and the ventricles outside the atlas."""
    return pd.DataFrame({
        "region": ["Hippocampus_L", "Hippocampus_R", "Insula_L", "Ventricles"],
        "merged": ["Hippocampus", "Hippocampus", "Insula", "Ventricles"],
        "lobe": ["temporal", "temporal", "cortical", "cortical"], "in_atlas": [True, True, True, False],
        "volume_cm3": [1.0, 1.0, 2.0, 3.0],
    })  # fmt: skip


def scans(count: int, **columns) -> pd.DataFrame:
    """Explained scans, each of its own subject; every other is AD."""
    rows = pd.DataFrame({
        "model": "fold-1", "scan": [f"s{i}" for i in range(count)], "subject": [f"p{i}" for i in range(count)],
        "diagnosis": [GROUPS[i % 2] for i in range(count)], "predicted": "AD", "sex": "F", "site": "", "age": 70.0,
        "probability": np.linspace(0.1, 0.9, count), "mmse": np.nan, "cdr": np.nan, "severity": np.nan,
    })  # fmt: skip
    return rows.assign(**columns)


def sample_of(shares: np.ndarray, rows: pd.DataFrame | None = None) -> between.Sample:
    names = tuple(f"r{i}" for i in range(shares.shape[1]))
    areas = RegionSizes(names, np.ones(len(names), bool), np.ones(len(names)), np.eye(len(names)))
    return between.Sample(scans(len(shares)).assign(scans=1) if rows is None else rows, shares, areas)


def test_shares_are_of_the_brain_and_both_sides_together(regions):
    sums = np.array([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0], [np.nan] * 4])
    found = between.sample(scans(3), sums, RegionSizes.of(regions, merged=True), by_subject=False)
    assert list(found.rows.scan) == ["s0"]  # s1 has no relevance, and so no share; s2 no heatmap
    np.testing.assert_allclose(found.shares, [[0.3, 0.3, 0.4]])
    assert found.left_out == 1
    assert "left out: 1 scan whose heatmaps are 0 everywhere" in in_numbers(found, by_subject=False)
    assert len(between.drop_without_relevance(found)) == 1


def test_a_subject_is_the_mean_of_its_scans_and_two_diagnoses_are_two_rows(regions):
    rows = scans(4, subject=["a", "a", "a", "b"], diagnosis=["AD", "AD", "NC", "NC"], age=[70.0, 72.0, 68.0, 60.0])
    sums = np.array([[1.0, 0, 0, 1], [0, 0, 1, 3], [0, 1, 0, 0], [0, 0, 0, 2]])
    found = between.sample(rows, sums, RegionSizes.of(regions, merged=True), by_subject=True)
    assert list(zip(found.rows.subject, found.rows.diagnosis, found.rows.scans, strict=True)) == [
        ("a", "AD", 2), ("a", "NC", 1), ("b", "NC", 1)
    ]  # fmt: skip
    np.testing.assert_allclose(found.shares, [[0.25, 0.125, 0.625], [1, 0, 0], [0, 0, 1]])
    assert list(found.rows.age) == [71, 68, 60]
    assert between.labels(found.rows, by_subject=True) == ["a, AD", "a, NC", "b"]


def test_columns_go_by_mean_share_and_stay_in_the_atlas(regions):
    sums = np.array([[1.0, 1.0, 3.0, 90.0]])
    found = between.sample(scans(1), sums, RegionSizes.of(regions, merged=False), by_subject=False)
    assert [found.areas.names[i] for i in found.largest(None)] == ["Insula_L", "Hippocampus_L", "Hippocampus_R"]
    assert len(found.largest(2)) == 2


def test_lobe_shares_leave_the_ventricles_out(regions):
    sums = np.array([[1.0, 2.0, 3.0, 4.0]])
    table = between.add_lobe_shares(
        between.sample(scans(1), sums, RegionSizes.of(regions, False), by_subject=False), regions
    )
    assert table.temporal_share[0] == pytest.approx(0.3)
    assert table.cortical_share[0] == pytest.approx(0.3)


def test_z_is_against_the_own_diagnosis_of_everyone():
    random = np.random.default_rng(0)
    everyone = sample_of(random.uniform(size=(8, 3)))
    some = everyone.taken(np.array([2, 5]))
    z = between.z_scores(some, everyone)
    for row, place in enumerate((2, 5)):
        own = everyone.shares[place % 2 :: 2]
        np.testing.assert_allclose(z[row], (everyone.shares[place] - own.mean(0)) / own.std(0, ddof=1))


def test_no_z_where_nobody_differs_or_too_few_are_there():
    two = sample_of(np.random.default_rng(0).uniform(size=(4, 2)))
    assert np.isnan(between.z_scores(two, two)).all()
    alike = sample_of(np.ones((8, 2)))
    assert np.isnan(between.z_scores(alike, alike)).all()


def test_rows_by_covariate_keep_similar_ones_together_and_unknown_ones_last():
    values = np.array([[0.0], [9.0], [0.1], [9.1], [0.2], [5.0]])
    rows = scans(6, age=[60.0, 50, 60, 50, 60, np.nan])
    order = list(between.order(rows, values, "age", GROUPS))
    assert set(order[:2]) == {1, 3}
    assert set(order[2:5]) == {0, 2, 4}
    assert order[5] == 5
    by_diagnosis = between.order(rows, values, "diagnosis", GROUPS)
    assert list(rows.diagnosis.iloc[by_diagnosis]) == ["AD"] * 3 + ["NC"] * 3
    clusters = list(between.order(rows, values, between.CLUSTERED, GROUPS))
    assert sorted(clusters) == list(range(6))
    assert abs(clusters.index(1) - clusters.index(3)) == 1
    assert between.order(rows[:0], values[:0], "age", GROUPS).size == 0


def test_only_covariates_that_differ_are_offered():
    rows = scans(4, age=[60.0, 61, 62, 63], site=["", "x", "x", "x"], sex=["F", "M", "F", "M"])
    assert between.features(rows) == ["diagnosis", "sex", "age", "probability"]
    assert between.features(scans(1)) == ["diagnosis"]


@pytest.mark.parametrize("kind", ["hellinger", "euclidean"])
def test_alike_patients_lie_together(kind):
    shares = np.array([[0.5, 0.5, 0.0], [0.25, 0.25, 0.0], [0.0, 0.0, 0.7]])  # the second has less in the atlas
    made = between.similarity(sample_of(shares), kind)
    away = np.linalg.norm(made.points[0] - made.points[2])
    assert np.linalg.norm(made.points[0] - made.points[1]) == pytest.approx(0, abs=1e-7)
    assert away == pytest.approx(1 if kind == "hellinger" else np.sqrt(1.5))
    assert made.explained.sum() == pytest.approx(1)


def test_distances_find_their_scan_and_z_is_within_the_diagnosis():
    rows = scans(8)
    away = [1.0, 10, 2, 20, 3, 30, 50, 40]
    table = pd.DataFrame({"model": "fold-1", "scan": rows.scan, "distance_to_group": away}).sample(
        frac=1, random_state=0
    )
    found = between.distances(rows, table)
    assert list(found.distance) == away
    assert found.z[6] == pytest.approx((50 - 2.5) / (1.4826 * np.median([1.5, 0.5, 0.5, 47.5])))
    assert between.distances(rows, table.iloc[:0]).distance.isna().all()


# -- charts -----------------------------------------------------------------------------------------------------------


def strip(values, name="Diagnosis", kinds=("AD", "NC")) -> Covariate:
    return Covariate(name, pd.Series(values), kinds)


@pytest.mark.parametrize("count", [1, 5, 200])
def test_the_map_names_its_regions_and_its_bars_carry_patients(count):
    rows = scans(count)
    values = np.random.default_rng(0).uniform(0, 5, (count, 3))
    strips = [strip(rows.diagnosis), Covariate("Age, years", pd.Series(np.linspace(60, 80, count)))]
    chart = figures.patients_by_regions(
        values, ["Hippocampus", "Frontal Inf Orb 2", "Insula"],
        rows.assign(name=rows.scan, line=rows.scan), strips, GROUPS, z=False,
    )  # fmt: skip
    figure = validated(chart)
    heat = next(trace for trace in figure.data if trace.type == "heatmap")
    bars = [trace for trace in figure.data if trace.type == "bar"]
    assert list(heat.x) == ["Hippocampus", "Frontal Inf Orb 2", "Insula"]
    np.testing.assert_allclose(heat.z, values, atol=1e-4)
    assert [list(bar.customdata[0]) for bar in bars] == [["p0", "s0"]] * 2
    assert bars[1].marker.showscale
    assert bars[0].marker.color[0] == "#D55E00"
    assert figure.layout.yaxis.type == "category"
    assert figure.layout.height <= 1100
    assert figure.layout.yaxis.showticklabels == (count < 60)


def test_z_scores_have_a_scale_with_two_sides_and_holes():
    rows = scans(2)
    chart = figures.patients_by_regions(
        np.array([[np.nan], [9.0]]), ["Insula"], rows.assign(name=["a", "b"], line=["a", "b"]),
        [strip(rows.diagnosis)], GROUPS, z=True,
    )  # fmt: skip
    figure = validated(chart)
    heat = next(trace for trace in figure.data if trace.type == "heatmap")
    assert (heat.zmin, heat.zmax) == (-3, 3)
    assert "SD" in heat.colorbar.title.text


def test_lobes_have_axes_in_percent_and_means():
    table = scans(6).assign(temporal_share=np.linspace(0.1, 0.2, 6), cortical_share=0.5)
    figure = validated(figures.temporal_cortical(table, GROUPS, GROUPS, list(table.scan)))
    dots = [trace for trace in figure.data if trace.customdata is not None]
    assert [trace.name for trace in dots] == ["AD, n = 3", "NC, n = 3"]
    assert len({trace.marker.symbol for trace in dots}) == 2
    assert list(dots[0].customdata[1]) == ["p2", "s2"]
    assert "%" in figure.layout.xaxis.title.text
    assert "%" in figure.layout.yaxis.title.text
    crosses = [trace for trace in figure.data if trace.customdata is None]
    assert crosses[0].x[0] == pytest.approx(100 * table.temporal_share[::2].mean())
    assert crosses[0].error_x.array[0] == pytest.approx(100 * table.temporal_share[::2].std(ddof=1))


def test_points_are_coloured_by_numbers_or_by_kinds_and_none_is_lost():
    table, points = scans(6), np.random.default_rng(0).normal(size=(6, 2))
    ages = Covariate("Age, years", pd.Series([60.0, 61, 62, 63, 64, np.nan]))
    sites = Covariate("Site", pd.Series(["x", "x", "y", "y", None, None]), ["x", "y"])
    of_ages, of_sites = ["AD, n = 3", "NC, n = 2", "unknown, n = 1"], ["x, n = 2", "y, n = 2", "unknown, n = 2"]
    for covariate, names in ((ages, of_ages), (sites, of_sites)):
        chart = figures.similarity(
            SimilarityMap(points, np.array([0.6, 0.2])), table, covariate, GROUPS, GROUPS, list(table.scan)
        )
        figure = validated(chart)
        assert [trace.name for trace in figure.data] == names
        assert sum(len(trace.x) for trace in figure.data) == 6
        assert "60.0 % of the variance" in figure.layout.xaxis.title.text


def test_outliers_stand_out():
    table = scans(4).assign(distance=[1.0, 2, 9, 2], z=[0.0, 0, 7, 0])
    figure = validated(figures.distances(table, GROUPS, GROUPS, list(table.scan), 3.5))
    assert list(figure.data[0].marker.size) == [7, 12]
    assert list(figure.data[1].marker.size) == [7, 7]
    assert "robust z 7.00" in figure.data[0].hovertext[1]


# -- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(open_view):
    """Opens the page with the words of the URL."""
    return partial(open_view, "views/variability/page.py")


def problems(app: AppTest) -> list[str]:
    return [str(e.value) for e in (*app.exception, *app.error)]


def said(app: AppTest) -> str:
    return "\n".join(str(e.value) for kind in (app.markdown, app.caption, app.info) for e in kind)


def address(app: AppTest) -> dict[str, str]:
    return {k: v if isinstance(v, str) else v[-1] for k, v in app.query_params.items()}


@pytest.mark.parametrize("target", ["AD", "predicted", "true"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens(opened, view, target):
    app = opened(v_view=view, target=target, set="folds")
    assert not problems(app)
    assert app.title[0].value == "Variability"
    assert address(app)["v_view"] == view
    assert "Research use only" in said(app)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("filtered", [{"dx": "MCI"}, {"sub": "none-of-these"}, {"ok": "wrong"}])
def test_every_view_with_few_patients(opened, view, filtered):
    assert not problems(opened(v_view=view, set="folds", **filtered))


@pytest.mark.parametrize("view", VIEWS)
def test_a_filter_that_leaves_nothing_is_said(opened, view):
    app = opened(v_view=view, set="folds", dx="MCI", ok="correct")
    assert not problems(app)
    assert "No scan passes the filters" in said(app)


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_with_one_hand_picked_subject(opened, view):
    app = opened(v_view=view, set="folds", sub=access.pseudonym("a1"))
    assert not problems(app)
    assert "1 AD subject differ" in said(app)


def test_the_sheet_shows_everyone_the_farthest_first_and_opens_them(opened, monkeypatch):
    asked = []
    monkeypatch.setattr(sheet, "open_patient", lambda *who: asked.append(who))
    app = opened(v_view="sheet", set="folds")
    names = [button.label for button in app.button if button.key.startswith("sheet-")]
    far = opened(v_view="outliers", set="folds")
    everyone = app.session_state["_selection"].rows()
    assert sorted(names) == sorted(everyone.scan)
    found = sheet.in_order(Patients(app.session_state["_selection"]))
    known = found[found.z.notna()]
    assert (np.diff(known.z) <= 0).all()
    assert found.z.isna().to_numpy()[len(known) :].all()
    assert names == list(found.scan)
    assert not far.exception
    app.button(key=f"sheet-{found.model[1]}-{found.scan[1]}").click().run()
    assert asked == [(found.subject[1], found.scan[1])]


def test_the_sheet_reads_one_page_at_a_time(opened, monkeypatch):
    monkeypatch.setattr(sheet, "AT_ONCE", 2)
    read = []
    draw = tiles._draw
    monkeypatch.setattr(tiles, "_draw", lambda tile: read.append(tile.average.selection.scan) or draw(tile))
    app = opened(v_view="sheet", set="folds", v_page="2")
    names = [button.label for button in app.button if button.key.startswith("sheet-")]
    assert len(names) == 2
    assert set(read) <= set(names)


def test_the_sheet_is_for_those_who_may_see_patients(opened, monkeypatch):
    monkeypatch.setattr(access, "may_see_patients", lambda: False)
    app = opened(v_view="sheet", set="folds")
    assert not [button for button in app.button if button.key and button.key.startswith("sheet-")]


def test_a_target_without_heatmaps_is_said(opened):
    app = opened(v_view="regions", target="NC", set="folds")
    assert not problems(app)
    assert "No scan has relevance of regions as evidence for NC" in said(app)


def test_the_outliers_name_the_target_that_was_computed(opened):
    app = opened(v_view="outliers", target="NC", set="folds")
    assert "configured target, evidence for AD" in said(app)


def test_a_link_restores_the_map(opened):
    chosen = {
        "v_rows": "scans",
        "v_value": "z",
        "v_regions": "all",
        "v_split": "on",
        "v_sort": "age",
        "v_beside": "age",
    }
    app = opened(set="folds", v_view="regions", **chosen)
    assert not problems(app)
    assert app.button_group(key="v_rows").value == "scans"
    assert app.selectbox(key="v_sort").value == "age"
    assert app.toggle(key="v_split").value is True
    assert "n = 8 scans of 5 subjects" in said(app)
    assert chosen.items() <= address(app).items()


def test_subjects_are_counted_with_their_scans(opened):
    assert "n = 5 subjects, 8 scans" in said(opened(set="folds", v_view="lobes"))


def test_lobes_that_are_not_known_are_said(opened, tmp_path):
    run = copy_of_shared_store(tmp_path)
    file = run / "tables" / "regions.parquet"
    regions = pd.read_parquet(file)
    unknown = regions["merged"] == regions["merged"].iloc[0]
    regions.loc[unknown, "lobe"] = "unknown"
    regions.to_parquet(file)
    app = opened(tmp_path, set="folds", v_view="lobes")
    assert not app.exception
    (warning,) = [one.value for one in app.warning if "lobe is not known" in one.value]
    assert warning.startswith(f"Of 1 regions of this atlas the lobe is not known ({regions['merged'].iloc[0]})")
    assert "column lobe" in warning


def test_no_identifier_stands_in_the_link(opened):
    for view in VIEWS:
        values = " ".join(v for k, v in address(opened(set="folds", v_view=view)).items() if k.startswith("v_"))
        assert not any(name in values for name in ("a1", "n1", "m1"))


def test_a_bad_value_is_named_and_the_rest_is_used(opened):
    app = opened(v_view="similarity", v_colour="shoe-size", v_distance="euclidean")
    assert not problems(app)
    assert "v_colour=shoe-size" in said(app)
    assert app.button_group(key="v_distance").value == "euclidean"


def test_a_run_without_the_tables_says_so(opened, tmp_path):
    run = copy_of_shared_store(tmp_path)
    for name in ("region_relevance", "variability"):
        (run / "tables" / f"{name}.parquet").unlink()
    manifest = (run / "manifest.json").read_text()
    (run / "manifest.json").write_text(manifest.replace('"region_relevance"', '"x"').replace('"variability"', '"y"'))
    app = opened(tmp_path, v_view="regions")
    assert not problems(app)
    assert "no table region_relevance" in said(app)
    app = opened(tmp_path, v_view="outliers")
    assert not problems(app)
    assert "no distances between patients" in said(app)


def test_a_long_name_leaves_room_for_the_map():
    assert figures.short_name("sub-0001") == "sub-0001"
    short = figures.short_name("memory-clinic-north_study-2018_participant-000165_rescan")
    assert short == "memory-cl…165_rescan"
    assert len(short) == figures.LONGEST_NAME
