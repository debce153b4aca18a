"""Group maps: what is kept of an average, what is drawn of it, and the page."""

from __future__ import annotations

import gzip
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from pages import slice_captions, slices_missing, slices_of
from PIL import Image
from store_factory import GRID_MM, METHODS, affine, make_run, make_run_of_four_networks, shared_store
from streamlit.testing.v1 import AppTest

import store
from dashboard import viewer
from dashboard.data import anatomy, averages, runs
from dashboard.data.averages import Average
from dashboard.data.byte_cache import ByteCache
from dashboard.data.selection import Selection
from dashboard.drawing import brain_maps, cuts, planes
from dashboard.drawing.planes import Range, Style
from dashboard.shell import page as shell_page
from dashboard.text import formatting
from dashboard.viewer import group_volumes
from dashboard.viewer.volumes import OUTSIDE, VolumeRequest
from dashboard.views.group_maps import linked_viewer, slices
from dashboard.views.shared import average_pictures, map_grid, region_values
from dashboard.views.shared.average_pictures import Drawing
from dashboard.views.shared.map_controls import MapStyle
from store import list_runs
from store.export import nifti
from store.keys import GroupKey
from store.measures import percent_per_cm3

PAGE = "views/group_maps/page.py"
SHAPE = (9, 11, 8)
VIEW = {"plane": "coronal", "n": "3", "x": -90, "y": -124, "z": -70, "rule": "percentile", "from": 50.0, "at": {},
        "opacity": 1.0, "smooth": True, "colours": "hot", "side": "neurological"}  # fmt: skip

pytestmark = pytest.mark.usefixtures("fresh_dashboard")


@pytest.fixture
def run() -> runs.Run:
    info = store.list_runs(shared_store())[0]
    return runs.Run(str(shared_store()), info.run, info.created)


@pytest.fixture
def selection(run) -> Selection:
    return Selection(run, "holdout", "sensitivity", "AD")


@pytest.fixture
def volume() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    values[0] = values[:, 0] = values[:, :, -1] = 0
    return values


@pytest.fixture
def brain(volume) -> brain_maps.Brain:
    return brain_maps.Brain.of(volume != 0, affine())


def average(selection: Selection, diagnosis: str = "AD", **changes) -> Average:
    values = {key: changes.pop(key) for key in ("value", "scale") if key in changes}
    whom = replace(selection.scan_filter, diagnosis=(diagnosis,), **changes)
    return Average(selection.of(scan_filter=whom), **values)


def look(**changes) -> MapStyle:
    plain = MapStyle(Style(), (-125.0, -121.0), "size", None, False, 50.0, True, tuple(METHODS))
    return replace(plain, **changes)


# -- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize(("plane", "mm"), [("coronal", (-127.3, -120.0)), ("sagittal", (-90.0,)), ("axial", (-71.0,))])
def test_planes_of_a_kept_map_are_those_of_its_volume(volume, brain, plane, mm, smooth):
    kept = brain_maps.pack(volume, brain, 3, 2)
    found = brain_maps.places(brain, plane, mm).cut(kept.values(), smooth=smooth)
    expected = cuts.cut_all(volume[brain.box], brain.affine, plane, mm, smooth=smooth)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.abs(found).max() > 0.5


def test_a_kept_map_knows_its_quantiles_and_its_peak(volume, brain):
    volume[3, 4, 5] = -9
    kept = brain_maps.pack(volume, brain, 3, 2, factor=2.0)
    inside = 2 * np.abs(volume[volume != 0])
    assert kept.levels[[0, 500, 1000]] == pytest.approx(np.quantile(inside, [0, 0.5, 1]), rel=1e-5)
    assert kept.total == pytest.approx(inside.sum(), rel=1e-5)
    assert kept.peak == pytest.approx(-18)
    assert kept.peak_mm == pytest.approx(tuple(affine()[:3, :3] @ [3, 4, 5] + affine()[:3, 3]))
    assert (kept.scans, kept.subjects, kept.voxels) == (3, 2, np.count_nonzero(volume))


