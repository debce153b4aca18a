"""Readers of a hosted dashboard whose network or server process is lost come back to the same view, in Chromium."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from browser import WATCH, chromium, main_text, settled
from store_factory import shared_store

from dashboard.links import keys, short, signed, words
from dashboard.links.signed import NewLink
from dashboard.serving import secret_files
from dashboard.serving.state import State

if not all(map(importlib.util.find_spec, ("authlib", "cryptography"))) or not any(
    map(importlib.util.find_spec, ("httpx2", "httpx"))
):
    pytest.skip("needs Authlib and httpx (the extra login)", allow_module_level=True)
if not (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()):
    pytest.skip("needs nginx", allow_module_level=True)

from hosted import BASE, Site, hosted

with contextlib.suppress(ImportError):
    from playwright.sync_api import Page

pytestmark = pytest.mark.usefixtures("anonymous")
KEPT_S = 2  # how long a server process keeps the session of a lost connection here; else 120 s
CONNECTED = "() => document.querySelector('[data-testid=stApp]').dataset.testConnectionState === 'CONNECTED'"
LOST = CONNECTED.replace("===", "!==")
PATIENT, GROUPS = "v=1&method=guided_backprop&p_threshold=61", "v=1&method=occlusion&g_from=61.0"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    if chromium() is None:
        pytest.skip("needs Chromium")
    folder = tmp_path_factory.mktemp("faults")
    with hosted(shared_store(), folder, STREAMLIT_SERVER_DISCONNECTED_SESSION_TTL=str(KEPT_S)) as found:
        yield found


@pytest.fixture(scope="module")
def visit(browser, site) -> Iterator[Callable[..., Page]]:
    """visit(cookies): a page of a browser of its own."""
    contexts = []

    def opened(cookies: dict[str, str]) -> Page:
        context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 900})
        context.add_init_script(WATCH)
        context.add_cookies([
            {"name": name, "value": value, "domain": "localhost", "path": BASE, "secure": True}
            for name, value in cookies.items()
        ])  # fmt: skip
        contexts.append(context)
        return context.new_page()

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def cookies(site) -> dict[str, str]:
    return site.log_in("ada", "patient")


@pytest.fixture(scope="module")
def member(visit, site, cookies) -> Page:
    """A member on the page of the second patient."""
    page = visit(cookies)
    page.goto(f"{site.url}/patient?{PATIENT}")
    settled(page)
    step(page)
    return page


def step(page: Page) -> None:
    """Go on to the next patient."""
    page.get_by_role("button", name="Next ›").click()
    page.wait_for_function("address => location.search.slice(1) !== address", arg=urlsplit(page.url).query)
    settled(page)


def view_of(page: Page) -> tuple[dict[str, str], str]:
    """What the address says, and what the page shows."""
    settled(page)
    return dict(parse_qsl(urlsplit(page.url).query)), main_text(page)


def expect_to_work(page: Page, before: tuple[dict[str, str], str]) -> None:
    """The page shows the view of before, and goes on from it."""
    assert view_of(page) == before
    step(page)
    address, text = view_of(page)
    assert address["p_subject"] != before[0]["p_subject"]
    assert {**address, "p_subject": "", "p_scan": ""} == {**before[0], "p_subject": "", "p_scan": ""}
    assert text != before[1]


@pytest.mark.parametrize("seconds", [0, 2 * KEPT_S], ids=["session_kept", "session_gone"])
def test_a_page_whose_network_was_gone_shows_the_same_view(site, member, seconds):
    member.reload()  # the whole app has run last: Streamlit would leave such a page dead
    before = view_of(member)
    site.disconnect()
    member.wait_for_function(LOST)
    time.sleep(seconds)
    site.connect()
    member.wait_for_function(CONNECTED)
    expect_to_work(member, before)


def test_a_process_that_dies_leaves_every_reader_the_same_view(site, visit, member, cookies):
    state, key = State(site.state), secret_files.kept(site.state.parent / keys.KEY_FILE)
    now, run = time.time(), next(path.name for path in shared_store().iterdir() if (path / "manifest.json").exists())
    link = NewLink(short.View("group_maps", GROUPS), run, "group", int(now) + words.DAY, "Reviewer 2", "Ada")
    outsider = visit({"brainwhy_process": cookies["brainwhy_process"]})  # with the same process
    outsider.goto(f"{site.url}/{signed.PATH}/{signed.make(state, key, link, now)}")
    outsider.get_by_role("button").click()
    outsider.wait_for_url("**/group_maps?*")
    by_link = view_of(outsider)
    asked: list[str] = []
    member.on("request", lambda request: asked.append(request.url))
    member.reload()
    before = view_of(member)
    view = short.View("patient", urlsplit(member.url).query)
    short.keep(state, key, view, short.token(key, view), now)

    volume = urlsplit(next(url for url in asked if "/brainwhy/volume/" in url))
    died = next(port for port in site.processes if volume_was_served(site, port))
    site.kill(died)
    for state_of_page in (LOST, CONNECTED):
        for page in (member, outsider):
            page.wait_for_function(state_of_page)
    assert view_of(outsider) == by_link
    expect_to_work(member, before)
    with_cookies = member.context.request.get(f"https://localhost:{site.port}{volume.path}?{volume.query}")
    assert with_cookies.status == 200  # of the dead process, at the other one
    member.goto(f"{site.url}/{short.PATH}/{short.token(key, view)}")
    assert view_of(member) == before
    member.goto(f"{site.url}/patient?{view.query}")
    assert view_of(member) == before
    outsider.reload()
    assert view_of(outsider) == by_link
    site.start(died)
    site.wait_until_ready(died)
    state.close()


def volume_was_served(site: Site, port: int) -> bool:
    """Whether a process has served volumes to members."""
    lines = (site.folder / f"access-{port}.log").read_text().splitlines()
    return any("/volume/" in line["route"] and line["role"] == "patient" for line in map(json.loads, lines))
