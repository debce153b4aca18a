"""Slices of Group maps in a browser: drawn there, the same as the files of them, and free for the server."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest
from browser import open_page, problems, settled
from PIL import Image
from store_factory import METHODS, shared_store

SHEET = "__viewers()[0].__viewer"
TOP = 84  # rows of the title of a grid and of the heading of a picture
COLOURED = 30  # by which red and blue differ
LINKS = {
    "paper": "",
    "axial": "g_plane=axial&g_n=5&g_side=radiological&g_smooth=off&g_from=70&g_colours=viridis",
    "signed": "g_plane=sagittal&g_value=signed&g_opacity=0.6&g_range=shared",
    "truth": "g_truth=on&g_n=5&g_plane=axial",
    "typed": "g_rule=value&g_at_of_relevance_cm3=0.3&g_colours=paper",
}


@pytest.fixture
def url(server) -> str:
    return f"{server(shared_store()).url}/group_maps"


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def drawn(page, heading: str, method: str = "sensitivity") -> np.ndarray:
    """The pixels of a canvas, (height, width, 3)."""
    address = page.evaluate(f"{SHEET}.png('{method}', '{heading}')")
    return pixels(base64.b64decode(address.partition(",")[2]))


def saved(page, ending: str, label: str = "Grid") -> bytes:
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as found:
        page.get_by_text(f"{label}, {ending}", exact=True).click()
    data = Path(found.value.path()).read_bytes()
    page.keyboard.press("Escape")
    return data


def link_of(page) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(page.url).query))


def embedded(drawing: str) -> np.ndarray:
    """The picture inside an SVG file, without its words."""
    return pixels(base64.b64decode(drawing.partition("base64,")[2].partition('"')[0]))


@pytest.mark.parametrize("link", LINKS)
def test_what_is_downloaded_is_what_is_seen_pixel_by_pixel(page, url, link):
    open_page(page, f"{url}?method=sensitivity&set=holdout&{LINKS[link]}&g_methods=sensitivity")
    sheet = embedded(saved(page, "SVG").decode())
    left = 0
    for heading in ("AD", "NC", "AD − NC"):
        seen = drawn(page, heading)
        height, width, _ = seen.shape
        # Headings may be wider than their pictures.
        parts = {x: sheet[TOP : TOP + height, x : x + width] for x in range(left, sheet.shape[1] - width + 1)}
        left, part = min(parts.items(), key=lambda one: np.abs(one[1] - seen)[::9, ::9].mean())
        wrong = np.abs(part - seen).max(axis=-1)
        assert (np.abs(seen[..., 0] - seen[..., 2]) > COLOURED).sum() > 300, heading  # there is something to compare
        assert np.quantile(wrong, 0.999) <= 3, heading
        if link != "truth":  # whose line ends between two voxels: which of two pixels has it is a matter of rounding
            assert wrong.max() <= 40, heading  # a value next to the threshold, or to the middle of two voxels
        left += width
    assert problems(page) == []


def test_looks_cost_the_server_no_picture_and_the_link_keeps_them(page, url):
    asked: list[str] = []
    page.on(
        "request",
        lambda sent: asked.append(sent.url) if re.search(r":\d+/(brainwhy/volume|media)/", sent.url) else None,
    )
    open_page(page, f"{url}?method=sensitivity&set=holdout")
    assert len(asked) == 1 + 2 * len(METHODS)  # planes of the template, and of both averages of every method
    assert all("plane=coronal" in one for one in asked)
    asked.clear()
    before = drawn(page, "AD")
    for name, value in (("Threshold", "80"), ("Opacity", "0.5")):
        page.get_by_label(name, exact=True).evaluate(
            f"one => {{ one.value = {value}; one.dispatchEvent(new Event('input')); }}"
        )
    page.get_by_text("Drawing", exact=True).click()
    page.get_by_label("Colours", exact=True).select_option("viridis")
    page.get_by_label("Convention", exact=True).select_option("radiological")
    page.wait_for_function(f"{SHEET}.ready")
    assert (drawn(page, "AD") != before).any()
    page.wait_for_timeout(600)
    settled(page)
    assert asked == []
    wanted = {"g_from": "80.0", "g_opacity": "0.5", "g_colours": "viridis", "g_side": "radiological"}
    assert wanted.items() <= link_of(page).items()
    assert "Radiological convention" in page.locator(".slices.note").inner_text()
    # Once the reader moves about, whole volumes come, and no plane is asked for again.
    page.get_by_label("Plane", exact=True).select_option("axial")
    page.wait_for_function(f"{SHEET}.ready && {SHEET}.volumes === {1 + 2 * len(METHODS)}")
    asked.clear()
    for mm in (-70, -60, -50):
        page.get_by_label("Centre, mm", exact=True).evaluate(
            f"one => {{ one.value = {mm}; one.dispatchEvent(new Event('input')); }}"
        )
        page.wait_for_function(f"{SHEET}.ready")
    now = drawn(page, "AD")
    page.wait_for_timeout(600)
    settled(page)
    assert asked == []
    open_page(page, page.url)
    assert (drawn(page, "AD") == now).all()
    assert problems(page) == []


def test_a_question_for_planes_that_are_not_there_is_refused_in_words(page, url):
    address = []
    page.on("request", lambda sent: address.append(sent.url) if "/volume/" in sent.url else None)
    open_page(page, f"{url}?method=sensitivity&set=holdout")
    start = address[0].split("&plane=")[0]
    for wrong in ("plane=oblique&at=1", "plane=axial&at=9999", "plane=axial&at=-1", f"plane=axial&at={'1,' * 40}1"):
        answer = page.request.get(f"{start}&{wrong}")
        assert (answer.status, "planes" in answer.text() or "plane" in answer.text()) == (400, True), wrong