def test_small_values_keep_their_digits(volume, brain):
    values = 1e-7 * volume
    values[3, 4, 5] = 1e-3
    kept = brain_maps.pack(values, brain, 1, 1).values()[:-1]
    inside = brain.inside(values)
    usual = np.abs(inside) > 2e-8
    assert kept[usual] == pytest.approx(inside[usual], rel=0.01)


def test_a_map_of_zeros_has_a_range():
    mask = np.ones((3, 4, 3), bool)
    brain = brain_maps.Brain.of(mask, affine())
    kept = brain_maps.pack(np.zeros(mask.shape, np.float32), brain, 1, 1)
    scale = brain_maps.colour_range([kept.levels], "u", 50)
    assert scale.high > scale.low == 0
    assert not kept.values().any()


def test_a_range_pools_its_maps():
    first, second = np.linspace(0, 1, 1001), np.linspace(0, 3, 1001)
    scale = brain_maps.colour_range([first, second], "u", 50)
    pooled = np.concatenate([first, second])
    assert scale.low == pytest.approx(np.percentile(pooled, 50))
    assert scale.high == pytest.approx(np.percentile(pooled, 99.5))
    assert brain_maps.colour_range([first], "u", 50, at=0.25).low == 0.25
    typed_too_high = brain_maps.colour_range([first], "u", 50, at=5.0)
    assert typed_too_high.high > typed_too_high.low == 5.0


def test_slices_spread_around_a_centre_stay_in_the_brain():
    assert brain_maps.spread((-60, 60), 3, 0) == (-30, 0, 30)
    assert brain_maps.spread((-60, 60), 1, 17) == (17,)
    assert brain_maps.spread((-60, 60), 3, 50) == (20, 50, 60)


def test_a_cache_is_bounded_in_bytes():
    cache = ByteCache(100, len)
    first = cache.get("a", lambda: bytes(60))
    assert cache.get("a", lambda: bytes(1)) is first
    cache.get("b", lambda: bytes(30))
    cache.get("a", lambda: bytes(1))
    cache.get("c", lambda: bytes(30))
    assert "a" in cache
    assert "b" not in cache
    assert cache.bytes == 90


def test_a_cache_makes_what_several_ask_for_once():
    cache, asked, made = ByteCache(100, len), threading.Barrier(8), []

    def make() -> bytes:
        made.append(1)
        time.sleep(0.2)
        return bytes(10)

    def ask(_) -> bytes:
        asked.wait()
        return cache.get("a", make)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(8)))
    assert len(made) == 1
    assert all(one is found[0] for one in found)


def test_where_making_an_entry_fails_the_others_make_it():
    cache, started, asked = ByteCache(100, len), threading.Event(), threading.Event()

    def fails() -> bytes:
        started.set()
        asked.wait()
        time.sleep(0.1)
        raise BaseException("this session was stopped")  # as Streamlit stops a pass

    def second() -> bytes:
        started.wait()
        asked.set()
        return cache.get("a", lambda: bytes(10))

    with ThreadPoolExecutor(2) as threads:
        first, other = threads.submit(cache.get, "a", fails), threads.submit(second)
        assert other.result(5) == bytes(10)
        assert isinstance(first.exception(5), BaseException)


def test_pictures_that_push_each_other_out_of_the_cache_are_all_drawn(run, selection, monkeypatch):
    kept = [average(selection, diagnosis) for diagnosis in ("AD", "NC")]
    average_pictures.make_ready(kept, Style(), (-125.0, -121.0))

    def drawing(one: Average, top: float) -> Drawing:
        return Drawing((one,), (1.0,), (-125.0, -121.0), Style(), Range(0.0, top, ""))

    drawings = [drawing(one, top) for one in kept for top in (1.0, 2.0, 3.0)]
    expected = average_pictures.on_screen(drawings)
    for limit in (1, expected[0].bytes, 2 * expected[0].bytes + 99):
        small = ByteCache(limit, lambda one: one.bytes)
        monkeypatch.setattr(average_pictures, "_pictures", lambda small=small: small)
        for start in range(len(drawings)):  # what was drawn last is kept, and evicted while the others are drawn
            order = drawings[start:] + drawings[:start]
            average_pictures.on_screen(drawings[-1:])
            assert average_pictures.on_screen(order) == expected[start:] + expected[:start]


