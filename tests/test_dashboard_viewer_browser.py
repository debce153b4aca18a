"""The viewer in a browser: what a reader sees and does."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from store_factory import METHODS, make_run_of_four_networks, shared_store

import store
from dashboard import viewer
from dashboard.data import map_images
from dashboard.drawing import palette
from dashboard.text.formatting import region_name
from dashboard.views.patient import pictures
from store.reading.agreement import scan_agreement
from store.reading.truth import voxel_truth

ROOT = Path(__file__).parent.parent
MODEL, SCAN = "fold-1", "a1-1"
# The anatomy is drawn smoothly: half a pixel beside the middle of a voxel, its neighbour shows.
GREY_TOLERANCE = 11
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
BASE = "heat"
VIEWER = "document.querySelector('[data-testid=stBidiComponentIsolated]').shadowRoot.querySelector('.viewer').__viewer"


@pytest.fixture(scope="module")
def reader():
    return store.open_run(shared_store())


@pytest.fixture(scope="module")
def server():
    """The address of the viewer alone on a page, on the tiny store, below a base path."""
    with serving(shared_store(), MODEL) as address:
        yield address


@contextlib.contextmanager
def serving(folder: Path, model: str) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "tests/helpers/viewer_harness.py", f"--server.port={port}",
               f"--server.baseUrlPath={BASE}", "--server.headless=true", "--server.fileWatcherType=none",
               "--browser.gatherUsageStats=false", "--server.address=localhost", "--", "--local"]  # fmt: skip
    environment = os.environ | {"HARNESS_STORE": str(folder), "HARNESS_MODEL": model}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://localhost:{port}/{BASE}/"
    try:
        _wait_for(f"{address}_stcore/health", process)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(address: str, process: subprocess.Popen) -> None:
    for _ in range(300):
        assert process.poll() is None, "the server ended"
        try:
            if urllib.request.urlopen(address, timeout=5).status == 200:
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server did not start")


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright and Chromium")
    with playwright.sync_playwright() as driver:
        if not CHROMIUM and not Path(driver.chromium.executable_path).exists():
            pytest.skip("needs Playwright and Chromium")
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        # One context: its pages share the cache, so that all but the first open fast.
        yield chromium.new_context(viewport={"width": 1440, "height": 1100})
        chromium.close()


class Page:
    """The viewer in a page of the browser."""

    def __init__(self, browser, address: str, **options) -> None:
        self.page = browser.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(f"{address}?{urlencode(options)}")
        self.page.wait_for_selector(".viewer[data-state=ready]", timeout=60_000)
        self.page.wait_for_function(f"{VIEWER}.ready")

    def ask(self, expression: str):
        self.page.wait_for_function(f"{VIEWER}.ready")
        return self.page.evaluate(f"{VIEWER}.{expression}")

    def canvas(self, plane: str):
        return self.page.locator(f"figure.view.{plane} canvas.plane")

    def click(self, plane: str, mm: list[float]) -> None:
        self.page.mouse.click(*self.ask(f"point('{plane}', {mm})"))

    def control(self, name: str):
        return self.page.get_by_label(name, exact=True)

    def slide(self, name: str, value: float) -> None:
        self.control(name).evaluate(f"(one) => {{ one.value = {value}; one.dispatchEvent(new Event('input')); }}")

    def told(self, test) -> dict:
        """What Python has, once it passes a test."""
        for _ in range(100):
            view = json.loads(self.page.locator("[data-testid=stCode] code").inner_text())["view"]
            if test(view):
                return view
            self.page.wait_for_timeout(100)
        raise AssertionError(f"Python was not told; it has {view}")


@pytest.fixture
def opened(browser, server):
    """Opens pages; at the end none of them may have had an error."""
    pages = []

    def open_page(**options) -> Page:
        pages.append(Page(browser, server, **options))
        return pages[-1]

    yield open_page
    for page in pages:
        page.page.close()
        assert not page.problems


def brain_position(reader, offset: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A voxel of the working grid inside the brain, and its mm."""
    index = np.argwhere(reader.mask)[len(np.argwhere(reader.mask)) // 2 + offset]
    return index, index * np.diag(reader.affine())[:3] + reader.affine()[:3, 3]


def length(page: Page, plane: str) -> float:
    """How long a line of some mm is drawn."""
    one, other = (page.ask(f"point('{plane}', {mm})") for mm in ([-80, -120, -70], [-90, -128, -76]))
    return float(np.hypot(*np.subtract(one, other)))


def test_a_wheel_with_ctrl_zooms_all_planes_around_the_pointer_and_the_right_button_moves_them(opened, reader):
    page = opened()
    mm, crosshair = brain_position(reader, 9)[1].tolist(), page.ask("state")["mm"]
    before, other, wide = page.ask(f"point('coronal', {mm})"), page.ask(f"point('axial', {mm})"), length(page, "axial")
    page.page.mouse.move(*before)
    page.page.keyboard.down("Control")
    page.page.mouse.wheel(0, -200)
    page.page.keyboard.up("Control")
    state = page.ask("state")
    assert state["zoom"] == pytest.approx(np.exp(0.8), abs=0.01)
    assert state["mm"] == crosshair
    assert page.ask(f"point('coronal', {mm})") == pytest.approx(before, abs=1)
    assert length(page, "axial") == pytest.approx(wide * state["zoom"], rel=0.02)
    page.page.mouse.down(button="right")
    page.page.mouse.move(before[0] + 20, before[1] - 12, steps=3)
    page.page.mouse.up(button="right")
    assert page.ask(f"point('coronal', {mm})") == pytest.approx([before[0] + 20, before[1] - 12], abs=1.5)
    assert page.ask("state")["mm"] == crosshair
    told = page.told(lambda view: view["zoom"] > 1)
    again = opened(zoom=told["zoom"], centre=",".join(map(str, told["centre"])), mm=",".join(map(str, crosshair)))
    assert again.ask(f"point('axial', {mm})") == pytest.approx(page.ask(f"point('axial', {mm})"), abs=1)
    page.canvas("coronal").press("0")
    assert page.ask("state")["zoom"] == 1
    assert page.ask(f"point('axial', {mm})") == pytest.approx(other, abs=0.5)
    assert page.told(lambda view: view["zoom"] == 1)["centre"] is None


def test_zero_goes_to_the_whole_brain_first_and_to_the_strongest_point_then(opened, reader):
    page = opened(mm=",".join(f"{v:g}" for v in brain_position(reader)[1]))
    start = page.ask("state")["mm"]
    page.canvas("coronal").press("+")
    page.canvas("coronal").press("0")
    assert page.ask("state")["zoom"] == 1
    assert page.ask("state")["mm"] == start
    page.canvas("coronal").press("0")
    assert page.ask("state")["mm"] != start


def test_the_hand_moves_a_zoomed_picture_with_the_left_button_and_the_crosshair_stays_in_sight(opened, reader):
    page = opened()
    mm, crosshair = brain_position(reader, 9)[1].tolist(), page.ask("state")["mm"]
    for key in ("+", "+", "h"):
        page.canvas("sagittal").press(key)
    start = page.ask(f"point('sagittal', {mm})")
    page.page.mouse.move(*start)
    page.page.mouse.down()
    page.page.mouse.move(start[0] - 10, start[1] + 6, steps=3)
    page.page.mouse.up()
    assert page.ask("state")["mm"] == crosshair
    assert page.ask(f"point('sagittal', {mm})") == pytest.approx([start[0] - 10, start[1] + 6], abs=1.5)
    for key in ["+"] * 4 + ["Shift+ArrowRight"] * 3:
        page.canvas("coronal").press(key)
    here, box = page.ask(f"point('coronal', {page.ask('state')['mm']})"), page.canvas("coronal").bounding_box()
    assert box["x"] <= here[0] <= box["x"] + box["width"]


PINCH = """canvas => {
    const box = canvas.getBoundingClientRect();
    const [x, clientY] = [box.left + box.width / 2, box.top + box.height / 2];
    const send = (type, pointerId, dx) => canvas.dispatchEvent(new PointerEvent(type,
        {pointerId, pointerType: 'touch', clientX: x + dx, clientY, button: type === 'pointermove' ? -1 : 0}));
    send('pointerdown', 11, -20);
    send('pointerdown', 12, 20);
    send('pointermove', 11, -40);
    send('pointermove', 12, 40);
    send('pointerup', 11, -40);
    send('pointerup', 12, 40);
}"""


def test_two_fingers_zoom(opened):
    page = opened()
    page.canvas("coronal").evaluate(PINCH)
    assert page.ask("state")["zoom"] == pytest.approx(2, abs=0.1)


def test_the_window_of_the_anatomy_makes_it_darker_and_lighter(opened, reader):
    page = opened(opacity="0")
    _, mm = voxel_with(reader, "sensitivity", rank=0.5)
    page.click("coronal", mm)
    page.click("axial", mm)
    page.click("coronal", [mm[0] + 8, mm[1], mm[2]])
    usual = page.ask(f"pixel('coronal', {mm})")[0]
    page.page.get_by_text("More", exact=True).click()
    page.slide("Anatomy is black below", 30)
    darker = page.ask(f"pixel('coronal', {mm})")[0]
    page.slide("Anatomy is black below", 0)
    page.slide("and white above", 60)
    lighter = page.ask(f"pixel('coronal', {mm})")[0]
    assert darker < usual < lighter
    page.slide("Anatomy is black below", 80)
    assert page.ask("state")["black"] == page.ask("state")["white"] - 1
    assert page.told(lambda view: view["white"] == 60)["black"] == 59


def test_a_click_moves_the_crosshair_there_and_python_hears_of_it(opened, reader):
    page = opened()
    _, mm = brain_position(reader)
    page.click("coronal", mm.tolist())
    page.click("axial", mm.tolist())
    assert page.ask("state")["mm"] == mm.tolist()
    assert page.told(lambda view: view["mm"] == mm.tolist())["threshold"] == 90
    assert f"({', '.join(f'{v:g}' for v in mm)})".replace("-", "−") in page.page.locator(".cursor-panel").inner_text()


def test_the_value_under_the_cursor_is_that_of_the_store(opened, reader):
    page = opened(mm="0,0,0")
    for offset in (-20, 7, 33):
        index, mm = brain_position(reader, offset)
        page.click("sagittal", mm.tolist())
        page.click("coronal", mm.tolist())
        assert page.ask("state")["mm"] == mm.tolist()
        region = viewer_region(reader, index)
        assert page.page.locator(".cursor-panel .region").inner_text() == region
        for method in METHODS:
            wanted = float(reader.heatmap(MODEL, method, SCAN, target="AD")[tuple(index)])
            assert page.ask(f"value('{method}')") == pytest.approx(wanted, abs=1e-3), method


def viewer_region(reader, index) -> str:
    names = reader.table("regions").set_index("index").region
    return region_name(names[int(reader.atlas[tuple(index)])])


def voxel_with(reader, method: str, *, rank: float) -> tuple[float, list[float]]:
    """The value and mm of the brain voxel of the working grid with this rank by size, from 0 (weakest) to 1."""
    size = np.where(reader.mask, np.abs(reader.heatmap(MODEL, method, SCAN, target="AD")), np.nan)
    order = np.argsort(size, axis=None)[: reader.mask.sum()]
    index = np.array(np.unravel_index(order[round(rank * (len(order) - 1))], size.shape))
    mm = index * np.diag(reader.affine())[:3] + reader.affine()[:3, 3]
    return float(reader.heatmap(MODEL, method, SCAN, target="AD")[tuple(index)]), mm.tolist()


def grey_at(reader, mm: list[float]) -> float:
    template = reader.array("template")
    index = np.rint(np.array(mm) - reader.affine("template")[:3, 3]).astype(int)
    return template[tuple(index)] / template.max() * 255 * 0.85


@pytest.mark.parametrize("colours", ["hot", "viridis"])
@pytest.mark.parametrize("rank", [1, 0])
def test_the_colour_of_a_voxel_follows_from_its_value(opened, reader, colours, rank):
    value, mm = voxel_with(reader, "sensitivity", rank=rank)
    place = ",".join(map(str, mm))
    page = opened(mm=place, smooth="no", outlines="none", opacity="1", threshold="10", colours=colours)
    scale = page.ask("threshold('sensitivity')")
    part = np.clip((abs(value) - scale["value"]) / (scale["top"] - scale["value"]), 0, 1)
    table = palette.lookup(colours, True)
    *colour, alpha = table[palette.LEVELS + int(np.sign(value) * round(part * palette.LEVELS))]
    wanted = 255 * np.array(colour) * alpha + grey_at(reader, mm) * (1 - alpha)
    for plane in ("coronal", "sagittal", "axial"):
        np.testing.assert_allclose(page.ask(f"pixel('{plane}', {mm})"), wanted, atol=GREY_TOLERANCE)


def test_the_threshold_hides_what_is_not_above_it(opened, reader):
    value, mm = voxel_with(reader, "sensitivity", rank=0.98)  # so that the slider goes beyond its value
    place = ",".join(map(str, mm))
    page = opened(mm=place, smooth="no", outlines="none", opacity="1", threshold="50", method="sensitivity")
    red, _, blue = page.ask(f"pixel('coronal', {mm})")
    assert abs(red - blue) > 40
    page.page.locator("summary").click()
    page.control("Threshold in").select_option("absolute")
    assert page.ask("threshold('sensitivity')")["unit"] == "margin"
    page.slide("Threshold", abs(value) * 0.97)
    red, _, blue = page.ask(f"pixel('coronal', {mm})")
    assert abs(red - blue) > 10
    page.slide("Threshold", abs(value) * 1.03)
    hidden = page.ask(f"pixel('coronal', {mm})")
    assert np.ptp(hidden) <= 1
    np.testing.assert_allclose(hidden, [grey_at(reader, mm)] * 3, atol=GREY_TOLERANCE)
    page.told(lambda view: view["threshold_kind"] == "absolute" and view["threshold"] > abs(value))


def test_the_percentile_is_of_the_brain(opened, reader):
    page = opened(threshold="75")
    for method in ("sensitivity", "guided_backprop"):
        inside = np.abs(reader.heatmap(MODEL, method, SCAN, target="AD")[reader.mask])
        low, high = np.quantile(inside, [0.73, 0.77])
        assert low <= page.ask(f"threshold('{method}')")["value"] <= high


def test_keys_move_the_crosshair_and_go_to_the_strongest_voxel(opened, reader):
    page = opened(mm="-91,-126,-73", method="sensitivity")
    start = page.ask("state")["mm"]
    page.canvas("coronal").focus()
    steps = {"ArrowRight": (0, 1), "ArrowUp": (2, 1), "PageUp": (1, 1), "ArrowLeft": (0, -1), "ArrowDown": (2, -1)}
    for key, (axis, change) in steps.items():
        before = page.ask("state")["mm"]
        page.page.keyboard.press(key)
        after = page.ask("state")["mm"]
        assert after[axis] - before[axis] == change, key
    assert page.ask("state")["mm"] == [start[0], start[1] + 1, start[2]]
    page.page.keyboard.press("0")
    value, mm = voxel_with(reader, "sensitivity", rank=1)
    assert abs(page.ask("value('sensitivity')")) == pytest.approx(abs(value), abs=1e-3)
    assert np.abs(np.array(page.ask("state")["mm"]) - mm).max() <= 1
    page.page.keyboard.press("?")
    assert page.page.get_by_role("dialog").is_visible()


def test_the_wheel_and_the_profile_change_the_slice(opened):
    page = opened(mm="-91,-126,-73")
    page.canvas("coronal").hover()
    page.page.mouse.wheel(0, -100)
    page.page.wait_for_function(f"{VIEWER}.state.mm[1] > -126")
    moved = page.ask("state")["mm"]
    assert (moved[0], moved[2]) == (-91, -73)
    page.page.locator("figure.view.axial canvas.profile").focus()
    page.page.keyboard.press("End")
    assert page.ask("state")["mm"][2] > -73
    assert page.ask("state")["mm"][:2] == moved[:2]


def test_radiological_puts_the_subjects_left_at_the_right(opened):
    page = opened(convention="neurological")
    left, right = [-94, -126, -72], [-88, -126, -72]
    assert page.ask(f"point('axial', {left})")[0] < page.ask(f"point('axial', {right})")[0]
    assert "subject's left is at the left" in page.page.locator(".notes").inner_text()
    page.page.locator("summary").click()
    page.control("Convention").select_option("radiological")
    assert page.ask(f"point('axial', {left})")[0] > page.ask(f"point('axial', {right})")[0]
    assert "subject's left is at the right" in page.page.locator(".notes").inner_text()
    before = page.ask("state")["mm"]
    page.canvas("coronal").focus()
    page.page.keyboard.press("ArrowRight")
    assert page.ask("state")["mm"][0] == before[0] - 1


def test_small_clusters_are_taken_out(opened):
    page = opened(threshold="80")
    assert page.ask("removed('sensitivity')") == 0
    page.control("Clusters from, mm³").fill("1000000")
    page.page.wait_for_function(f"{VIEWER}.removed('sensitivity') > 0 && {VIEWER}.removed('area_occlusion') > 0")
    page.told(lambda view: view["cluster"] == 1000000)
    page.control("Clusters from, mm³").fill("0")
    page.page.wait_for_function(f"{VIEWER}.removed('sensitivity') === 0")


def truth_in_coronal(reader, mm: float) -> int:
    """Voxels of the 1 mm template in a coronal plane whose voxel of the working grid is in the truth of the scan."""
    truth, labels = voxel_truth(reader, SCAN).binary, reader.array("atlas")
    fine, coarse = reader.affine("atlas"), reader.affine()
    j = round((mm - fine[1, 3]) / fine[1, 1])
    found = 0
    for i, k in np.argwhere(labels[:, j] > 0):
        place = (fine @ [i, j, k, 1])[:3]
        own = np.floor((place - coarse[:3, 3]) / np.diag(coarse)[:3] + 0.5).astype(int)
        found += bool((own < truth.shape).all() and truth[tuple(own)])
    return found


def test_the_truth_of_a_simulated_brain_is_outlined_by_a_switch_that_is_in_the_link(opened, reader):
    page = opened(smooth="off", mm="-91,-126,-73")
    assert page.ask("truth('coronal')") is None
    name = "Outline where the imposed change is visible in this brain (SIMULATED)"
    switch = page.page.get_by_role("checkbox", name=name)
    before = page.canvas("coronal").screenshot()
    switch.check()
    page.page.wait_for_function(f"{VIEWER}.truth('coronal') !== null")
    expected = truth_in_coronal(reader, -126)
    assert expected > 0
    assert page.ask("truth('coronal')") == expected
    assert page.canvas("coronal").screenshot() != before
    assert page.told(lambda view: view["truth"])["truth"] is True
    with page.page.expect_download() as download:
        page.page.get_by_role("button", name="Save SVG").click()
    assert b"dashed: where the imposed change is visible in this brain" in Path(download.value.path()).read_bytes()
    again = opened(smooth="off", mm="-91,-126,-73", truth="on")
    again.page.wait_for_function(f"{VIEWER}.truth('coronal') !== null")
    assert again.ask("truth('coronal')") == expected
    switch.uncheck()
    assert page.ask("truth('coronal')") is None


@pytest.fixture(scope="module")
def four_networks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("four")
    make_run_of_four_networks(folder, methods=("sensitivity", "area_occlusion"))
    return folder


def test_opacity_by_agreement_is_a_switch_that_is_in_the_link(browser, four_networks):
    found = scan_agreement(run := store.open_run(four_networks), "holdout", "sensitivity", SCAN, "AD")
    counts = np.rint(4 * found.share).astype(int)
    inside = np.argwhere(run.mask & (np.abs(found.mean) > np.quantile(np.abs(found.mean[run.mask]), 0.5)))
    all_agree = inside[np.argmax(counts[tuple(inside.T)])]
    none_agree = next(place for place in inside if counts[tuple(place)] == 0)
    with serving(four_networks, "holdout") as address:
        page = Page(browser, address, smooth="off", threshold="10", outlines="none", opacity="1", colours="hot")
        switch = page.page.get_by_role("checkbox", name="Opacity by agreement")
        assert page.ask("agreeing('sensitivity')") is None
        switch.check()
        page.page.wait_for_function(f"{VIEWER}.agreeing('sensitivity') !== null")
        assert page.told(lambda view: view["agreement"])["agreement"] is True
        scale, table = page.ask("threshold('sensitivity')"), palette.lookup("hot", True)
        for place in (all_agree, none_agree):
            mm = (run.affine() @ [*place, 1])[:3].tolist()
            page.click("sagittal", mm)
            page.click("coronal", mm)
            assert page.ask("state")["mm"] == mm
            assert page.ask("agreeing('sensitivity')") == counts[tuple(place)]
            wanted = found.mean[tuple(place)] * 100 / (abs(np.linalg.det(run.affine()[:3, :3])) / 1000)
            assert page.ask("value('sensitivity')") == pytest.approx(wanted, rel=1e-3)
            assert f"{counts[tuple(place)]} of 4 networks agree" in page.page.locator(".cursor-panel").inner_text()
            part = np.clip((abs(wanted) - scale["value"]) / (scale["top"] - scale["value"]), 0, 1)
            *colour, alpha = table[palette.LEVELS + int(np.sign(wanted) * round(part * palette.LEVELS))]
            alpha *= counts[tuple(place)] / 4
            expected = 255 * np.array(colour) * alpha + grey_at(run, mm) * (1 - alpha)
            for plane in ("coronal", "sagittal", "axial"):
                np.testing.assert_allclose(page.ask(f"pixel('{plane}', {mm})"), expected, atol=GREY_TOLERANCE)
        assert "One network alone: Brain area occlusion" in page.page.locator(".foot").inner_text()
        with page.page.expect_download() as download:
            page.page.get_by_role("button", name="Save SVG").click()
        assert b"mean of 4 networks, opacity by agreement" in Path(download.value.path()).read_bytes()
        again = Page(browser, address, agreement="on", smooth="off")
        again.page.wait_for_function(f"{VIEWER}.agreeing('sensitivity') !== null")
        assert not page.problems + again.problems
        assert counts[tuple(all_agree)] > 0
        for one in (page, again):
            one.page.close()


def test_without_three_networks_the_switch_is_off_and_says_what_to_run(opened):
    page = opened(agreement="on")
    assert page.page.get_by_role("checkbox", name="Opacity by agreement").is_disabled()
    assert "--set trust.networks=4" in page.page.locator(".foot").inner_text()
    assert page.told(lambda view: True)["agreement"] is False


def test_a_pass_of_the_server_leaves_the_view_alone_until_it_says_otherwise(opened, reader):
    page = opened(threshold="80", mm="-91,-126,-73")
    page.slide("Opacity", 0.4)
    assert page.told(lambda view: view["opacity"] == 0.4)["threshold"] == 80
    page.click("sagittal", [-91, -124, -70])
    page.told(lambda view: view["mm"] == [-91, -124, -70])
    assert page.ask("state")["opacity"] == 0.4
    page.page.get_by_role("button", name="Go to the origin").click()
    page.page.wait_for_function(f"{VIEWER}.state.mm[0] !== -91")
    page.told(lambda view: view["mm"] != [-91, -124, -70])


def test_a_title_below_makes_its_method_the_main_one(opened):
    page = opened(method="occlusion")
    assert page.page.locator(".method .title[aria-pressed=true]").inner_text() == "Occlusion"
    page.page.get_by_role("button", name="Brain area occlusion").click()
    assert page.ask("state")["method"] == "area_occlusion"
    page.told(lambda view: view["method"] == "area_occlusion")
    assert "atlas regions" in page.page.locator(".notes").inner_text()


def test_what_cannot_be_loaded_is_said_and_can_be_tried_again(browser, server):
    page = browser.new_page()
    page.route("**/brainwhy/volume/*", lambda route: route.fulfill(status=404, body="run tiny has no array atlas"))
    page.goto(server)
    page.wait_for_selector(".viewer[data-state=error]", timeout=60_000)
    assert "run tiny has no array atlas The results are unharmed." in page.locator(".viewer .message").inner_text()
    page.unroute("**/brainwhy/volume/*")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".viewer[data-state=ready]", timeout=60_000)
    page.close()


