"""The Regions page: rankings against direct computation, charts, and the page on small stores."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from plotly_schema import validated
from store_factory import GROUPS, SCANS, shared_store
from test_dashboard_views import copy_run, text_of

from dashboard.data import runs
from dashboard.data.selection import ScanFilter, Selection
from dashboard.drawing import regions
from dashboard.shell import access
from dashboard.text import paper as text_paper
from dashboard.views.regions import one_region_charts, table_1
from dashboard.views.regions import queries as regions_queries
from dashboard.views.regions import ranking as region_ranking
from dashboard.views.regions import tables as regional
from dashboard.views.shared import region_relevance, region_values, wording
from engine.analysis.regions import Bootstrap, group_frame, region_frame
from store import list_runs
from store.measures import rank_correlation, to_shares
from store.reading.region_values import RegionValues

VIEW = "views/regions/page.py"
BOOTSTRAP = region_values.Bootstrap(200, 3)

pytestmark = pytest.mark.usefixtures("fresh_dashboard")


def region_table(names=("Hippocampus_L", "Hippocampus_R", "Vermis_3", "Ventricles")) -> pd.DataFrame:
    merged = [name.removesuffix("_L").removesuffix("_R") for name in names]
    return pd.DataFrame({
        "region": names, "merged": merged, "paper": [m.replace("_", "") for m in merged],
        "in_atlas": [n != "Ventricles" for n in names], "volume_cm3": [2.0, 3.0, 5.0, 10.0][: len(names)],
        "lobe": ["temporal", "temporal", "other", "other"][: len(names)],
    })  # fmt: skip


def random_group(seed: int, subjects: list[str], count: int = 4) -> region_values.Group:
    """Scans of random sums; gradients, so that shares enter the average."""
    sums = np.random.default_rng(seed).uniform(0.1, 5, (len(subjects), count))
    names = pd.Series(subjects)
    weight = (1 / names.groupby(names).transform("count")).to_numpy()
    return region_values.Group(sums, to_shares(sums), weight, names, len(names))


PEOPLE = ["b", "a", "a", "c", "d", "d", "d", "e", "f"]


def engine_frame(group: region_values.Group, table: pd.DataFrame, merged: bool) -> pd.DataFrame:
    """The engine's ranking of the same scans; its average map has one voxel a region."""
    parts = []
    for number, sums in enumerate(group.sums):
        frame = region_frame(sums[None], sums[None], table)
        parts.append(frame.assign(scan=f"s{number}", model="m"))
    values = RegionValues.of_table(pd.concat(parts), table["region"], ("share", "share_atlas"))
    subjects = pd.Series(group.subjects.to_numpy(), index=[f"s{n}" for n in range(len(group.sums))])
    average = (group.weight[:, None] * group.average).sum(axis=0) / group.weight.sum()
    return group_frame(values, average, table, subjects, merged, Bootstrap(BOOTSTRAP.resamples, BOOTSTRAP.seed))


@pytest.mark.parametrize("measure", ["share", "share_of_average", "density", "gain"])
def test_people_without_relevance_are_in_no_mean_and_counted(measure):
    """b has two maps that are 0 everywhere, the first of a too; the group equals the one without these scans."""
    table, full = region_table(), random_group(1, ["a", "a", "b", "b", "c", "d"])
    empty = np.array([True, False, True, True, False, False])
    sums = np.where(empty[:, None], 0.0, full.sums)
    weight = np.array([0, 1, 0, 0, 1, 1.0])
    with_empty = region_values.Group(sums, to_shares(sums), weight, full.subjects, 6)
    kept = full.subjects[~empty].reset_index(drop=True)
    without = region_values.Group(sums[~empty], to_shares(sums[~empty]), weight[~empty], kept, 3)
    found, expected = (
        region_ranking.ranking({"AD": g, "NC": random_group(2, PEOPLE)}, table, measure, True, GROUPS, BOOTSTRAP)
        for g in (with_empty, without)
    )
    for column in ("value", "low", "high", "rank"):
        np.testing.assert_allclose(found[column].astype(float), expected[column].astype(float), rtol=1e-12)
    ad = found[found["diagnosis"] == "AD"]
    assert (ad["subjects"] == 3).all()
    assert (ad["without_relevance"] == 1).all()
    said = regional.say_left_out({"guided_backprop": found}, str.upper)
    assert said.endswith("left out: GUIDED_BACKPROP 1 of 4 AD.")
    assert regional.say_left_out({"guided_backprop": expected}, str.upper) == ""