# -- averages ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_an_average_is_that_of_the_group_cells(run, selection, method):
    wanted = average(selection.of(method=method))
    reader = runs.opened(run)
    scale, statistic, _ = averages.measured(wanted)
    assert averages.is_stored(wanted)
    found = reader.group_map(GroupKey("holdout", method, "AD", scale), diagnosis=["AD"], statistics=[statistic])
    factor = 1e5 / GRID_MM**3 if scale == "relative" else 1
    expected = factor * getattr(found, statistic)[reader.mask]
    kept = averages.brain_map(wanted)
    np.testing.assert_allclose(kept.values()[:-1], expected, atol=1e-3 * np.abs(expected).max())
    assert (kept.scans, kept.subjects) == (3, 1)


@pytest.mark.parametrize(
    ("value", "statistic", "unit"),
    [("signed", "mean", "d margin"), ("spread", "sd", "SD, d margin"), ("size", "mean_abs", "|d margin|")],
)
def test_value_and_scale_can_be_chosen(selection, value, statistic, unit):
    assert averages.measured(average(selection, value=value, scale="margin")) == ("margin", statistic, unit)


def test_other_filters_average_the_heatmaps_themselves(run, selection):
    wanted = average(selection, sex=("F",), value="signed", scale="margin")
    assert not averages.is_stored(wanted)
    rows = wanted.selection.rows()
    assert set(rows.sex) == {"F"}
    reader = runs.opened(run)
    maps = [reader.heatmap(m, "sensitivity", s, target="AD") for m, s in zip(rows.model, rows.scan, strict=True)]
    calls = []
    style, positions = Style(), (-125.0,)
    assert not average_pictures.is_ready(wanted, style, positions)
    average_pictures.make_ready([wanted], style, positions, lambda done, count: calls.append((done, count)))
    np.testing.assert_allclose(averages.volume(wanted), np.mean(maps, axis=0), atol=1e-5)
    assert calls == [(i + 1, len(rows)) for i in range(len(rows))]
    assert averages.figures(wanted).scans == len(rows)
    assert average_pictures.is_ready(wanted, style, positions)


def test_who_has_no_scan_is_told_apart(selection):
    nobody, some = average(selection, "MCI", correct=True), average(selection, "NC")
    assert list(average_pictures.make_ready([nobody, some], Style(), (-125.0,))) == [nobody]


def test_a_share_of_the_map_sums_to_a_hundred_percent(run, selection):
    wanted = average(selection.of(method="occlusion"))
    factor = averages.share_factor(wanted)
    kept = averages.brain_map(wanted)
    cm3 = GRID_MM**3 / 1000
    assert factor * np.abs(kept.values()).sum() * cm3 == pytest.approx(100, rel=1e-3)


# -- the grid ---------------------------------------------------------------------------------------------------------


def grid_of(selection: Selection, chosen: MapStyle) -> list[map_grid.Panel]:
    return [
        panel
        for method in chosen.methods
        for panel in map_grid.panels(
            method, {d: average(selection.of(method=method), d) for d in ("AD", "NC")}, ["AD", "NC"], chosen
        )
    ]


def test_the_difference_is_the_first_group_minus_the_second(run, selection):
    panels = map_grid.panels(
        "sensitivity", {d: average(selection, d) for d in ("AD", "NC", "MCI")}, ["AD", "NC", "MCI"], look()
    )
    assert [panel.heading for panel in panels] == ["AD", "NC", "MCI", "AD − NC"]
    drawing = list(map_grid.drawings(panels, look(), {}).values())[-1]
    first, second = (averages.volume(average(selection, d)) for d in ("AD", "NC"))
    factor = 1e5 / GRID_MM**3
    own = anatomy.brain(run)
    expected = cuts.cut_all(factor * (first - second)[own.box], own.affine, "coronal", look().positions)
    np.testing.assert_allclose(average_pictures._heat(drawing), expected, atol=1e-2 * np.abs(expected).max())
    assert drawing.style.signed


