"""Entry of the dashboard: `streamlit run dashboard/app.py`. The pages start in home.py; the routes serve volumes."""

from __future__ import annotations

import contextlib
import gc
import importlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware

from dashboard import viewer
from dashboard.serving.secret_files import SecretFileError
from dashboard.shell import access, locality
from dashboard.shell.guard import Guard
from dashboard.viewer.serving import base_path

BASE = base_path(st.get_option("server.baseUrlPath"))
FOLDER = Path(__file__).parent
# Scripts, which Streamlit runs, and what is loaded when somebody asks for a PDF.
NOT_AHEAD = re.compile(r"dashboard\.(app|home|reports.*|views\.\w+\.page)")


def make_ready() -> None:
    """Load what pages use, and take it out of the search for garbage.

    Streamlit searches everything after every pass, which takes longer than a change on a page.
    """
    # By files: pkgutil.walk_packages would import every package that it walks, the reports too.
    for file in sorted(FOLDER.rglob("*.py")):
        name = ".".join(file.relative_to(FOLDER.parent).with_suffix("").parts).removesuffix(".__init__")
        if not NOT_AHEAD.fullmatch(name):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


@contextlib.asynccontextmanager
async def greeted(_: st.App) -> AsyncIterator[None]:
    """Say where the dashboard is and who sees what, once the port is known."""
    make_ready()
    print(f"\n{locality.greeting(BASE)}\n", flush=True)
    yield


try:
    access.check_key()
except SecretFileError as error:
    raise SystemExit(f"error: {error}") from None
app = st.App(
    "home.py", routes=[*viewer.routes(BASE), *locality.routes(BASE)], middleware=[Middleware(Guard)], lifespan=greeted
)
