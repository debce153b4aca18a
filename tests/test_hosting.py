"""The dashboard as a lab hosts it, in Chromium: nginx with TLS at a sub-path, two processes, a login, each role."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import WATCH, chromium, main_text, settled
from store_factory import shared_store

if not all(map(importlib.util.find_spec, ("authlib", "cryptography"))) or not any(
    map(importlib.util.find_spec, ("httpx2", "httpx"))
):
    pytest.skip("needs Authlib and httpx (the extra login)", allow_module_level=True)
if not (shutil.which("nginx") or Path("/usr/sbin/nginx").exists()):
    pytest.skip("needs nginx", allow_module_level=True)

from hosted import BASE, SECRET, Site, hosted

with contextlib.suppress(ImportError):
    from playwright.sync_api import BrowserContext, Page


pytestmark = pytest.mark.usefixtures("anonymous")
SIGN_IN = "for people who sign in"
VIEW = "group_maps?v=1&method=guided_backprop&g_z=3"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Site]:
    if chromium() is None:
        pytest.skip("needs Chromium")
    with hosted(shared_store(), tmp_path_factory.mktemp("hosted")) as found:
        yield found


@pytest.fixture
def visit(browser, site) -> Iterator[Callable[[], Page]]:
    """visit(): a page of a browser that was never here."""
    contexts: list[BrowserContext] = []

    def opened() -> Page:
        context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 900})
        context.add_init_script(WATCH)
        contexts.append(context)
        return context.new_page()

    yield opened
    for context in contexts:
        context.close()


def go(page: Page, site: Site, address: str = "") -> str:
    """Open a page; return its text."""
    page.goto(f"{site.url}/{address}")
    settled(page)
    return main_text(page)


def log_in(page: Page, site: Site, name: str, role: str, address: str = "overview") -> str:
    """Sign in at a page by its button; return the text of the page where that leads."""
    site.provider.person = {"sub": name, "name": name.title(), "groups": [role]}
    go(page, site, address)
    page.get_by_role("button", name="Sign in").first.click()
    page.get_by_role("button", name="Sign out").wait_for()
    settled(page)
    return main_text(page)


def cookies_of(page: Page) -> dict[str, str]:
    return {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}


def status(site: Site, address: str, cookies: dict[str, str], port: int | None = None) -> int:
    """What an address answers to these cookies, through nginx or at one of the processes."""
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    root = f"http://127.0.0.1:{port}" if port else f"https://localhost:{site.port}"
    request = urllib.request.Request(root + address)
    request.add_header("Cookie", "; ".join(f"{name}={value}" for name, value in cookies.items()))
    try:
        with urllib.request.urlopen(request, context=None if port else trusting, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_without_a_login_there_is_a_page_to_sign_in_and_nothing_else(visit, site):
    page = visit()
    for address in ("", "patient", "provenance?run=x"):
        assert SIGN_IN in go(page, site, address)
        assert page.locator("[data-testid=stSidebar] a").count() == 0
    assert status(site, f"{BASE}/health", {}) == 200
    assert status(site, f"{BASE}/ready", {}) == 200


def test_a_login_leads_back_to_the_linked_view_and_logout_ends_it_everywhere(visit, site):
    page, asked = visit(), []
    page.on("request", lambda request: asked.append(request.url))
    text = log_in(page, site, "ada", "patient", "patient?v=1&method=guided_backprop")
    assert f"{BASE}/patient?" in page.url
    assert "method=guided_backprop" in page.url
    assert SIGN_IN not in text
    assert "Ada · sees results of groups and single patients" in page.locator("[data-testid=stSidebar]").inner_text()
    cookies = page.context.cookies()
    ours = [c for c in cookies if c["name"].startswith(("_streamlit_user", "brainwhy_session"))]
    assert len(ours) == 3
    assert all(c["secure"] and c["httpOnly"] and c["path"] == BASE for c in ours)
    go(page, site, "overview")

    copied = cookies_of(page)
    prefix = f"https://localhost:{site.port}"
    volume = next(url for url in asked if "/brainwhy/volume/" in url).removeprefix(prefix)
    media = next(url for url in asked if f"{BASE}/media/" in url).removeprefix(prefix)
    assert status(site, volume, copied) == 200
    assert status(site, media, copied) == 200
    assert status(site, volume, {}) == status(site, media, {}) == 403
    assert sorted(status(site, media, copied, port) for port in site.processes) in ([200, 403], [200, 404])

    page.get_by_role("button", name="Sign out").click()
    page.get_by_text(SIGN_IN).wait_for()
    assert not {"_streamlit_user", "brainwhy_session"} & set(cookies_of(page))
    assert status(site, volume, copied) == status(site, media, copied) == 403
    for port in site.processes:
        assert status(site, volume, copied, port) == 403
    thief = visit()
    thief.context.add_cookies(cookies)
    assert SIGN_IN in go(thief, site, "patient")


def test_an_admin_ends_the_logins_of_a_person_everywhere(visit, site):
    page, asked = visit(), []
    page.on("request", lambda request: asked.append(request.url))
    log_in(page, site, "dora", "patient", "patient?v=1")
    copied = cookies_of(page)
    volume = next(url for url in asked if "/brainwhy/volume/" in url).removeprefix(f"https://localhost:{site.port}")
    admin = visit()
    log_in(admin, site, "ada", "admin", "admin")
    assert status(site, volume, copied) == 200
    admin.get_by_label("E-mail address or user name").fill("Dora")
    admin.get_by_role("button", name="End logins").click()
    admin.get_by_text("1 login ended").wait_for()
    assert [status(site, volume, copied, port) for port in site.processes] == [403, 403]
    page.get_by_role("button", name="Next").click()  # the open page speaks by its websocket
    page.get_by_text(SIGN_IN).wait_for()
    assert SIGN_IN in go(page, site, "patient")
    assert "Links for outsiders" in go(admin, site, "admin")
    assert "dora" not in (site.folder / "state.sqlite").read_bytes().decode("latin-1").lower()
    assert not [line for line in site.log() if "dora" in str(line).lower()]


@pytest.mark.parametrize(
    ("role", "patients", "words"),
    [("group", False, "sees results of groups"), ("admin", True, "sees everything"), ("guest", False, "")],
)
def test_each_role_on_pages(visit, site, role, patients, words):
    page = visit()
    text = log_in(page, site, f"{role}-person", role, "patient")
    if role == "guest":
        assert "hold no role here" in text
        return
    assert words in page.locator("[data-testid=stSidebar]").inner_text()
    assert ("needs a login whose claims hold the role" in text) != patients


def test_a_login_whose_time_is_over_ends_also_on_an_open_page(visit, site):
    page = visit()
    log_in(page, site, "late", "patient", "regions")
    assert site.change_state("UPDATE session SET ends = 0 WHERE ended IS NULL AND ends > 0") > 0
    page.get_by_role(
        "radio", name="Between methods"
    ).click()  # on the open page: its connection ends, another one begins
    page.get_by_text(SIGN_IN).wait_for()


def test_a_process_that_dies_takes_nobody_with_it(visit, site):
    page = visit()
    log_in(page, site, "stays", "patient", "regions?v=1&r_part=methods")
    for port, process in list(site.processes.items())[:1]:
        process.kill()
        process.wait()
        assert status(site, f"{BASE}/health", {}) == 200, port
    text = go(page, site, "regions?v=1&r_part=methods")
    assert SIGN_IN not in text
    assert "r_part=methods" in page.url


def test_the_log_names_nobody(site):
    lines = site.log()
    assert {"/auth/login", "/oauth2callback", "/patient", "/_stcore/stream", "/media/{file}"} <= {
        line["route"] for line in lines
    }
    text = "".join(file.read_text() for file in site.folder.glob("*.log"))
    for told in ("ada", "method=", "code-", "state=", SECRET):
        assert told not in text
    assert "Traceback" not in text
    assert {"none", "group", "patient", "admin"} == {line["role"] for line in lines}


def test_a_process_that_is_told_to_stop_ends_soon_and_well(visit, site):
    page = visit()
    go(page, site)  # its connection is open
    last = list(site.processes.values())[-1]
    start = time.monotonic()
    last.terminate()
    assert last.wait(20) == 0
    assert time.monotonic() - start < 12