def test_groups_of_a_method_share_a_scale_and_differences_have_their_own(selection):
    drawn = map_grid.drawings(grid_of(selection, look()), look(), {})
    scales = {(panel.method, panel.heading): drawing.scale for panel, drawing in drawn.items()}
    for method in METHODS:
        assert scales[method, "AD"] == scales[method, "NC"] != scales[method, "AD − NC"]
    assert scales["sensitivity", "AD"] != scales["occlusion", "AD"]


def test_one_scale_for_all_methods(selection):
    shared = look(shared=True)
    drawn = map_grid.drawings(grid_of(selection, shared), shared, {})
    assert len({d.scale for panel, d in drawn.items() if not panel.is_difference}) == 1
    assert {d.scale.unit for d in drawn.values()} == {averages.SHARED_UNIT}


def test_a_typed_threshold_is_where_colour_starts(selection):
    typed = look(percentile=None)
    drawn = map_grid.drawings(grid_of(selection, typed), typed, {"drop of margin": 0.123})
    assert {d.scale.low for p, d in drawn.items() if p.unit == "drop of margin"} == {0.123}


def test_a_group_without_scans_leaves_no_difference(selection):
    panels = map_grid.panels("sensitivity", {"AD": average(selection)}, ["AD", "NC"], look())
    assert [panel.heading for panel in panels] == ["AD"]


def test_the_grid_is_saved_with_its_words(selection):
    drawn = map_grid.drawings(grid_of(selection, look()), look(), {})
    sheet = map_grid.sheet(drawn, "A title", "A note")
    with Image.open(io.BytesIO(sheet.png())) as picture:
        assert picture.size == (sheet.width, sheet.height)
    words = sheet.svg().decode()
    for text in ("A title", "A note", "Brain area occlusion, AD: n = 1 subject, 3 scans", "AD minus NC"):
        assert text in words


def test_pictures_are_drawn_once(selection):
    drawn = list(map_grid.drawings(grid_of(selection, look()), look(), {}).values())
    first = average_pictures.on_screen(drawn)
    assert len(first) == 12
    assert all(a is b for a, b in zip(first, average_pictures.on_screen(drawn), strict=True))
    assert first[0] != first[1]


def test_peaks_are_named_by_region():
    atlas = np.zeros((3, 3, 3), np.int16)
    atlas[1, 2, 1] = 7
    regions = pd.DataFrame({"region": ["Temporal_Mid_L"], "index": [7]})
    mm = affine()[:3, :3] @ [1, 2, 1] + affine()[:3, 3]
    assert region_values.region_at(atlas, affine(), regions, mm) == "Middle temporal gyrus, left"
    assert region_values.region_at(atlas, affine(), regions, mm + 2) == "–"
    assert region_values.region_at(atlas, affine(), regions, mm + 200) == "–"


# -- the page ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def open_page(open_view):
    return partial(open_view, PAGE)


def text_of(app: AppTest) -> str:
    return "\n".join(str(e.value) for kind in (app.markdown, app.caption, app.info, app.warning) for e in kind)


def test_the_page_shows_every_method_and_group(open_page):
    app = open_page()
    assert not app.exception
    assert not app.error
    assert app.title[0].value == "Group maps"
    assert len(slice_captions(app)) == 3 * len(METHODS)
    first = ["AD, n = 1 subject, 3 scans", "NC, n = 2 subjects, 3 scans", "AD − NC, own scale"]
    assert slice_captions(app)[:3] == first
    assert "Average heatmaps of 1 AD subject, 2 NC subjects; evidence for AD." in text_of(app)
    assert "Brain area occlusion" in text_of(app)


def test_diagnosis_and_decision_are_answered_from_the_cells(open_page):
    app = open_page(dx=["MCI", "AD"], ok="correct")
    assert not app.error
    assert slice_captions(app)[0] == "AD, n = 1 subject, 2 scans"
    assert app.info[0].value.startswith("No MCI scan of the ")
    assert len([one for one in app.info if "MCI" in one.value]) == 1  # once, not at every method
    assert len(slice_captions(app)) == len(METHODS)


def test_other_filters_are_averaged_and_said(open_page):
    app = open_page(sex="M", g_value="signed", g_scale="margin")
    assert not app.error
    assert "(men)" in text_of(app)
    assert slice_captions(app)[0] == "AD, n = 1 subject, 1 scan"


