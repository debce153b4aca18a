"""The dashboard in a real browser: its server as a process, pages that notice trouble, and when a page is finished.

Needs Chromium on the path (Debian: apt install chromium); tests are skipped without it and say so. With the variable
BRAINWHY_SHOTS set to a folder, pictures that tests take are kept there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

with contextlib.suppress(ImportError):  # the fixtures say what is missing
    from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent.parent
MAIN = "[data-testid=stMain]"
MENU = "[data-testid=stSidebar] [data-testid=stPageLink]"
WIDTH, HEIGHT = 1440, 900
START_S, SETTLED_S = 60, 60
FAILURES = ("This view failed", "This run cannot be shown", "Page not found", "Traceback")
CHROMIUM = ("chromium", "chromium-browser")
ARGUMENTS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    # The same pixels whatever was drawn before.
    "--disable-partial-raster", "--disable-lcd-text", "--force-color-profile=srgb",
)  # fmt: skip

# Remembers when the page last changed, asked the server and had its answer, and finds the viewers, which live in
# shadow trees.
WATCH = """
window.__changed = window.__asked = window.__answered = performance.now();
new MutationObserver(changes => {
    if (changes.some(({target}) => !target.closest?.('[data-testid=stHeader], [data-testid=stStatusWidget]')))
        window.__changed = performance.now();
    if (changes.some(({attributeName}) => attributeName === 'data-test-script-state')) {
        const rests = document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning';
        window[rests ? '__answered' : '__asked'] = performance.now();
    }
}).observe(document, {subtree: true, childList: true, attributes: true, characterData: true});
window.__viewers = (root = document) => [...root.querySelectorAll('*')].flatMap(
    element => [...(element.__viewer ? [element] : []), ...(element.shadowRoot ? __viewers(element.shadowRoot) : [])]);
"""
# Connected, the script has run to its end, nothing is stale or half drawn, every component's script has begun, every
# picture and volume has arrived. Charts that nobody sees are not drawn.
FINISHED = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    return app !== null
        && app.dataset.testScriptState === 'notRunning' && app.dataset.testConnectionState === 'CONNECTED'
        && !document.querySelector('[data-stale=true], [data-testid=stSkeleton], [data-testid=stSpinner]')
        && !document.querySelector('.brainwhy-chart[data-state=due]')
        && [...document.images].every(image => image.complete)
        && [...document.querySelectorAll('[data-testid=stBidiComponentIsolated]')].every(
            ({shadowRoot}) => shadowRoot?.childElementCount && !shadowRoot.querySelector('[data-state=starting]'))
        && __viewers().every(viewer => viewer.__viewer.ready || viewer.dataset.state === 'error');
}"""
# A viewer tells the server where its crosshair is once the reader has rested for 400 ms.
AT_REST = f"() => ({FINISHED})() && performance.now() - __changed > (__viewers().length ? 1200 : 250)"


@dataclass
class Server:
    """A running dashboard. `log` holds what it has written so far."""

    url: str
    process: subprocess.Popen
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    @property
    def rss_mib(self) -> float:
        """Resident memory of the process, MiB. Source: /proc, Linux only."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    def errors(self) -> list[str]:
        """Lines of the log that speak of a failure."""
        return [line for line in self.log.splitlines() if re.search(r"Traceback|\bERROR\b|failed", line)]

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_server(
    store: str | Path, folder: Path, *, app: str = "dashboard/app.py", options: Sequence[str] = ("--local",),
    cwd: Path | None = None, tree: Path = ROOT, **environment: str,
) -> Server:  # fmt: skip
    """Start the dashboard on a store and wait until it answers.

    Args:
        app: what Streamlit runs, seen from the root of the project.
        tree: the project whose dashboard it is.
        options: of the dashboard; by default every reader is the person at this computer.
        cwd: where it is started; by default where other scripts find the settings of the dashboard.
        folder: where its log goes.
        environment: further variables.
    Raises:
        RuntimeError: it ended or does not answer; with its log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "streamlit", "run", str(tree / app), "--server.headless", "true",
        "--server.port", str(port), "--server.fileWatcherType", "none", "--", "--store", str(store), *options,
    ]  # fmt: skip
    log_file = folder / f"server-{port}.log"
    variables = {key: value for key, value in os.environ.items() if key != "BRAINWHY_STORE"}
    variables |= {"PYTHONPATH": str(tree)} | environment
    with open(log_file, "wb") as log:
        process = subprocess.Popen(
            command, cwd=cwd or tree / "dashboard", stdout=log, stderr=subprocess.STDOUT, env=variables
        )
    server = Server(f"http://localhost:{port}", process, log_file)
    end = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"{server.url}/_stcore/health", timeout=1).close()
            return server
        time.sleep(0.1)
    server.stop()
    raise RuntimeError(f"the dashboard does not answer on port {port}:\n{server.log}")


