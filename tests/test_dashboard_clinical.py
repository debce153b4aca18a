"""The Clinical page: correlations against scipy and least squares, and the page on small stores."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from plotly_schema import validated
from scipy import stats
from store_factory import make_larger_run, shared_store
from streamlit.testing.v1 import AppTest
from test_dashboard_views import text_of

from dashboard.data.runs import Run
from dashboard.data.selection import ScanFilter, Selection
from dashboard.shell import access
from dashboard.views.clinical import charts as figures
from dashboard.views.clinical import correlations as correlated
from dashboard.views.clinical import queries as clinical_queries
from dashboard.views.clinical import tables as clinical_tables
from dashboard.views.clinical.correlations import Evidence
from store import list_runs, measures, open_run

VIEW = "views/clinical/page.py"
GROUPS = ["AD", "NC"]


# -- numbers ----------------------------------------------------------------------------------------------------------


def columns(n: int, count: int = 9, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A column and many that go with it more and more."""
    random = np.random.default_rng(n)
    one = random.normal(size=n)
    many = random.normal(size=(n, count)) + np.linspace(-3, 3, count) * one[:, None]
    return (np.round(one), np.round(many, 1)) if ties else (one, many)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [10, 33, 400])
def test_rho_and_p_are_those_of_scipy(n, ties):
    one, many = columns(n, ties=ties)
    theirs = [stats.spearmanr(one, column) for column in many.T]
    rho = measures.spearman(one, many)
    np.testing.assert_allclose(rho, [t.statistic for t in theirs], atol=1e-12)
    np.testing.assert_allclose(measures.p_values(rho, n - 2), [t.pvalue for t in theirs], rtol=1e-9, atol=1e-250)


def test_the_interval_is_that_of_bonett_and_wright():
    low, high = measures.spearman_interval(np.array([0.5, 0.0, 1.0]), 28)
    away = stats.norm.ppf(0.975) * np.sqrt(1.125 / 25)
    assert low[0] == pytest.approx(np.tanh(np.arctanh(0.5) - away))
    assert high[0] == pytest.approx(np.tanh(np.arctanh(0.5) + away))
    assert low[1] == pytest.approx(-high[1])
    assert [low[2], high[2]] == pytest.approx([1, 1])


def test_intervals_hold_the_truth_as_often_as_they_say():
    random, rho, n = np.random.default_rng(5), 0.5, 40
    truth = 6 / np.pi * np.arcsin(rho / 2)  # Spearman's rho of a bivariate normal distribution
    one = random.normal(size=(n, 600))
    many = rho * one + np.sqrt(1 - rho**2) * random.normal(size=(n, 600))
    found = np.array([measures.spearman(a, b[:, None])[0] for a, b in zip(one.T, many.T, strict=True)])
    low, high = measures.spearman_interval(found, n)
    assert 0.92 < ((low < truth) & (truth < high)).mean() < 0.98


def test_a_partial_correlation_is_that_of_the_residuals_of_ranks():
    one, many = columns(60, ties=True)
    random = np.random.default_rng(1)
    age, sex = 70 + one + random.normal(size=60), random.integers(0, 2, 60)
    rho = measures.partial_spearman(one, many, np.column_stack([age, sex]))
    design = np.column_stack([np.ones(60), stats.rankdata(age), sex])

    def residual(values: np.ndarray) -> np.ndarray:
        y = stats.rankdata(values)
        return y - design @ np.linalg.solve(design.T @ design, design.T @ y)

    by_hand = [np.corrcoef(residual(one), residual(column))[0, 1] for column in many.T]
    np.testing.assert_allclose(rho, by_hand, atol=1e-10)
    assert np.abs(rho - measures.spearman(one, many)).max() > 0.01


def test_one_control_has_a_closed_form():
    one, many = columns(50, 1)
    control = one + np.random.default_rng(2).normal(size=50)
    xy, xz, yz = (
        stats.spearmanr(a, b).statistic for a, b in ((one, many[:, 0]), (one, control), (many[:, 0], control))
    )
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert measures.partial_spearman(one, many, control[:, None])[0] == pytest.approx(expected)