def test_a_filter_that_leaves_nothing_is_said(open_page):
    app = open_page(dx="MCI", ok="wrong")
    assert not app.error
    assert "No scan passes the filters" in text_of(app)
    assert not slice_captions(app)


def test_the_head_says_which_filters_are_set_and_drops_them(open_page):
    app = open_page(set="holdout", ok="wrong", dx=["AD", "NC"])
    said = text_of(app)
    assert "scans**: AD, NC, predicted as the other group" in said
    if "passes the filters" in said:
        assert "All folds has" in said
    app.button(key="head-drop-all").click().run()
    assert "predicted as the other group" not in text_of(app)


def test_a_link_restores_the_controls(open_page):
    link = {
        "g_plane": "sagittal", "g_n": "5", "g_x": "-90", "g_range": "shared", "g_value": "spread", "g_smooth": "off",
        "g_colours": "cividis", "g_side": "radiological", "g_opacity": "0.5", "g_difference": "off",
        "g_methods": "occlusion", "g_rule": "value", "g_at_of_the_map_cm3": "0.5",
    }  # fmt: skip
    app = open_page(**link)
    assert not app.error
    [head] = slices_of(app, "head")
    wanted = {"plane": "sagittal", "n": "5", "x": -90, "smooth": False, "colours": "cividis", "side": "radiological",
              "opacity": 0.5, "rule": "value", "at": {"% of the map / cm3": 0.5}}  # fmt: skip
    assert wanted.items() <= head["options"].items()
    said = {key: values if isinstance(values, str) else values[0] for key, values in app.query_params.items()}
    assert link.items() <= said.items()
    assert slice_captions(app) == ["AD, n = 1 subject, 3 scans", "NC, n = 2 subjects, 3 scans"]
    assert "not used" not in text_of(app)


def test_a_bad_link_is_named(open_page):
    app = open_page(g_plane="oblique", g_from="200")
    assert not app.error
    assert "`g_plane=oblique`" in text_of(app)
    assert "`g_from=200`" in text_of(app)
    [head] = slices_of(app, "head")
    assert (head["options"]["plane"], head["options"]["from"]) == ("coronal", 50.0)


def test_the_chosen_method_in_3d(open_page):
    app = open_page(g_3d="on", g_3d_map="AD − NC", method="occlusion")
    assert not app.error
    assert not app.exception
    assert app.radio(key="g_3d_map").value == "AD − NC"
    assert "AD − NC. Averaged over blocks" in text_of(app)


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
@pytest.mark.parametrize("count", ["1", "7"])
def test_every_plane_and_number_of_slices_is_saved_as_seen(selection, plane, count):
    view = VIEW | {"plane": plane, "n": count, "colours": "cividis", "from": 70.0}
    seen, drawn = slices.as_seen(look(), grid_of(selection, look()), view)
    assert len(seen.positions) == int(count)
    assert {drawing.style.plane for drawing in drawn.values()} == {plane}
    assert map_grid.sheet(drawn, "title", "note").height > 0


def test_a_real_cohort_with_one_method(open_page, tmp_path):
    make_run(tmp_path, simulated=False, methods=["sensitivity"])
    app = open_page(tmp_path)
    assert not app.error
    assert len(slice_captions(app)) == 3
    assert "SIMULATED" not in text_of(app)


def test_a_saved_map_is_the_exact_average(run, selection):
    wanted = average(selection)
    reader = runs.opened(run)
    data = nifti.nifti_bytes(averages.volume(wanted), reader.affine(), simulated=True)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(data))
    found = reader.group_map(GroupKey("holdout", "sensitivity", "AD", "relative"), diagnosis=["AD"])
    np.testing.assert_array_equal(np.asarray(image.dataobj), found.mean_abs)
    np.testing.assert_array_equal(image.affine, reader.affine())


