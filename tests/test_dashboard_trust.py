"""The Trust page: leaderboard, truth beside heatmaps, deletion, randomisation, stability and anatomy."""

from __future__ import annotations

import io
from functools import partial

import numpy as np
import pandas as pd
import pytest
from pages import given_charts
from plotly_schema import validated
from store_factory import METHODS, REGIONS, make_larger_run, shared_store
from streamlit.testing.v1 import AppTest
from test_dashboard_views import copy_run, text_of
from trust_factory import BASELINES, LAYERS, NETWORKS, add_trust, make_tables
from trusted_store import make_trusted_run

from dashboard.data import runs
from dashboard.drawing import planes
from dashboard.drawing.palette import POSITIVE, QUIET
from dashboard.shell import access, page, public
from dashboard.views.trust import charts as trust_charts
from dashboard.views.trust import leaderboard, queries, randomisation, similarity_charts
from dashboard.views.trust import maps as trust_maps
from dashboard.views.trust import tables as trust_tables
from dashboard.views.trust.page import PARTS
from dashboard.views.trust.tables import MEASURES
from store import list_runs, open_run
from store.reading.trust import trust_lines
from store.small_groups import FEWEST

VIEW = "views/trust/page.py"
NAMES = tuple(METHODS)

pytestmark = pytest.mark.usefixtures("fresh_dashboard")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A run with made-up tables of trust; never change it."""
    folder = tmp_path_factory.mktemp("trust")
    add_trust(copy_run(folder, "tiny-trust"), methods=NAMES, regions=REGIONS)
    return folder


@pytest.fixture
def run(store) -> runs.Run:
    return runs.Run(str(store), "tiny-trust", list_runs(store)[0].created)


@pytest.fixture
def tables() -> dict[str, pd.DataFrame]:
    return make_tables([*NAMES, *BASELINES], REGIONS, list(BASELINES), ("all", "AD", "NC"), 20)


@pytest.fixture
def offered(monkeypatch) -> list[page.Download]:
    """The downloads that the page has offered last."""
    kept: list[page.Download] = []
    finish = page.Header.finish

    def finished(self, downloads=()) -> None:
        kept[:] = downloads
        finish(self, downloads)

    monkeypatch.setattr(page.Header, "finish", finished)
    return kept


@pytest.fixture
def open_page(open_view):
    return partial(open_view, VIEW)


def charts_of(app: AppTest) -> list[str]:
    return [chart["figure"] for chart in given_charts(app)]


# -- frames -------------------------------------------------------------------------------------------------------


def score_rows(**columns) -> pd.DataFrame:
    row = {
        "model_set": "holdout", "method": "lrp", "diagnosis": "AD", "level": "group", "score": "voxel_auc",
        "value": 0.8, "value_low": 0.7, "value_high": 0.9, "reference": 0.5, "null_reference": 0.6, "difference": 0.3,
        "difference_low": 0.2, "difference_high": 0.4, "null_difference": 0.2, "null_difference_low": 0.1,
        "null_difference_high": 0.3, "scans": 5, "subjects": 4,
    }  # fmt: skip
    return pd.DataFrame([row | columns])


def test_truth_differs_from_the_stricter_reference_that_is_known():
    assert trust_tables.truth(score_rows(), "AD", ("voxel_auc",)).difference.tolist() == [0.2]
    untrained = score_rows(null_reference=np.nan, null_difference=np.nan)
    found = trust_tables.truth(untrained, "AD", ("voxel_auc",)).iloc[0]
    assert (found.difference, found.difference_low, found.low, found.subjects) == (0.3, 0.2, 0.7, 4)
    assert trust_tables.truth(score_rows(), "NC", ("voxel_auc",)).empty
    assert trust_tables.truth(score_rows(level="scan"), "AD", ("voxel_auc",)).empty
    both = pd.concat([score_rows(score="mass_accuracy", value=0.1), score_rows(score="relevance_mass_accuracy")])
    assert trust_tables.truth(both, "AD", trust_tables.MASS).value.tolist() == [0.8]


def test_randomisation_is_judged_when_all_layers_are_drawn_anew(tables):
    found = trust_tables.randomisation(tables["randomisation"]).set_index("method")
    assert found.value["sensitivity"] == pytest.approx(1 - 0.9)
    assert found.value["sobel"] == pytest.approx(0.9)
    assert found.reference.tolist() == [0.3] * 6
    shorter = tables["randomisation"].query("method != 'sensitivity' or step < 4")
    assert trust_tables.randomisation(shorter).set_index("method").value["sensitivity"] == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("value", "high", "said"),
    [(0.1, 0.2, "it falls below them"), (0.2, 0.4, "unclear"), (0.2, np.nan, "unclear"), (0.3, 0.4, "does not fall")],
)
def test_an_end_below_the_reference_is_claimed_only_where_its_whole_interval_is(value, high, said):
    row = pd.DataFrame({"value": [value], "low": [2 * value - high], "high": [high], "reference": [0.3]})
    assert said in randomisation.say_end(row).split("**")[1]


def test_methods_stand_from_best_to_worst_and_what_explains_nothing_below_them():
    rows = pd.DataFrame({"method": ["lrp", "deeplift", "occlusion", "sobel"], "value": [0.2, np.nan, 0.5, 0.9]})
    assert trust_tables.order(rows) == ["occlusion", "lrp", "deeplift", "sobel"]
    assert trust_tables.order(rows, low_is_good=True) == ["lrp", "occlusion", "deeplift", "sobel"]


def test_the_matrix_of_networks_is_symmetric_and_begins_with_the_held_out_one(tables):
    pairs = tables["stability_pairs"].query("method == 'occlusion' and diagnosis == 'AD' and measure == 'dice'")
    matrix = trust_tables.network_matrix(pairs)
    assert tuple(matrix) == NETWORKS
    values = matrix.to_numpy()
    np.testing.assert_array_equal(values, values.T)
    assert np.isnan(np.diag(values)).all()
    one = pairs.query("model_a == 'holdout-seed-1' and model_b == 'holdout-seed-3'").value.item()
    assert matrix.loc["holdout-seed-3", "holdout-seed-1"] == one


def test_the_hippocampus_is_shown_however_weak_its_correlation():
    rows = pd.DataFrame({"region": ["A", "B", "C", "Hippocampus_L", "D"], "correlation": [0.5, -0.7, 0.2, 0.01, None]})
    assert trust_tables.strongest(rows, ["Hippocampus_L"], 2).region.tolist() == ["B", "Hippocampus_L", "A"]
    assert trust_tables.strongest(rows, [], None).region.tolist() == ["B", "Hippocampus_L", "C", "A"]


def test_the_leaderboard_has_a_row_a_method_and_says_which_explain_nothing(run):
    found = leaderboard.measured(run)
    assert list(found) == list(MEASURES)[:1] + list(MEASURES)[2:]  # the factory has no score of mass
    table = trust_tables.leaderboard_table({key: series[0] for key, series in found.items()})
    assert table.Method.tolist()[-2:] == ["Edges (no explanation)", "Random map (no explanation)"]
    assert len(table) == len(NAMES) + 2
    cell = table.loc[0, MEASURES["randomisation"].axis]
    assert cell == "0.100 (0.060 to 0.140); reference 0.300, n = 20"
    assert "nothing imposed 0.550, difference +0.050" in table.loc[0, MEASURES["auc"].axis]
    long = trust_tables.leaderboard({key: pd.concat(series) for key, series in found.items()})
    assert len(long[long.measure == "anatomy"]) == 2 * 6
    assert not long[long.method == "sobel"].explains.any()


def test_verdicts_stand_from_the_most_trusted_method_to_what_explains_nothing(tmp_path):
    run = open_run(tmp_path, make_trusted_run(tmp_path).name)
    lines = trust_lines(run)
    order = trust_tables.verdict_order(lines)
    assert order == ["sensitivity", "occlusion", "guided_backprop", "area_occlusion", "smooth_random"]
    table = trust_tables.verdict_table(lines, order).set_index("Method")
    assert list(table) == ["Truth", "Randomisation", "Stability", "Faithfulness"]
    assert table.loc["Guided backpropagation", "Randomisation"].startswith(":red[:material/cancel:")
    assert table.loc["Occlusion", "Truth"].startswith(":orange[:material/help:")
    assert table.loc["Brain area occlusion", "Randomisation"].startswith(":gray[")
    assert table.iloc[-1].tolist() == [":gray[no explanation]"] * 4
    file = trust_tables.verdict_file(lines).set_index(["method", "figure"])
    assert file.verdict["guided_backprop", "randomisation"] == "fails"
    assert len(file) == 4 * 4


# -- charts -------------------------------------------------------------------------------------------------------


def test_dots_have_intervals_references_numbers_and_a_gap_before_what_explains_nothing(tables):
    rows = trust_tables.stability(tables["stability"], "dice", "all")
    methods = trust_tables.order(rows)
    figure = validated(trust_charts.dots([rows], methods, MEASURES["dice"]))
    references, dots = figure.data[0], figure.data[-1]
    assert list(references.x) == [0.25] * 6
    assert list(dots.y) == pytest.approx([0, 1, 2, 3, 4.9, 5.9])
    assert list(dots.error_x.array) == pytest.approx([0.06] * 6)
    assert dots.marker.color[-1] == QUIET != dots.marker.color[0]
    assert list(figure.layout.yaxis.ticktext)[-1] == "<i>explain nothing:</i>"
    written = [note.text for note in figure.layout.annotations]
    assert written[:2] == ["0.90", "0.84"]
    assert "○ maps of different scans" in written[-1]


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.2, 0.31), (0.43, 0.47), (-1, 1), (12, 950)])
def test_narrow_axes_have_a_few_round_numbers(low, high):
    found = trust_charts.round_numbers(low, high)
    assert 2 <= len(found) <= 5
    assert all(low <= number <= high for number in found)
    assert len(set(np.round(np.diff(found), 9))) == 1


def test_a_method_without_a_number_has_no_dot():
    rows = pd.DataFrame({"method": ["lrp", "deeplift"], "value": [0.5, np.nan]}).reindex(columns=trust_tables.COLUMNS)
    figure = validated(trust_charts.dots([rows], ["lrp", "deeplift"], MEASURES["random"]))
    assert list(figure.data[-1].x) == [0.5]
    assert [note.text for note in figure.layout.annotations][:2] == ["+0.50", "–"]


def test_curves_have_a_line_and_a_band_for_each_order(tables):
    own = tables["faithfulness_curves"].query(
        "method == 'occlusion' and unit == 'region' and direction == 'deletion' and diagnosis == 'AD'"
    )
    figure = validated(trust_charts.curves(own, "occlusion", "deletion"))
    lines = [trace for trace in figure.data if trace.fill is None]
    assert [line.name for line in lines] == ["own order", "random", "groups’ difference", "untrained"]
    assert len({line.line.dash for line in lines}) == 4
    assert (lines[0].x[0], lines[0].x[-1], lines[0].y[0], lines[0].y[-1]) == (0, 100, 1, 0)
    bands = [trace for trace in figure.data if trace.fill == "toself"]
    assert max(bands[1].y) == pytest.approx(own.margin_high[own.order == "random"].max())
    assert len(validated(trust_charts.curves(own[:0], "occlusion", "insertion")).data) == 0


def test_the_strip_has_a_column_a_layer_and_one_for_shuffled_labels(tables):
    own = tables["randomisation"].query("measure == 'ssim'")
    figure = validated(similarity_charts.strip(own, [*NAMES, *BASELINES], 0.0))
    z = np.array([[np.nan if v is None else v for v in row] for row in figure.data[0].z], float)
    assert z.shape == (6, len(LAYERS) + 2)
    assert z[0, len(LAYERS) - 1] == pytest.approx(0.1)
    assert np.isnan(z[:, len(LAYERS)]).all()
    assert list(figure.layout.xaxis.ticktext) == ["1", "2", "3", "4", "5", "6", "", "labels"]
    assert len(figure.data[1].text) == 6 * 7
    one = validated(similarity_charts.cascade(own[own.method == "occlusion"], "occlusion"))
    assert one.layout.shapes[0].y0 == 0.3
    assert "maps of different scans" in [note.text for note in one.layout.annotations]
    without = own[own.kind == "cascade"]
    assert len(validated(similarity_charts.strip(without, NAMES, 0.0)).data[0].z[0]) == len(LAYERS)


def test_regions_mark_the_hippocampus(tables):
    own = tables["anatomy"].query("method == 'sensitivity' and diagnosis == 'all'")
    figure = validated(trust_charts.regions(own, list(own.region), trust_tables.hippocampi(own)))
    strong = [colour == POSITIVE for colour in figure.data[0].marker.color]
    assert strong == ["Hippocampus" in region for region in own.region]
    assert figure.layout.yaxis.ticktext[0] == "<b>Hippocampus_L</b>"


def test_networks_write_every_pair_and_leave_the_diagonal_empty():
    values = pd.DataFrame([[np.nan, 0.4], [0.4, np.nan]], ["holdout", "holdout-seed-1"], ["holdout", "holdout-seed-1"])
    figure = validated(similarity_charts.networks(values, 0, 1))
    assert list(figure.data[1].text) == ["0.40", "0.40"]
    assert figure.data[0].z[0][0] is None


def test_the_outline_runs_around_what_is_inside_and_nowhere_else():
    anatomy = planes.Anatomy(np.full((40, 40, 40), 128.0), np.ones((40, 40, 40), bool), np.eye(4))
    sections, style = planes.sections(anatomy, "axial", [20.0]), planes.Style("axial")
    on = planes.background(sections, np.eye(4), style, 2)
    inside = np.zeros((1, 40, 40))
    inside[:, 10:30, 12:20] = 1
    drawn = on.pixels.copy()
    planes.draw_outline(drawn, on, inside, 2)
    changed = (drawn != on.pixels).any(axis=-1)[0]
    rows, columns = np.nonzero(changed)
    assert columns.min() >= 2 * 9
    assert columns.max() <= 2 * 31
    assert rows.min() >= 2 * (39 - 21)
    assert rows.max() <= 2 * (39 - 10)
    assert not changed[2 * 23 + 2 : 2 * 23 + 6, 40:44].any()  # the middle of what is inside
    coloured = (drawn == planes.OUTLINE).all(axis=-1)[0]
    assert 0.3 * changed.sum() < 3 * coloured.sum() < 3 * changed.sum()  # dashed
    plain = on.pixels.copy()
    planes.draw_outline(plain, on, np.zeros((1, 40, 40)), 2)
    np.testing.assert_array_equal(plain, on.pixels)


# -- the page -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS)
def test_every_part_shows_its_results_says_how_to_read_them_and_gives_them_away(open_page, store, offered, part):
    app = open_page(store, t_part=part)
    assert not app.exception
    assert not app.error
    assert not app.info
    assert app.title[0].value == "Trust"
    assert "n = " in text_of(app)
    assert offered
    assert len(charts_of(app)) >= (0 if part == "truth" else 2)
    for item in offered:
        data = item.data() if callable(item.data) else item.data
        assert len(data) > 100, item.label
    csv = next(item for item in offered if item.file_name.endswith(".csv"))
    assert len(pd.read_csv(io.StringIO(csv.data()))) > 0
    assert app.query_params["t_part"] == part


def test_choices_are_in_the_link_and_a_link_opens_them_again(open_page, store):
    app = open_page(store, t_part="stability", t_agreement="dice", t_level="group", t_whom="NC", t_method="occlusion")
    assert not app.exception
    assert app.query_params["t_agreement"] == "dice"
    assert app.query_params["t_whom"] == "NC"
    assert "Occlusion, Dice of the top 5 %" in text_of(app)
    other = open_page(store, t_part="randomisation", t_similarity="nonsense")
    assert "t\\_similarity=nonsense" in text_of(other) or "t_similarity=nonsense" in text_of(other)
    assert other.query_params["t_similarity"] == "ssim"


@pytest.mark.parametrize("part", [part for part in PARTS if part != "truth"])
def test_a_run_without_the_tables_says_what_would_be_here_and_the_command(open_page, part):
    app = open_page(shared_store(), t_part=part)
    assert not app.exception
    assert "would be here: this run has no table" in app.info[0].value
    assert len(charts_of(app)) == (part == "board")  # it has its scores of the truth
    assert app.code[0].value.startswith("python run_pipeline.py")


def test_a_run_with_one_measure_shows_that_one(open_page, tmp_path):
    add_trust(copy_run(tmp_path, "one"), methods=NAMES, regions=REGIONS, tables=["anatomy"])
    app = open_page(tmp_path, t_part="anatomy")
    assert not app.info
    assert len(charts_of(app)) == 2
    assert "would be here" in open_page(tmp_path, t_part="deletion").info[0].value


def test_marks_beside_the_truth_are_below_the_curves_of_simulated_runs(open_page, tmp_path):
    tables = ["faithfulness", "faithfulness_curves", "false_positives"]
    add_trust(copy_run(tmp_path / "with", "one"), methods=NAMES, regions=REGIONS, tables=tables)
    add_trust(copy_run(tmp_path / "without", "two"), methods=NAMES, regions=REGIONS, tables=tables[:2])
    app = open_page(tmp_path / "with", t_part="deletion", t_whom="NC")
    assert "What is marked beside the truth**, AD" in text_of(app)
    assert len(charts_of(app)) == 7
    app = open_page(tmp_path / "without", t_part="deletion")
    assert "beside the truth" not in text_of(app)
    assert len(charts_of(app)) == 5


def test_too_few_subjects_for_a_correlation_are_said(open_page, tmp_path):
    folder = add_trust(copy_run(tmp_path, "four"), methods=NAMES, regions=REGIONS, subjects=4)
    file = folder / "tables/anatomy.parquet"
    pd.read_parquet(file).assign(correlation=np.nan).to_parquet(file)
    app = open_page(tmp_path, t_part="anatomy")
    assert "No region has a correlation here, n = 4 subjects" in app.info[0].value
    assert not charts_of(app)


def test_real_scans_have_no_truth_and_the_page_says_so(open_page, tmp_path):
    folder = copy_run(tmp_path, "real", simulated=False)
    add_trust(folder, methods=NAMES, regions=REGIONS)
    (folder / "tables/truth_scores.parquet").unlink()
    app = open_page(tmp_path, t_part="truth")
    assert "nobody knows where a heatmap should point" in app.info[0].value
    board = open_page(tmp_path, t_part="board")
    assert "there is no truth to be found" in text_of(board)
    assert MEASURES["auc"].title not in text_of(board)


def test_a_regression_says_that_no_trust_was_measured(open_page, tmp_path):
    target = {"column": "mmse", "label": "MMSE", "unit": "", "threshold": 25.0}
    copy_run(tmp_path, "value", target=target, task="regression")
    app = open_page(tmp_path)
    assert not app.exception
    assert "No measure of trust was computed for this run: it predicts a value" in app.info[0].value


def test_new_scans_point_to_the_run_of_their_networks(open_page, tmp_path):
    copy_run(tmp_path, "new-scans", reference_run="tiny-of-old")
    app = open_page(tmp_path)
    assert not app.exception
    assert "`tiny-of-old`" in app.info[0].value
    assert "It is not in this store" in app.info[0].value
    both = tmp_path / "both"
    for name, more in (("new-scans", {"reference_run": "tiny-of-old"}), ("tiny-of-old", {})):
        copy_run(both, name, **more)
    app = open_page(both, run="new-scans")
    assert "`tiny-of-old`" in app.info[0].value
    assert "It is not in this store" not in app.info[0].value


def test_all_pictures_are_cut_at_one_place_with_the_same_outline(run, store, open_page):
    cut = trust_maps.Cut("axial", -74.0, 50.0)
    drawn = trust_maps.on_screen(run, NAMES, ("AD",), cut)
    assert list(drawn) == [trust_maps.CHANGE, *NAMES]
    assert {tuple(t.words for t in one.texts if t.words.endswith("mm")) for one in drawn.values()} == {("z -74 mm",)}
    app = open_page(store, t_part="truth", t_plane="axial", t_z="-74", t_methods=["occlusion", "sensitivity"])
    assert not app.exception
    assert [image.caption.split(",")[0] for element in app.get("image") for image in element.proto.imgs] == [
        "Visible change", "Sensitivity analysis", "Occlusion",
    ]  # fmt: skip


# -- readers without the role -------------------------------------------------------------------------------------


def test_all_together_goes_where_one_group_is_hidden(monkeypatch):
    table = pd.DataFrame({"diagnosis": ["all", "AD", "NC"], "subjects": [16, 12, 4], "value": [1.0, 2.0, 3.0]})
    assert public.large_cells(table).diagnosis.tolist() == ["all", "AD", "NC"]
    monkeypatch.setattr(access, "may_see_patients", lambda: False)
    assert public.large_cells(table).diagnosis.tolist() == ["AD"]
    assert public.large_cells(table.assign(subjects=[24, 12, 12])).diagnosis.tolist() == ["all", "AD", "NC"]
    assert public.large_cells(table[["subjects", "value"]]).value.tolist() == [1.0, 2.0]


@pytest.mark.parametrize("part", PARTS)
def test_readers_without_the_role_get_no_result_of_few(open_page, tmp_path, offered, monkeypatch, part):
    add_trust(copy_run(tmp_path, "few"), methods=NAMES, regions=REGIONS, subjects=FEWEST - 1)
    monkeypatch.setattr(access, "may_see_patients", lambda: False)
    app = open_page(tmp_path, t_part=part)
    assert not app.exception
    assert not charts_of(app)
    assert not offered
    assert f"fewer than {FEWEST}" in app.info[0].value


def test_readers_without_the_role_get_large_groups(tmp_path, open_page, offered, monkeypatch):
    folder = make_larger_run(tmp_path, methods=NAMES[:2])
    add_trust(folder, methods=NAMES[:2], regions=REGIONS, subjects=12)
    monkeypatch.setattr(access, "may_see_patients", lambda: False)
    for part in PARTS:
        app = open_page(tmp_path, t_part=part)
        assert not app.exception
        assert not app.info, part
        assert offered, part
    assert not any("scans" in name for name in queries.TABLES)


def test_tables_that_count_no_subjects_take_them_from_those_that_do(run):
    curves = queries.table(run, "faithfulness_curves")
    assert set(curves.subjects) == {20}
    assert set(queries.table(run, "stability_pairs").subjects) == {20}