def test_what_the_controls_explain_or_what_is_constant_has_no_correlation():
    one, many = columns(20, 2)
    assert np.isnan(measures.partial_spearman(one, many, one[:, None])).all()
    many[:, 0] = 3
    assert np.isnan(measures.spearman(one, many)).tolist() == [True, False]
    assert np.isnan(measures.spearman(np.ones(20), many)).all()
    assert np.isnan(measures.p_values(np.array([np.nan]), 8)).all()


def test_false_discovery_rate_of_an_example_worked_by_hand():
    p = np.array([0.04, np.nan, 0.01, 0.03, 0.005, 0.8])  # 5 tests: 0.005 x 5/1, 0.01 x 5/2, 0.03 x 5/3, 0.04 x 5/4
    q = measures.false_discovery_rate(p)
    np.testing.assert_allclose(q, [0.05, np.nan, 0.025, 0.05, 0.025, 0.8])
    np.testing.assert_allclose(q[np.isfinite(p)], stats.false_discovery_control(p[np.isfinite(p)]))
    assert measures.false_discovery_rate(np.array([])).size == 0


# -- frames -----------------------------------------------------------------------------------------------------------


def evidence(n: int = 48, **changes) -> Evidence:
    """n subjects, half of them NC; the first two have two scans each."""
    random = np.random.default_rng(3)
    rows = pd.DataFrame({
        "subject": [f"p{i}" for i in range(n)], "scan": [f"s{i}" for i in range(n)],
        "diagnosis": [GROUPS[i % 2] for i in range(n)], "sex": [("F", "M")[i // 2 % 2] for i in range(n)],
        "mmse": random.integers(10, 31, n).astype(float), "cdr": np.nan, "cdr_sb": np.nan,
        "age": random.normal(70, 6, n),
    }).assign(**changes)  # fmt: skip
    values = random.uniform(size=(n, 3)) + 0.1 * rows["mmse"].to_numpy(float)[:, None] * [0, 1, 2]
    twice = np.r_[np.arange(n), 0, 1]
    rows = rows.iloc[twice].reset_index(drop=True)
    rows.loc[n:, "scan"] = ["s0-again", "s1-again"]
    return Evidence(rows, values[twice] * np.r_[np.ones(n), 3, 3][:, None], ("probability", "A", "B"))


def test_subjects_count_once_with_the_means_over_their_scans():
    found = evidence()
    people = found.by_subject()
    assert len(people.rows) == 48
    assert people.rows["scan"].tolist()[:3] == ["s0", "s1", "s2"]
    np.testing.assert_allclose(people.values[0], 2 * found.values[0])
    assert people.rows["mmse"].tolist() == found.rows["mmse"].tolist()[:48]


def test_means_are_over_the_scans_that_have_the_score():
    found = evidence()
    found.rows.loc[0, "mmse"] = np.nan
    of_first = {
        score: correlated.points(found, score, "A").set_index("subject")["value"]["p0"] for score in ("mmse", "age")
    }
    assert of_first == pytest.approx({"mmse": found.values[48, 1], "age": 2 * found.values[0, 1]})


def test_every_pair_within_each_diagnosis_and_together():
    found = evidence()
    scores = correlated.known_scores(found.rows)
    assert scores == ["mmse", "age"]
    table, few = correlated.correlations(found, scores, correlated.sets_of_subjects(GROUPS))
    assert not few
    assert len(table) == 2 * 3 * 3
    people = found.by_subject()
    own = (people.rows["diagnosis"] == "NC").to_numpy()
    row = table[(table.among == "NC") & (table.score == "mmse") & (table.feature == "B")].iloc[0]
    theirs = stats.spearmanr(people.rows["mmse"][own], people.values[own, 2])
    assert (row.rho, row.p) == (pytest.approx(theirs.statistic), pytest.approx(theirs.pvalue))
    assert (row.subjects, row.partial_subjects, row.controlled_for) == (24, 24, "age, sex")
    np.testing.assert_allclose(table["q"], stats.false_discovery_control(table["p"]))
    np.testing.assert_allclose(table["partial_q"], stats.false_discovery_control(table["partial_p"]))
    assert table[table.score == "age"]["controlled_for"].unique().tolist() == ["sex"]


def test_partial_correlations_lose_a_degree_of_freedom_for_each_control():
    people = evidence().by_subject()
    table, _ = correlated.correlations(people, ["mmse"], ["all"])
    row = table[table.feature == "A"].iloc[0]
    t = row.partial_rho * np.sqrt(44 / (1 - row.partial_rho**2))
    assert row.partial_p == pytest.approx(2 * stats.t.sf(abs(t), 44))


def test_subjects_without_sex_are_left_out_of_the_partial_correlation_only():
    found = evidence()
    found.rows.loc[found.rows["subject"].isin(["p2", "p4"]), "sex"] = ""
    table, _ = correlated.correlations(found, ["mmse"], ["all"])
    assert table["subjects"].unique().tolist() == [48]
    assert table["partial_subjects"].unique().tolist() == [46]


def test_nothing_to_control_for_gives_no_partial_correlation():
    table, _ = correlated.correlations(evidence(sex="F", age=np.nan), ["mmse"], ["AD"])
    assert table["partial_rho"].isna().all()
    assert table["partial_q"].isna().all()
    assert (table["controlled_for"] == "").all()


def test_fewer_than_ten_subjects_have_no_row_and_are_counted():
    table, few = correlated.correlations(evidence(18), ["mmse"], correlated.sets_of_subjects(GROUPS))
    assert table["among"].unique().tolist() == ["all"]
    assert few == {("mmse", "AD"): 9, ("mmse", "NC"): 9}
    table, few = correlated.correlations(evidence(4), ["mmse"], ["AD"])
    assert table.empty
    assert table.columns.tolist() == correlated.COLUMNS


def test_a_line_is_drawn_only_where_the_interval_leaves_0_out():
    table = pd.DataFrame({
        "among": ["AD", "NC", "MCI", "all"], "score": "mmse", "feature": "A", "low": [0.1, -0.1, -0.5, 0.3],
        "high": [0.5, 0.3, -0.1, 0.6],
    })  # fmt: skip
    fitted = clinical_tables.diagnoses_to_fit(table, "mmse", "A")
    assert fitted == ["AD", "MCI"]
    dots = pd.DataFrame({
        "subject": list("abc"), "scan": list("abc"), "diagnosis": "AD", "score": [1.0, 2, 3], "value": [0.1, 0.2, 0.3]
    })  # fmt: skip
    for names, lines in ((fitted, 1), (["NC"], 0)):
        chart = figures.scatter(dots, ["AD"], GROUPS, axes=("MMSE", "share, %"), factor=100, fitted=names)
        drawn = [trace for trace in validated(chart).data if trace.mode == "lines"]
        assert len(drawn) == lines
    np.testing.assert_allclose(chart.data[0]["y"], [10, 20, 30])


# -- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clinical")
    make_larger_run(folder, methods=("sensitivity", "area_occlusion"))
    return folder


@pytest.fixture
def opened(open_view):
    """Opens the page on a store with the words of the URL."""

    def page(place, **query) -> AppTest:
        app = open_view(VIEW, place, **query)
        assert not app.exception
        assert not app.error
        return app

    return page


def table_of(app: AppTest) -> pd.DataFrame:
    return app.dataframe[0].value


def without(store, folder, *scores: str) -> None:
    """The store with every value of some scores missing."""
    shutil.copytree(store, folder, dirs_exist_ok=True)
    for file in folder.glob("*/tables/scans.parquet"):
        pd.read_parquet(file).assign(**dict.fromkeys(scores, np.nan)).to_parquet(file)


def test_all_pairs_are_in_the_table_with_their_tests_counted(opened, store):
    app = opened(store, set="folds")
    table = table_of(app)
    assert set(table["among"]) == {"AD", "NC", "all"}
    assert set(table["feature"]) == {"p(AD)", "Hippocampus", "Middle temporal gyrus"}
    assert set(table["score"]) == set(correlated.SCORES.values())
    assert len(table) == 3 * 3 * 4
    said = text_of(app)
    assert "over the 36 tests of this table" in said
    assert "MMSE in MCI (3)" in said
    assert "12 AD, 12 NC and 3 MCI subjects" in said
    assert "mostly restates the difference between the groups" in said


def test_numbers_of_the_page_are_those_of_the_tables(opened, store):
    app = opened(store, set="folds", method="area_occlusion", cl_lr="split")
    run = open_run(store)
    shares = run.table("region_relevance", model_set="folds", method="area_occlusion")
    whole = shares.groupby(["model", "scan"])["sum"].transform("sum")
    hippocampus = shares.assign(own=shares["sum"] / whole)[shares.region == "Hippocampus_L"]
    own = hippocampus.merge(run.table("scans"), on="scan")
    means = own[own.diagnosis == "AD"].groupby("subject")[["own", "mmse"]].mean()
    rho = stats.spearmanr(means["own"], means["mmse"]).statistic
    table = table_of(app)
    row = table[(table.among == "AD") & (table.score == "MMSE") & (table.feature == "Hippocampus, left")].iloc[0]
    assert len(means) == row.subjects == 12
    assert row.rho == pytest.approx(rho)


def test_a_region_beyond_the_first_ones_joins_the_table(store):
    info = list_runs(store)[0]
    selection = Selection(Run(str(store), info.run, info.created), "folds", "sensitivity", "AD", ScanFilter())
    last = clinical_queries.evidence(selection, False).names[-1]
    found = clinical_queries.correlations(selection, False, 2, last)
    assert found.features[-1] == last
    assert len(found.features) == 4
    assert len(found.table) == 4 * len(correlated.SCORES) * 3


def test_a_score_that_nobody_has_is_not_offered(opened, store, tmp_path):
    without(store, tmp_path, "cdr", "mmse")
    app = opened(tmp_path, set="folds", cl_score="mmse")
    assert app.button_group(key="cl_score").options == ["CDR sum of boxes", "Age"]
    said = text_of(app)
    assert "Not offered, as no scan has a value: MMSE, CDR." in said
    assert "`cl_score=mmse`: choose cdr_sb, age" in said


def test_a_run_without_any_score_says_so(opened, store, tmp_path):
    without(store, tmp_path, *correlated.SCORES)
    assert "neither age nor a clinical score" in opened(tmp_path, set="folds").info[0].value


def test_few_subjects_have_dots_and_no_correlation(opened):
    app = opened(shared_store(), set="folds")
    assert not app.dataframe
    said = text_of(app)
    assert "No diagnosis has 10 subjects with this score" in said
    assert "Not given, below 10 subjects: MMSE in AD (2)" in said


def test_one_diagnosis_alone_needs_no_warning(opened, store):
    app = opened(store, set="folds", dx="AD")
    assert set(table_of(app)["among"]) == {"AD"}
    assert not app.warning


def test_a_filter_or_target_that_leaves_nothing_is_said(opened, store):
    assert "No scan passes the filters" in opened(store, set="folds", dx="MCI", ok="wrong").info[0].value
    assert "no relevance as evidence for the true group" in opened(store, target="true", dx="MCI").info[0].value


def test_a_link_restores_the_page(opened, store):
    link = {"cl_score": "age", "cl_lr": "split", "cl_n": "all", "cl_of": "Temporal_Mid_R", "cl_numbers": "closed"}
    app = opened(store, set="folds", **link)
    query = {key: value[-1] if isinstance(value, list) else value for key, value in app.query_params.items()}
    assert link.items() <= query.items()
    assert not app.dataframe


def test_without_the_role_no_single_subject_is_shown(opened, store, monkeypatch):
    monkeypatch.setattr(access, "may_see_patients", lambda: False)
    monkeypatch.setattr(access, "FEWEST", 1)
    app = opened(store, set="folds")
    said = text_of(app)
    assert "A dot is a subject" not in said
    assert len(table_of(app)) == 36
    assert [button.label for button in app.get("download_button")] == ["All pairs, CSV"]