def test_an_address_that_has_ended_is_renewed_without_a_word(browser, server):
    page, asked = browser.new_page(), []

    def first_is_late(route):
        asked.append(route.request.url)
        if len(asked) == 1:
            route.fulfill(status=403, body="This address is no longer valid: reload the page.")
        else:
            route.continue_()

    page.route("**/brainwhy/volume/*", first_is_late)
    page.goto(server)
    page.wait_for_selector(".viewer[data-state=ready]", timeout=60_000)
    assert len(asked) > 1
    page.close()


def test_the_next_scan_keeps_the_choices_and_shows_its_own_numbers(opened, reader):
    index, mm = brain_position(reader)
    page = opened(mm=",".join(map(str, mm)), threshold="70")
    page.slide("Opacity", 0.5)
    page.told(lambda view: view["opacity"] == 0.5)
    page.page.get_by_role("button", name="Next scan").click()
    wanted = float(reader.heatmap(MODEL, "sensitivity", "a1-2", target="AD")[tuple(index)])
    page.page.wait_for_function(f"Math.abs({VIEWER}.value('sensitivity') - {wanted}) < 1e-3")
    state = page.ask("state")
    assert (state["mm"], state["threshold"], state["opacity"]) == (mm.tolist(), 70, 0.5)


def test_a_finger_moves_the_crosshair_by_a_tap(browser, server):
    touch = browser.browser.new_context(has_touch=True, viewport={"width": 390, "height": 844})
    page = Page(touch, server)
    point = page.ask("point('coronal', [-92, -126, -74])")
    page.page.touchscreen.tap(*point)
    state = page.ask("state")["mm"]
    assert (state[0], state[2]) == (-92, -74)
    width = page.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    touch.close()


