"""Entry of the dashboard: `streamlit run dashboard/app.py`, and for others `python -m dashboard serve`.

The pages start in home.py; the routes serve volumes.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import BaseRoute

from dashboard import viewer
from dashboard.data import threads
from dashboard.links import keys
from dashboard.links import routes as link_routes
from dashboard.serving import health, hosting, state
from dashboard.serving.access_log import AccessLog
from dashboard.serving.addresses import base_path
from dashboard.serving.browser_files import BrowserFiles
from dashboard.serving.headers import SafeHeaders
from dashboard.serving.logins import Logins
from dashboard.serving.media import MediaForReaders
from dashboard.serving.reconnected import Reconnected
from dashboard.serving.secret_files import SecretFileError
from dashboard.serving.together import Together
from dashboard.serving.undelayed import send_undelayed
from dashboard.shell import access, browser_history, locality
from dashboard.shell.components import plot_files
from dashboard.shell.guard import Guard
from dashboard.shell.menu import TITLES, VIEWS

HOSTED = hosting.current()
BASE = HOSTED.base if HOSTED else base_path(st.get_option("server.baseUrlPath"))
FOLDER = Path(__file__).parent
# Scripts, which Streamlit runs, and what is loaded when somebody asks for a PDF.
NOT_AHEAD = re.compile(r"dashboard\.(__main__|app|home|reports.*|views\.\w+\.page)")
SECONDS_BETWEEN_COLLECTIONS = 5  # for garbage


def make_ready() -> None:
    """Load what pages use, and take it out of the search for garbage."""
    # By files: pkgutil.walk_packages would import every package that it walks, the reports too.
    for file in sorted(FOLDER.rglob("*.py")):
        name = ".".join(file.relative_to(FOLDER.parent).with_suffix("").parts).removesuffix(".__init__")
        if not NOT_AHEAD.fullmatch(name):
            importlib.import_module(name)
    threads.use_one()
    gc.collect()
    gc.freeze()


async def collect_garbage() -> None:
    """Look for garbage every few seconds where anything was done meanwhile, for all readers at once.

    Streamlit would do so after every pass (runner.postScriptGC), which takes a third of a change on a page.
    """
    while True:
        await asyncio.sleep(SECONDS_BETWEEN_COLLECTIONS)
        if gc.get_count()[2]:
            gc.collect()


@contextlib.asynccontextmanager
async def greeted(_: st.App) -> AsyncIterator[None]:
    """Say where the dashboard is and who sees what, once the port is known."""
    send_undelayed()
    make_ready()
    # On a server for others standard output is the access log.
    print(f"\n{locality.greeting(BASE)}\n", flush=True, file=sys.stderr if HOSTED else sys.stdout)
    searching = asyncio.create_task(collect_garbage())
    yield
    searching.cancel()


try:
    access.check_key()
except SecretFileError as error:
    raise SystemExit(f"error: {error}") from None
# Every route beside Streamlit's own.
ROUTES: list[BaseRoute] = [
    *viewer.routes(BASE), *plot_files.routes(BASE), *locality.routes(BASE), *health.routes(BASE),
]  # fmt: skip
if HOSTED:
    ROUTES += link_routes.routes(link_routes.LinkServer(BASE, state.of_server, keys.signing_key, TITLES))
PAGES = [view.name for view in VIEWS]
# The first stands around all others.
FOR_OTHERS = [
    Middleware(AccessLog, base=BASE, routes=ROUTES, pages=PAGES),
    Middleware(SafeHeaders, scripts=(browser_history.SCRIPT,), frames=HOSTED.frames if HOSTED else ()),
    Middleware(Logins, pages=PAGES),
    Middleware(MediaForReaders, reader=access.reader, base=BASE),
]
SCRIPT = str(FOLDER / "home.py")
EVERYWHERE = [
    Middleware(Guard), Middleware(Reconnected), Middleware(Together),
    Middleware(BrowserFiles, base=BASE, pages=PAGES),
]  # fmt: skip
OPTIONS: dict[str, Any] = {
    "routes": ROUTES, "middleware": [*(FOR_OTHERS if HOSTED else ()), *EVERYWHERE], "lifespan": greeted,
}  # fmt: skip
app = st.App(SCRIPT, **OPTIONS)