def test_pictures_are_offered_as_pages_and_their_clusters_as_a_table(open_view, monkeypatch):
    offered = {}
    monkeypatch.setattr(
        shell_page.Header, "finish", lambda self, downloads: offered.update({d.label: d for d in downloads})
    )
    assert not open_view(PAGE, set="folds").exception
    text = offered["Clusters and peaks, CSV"].data()
    assert text.splitlines()[0].startswith(
        "cluster,x_mm,y_mm,z_mm,value,cluster_mm3,region,region_words,method,map,unit,threshold"
    )
    found = pd.read_csv(io.StringIO(text))
    assert set(found.method) == set(METHODS)  # each has some above its threshold, in the unit of the picture
    assert (found.value.abs() > found.threshold).all()
    pages = [download for label, download in offered.items() if label.endswith("web page")]
    assert len(pages) == sum(label.endswith(", NIfTI") for label in offered)
    assert "SIMULATED" in pages[0].data()


def test_coarse_maps_do_not_claim_the_resolution_of_their_voxels(monkeypatch):
    place = shared_store()
    [info] = list_runs(place)
    run = runs.Run(str(place), info.run, info.created)
    plain = averages.resolution(run, "folds", "sensitivity")
    monkeypatch.setitem(formatting.COARSE, "sensitivity", "units of the last convolution")
    averages.resolution.cache_clear()
    assert averages.resolution(run, "folds", "sensitivity") == "units of the last convolution"
    averages.resolution.cache_clear()
    assert plain.endswith("mm voxels")


# -- opacity by agreement ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def four_networks(tmp_path_factory):
    """A run whose held-out network was trained again three times, by sensitivity alone."""
    folder = tmp_path_factory.mktemp("agreement")
    make_run_of_four_networks(folder, methods=("sensitivity", "area_occlusion"))
    return folder


def of_four(folder, **changes) -> Selection:
    info = store.list_runs(folder)[0]
    return Selection(runs.Run(str(folder), info.run, info.created), "holdout", "sensitivity", "AD").of(**changes)


def test_alpha_is_multiplied_by_the_agreement(four_networks):
    chosen = of_four(four_networks)
    averages_of = map_grid.averages_by_method(
        chosen, look(agreement=True, methods=("sensitivity",)), map_grid.filters_of({"AD": ("AD",)})
    )
    assert not average_pictures.make_ready(
        map_grid.read_first(averages_of["sensitivity"].values()), Style(smooth=False), (-125.0,)
    )
    (panel,) = map_grid.panels("sensitivity", averages_of["sensitivity"], ["AD"], look(agreement=True))
    (drawing,) = map_grid.drawings([panel], look(agreement=True, percentile=0.0), {}).values()
    assert drawing.style.signed
    faded, plain = (average_pictures.picture(one).pixels for one in (drawing, replace(drawing, opacity=None)))
    stored = runs.opened(chosen.run).array("agreement/sensitivity/AD/AD")
    assert (stored[1] == 0).any()
    assert (faded != plain).any()
    np.testing.assert_allclose(averages.volume(drawing.opacity), stored[1], atol=1e-6)
    np.testing.assert_allclose(nib_values(map_grid.agreement_nifti(panel)), stored[1], atol=1e-6)
    np.testing.assert_allclose(nib_values(map_grid.nifti_of(panel)), stored[0], atol=1e-9)


def nib_values(data: bytes) -> np.ndarray:
    return nib.Nifti1Image.from_bytes(gzip.decompress(data)).get_fdata()


def test_a_place_where_no_network_agrees_stays_grey():
    anatomy_of = cuts.Anatomy(np.ones((6, 6, 6)), np.ones((6, 6, 6), bool), affine())
    sections = planes.sections(anatomy_of, "coronal", [-126.0])
    on = planes.background(sections, affine(), Style())
    heat = np.ones((1, 6, 6), np.float32)
    scale = Range(0.1, 1.0, "")
    opaque, half, none = (
        planes.painted(on, heat, Style(), scale, None if share is None else np.full_like(heat, share))
        for share in (None, 0.5, 0.0)
    )
    assert (none == on.pixels).all()
    middle = (opaque.astype(float) + on.pixels) / 2
    np.testing.assert_allclose(half, middle, atol=1.5)


