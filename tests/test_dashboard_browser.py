"""The dashboard in Chromium: a link shows the same pixels elsewhere, a bad link still shows it."""

from __future__ import annotations

import io
import re
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np
import pytest
from browser import go_to, main_picture, main_text, menu, open_page, problems, settled
from PIL import Image
from store_factory import shared_store

# How often the viewer draws in the second after a frame that came late, and in the second after that.
COUNT_DRAWINGS = """async () => {
    const viewer = __viewers()[0].__instance, draw = viewer.draw.bind(viewer), found = {soon: 0, later: 0};
    const second = () => new Promise(done => setTimeout(done, 1000));
    let when = 'soon';
    viewer.draw = now => { found[when] += 1; draw(now); };
    viewer.hurried = true;
    viewer.redraw();
    await second();
    when = 'later';
    await second();
    return found;
}"""


@pytest.fixture
def url(server) -> str:
    return server(shared_store()).url


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


def test_a_link_shows_the_same_pixels_in_another_browser(fresh_page, url):
    first = fresh_page()
    open_page(first, url)
    for name, address in menu(first).items():
        open_page(first, address)
        link, second = first.evaluate("location.href"), fresh_page()
        open_page(second, link)
        here, there = pixels(main_picture(first)), pixels(main_picture(second))
        assert here.shape == there.shape, name
        assert np.array_equal(here, there), f"{name}: {(here != there).any(-1).sum()} pixels differ"
        second.context.close()


def test_an_invalid_link_shows_the_page_and_says_what_was_ignored(page, url):
    open_page(page, url)
    for name, address in menu(page).items():
        parts = urlsplit(address)
        query = urlencode([*parse_qsl(parts.query), ("nonsense", "12"), ("v", "1")])
        open_page(page, parts._replace(query=query).geturl())
        assert problems(page) == [], name
        assert name in " ".join(page.locator("h1").all_inner_texts())
        assert "nonsense" in main_text(page), name


def test_a_viewer_at_rest_draws_nothing(page, url):
    """Also after a drag that was too fast for the machine, which is drawn coarsely and then once more."""
    open_page(page, url)
    go_to(page, "Patient")
    drawn = page.evaluate(COUNT_DRAWINGS)
    assert drawn["soon"] >= 1
    assert drawn["later"] == 0


def test_the_link_follows_the_controls_of_a_page(page, url):
    """A page runs without the sidebar; the link still names the filters, and of the page only what is shown."""
    open_page(page, url)
    go_to(page, "Regions")
    page.locator(".st-key-dx button").first.click()
    settled(page)
    before = dict(parse_qsl(urlsplit(page.url).query))
    assert before["dx"] != "all"
    page.locator(".st-key-r_part button", has_text="One region").click()
    settled(page)
    after = dict(parse_qsl(urlsplit(page.url).query))
    assert after["r_part"] == "region"
    assert "r_region" in after
    assert "r_view" in before
    assert "r_view" not in after
    assert {key: after[key] for key in ("run", "set", "dx")} == {key: before[key] for key in ("run", "set", "dx")}
    assert problems(page) == []


def test_back_goes_to_the_page_before_whatever_was_chosen_on_this_one(page, url):
    """Streamlit alone would add an entry to the browser's history for every control."""
    open_page(page, f"{url}/group_maps?g_plane=axial")
    go_to(page, "Regions")
    for part in ("Between methods", "One region"):
        page.get_by_text(part, exact=True).first.click()
        settled(page)
    assert "r_part=region" in page.url
    page.go_back()
    page.get_by_role("heading", name="Group maps").wait_for()  # the address changes before the page does
    settled(page)
    assert urlsplit(page.url).path == "/group_maps"
    assert "g_plane=axial" in page.url
    page.go_forward()
    page.get_by_role("heading", name="Regions").wait_for()
    settled(page)
    assert urlsplit(page.url).path == "/regions"
    assert "r_part=region" in page.url
    assert not problems(page)


def test_what_is_behind_more_stays_as_it_is_when_it_is_looked_at(page, url):
    """A popover draws its controls when it is opened, passes after they were given their values."""
    other, behind = "v_from", {"v_side": "Radiological"}
    open_page(page, f"{url}/variability?v_view=spread&v_colours=viridis&v_side=radiological")
    before = dict(parse_qsl(urlsplit(page.url).query))

    def move_another() -> None:
        page.locator(f".st-key-{other} input").first.focus()
        page.keyboard.press("ArrowLeft")
        settled(page)

    move_another()
    page.get_by_role("button", name="More").click()
    settled(page)
    for key, words in behind.items():
        chosen = page.locator(f".st-key-{key} [aria-checked=true], .st-key-{key} [data-selected=true]")
        assert chosen.all_inner_texts() == [words], key
    page.keyboard.press("Escape")
    move_another()
    after = dict(parse_qsl(urlsplit(page.url).query))
    assert after.pop(other) != before.pop(other)
    assert after == before
    assert problems(page) == []


@pytest.mark.parametrize("name", ["overview", "group_maps"])
def test_every_picture_of_brains_says_what_it_shows(page, url, name):
    open_page(page, f"{url}/{name}")
    images = page.locator("[data-testid=stImage] img, .slices-grid canvas").count()
    said = page.locator(".picture-words").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert images == len(said) > 0
    assert all(re.search(r"coronal sections of the brain at y -?\d+(, -?\d+)* mm\. ", words) for words in said)
    boxes = page.locator(".picture-words").evaluate_all(
        """all => all.map(words => {
            const image = words.parentElement.querySelector('canvas')
                ?? words.closest('[data-testid=stVerticalBlock]').querySelector('img');
            const boxes = [words, image].map(element => element.getBoundingClientRect());
            return boxes.map(({x, y, width, height}) => [x, y, width, height]);
        })"""
    )
    for words, image in boxes:
        assert words == pytest.approx(image, abs=1.5)


# This run has a banner, several visits and models: most runs are higher up.
@pytest.mark.parametrize(
    ("name", "brain", "highest"), [("group_maps", ".slices-grid canvas", 850), ("patient", "canvas.plane", 830)]
)
def test_a_phone_shows_the_badge_and_soon_the_brain(fresh_page, url, name, brain, highest):
    page = fresh_page(width=390, height=844)
    open_page(page, f"{url}/{name}")
    badge = page.locator("[data-testid=stMain] >> text=SIMULATED").first.bounding_box()
    assert 0 <= badge["x"] < 390
    assert 0 <= badge["y"] < 200
    assert page.locator(brain).first.bounding_box()["y"] < highest
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390


def test_a_phone_loses_neither_columns_nor_charts(fresh_page, url):
    page = fresh_page(width=390, height=844)
    open_page(page, f"{url}/regions?r_part=methods")
    wide = "document.querySelector('.st-key-wide-chart-r-bump')"
    assert page.evaluate(f"{wide}.scrollWidth") > 450 > page.evaluate(f"{wide}.clientWidth")
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 390
    open_page(page, f"{url}/regions?r_numbers=open")
    further = page.get_by_text("The table has further columns").first
    assert further.is_visible()
    page.set_viewport_size({"width": 1900, "height": 900})
    settled(page)
    assert not further.is_visible()
    assert problems(page) == []
