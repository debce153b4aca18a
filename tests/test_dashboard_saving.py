"""Charts saved from the page, in Chromium: the files open, and show what the page showed."""

from __future__ import annotations

import io
import os
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from browser import new_page, open_page, start_server, trouble
from PIL import Image

SVG = "{http://www.w3.org/2000/svg}"
CHARTS = {"bars": "chart-bars", "two panels": "chart-two-panels", "glass": "chart-glass"}
BUTTONS = {key: f".st-key-{name} .save" for key, name in CHARTS.items()} | {"glass": ".st-key-save-glass"}
FLAT = ("bars", "two panels")


@pytest.fixture(scope="module")
def harness(tmp_path_factory):
    server = start_server("", tmp_path_factory.mktemp("saving"), app="tests/helpers/saving_harness.py")
    yield server.url
    server.stop()


@pytest.fixture(scope="module")
def saved(browser, harness):
    """(chart, kind) -> file, saved once from a page in the light theme."""
    page = new_page(browser)
    open_page(page, f"{harness}?3d=1")
    page.locator(".st-key-glass .main-svg").first.wait_for()
    page.wait_for_timeout(1500)
    files = {(key, kind): save(page, key, kind) for key in CHARTS for kind in ("png", "svg")}
    yield files
    assert trouble(page) == []
    page.context.close()


def save(page, key: str, kind: str) -> bytes:
    with page.expect_download() as download:
        page.locator(f"{BUTTONS[key]} button[data-kind={kind}]").click()
    assert download.value.suggested_filename == f"{CHARTS[key]}.{kind}"
    data = Path(download.value.path()).read_bytes()
    if folder := os.environ.get("BRAINWHY_SHOTS"):
        Path(folder, f"saved-{CHARTS[key]}.{kind}").write_bytes(data)
    return data


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def coarse(picture: np.ndarray) -> np.ndarray:
    """The picture in blocks of about 8 pixels, so that half a pixel does not matter."""
    small = Image.fromarray(picture.astype(np.uint8)).resize((160, 32), Image.Resampling.BOX)
    return np.asarray(small).astype(int)


def test_a_saved_svg_stands_alone(saved):
    for key in FLAT:
        text = saved[key, "svg"].decode()
        root = ElementTree.fromstring(text)
        width, height = (int(root.get(side)) for side in ("width", "height"))
        assert height == 260
        assert width > 600
        assert "http://localhost" not in text
        # Every clip path that is used is in the file.
        defined = {f"url(#{e.get('id')})" for e in root.iter(f"{SVG}clipPath")}
        used = {e.get("clip-path") for e in root.iter() if (e.get("clip-path") or "none") != "none"}
        assert used <= defined
        assert root.find(f"{SVG}rect").get("fill") == "rgb(255, 255, 255)"


def test_clip_paths_that_name_the_page_become_names(browser, harness):
    """Below a base address Plotly writes the whole address of the page into them."""
    page = new_page(browser)
    open_page(page, harness)
    page.locator(".st-key-chart-bars .main-svg").first.wait_for()
    changed = page.evaluate("""() => [...document.querySelectorAll(".st-key-chart-bars [clip-path]")].map(
        e => e.setAttribute("clip-path", e.getAttribute("clip-path").replace(/#/, location.href + "#"))).length""")
    text = save(page, "bars", "svg").decode()
    assert changed > 0
    assert "localhost" not in text
    assert len(re.findall(r"url\(#", text)) >= changed
    page.context.close()


def test_words_stay_words_with_their_fonts(saved):
    root = ElementTree.fromstring(saved["bars", "svg"])
    words = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    for expected in ("Temporal Mid left", "Hippocampus & more", "3.00 %", "AD", "NC"):
        assert expected in words
    assert all("font-family" in element.get("style") for element in root.iter(f"{SVG}text"))


def test_a_saved_png_is_twice_the_size_and_shows_the_chart(saved):
    for key in FLAT:
        picture = pixels(saved[key, "png"])
        root = ElementTree.fromstring(saved[key, "svg"])
        assert picture.shape[:2] == (2 * int(root.get("height")), 2 * int(root.get("width")))
        assert picture[0, 0].tolist() == [255, 255, 255]
        assert (picture != 255).any(axis=-1).mean() > 0.05


def test_a_saved_chart_looks_as_on_the_page(browser, harness):
    """Dark theme: the ground of the page comes with it, and the pixels are those of the page."""
    page = new_page(browser, colours="dark")
    open_page(page, harness)
    page.wait_for_timeout(1000)
    data = save(page, "two panels", "svg")
    chart = page.locator(".st-key-chart-two-panels .js-plotly-plot")
    shown = pixels(chart.screenshot())
    page.goto("about:blank")
    page.set_content(f"<body style='margin:0'>{data.decode()}</body>")
    redrawn = pixels(page.locator("svg").first.screenshot())
    assert abs(np.subtract(redrawn.shape, shown.shape)).max() <= 1  # the page may lie between pixels
    assert redrawn[0, 0].max() < 60
    assert np.abs(coarse(redrawn) - coarse(shown)).max() < 40
    page.context.close()


def test_a_chart_in_3d_is_saved_with_its_scene(saved):
    picture = pixels(saved["glass", "png"])
    red, _, blue = np.moveaxis(picture, -1, 0)
    assert (red - blue > 60).sum() > 500
    assert (blue - red > 60).sum() > 500
    root = ElementTree.fromstring(saved["glass", "svg"])
    images = [e for e in root.iter(f"{SVG}image") if (e.get("href") or "").startswith("data:image/png")]
    assert len(images) == 1


def test_a_chart_that_is_not_there_is_said(browser, harness):
    page = new_page(browser)
    open_page(page, harness)
    box = page.locator(".st-key-save-nowhere")
    box.locator("button[data-kind=svg]").click()
    assert "not on the page" in box.locator("[role=status]").inner_text()
    page.context.close()
