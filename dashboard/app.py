"""Entry of the dashboard: `streamlit run dashboard/app.py`. The pages start in home.py; the routes serve volumes."""

from __future__ import annotations

import contextlib
import gc
import importlib
import pkgutil
import re
from collections.abc import AsyncIterator

import streamlit as st
from starlette.middleware import Middleware

import dashboard
from dashboard import viewer
from dashboard.shell import access, locality
from dashboard.shell.guard import Guard
from dashboard.shell.secret_files import SecretFileError
from dashboard.viewer.serving import base_path

BASE = base_path(st.get_option("server.baseUrlPath"))


# Scripts, which Streamlit runs, and what is loaded when somebody asks for a PDF.
NOT_AHEAD = re.compile(r"dashboard\.(app|home|reports.*|views\.\w+\.page)")


def make_ready() -> None:
    """Load what pages use, and take it out of the search for garbage.

    Streamlit searches everything after every pass, which takes longer than a change on a page.
    """
    for module in pkgutil.walk_packages(dashboard.__path__, "dashboard."):
        if not NOT_AHEAD.fullmatch(module.name):
            importlib.import_module(module.name)
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
