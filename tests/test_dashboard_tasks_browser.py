"""What readers come for, in Chromium: each task from the first page, by counted clicks."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from browser import MAIN, go_to, open_page, problems, settled
from playwright.sync_api import Locator
from store_factory import METHODS, REGIONS, make_larger_run
from trust_factory import add_trust

MOST = 3  # clicks a task
ARRIVED_MS = 10_000


@pytest.fixture(scope="module")
def url(server, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("tasks")
    add_trust(make_larger_run(folder), methods=METHODS, regions=REGIONS)
    return server(folder).url


class Reader:
    """Someone who opens the first page and counts clicks."""

    def __init__(self, page, url: str) -> None:
        self.page, self.clicks = page, 0
        open_page(page, url)

    def open(self, title: str) -> None:
        """Choose a page in the menu."""
        go_to(self.page, title)
        self._count()

    def click(self, what: Locator) -> None:
        """Click something, and wait until the page has settled."""
        what.click()
        settled(self.page)
        self._count()

    def _count(self) -> None:
        self.clicks += 1
        assert self.clicks <= MOST
        assert problems(self.page) == []

    def reads(self, *words: str) -> None:
        """Read words in the order of the page, in components too; charts are drawn when one scrolls near them."""
        for one in words:
            found = self.page.locator(MAIN).get_by_text(one).locator("visible=true").first
            found.wait_for(timeout=ARRIVED_MS)
            found.scroll_into_view_if_needed()


@pytest.fixture
def reader(page, url) -> Reader:
    return Reader(page, url)


def test_a_which_regions_matter_and_do_the_methods_agree(reader):
    reader.reads("Regions that matter most", "Hippocampus")
    reader.open("Regions")
    reader.click(reader.page.get_by_role("radio", name="Between methods"))
    reader.reads("Rank correlation of density", "agree")


def test_b_why_a_patient_was_misclassified(reader):
    reader.open("Patient")
    reader.click(reader.page.get_by_role("radio", name="wrong"))
    reader.reads("The strongest evidence for", "How sure:")


def test_c_do_women_and_men_differ(reader):
    reader.open("Group maps")
    reader.click(reader.page.get_by_role("combobox", name="Side by side"))
    reader.click(reader.page.get_by_role("option", name="Women against men"))
    reader.reads("Women − Men", "Do Women and Men differ by more than chance?")


def test_d_send_exactly_this_view(reader):
    reader.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    reader.open("Group maps")
    reader.click(reader.page.get_by_role("button", name="Share"))
    link = reader.page.evaluate("navigator.clipboard.readText()")
    assert "/group_maps?" in link
    assert "g_plane=coronal" in link


def test_e_figure_and_tables_for_a_paper(reader):
    reader.click(reader.page.get_by_role("button", name="Download"))
    with reader.page.expect_download() as caught:
        reader.click(reader.page.get_by_role("button", name="For the paper"))
    names = " ".join(zipfile.ZipFile(io.BytesIO(Path(caught.value.path()).read_bytes())).namelist())
    assert all(part in names for part in ("table1.tex", "table2.csv", "figure1.svg"))


def test_f_how_far_to_trust_the_maps(reader):
    reader.open("Trust")
    reader.reads("Leaderboard")
