"""The viewer on Group maps in a browser: its maps are the averages of the store, and looks cost the server nothing."""

from __future__ import annotations

import functools
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from browser import open_page, problems, settled
from store_factory import shared_store

import store
from dashboard.data import runs
from dashboard.text import formatting
from store.keys import GroupKey
from store.measures import percent_per_cm3

METHOD, GROUPS, DIFFERENCE = "sensitivity", ("AD", "NC"), "AD − NC"
VIEWER = "__viewers()[0].__viewer"


@pytest.fixture
def url(server) -> str:
    return f"{server(shared_store()).url}/group_maps"


@pytest.fixture(scope="module")
def reader():
    return store.open_run(shared_store())


@functools.cache
def exact(diagnosis: str) -> np.ndarray:
    """The stored average of a group on the working grid, in the unit of the page."""
    run = store.open_run(shared_store())
    scale, statistic, _ = runs.average_of(run, METHOD)
    found = getattr(run.group_map(GroupKey("holdout", METHOD, "AD", scale), diagnosis=(diagnosis,)), statistic)
    return found * (percent_per_cm3(run.affine()) if scale == "relative" else 1.0)


def arrived(page) -> None:
    """Wait until the viewer has its volumes: its code comes after the page."""
    page.wait_for_function(f"__viewers().length && {VIEWER}.ready")
    settled(page)


def open_viewer(page, url: str) -> None:
    open_page(page, url)
    arrived(page)


def link_of(page) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(page.url).query))


def rested(page) -> dict[str, str]:
    """The link once the viewer has told the server of its view, 400 ms after the last change."""
    page.wait_for_timeout(600)
    settled(page)
    return link_of(page)


def hot_spot(reader) -> tuple[tuple[int, ...], list[float]]:
    """The voxel where the groups differ most, and its mm."""
    size = np.where(reader.mask, np.abs(exact("AD") - exact("NC")), -1)
    index = np.unravel_index(size.argmax(), size.shape)
    return tuple(map(int, index)), (np.diag(reader.affine())[:3] * index + reader.affine()[:3, 3]).tolist()


def test_an_old_link_opens_the_slices(page, url):
    open_page(page, url)
    assert page.locator("canvas.plane").count() == 0
    assert link_of(page)["g_as"] == "slices"
    assert page.locator(".slices-grid canvas").count() > 3


def test_a_click_on_a_hot_spot_names_the_region_and_the_value_in_both_groups_and_the_difference(page, url, reader):
    open_viewer(page, f"{url}?g_as=viewer&method={METHOD}&set=holdout&target=AD&gv_mm=0,0,0")
    index, mm = hot_spot(reader)
    for plane in ("coronal", "axial"):
        page.mouse.click(*page.evaluate(f"{VIEWER}.point('{plane}', {mm})"))
        page.wait_for_function(f"{VIEWER}.ready")
    assert page.evaluate(f"{VIEWER}.state.mm") == pytest.approx(mm)
    wanted = {group: float(exact(group)[index]) for group in GROUPS}
    wanted[DIFFERENCE] = wanted["AD"] - wanted["NC"]
    for name, value in wanted.items():
        assert page.evaluate(f"{VIEWER}.value('{name}')") == pytest.approx(value, rel=5e-3), name
    names = reader.table("regions").set_index("index").region
    panel = page.locator(".cursor-panel")
    assert panel.locator(".region").inner_text() == formatting.region_name(names[int(reader.atlas[index])])
    rows = [row.split("\t") for row in panel.locator("table").inner_text().splitlines()]
    assert [row[0] for row in rows[-3:]] == list(wanted)
    assert "Perc." not in panel.inner_text()
    assert rested(page)["gv_mm"] == ",".join(f"{v:g}" for v in mm)
    assert problems(page) == []


def test_the_averages_share_a_threshold_and_the_difference_has_its_own(page, url, reader):
    open_viewer(page, f"{url}?g_as=viewer&method={METHOD}&set=holdout&target=AD&gv_threshold=80")
    found = {name: page.evaluate(f"{VIEWER}.threshold('{name}')") for name in (*GROUPS, DIFFERENCE)}
    pooled = np.percentile(np.abs([exact(group)[reader.mask] for group in GROUPS]), 80)
    apart = np.percentile(np.abs(exact("AD") - exact("NC"))[reader.mask], 80)
    for group in GROUPS:
        assert found[group]["value"] == pytest.approx(pooled, rel=0.02)
    assert found["AD"]["top"] == pytest.approx(found["NC"]["top"], rel=1e-4)
    assert found[DIFFERENCE]["value"] == pytest.approx(apart, rel=0.02)


def test_looks_and_slices_ask_the_server_for_no_volume_and_the_link_keeps_them(page, url):
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url) if "/volume/" in sent.url else None)
    open_viewer(page, f"{url}?g_as=viewer&method={METHOD}")
    assert len(asked) == 2 + 3, asked  # anatomy, atlas, two averages and their difference
    asked.clear()
    for name, value in (("Threshold", "70"), ("Opacity", "0.5")):
        page.get_by_label(name, exact=True).evaluate(
            f"one => {{ one.value = {value}; one.dispatchEvent(new Event('input')); }}"
        )
    page.get_by_label("Colours", exact=True).select_option("viridis")
    page.locator(".method .title", has_text="NC").first.click()
    page.get_by_role("button", name="axial").click()
    page.locator("figure.view.coronal canvas.plane").press("PageUp")
    link = rested(page)
    assert asked == []
    wanted = {"g_as": "viewer", "gv_threshold": "70", "gv_opacity": "0.5", "gv_colours": "viridis", "gv_method": "NC",
              "gv_plane": "axial"}  # fmt: skip
    assert wanted.items() <= link.items()
    before = page.evaluate(f"{VIEWER}.state")
    page.reload()
    arrived(page)
    assert page.evaluate(f"{VIEWER}.state") == before
    assert problems(page) == []


def test_two_sets_stand_in_the_viewer_as_a_and_b(page, url):
    open_viewer(page, f"{url}?g_as=viewer&g_by=decision&method={METHOD}&set=folds")
    maps = page.locator(".method .title").all_inner_texts()
    assert maps == ["Right", "Wrong", "Right − Wrong"]
    assert "n = " in page.locator(".method .resolution").first.inner_text()
    assert problems(page) == []


def test_back_on_the_slices_nothing_of_the_viewer_is_left(page, url):
    open_viewer(page, f"{url}?g_as=viewer")
    page.locator(".st-key-g_as button", has_text="Slices").click()
    settled(page)
    assert page.locator("canvas.plane").count() == 0
    assert not [key for key in link_of(page) if key.startswith("gv_")]
    assert "Neurological convention" in page.locator(".slices.note").inner_text()


# This run has a banner and diagnoses without a column: most runs are higher up, as on the Patient page.
def test_a_phone_soon_shows_the_brain(fresh_page, url):
    page = fresh_page(width=390, height=844)
    open_viewer(page, f"{url}?g_as=viewer")
    assert page.locator("canvas.plane").first.bounding_box()["y"] < 830
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