def test_the_switch_draws_where_networks_agree(four_networks, open_view):
    app = open_view(PAGE, four_networks, g_agreement="on", dx="AD")
    assert not app.exception
    assert any("the mean over 4 networks" in caption.value for caption in app.caption)
    assert "no agreement of networks for this diagnosis" in slices_missing(app)  # area occlusion
    assert not any(" − NC" in text for text in slice_captions(app))


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"set": "folds"}, "choose the held-out test set"),
        ({"target": "predicted"}, "choose evidence for one group"),
        ({"sex": "F"}, "a filter narrows these (women)"),
    ],
)
def test_the_switch_says_where_agreement_cannot_be_shown(four_networks, open_view, query, why):
    app = open_view(PAGE, four_networks, g_agreement="on", **query)
    assert not app.exception
    assert any(why in info.value for info in app.info), [info.value for info in app.info]


def test_a_run_of_two_networks_says_what_to_run(open_view):
    app = open_view(PAGE, shared_store(), g_agreement="on")
    assert any("at least 3 networks" in i.value and "--set trust.networks=4" in i.value for i in app.info)


@pytest.mark.parametrize("absolute", [False, True])
def test_what_is_downloaded_from_the_viewer_is_drawn_as_the_viewer_is(selection, absolute):
    whom = map_grid.filters_of({"AD": ("AD",), "NC": ("NC",)})
    style = look(methods=("sensitivity",), percentile=None, positions=())
    own = map_grid.averages_by_method(selection, style, whom)["sensitivity"]
    grid = map_grid.panels("sensitivity", own, whom, style)
    view = viewer.DEFAULTS | {"mm": [-90.0, -124.0, -70.0], "plane": "axial", "threshold": 80.0, "colours": "viridis"}
    view |= {"threshold": 0.25, "threshold_kind": "absolute"} if absolute else {}
    seen, drawn = linked_viewer.as_seen({}, style, grid, view)
    assert seen.positions == (-70.0,)
    assert (seen.style.plane, seen.style.colours) == ("axial", "viridis")
    assert [panel.heading for panel in drawn] == ["AD", "NC", "AD − NC"]
    pooled = np.percentile(np.concatenate([panel.levels() for panel in grid[:2]]), 80)
    top = max(panel.levels()[999] for panel in grid[:2])
    assert drawn[grid[0]].scale.high == drawn[grid[1]].scale.high == pytest.approx(top)
    assert drawn[grid[0]].scale.low == drawn[grid[1]].scale.low == pytest.approx(0.25 if absolute else pooled)
    assert map_grid.sheet(drawn, "title", "note").png().startswith(b"\x89PNG")


def test_the_viewer_is_given_the_agreement_of_networks_and_files_follow(four_networks):
    chosen = of_four(four_networks)
    plain, whom = look(methods=("sensitivity",)), map_grid.filters_of({"AD": ("AD",), "NC": ("NC",)})
    averages_of = map_grid.averages_by_method(chosen, plain, whom)["sensitivity"]
    grid = map_grid.panels("sensitivity", averages_of, whom, plain)
    why, agreed = linked_viewer.agreed_panels(chosen, plain, whom, grid)
    assert (why, list(agreed)) == ("", ["AD", "NC"])
    stored = runs.opened(chosen.run).array("agreement/sensitivity/AD/AD")
    volume = linked_viewer.agreement_volume(agreed["AD"])
    name = group_volumes.remember(volume)
    both, factor = group_volumes.read(VolumeRequest("", group_volumes.KIND, method=name))
    own = anatomy.brain(chosen.run)
    mean, count = np.split(both, 2)
    assert (mean[~own.mask] == OUTSIDE).all()
    assert (count[~own.mask] == OUTSIDE).all()
    np.testing.assert_allclose(count[own.mask], 4 * stored[1][own.box][own.mask], atol=1e-5)
    unit = percent_per_cm3(runs.opened(chosen.run).affine())
    np.testing.assert_allclose(mean[own.mask] * factor, unit * stored[0][own.box][own.mask], rtol=1e-3, atol=2 * factor)
    _, drawn = linked_viewer.as_seen(agreed, plain, grid, viewer.DEFAULTS | {"agreement": True})
    assert [drawing.opacity is not None for drawing in drawn.values()] == [True, True, False]
    filtered = {name: replace(one, sex="F") for name, one in whom.items()}
    assert "whole diagnoses" in linked_viewer.agreed_panels(chosen, plain, filtered, grid)[0]