def test_a_region_without_voxels_has_no_value_and_no_rank():
    table = region_table()
    gone = table["merged"] == table["merged"].iloc[0]
    table = table.assign(volume_cm3=table["volume_cm3"].mask(gone, 0.0))
    group = random_group(1, PEOPLE)
    sums = np.where(gone.to_numpy()[None], 0.0, group.sums)
    group = region_values.Group(sums, to_shares(sums), group.weight, group.subjects, group.scans)
    for measure in ("share", "share_of_average", "density", "sum"):
        frame = region_ranking.ranking({"AD": group}, table, measure, True, GROUPS, BOOTSTRAP).set_index("region")
        missing = frame.loc[table["merged"].iloc[0]]
        assert missing[["value", "low", "high", "rank"]].isna().all()
        assert np.isfinite(frame.loc["Vermis_3", "value"])


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("measure", ["share", "share_of_average", "density"])
def test_values_intervals_and_ranks_are_those_of_the_engine(measure, merged):
    table, group = region_table(), random_group(1, PEOPLE)
    ours = region_ranking.ranking({"AD": group}, table, measure, merged, GROUPS, BOOTSTRAP).set_index("region")
    theirs = engine_frame(group, table, merged).set_index("region").loc[ours.index]
    np.testing.assert_allclose(ours["value"], theirs[measure], rtol=1e-12)
    if measure == "share":
        np.testing.assert_allclose(ours["low"], theirs["share_low"], rtol=1e-12)
        np.testing.assert_allclose(ours["high"], theirs["share_high"], rtol=1e-12)
    if measure == "share_of_average":
        assert ours["rank"].dropna().tolist() == theirs["rank"].dropna().tolist()
    assert (ours["subjects"] == 6).all()
    assert ours["rank"].isna().tolist() == [name == "Ventricles" for name in ours.index]
    assert sorted(ours["rank"].dropna()) == list(range(1, len(ours)))


def test_sum_is_the_mean_over_subjects_not_scans():
    group = random_group(2, ["a", "a", "b"])
    frame = region_ranking.ranking({"AD": group}, region_table(), "sum", False, GROUPS, BOOTSTRAP)
    by_hand = (group.sums[:2].mean(axis=0) + group.sums[2]) / 2
    assert frame["value"].to_numpy() == pytest.approx(by_hand)