def chromium() -> str | None:
    """Where the browser is; None if there is none."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


@contextlib.contextmanager
def launched() -> Iterator[Browser]:
    """A running Chromium."""
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        yield one
        one.close()


# -- pages ----------------------------------------------------------------------------------------------------------

_TROUBLE: weakref.WeakKeyDictionary[Page, list[str]] = weakref.WeakKeyDictionary()


def new_page(browser: Browser, width: int = WIDTH, height: int = HEIGHT, colours: str = "light") -> Page:
    """A page in a context of its own, which notes everything that goes wrong; see `trouble`."""
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=colours, reduced_motion="reduce"
    )
    context.add_init_script(WATCH)
    page = context.new_page()
    page.set_default_timeout(SETTLED_S * 1000)
    _TROUBLE[page] = notes = []

    def note(text: str, url: str = "", when: bool = True) -> None:
        if when and not _is_search_for_the_server(url):
            notes.append(f"{text} {url}".strip())

    page.on("console", lambda said: note(said.text, said.location.get("url", ""), said.type == "error"))
    page.on("pageerror", lambda error: note(f"script: {error}"))
    page.on("response", lambda answer: note(str(answer.status), answer.url, answer.status >= 400))
    # Aborted requests are the browser's own doing when a page is left.
    page.on("requestfailed", lambda lost: note("lost", lost.url, "ERR_ABORTED" not in (lost.failure or "")))
    page.on("request", lambda sent: note("leaves this machine", sent.url, _is_foreign(sent.url)))
    return page


def _is_search_for_the_server(url: str) -> bool:
    # Opened at /patient, Streamlit asks below /patient first and at / after that.
    return bool(re.fullmatch(r"/\w+/_stcore/(health|host-config)", urlsplit(url).path))


def _is_foreign(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname not in ("localhost", "127.0.0.1")


def trouble(page: Page) -> list[str]:
    """Console errors, failed requests and requests to other machines since the page was made."""
    return _TROUBLE[page]


def open_page(page: Page, url: str) -> None:
    """Go to an address and wait until the page has settled."""
    page.goto(url)
    settled(page)


def settled(page: Page) -> None:
    """Wait until the server has finished and the page has come to rest.

    Raises:
        playwright.sync_api.TimeoutError: it does not within a minute.
    """
    page.wait_for_function(AT_REST, polling=50, timeout=SETTLED_S * 1000)


def main_picture(page: Page) -> bytes:
    """PNG of all but the sidebar at rest, without blinking cursors and running animations."""
    page.mouse.move(0, 0)
    while True:
        settled(page)
        asked = page.evaluate("__asked")
        picture = page.locator(MAIN).screenshot(animations="disabled", caret="hide")
        if page.evaluate(FINISHED) and page.evaluate("__asked") == asked:
            return picture


def shot(page: Page, name: str) -> bytes:
    """PNG of the page as a person sees it; kept as <name>.png in the folder BRAINWHY_SHOTS, where that is set."""
    picture = page.screenshot(animations="disabled", caret="hide")
    if folder := os.environ.get("BRAINWHY_SHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"{name}.png").write_bytes(picture)
    return picture


def menu(page: Page) -> dict[str, str]:
    """Title -> address of every page in the sidebar's menu, in order."""
    links = page.locator(f"{MENU} a").all()
    return {link.inner_text().strip().splitlines()[-1]: link.evaluate("a => a.href") for link in links}


def go_to(page: Page, title: str) -> None:
    """Choose a page in the sidebar's menu and wait until it has settled."""
    address = urlsplit(menu(page)[title]).path
    page.locator(f"{MENU} a").filter(has_text=title).click()
    page.wait_for_function("address => location.pathname === address", arg=address)
    settled(page)


def main_text(page: Page) -> str:
    """What is written on the page, sidebar aside."""
    return page.locator(MAIN).inner_text()


def problems(page: Page) -> list[str]:
    """What on the page, in its console or on its wire says that something failed; empty where all is well."""
    text = main_text(page)
    said = [words for words in FAILURES if words in text]
    return said + page.locator("[data-testid=stException]").all_inner_texts() + trouble(page)


# -- fixtures -------------------------------------------------------------------------------------------------------


# While Playwright is started, its event loop counts as running in this thread: ended with the module, lest other
# tests meet it.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A running Chromium, one for all tests of a file; the tests are skipped where there is none."""
    pytest.importorskip("playwright.sync_api", reason='needs playwright: pip install -e ".[test]"')
    if chromium() is None:
        pytest.skip("needs Chromium: apt install chromium")
    with launched() as one:
        yield one


@dataclass
class Servers:
    """Starts a server for each store and environment, once."""

    folder: Path
    running: dict[tuple, Server] = field(default_factory=dict)

    def __call__(self, store: str | Path, **environment: str) -> Server:
        key = (str(store), *sorted(environment.items()))
        if key not in self.running:
            self.running[key] = start_server(store, self.folder, **environment)
        return self.running[key]


@pytest.fixture(scope="session")
def server() -> Iterator[Servers]:
    """server(store, VARIABLE="value", …) -> Server with `url`, `log`, `errors()`; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="brainwhy-servers-") as folder:
        servers = Servers(Path(folder))
        yield servers
        for one in servers.running.values():
            one.stop()


@pytest.fixture
def fresh_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """fresh_page(width=…, height=…, colours="dark") -> a page in a context of its own."""
    pages: list[Page] = []

    def made(**look: int | str) -> Page:
        pages.append(new_page(browser, **look))
        return pages[-1]

    yield made
    for page in pages:
        page.context.close()


@pytest.fixture
def page(fresh_page: Callable[..., Page]) -> Page:
    """A page of 1440 x 900 in the light theme."""
    return fresh_page()
