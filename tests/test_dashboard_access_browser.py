"""Every page in Chromium: it opens, its words stand out, and the keyboard reaches and works every control."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from access import WATCH, Tour, Word, contrast, drawn_words, tab_through, words_of
from browser import go_to, menu, new_page, open_page, problems, settled, shot
from store_factory import shared_store

PAGES = (
    "Overview", "Group maps", "Patient", "Variability", "Regions", "Clinical", "Distances", "Trust", "Compare runs",
    "Provenance",
)  # fmt: skip
CANVASES = {"Patient", "Provenance"}  # the viewer, tables that scroll
HIGH = 4400  # pixels: more than any page of the store has


@dataclass(frozen=True)
class Visit:
    """What was found on a page."""

    problems: list[str]
    words: list[Word]
    drawn: list[Word]
    tour: Tour | None


@pytest.fixture(scope="module")
def visits(browser, server) -> dict[tuple[str, str], Visit]:
    """(page, theme) -> what was found; Tab goes the same way in both themes."""
    found = {}
    for colours in ("light", "dark"):
        page = new_page(browser, height=HIGH, colours=colours)
        page.add_init_script(WATCH)
        open_page(page, server(shared_store()).url)
        assert tuple(menu(page)) == PAGES
        for name in PAGES:
            page.evaluate("__drawn.clear()")
            go_to(page, name)
            shot(page, f"{name}-{colours}")
            tour = tab_through(page) if colours == "light" else None
            found[name, colours] = Visit(problems(page), words_of(page), drawn_words(page), tour)
        page.context.close()
    return found


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_menu_opens_and_its_words_stand_out(visits, name, colours):
    visit = visits[name, colours]
    assert visit.problems == []
    assert len(visit.words) > 20
    assert visit.drawn or name not in CANVASES
    faint = {(word.colour, word.behind): word for word in (*visit.words, *visit.drawn) if not word.is_readable}
    assert not faint, "\n".join(map(str, faint.values()))


def test_the_server_was_content(visits, server):
    assert server(shared_store()).errors() == []


@pytest.mark.parametrize("name", PAGES)
def test_tab_reaches_every_control_in_order_and_shows_where_it_is(visits, name):
    tour = visits[name, "light"].tour
    assert len(tour.stops) > 10
    assert tour.unreached() == []
    assert tour.unseen() == []
    assert tour.jumps() == []


def focused(page) -> str:
    """The label of what has the focus."""
    return page.evaluate("""() => {
        let at = document.activeElement;
        while (at.shadowRoot) at = at.shadowRoot.activeElement;
        return at.ariaLabel ?? at.innerText;
    }""")


def test_the_viewer_is_used_by_keys_alone(fresh_page, server):
    page = fresh_page(height=HIGH)
    open_page(page, f"{server(shared_store()).url}/patient")
    page.get_by_label("Threshold", exact=True).focus()
    for _ in range(40):
        page.keyboard.press("Tab")
        if focused(page).startswith("coronal plane"):
            break
    before = page.evaluate("__viewers()[0].__viewer.state.mm")
    page.keyboard.press("ArrowRight")
    after = page.evaluate("__viewers()[0].__viewer.state.mm")
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 0, 0]
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    assert focused(page) == "Close"
    page.keyboard.press("Escape")
    assert page.get_by_role("dialog").count() == 0
    assert focused(page).startswith("coronal plane")


def test_groups_of_buttons_and_menus_answer_to_arrows(fresh_page, server):
    page = fresh_page()
    open_page(page, f"{server(shared_store()).url}/regions")
    page.get_by_role("radio", name="Ranking").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    settled(page)
    assert "r_part=methods" in page.url
    page.get_by_label("Method", exact=False).and_(page.get_by_role("combobox")).first.focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    settled(page)
    assert "method=sensitivity" not in page.url


def test_contrast_is_that_of_the_recommendation():
    assert contrast(np.zeros(3), np.full(3, 255)) == pytest.approx(21)
    assert contrast(np.full(3, 118), np.full(3, 255)) == pytest.approx(4.54, abs=0.005)