def test_the_picture_is_saved_with_its_words(opened, tmp_path):
    page = opened()
    for name, start in (("Save PNG", b"\x89PNG"), ("Save SVG", b"<svg")):
        with page.page.expect_download() as download:
            page.page.get_by_role("button", name=name).click()
        content = Path(download.value.path()).read_bytes()
        assert content.startswith(start)
    for words in (b"Research use only, not a medical device", b"model fold-1", b"Sensitivity analysis"):
        assert words in content


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"threshold": "60"},
        {"threshold_kind": "absolute", "threshold": "0.2"},
        {"scale": "shared", "threshold": "80"},
    ],
)
def test_saved_pictures_have_the_colours_of_the_viewer(opened, reader, options):
    """The sheet of all methods is drawn on the server: same threshold, same brightest value, same unit."""
    page = opened(**options)
    view = {**viewer.DEFAULTS, **viewer.clean_options(options)[0]}
    found = {m: map_images.signed_map(reader, MODEL, m, SCAN, "AD", "margin") for m in METHODS}
    scales = pictures.ranges(found, "sensitivity", view, reader)
    for method, drawn in scales.items():
        shown = page.ask(f"threshold('{method}')")
        one = {"value": drawn.scale.low, "top": drawn.scale.high, "unit": drawn.scale.unit.replace("cm3", "cm³")}
        if reader.is_gradient(method):
            assert one["value"] == pytest.approx(shown["value"], rel=0.01, abs=0.01 * shown["top"]), method
            assert "scale" in options or one["top"] == pytest.approx(shown["top"], rel=0.01), method
        elif "scale" not in options:
            # The viewer measures what is coarser than the template on the template's voxels. Such a map has a dozen
            # values here: the same part of the brain is coloured, give or take one of them.
            assert one["top"] == pytest.approx(shown["top"], rel=0.2), method
            sizes = np.abs(found[method].grid[reader.mask != 0])
            coloured = [float((sizes > 1.0005 * value).mean()) for value in (one["value"], shown["value"])]
            assert coloured[0] == pytest.approx(coloured[1], abs=0.15), method
        assert one["unit"] == shown["unit"]