def test_gain_is_a_ratio_of_shares_and_needs_both_groups():
    both = {"AD": random_group(3, list("abcde")), "NC": random_group(4, list("vwxyz"))}
    frame = region_ranking.ranking(both, region_table(), "gain", True, GROUPS, BOOTSTRAP)
    share = {d: to_shares(g.sums).mean(axis=0) for d, g in both.items()}
    ratio = share["AD"][2] / share["NC"][2]
    rows = frame[frame.region == "Vermis_3"]
    assert rows["value"].tolist() == pytest.approx([ratio, ratio])
    assert (rows["low"] < ratio).all()
    assert (rows["high"] > ratio).all()
    alone = region_ranking.ranking({"AD": both["AD"]}, region_table(), "gain", True, GROUPS, BOOTSTRAP)
    assert alone[["value", "low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize("people", [["a"], ["a", "b"], ["a", "b", "b", "c", "d"]])
def test_few_subjects_have_values_and_no_interval(people):
    """A bootstrap of two subjects is no interval, neither computed nor stored by an earlier version (M15)."""
    table, group = region_table(), random_group(5, people)
    frame = region_ranking.ranking({"AD": group}, table, "share", True, GROUPS, BOOTSTRAP)
    assert frame["value"].notna().all()
    assert frame[["low", "high"]].isna().all(axis=None)
    stored = engine_frame(group, table, True).assign(diagnosis="AD")
    assert stored[["share_low", "share_high"]].isna().all(axis=None)
    earlier = region_ranking.use_stored(frame, stored.assign(share_low=0.01, share_high=0.5), table, "share", True)
    assert earlier[["low", "high"]].isna().all(axis=None)
    both = {"AD": group, "NC": random_group(4, list("vwxyz"))}
    gain = region_ranking.ranking(both, table, "gain", True, GROUPS, BOOTSTRAP)
    assert gain["value"].notna().any()
    assert gain[["low", "high"]].isna().all(axis=None)
    assert region_ranking.ranking({}, table, "share", True, GROUPS, BOOTSTRAP).empty


def test_stored_numbers_take_the_place_of_computed_ones():
    table, group = region_table(), random_group(6, PEOPLE)
    frame = region_ranking.ranking({"AD": group}, table, "density", True, GROUPS, BOOTSTRAP)
    stored = engine_frame(group, table, True).assign(diagnosis="AD", share_low=0.01, share_high=0.5)
    stored["density"] += 1
    mixed = region_ranking.use_stored(frame, stored, table, "density", True)
    assert mixed["value"].to_numpy() == pytest.approx(frame["value"].to_numpy() + 1)
    assert mixed["low"].to_numpy() == pytest.approx([100 * 0.01 / v for v in (5, 5, 10)])
    assert mixed["high"].to_numpy() == pytest.approx([100 * 0.5 / v for v in (5, 5, 10)])


def test_agreement_is_spearman_over_atlas_regions():
    def ranked(values):
        frame = pd.DataFrame({"diagnosis": "AD", "region": list("abcd"), "in_atlas": [True] * 3 + [False]})
        return frame.assign(value=values)

    found = regional.agreement({"x": ranked([1.0, 2, 3, 99]), "y": ranked([9.0, 4, 1, 0])}, "AD")
    assert found.loc["x", "y"] == pytest.approx(-1)
    assert regional.verdict_on_agreement(found) == "The methods do not agree (median −1.00, −1.00 to −1.00)."
    assert regional.verdict_on_agreement(found.abs()).startswith("The methods agree (")
    assert regional.verdict_on_agreement(found * np.nan) == ""
    volumes = pd.Series([1.0, 2, 3, 4], list("abcd"))
    alone = regional.by_size_alone({"x": ranked([1.0, 2, 3, 99])}, "AD", volumes)
    assert alone["x"] == pytest.approx(1)
    assert rank_correlation(np.array([1, 2, 3, np.nan]), np.array([1, 4, 9, 0]), 3) == pytest.approx(1)
    assert np.isnan(rank_correlation(np.array([1, 1, 1]), np.array([1, 2, 3]), 3))


def test_people_in_words():
    rows = pd.DataFrame({"subject": ["a", "a", "b", "c"], "diagnosis": ["AD", "AD", "NC", "MCI"]})
    assert wording.people(rows, ["AD", "NC", "MCI"]) == "1 AD, 1 NC and 1 MCI subjects"
    assert wording.people(rows[:2], ["AD"]) == "1 AD subject"


# -- table 1 ------------------------------------------------------------------------------------------------------


def ranked_frame() -> pd.DataFrame:
    frame = pd.DataFrame({
        "diagnosis": "AD", "region": ["Frontal_Mid_2", "Temporal_Mid", "Ventricles"],
        "in_atlas": [True, True, False], "value": [0.1, 0.25, np.nan],
    })  # fmt: skip
    return region_ranking.add_ranks(frame)


def test_the_papers_regions_stand_under_ours_with_their_rank_here():
    table = region_table(("Frontal_Mid_2_L", "Temporal_Mid_L", "Ventricles"))
    table["paper"] = ["FrontalMid", "TemporalMid", "Ventricles"]
    paper = {"occlusion": [("FrontalMid", 4.2), ("Insula", 4.7)]}
    shown = table_1.beside_paper({"occlusion": ranked_frame()}, "AD", table, paper)
    assert shown.iloc[0].tolist() == [
        "Occlusion",
        "Middle temporal gyrus 25.0 %",
        "Middle frontal gyrus 10.0 %",
        "–",
        "–",
    ]
    assert shown.iloc[1].tolist()[:3] == [
        text_paper.SHORT, "Middle frontal gyrus 4.2 % (2)", "Insula 4.7 % (not in this atlas)",
    ]  # fmt: skip
    assert len(table_1.beside_paper({"occlusion": ranked_frame()}, "AD", table, {})) == 1


def test_latex_escapes_and_closes_what_it_opens():
    tables = {"AD": table_1.first_regions({"occlusion": ranked_frame()}, "AD")}
    names = {"Temporal_Mid": "Temporal Mid", "Frontal_Mid_2": "Frontal_Mid 2"}
    text = table_1.latex(tables, {"occlusion": "Occlusion"}, names, "100 % of run a_b")
    assert r"\caption{100 \% of run a\_b}" in text
    assert r"AD & 1 & Temporal Mid (25.0 \%) \\" in text
    assert r" & 2 & Frontal\_Mid 2 (10.0 \%) \\" in text
    assert text.count(r"\begin{") == text.count(r"\end{") == 2


# -- charts -------------------------------------------------------------------------------------------------------


def test_the_ranking_draws_intervals_in_the_unit():
    frame = region_ranking.ranking(
        {"AD": random_group(7, PEOPLE), "NC": random_group(8, PEOPLE)}, region_table(), "share", True, GROUPS, BOOTSTRAP
    )
    order = region_ranking.first_by_rank(frame, "NC", None)
    assert "Ventricles" not in order
    chart = regions.ranking(frame, order, list(GROUPS), GROUPS, axis="share", unit="%", factor=100, end=80)
    figure = validated(chart)
    rows = frame[frame.diagnosis == "NC"].set_index("region").loc[order]
    assert list(figure.data[1].x) == pytest.approx(100 * rows["value"].to_numpy())
    assert list(figure.data[1].error_x.array) == pytest.approx(100 * (rows["high"] - rows["value"]).to_numpy())
    assert list(figure.layout.yaxis.ticktext) == ["Hippocampus", "Vermis, lobule III"]
    assert figure.layout.xaxis.title.text == "share, %"
    assert figure.data[0].marker.symbol != figure.data[1].marker.symbol
    gains = validated(regions.gains(frame.assign(value=2.0, low=1.5, high=3.0), order, GROUPS, "AD / NC"))
    assert gains.layout.xaxis.type == "log"
    assert len(gains.data) == 1


def test_the_bump_chart_places_regions_without_overlap_and_writes_true_ranks():
    def ranked(order):
        frame = pd.DataFrame({"diagnosis": "AD", "region": order, "in_atlas": True, "value": np.arange(9, 0, -1.0)})
        return region_ranking.add_ranks(frame)

    rankings = {"sensitivity": ranked(list("abcdefghi")), "occlusion": ranked(list("ihgfedcba"))}
    figure = validated(regions.bump(rankings, "AD", 2, {"a": "temporal"}, "a"))
    nodes = next(trace for trace in figure.data if trace.mode == "markers+text")
    by_region = {
        (r, x): (text, y) for r, x, text, y in zip(nodes.customdata, nodes.x, nodes.text, nodes.y, strict=True)
    }
    assert {region for region, _ in by_region} == set("abhi")
    assert by_region["a", 0] == ("1", 1)
    assert by_region["a", 1] == ("9", 4)
    for column in (0, 1):
        assert sorted(y for (_, x), (_, y) in by_region.items() if x == column) == [1, 2, 3, 4]
    assert any("<b>a</b>" in text for trace in figure.data if trace.mode == "text" for text in trace.text)


def test_patients_are_drawn_only_for_those_who_may_see_them():
    table = pd.DataFrame({
        "scan": ["s1", "s2", "s3", "s4"], "subject": list("abcd"), "diagnosis": ["AD", "AD", "AD", "NC"],
        "age": [70.0, 75, 80, 72], "value": [0.1, 0.2, 0.3, 0.4],
    })  # fmt: skip
    figure = validated(one_region_charts.distribution(table, GROUPS, GROUPS, axis="share, %", factor=100))
    points = [trace for trace in figure.data if trace.type == "scatter"]
    assert points[0].customdata[0].tolist() == ["a", "s1"]
    assert list(points[0].x) == pytest.approx([10, 20, 30])
    assert [trace.median[0] for trace in figure.data if trace.type == "box"] == pytest.approx([20, 40])
    hidden = one_region_charts.means(table, GROUPS, GROUPS, axis="share, %", factor=100)
    assert [trace["x"] for trace in hidden.data] == [pytest.approx([20])]
    age = validated(one_region_charts.with_age(table, GROUPS, GROUPS, axis="share, %", factor=100))
    line = next(trace for trace in age.data if trace.mode == "lines")
    assert list(line.y) == pytest.approx([10, 30])
    assert age.layout.xaxis.title.text == "age in years"


# -- from a store -------------------------------------------------------------------------------------------------


@pytest.fixture
def selection(monkeypatch) -> Selection:
    """The tiny run, whose stored ranking is random numbers."""
    info = list_runs(shared_store())[0]
    return Selection(runs.Run(str(shared_store()), info.run, info.created), "folds", "sensitivity", "AD")


def test_sums_are_in_the_order_of_the_scans(selection):
    data = region_relevance.relevance(selection.run, "folds")
    table = runs.table(selection.run, "region_relevance")
    for place, row in enumerate(data.rows.itertuples()):
        chosen = table[(table.model == row.model) & (table.scan == row.scan) & (table.method == "occlusion")]
        expected = chosen.set_index("region")["sum"].reindex(data.regions.region).to_numpy()
        np.testing.assert_array_equal(data.of_target("occlusion", "AD")[place], expected)
    everyone = data.groups("sensitivity", "AD", np.ones(len(data.rows), bool), ["AD"])["AD"]
    assert sorted(everyone.weight) == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    first = data.groups("sensitivity", "AD", data.rows.scan.str.endswith("-1").to_numpy(), ["AD"])["AD"]
    assert first.weight.tolist() == [1, 1]  # one session each: subjects weigh the same
    assert np.isnan(data.of_target("occlusion", "NC")).all()
    true = data.of_target("occlusion", "true")
    assert np.isnan(true[(data.rows.diagnosis == "MCI").to_numpy()]).all()


def test_a_filter_recomputes_and_a_diagnosis_only_picks(selection, monkeypatch):
    full = region_relevance.relevance(selection.run, "folds")
    monkeypatch.setattr(region_relevance, "relevance", lambda *_: full)
    women = regions_queries.rankings(selection.of(scan_filter=ScanFilter(sex=("F",))), "share", True)["sensitivity"]
    passing = [scan for number, scan in enumerate(SCANS) if number % 2 == 0]
    rows = full.rows[full.rows.scan.isin(passing) & (full.rows.diagnosis == "AD")]
    shares = to_shares(full.of_target("sensitivity", "AD")[rows.index])
    expected = pd.DataFrame(shares).groupby(rows.subject.to_numpy()).mean().mean()
    found = women[women.diagnosis == "AD"].set_index("region")["value"]
    assert found["Hippocampus"] == pytest.approx(expected[0] + expected[1])
    assert women.scans[women.diagnosis == "AD"].iloc[0] == len(rows)

    stored = runs.table(selection.run, "group_regions")
    picked = regions_queries.rankings(selection.of(scan_filter=ScanFilter(diagnosis=("NC",))), "share", True)[
        "sensitivity"
    ]
    keys = {"model_set": "folds", "method": "sensitivity", "target": "AD", "diagnosis": "NC", "merged": True}
    own = stored[np.logical_and.reduce([stored[c] == v for c, v in keys.items()])].set_index("region")["share"]
    one_group = selection.of(scan_filter=ScanFilter(diagnosis=("AD",), sex=("F",)))
    gain = regions_queries.rankings(one_group, "gain", True)["sensitivity"]
    assert gain.diagnosis.unique().tolist() == ["AD"]
    assert gain.value.notna().all()  # the other group is still what it is compared with
    assert picked.diagnosis.unique().tolist() == ["NC"]
    assert picked.set_index("region").value["Hippocampus"] == own["Hippocampus"]


def test_what_enters_the_average_follows_the_scale(selection):
    data = region_relevance.relevance(selection.run, "folds")
    sums = data.of_target("sensitivity", "AD")
    p = data.rows.probability.to_numpy()[:, None]
    for scale, expected in {
        "relative": to_shares(sums),
        "margin": sums,
        "probability": sums * p * (1 - p),
    }.items():
        changed = replace(data, scale={"sensitivity": scale})
        np.testing.assert_allclose(changed.entering_average("sensitivity", sums), expected)
    drops = data.of_target("occlusion", "AD")
    np.testing.assert_array_equal(data.entering_average("occlusion", drops), drops)


# -- the page -----------------------------------------------------------------------------------------------------


@pytest.fixture
def open_page(open_view):
    return partial(open_view, VIEW)


@pytest.fixture
def store():
    return shared_store()


def test_the_page_opens_with_the_rankings(open_page, store):
    app = open_page(store, set="folds")
    assert not app.exception
    assert not app.error
    assert app.title[0].value == "Regions"
    said = text_of(app)
    assert "2 AD, 2 NC and 1 MCI subjects" in said
    assert region_ranking.INTERVAL_WORDS in said
    assert "Recomputed" not in said


PART_WORDS = {"methods": "Rank correlation", "paper": text_paper.SHORT, "region": "With age"}


@pytest.mark.parametrize("part", list(PART_WORDS))
def test_every_part_of_the_page(open_page, store, part):
    app = open_page(store, set="folds", r_part=part)
    assert not app.exception
    assert not app.error
    assert PART_WORDS[part] in text_of(app)
    if part != "paper":
        assert app.session_state["r_region"] in ("Hippocampus", "Temporal_Mid")


@pytest.mark.parametrize("measure", list(region_ranking.MEASURES))
def test_every_measure_has_a_page(open_page, store, measure):
    for view in ({"r_view": "one", "r_lr": "split", "r_n": "all"}, {"r_part": "region", "r_region": "Ventricles"}):
        app = open_page(store, set="folds", r_by=measure, **view)
        assert not app.exception
        assert not app.error
        assert all(app.session_state[key] is not None for key in view)
        assert app.session_state["r_by"] == measure
    assert app.session_state["r_region"] == "Ventricles"


def test_a_filter_is_named_and_one_subject_does_not_break(open_page, store):
    subject = access.pseudonym("a2")
    for part in ("methods", "paper", "region"):
        app = open_page(store, set="folds", sub=subject, r_part=part)
        assert not app.exception
        assert not app.error
    said = text_of(open_page(store, set="folds", sub=subject))
    assert "Recomputed for the scans that pass the filters." in said
    assert "1 AD subject lies" in said


def test_a_filter_that_leaves_nothing(open_page, store):
    app = open_page(store, set="folds", dx="MCI", ok="wrong")
    assert not app.exception
    assert "No scan passes the filters" in app.info[0].value


def test_a_target_that_nobody_has(open_page, store):
    app = open_page(store, set="folds", target="true", dx="MCI")
    assert not app.exception
    assert "no relevance as evidence for the true group" in app.info[0].value


def test_a_link_restores_the_page_and_a_wrong_part_is_named(open_page, store):
    link = {"r_part": "methods", "r_by": "density", "r_sort": "NC", "r_n": "20", "r_region": "Temporal_Mid_R"}
    app = open_page(store, set="folds", r_lr="3", **link)
    state = app.session_state
    assert {key: state[key] for key in link} == link
    assert state["r_lr"] == "merged"
    assert "r_lr=3" in text_of(app)


def test_a_run_without_region_tables_says_so(open_page, tmp_path):
    folder = copy_run(tmp_path, "less-1")
    (folder / "tables" / "region_relevance.parquet").unlink()
    manifest = folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"region_relevance"', '"gone"'))
    app = open_page(tmp_path)
    assert not app.exception
    assert "no relevance of regions" in app.info[0].value
    shutil.rmtree(folder)


def test_single_patients_are_hidden_without_the_role(open_page, store, monkeypatch):
    monkeypatch.setattr(access, "may_see_patients", lambda: False)
    monkeypatch.setattr(access, "FEWEST", 1)
    app = open_page(store, set="folds", r_part="region")
    assert not app.exception
    said = text_of(app)
    assert "This view failed" not in said
    assert "mean ± SD" in said
    assert "median" not in said
    assert "With age" not in said
    assert "a1" not in said.split()
