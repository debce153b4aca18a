"""Entry of the dashboard: `streamlit run dashboard/app.py`. The pages start in home.py; the routes serve volumes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import streamlit as st
from starlette.middleware import Middleware

from dashboard import access, locality, viewer
from dashboard.guard import Guard
from dashboard.secret_files import SecretFileError
from dashboard.viewer.serving import base_path

BASE = base_path(st.get_option("server.baseUrlPath"))


@contextlib.asynccontextmanager
async def greeted(_: st.App) -> AsyncIterator[None]:
    """Say where the dashboard is and who sees what, once the port is known."""
    print(f"\n{locality.greeting(BASE)}\n", flush=True)
    yield


try:
    access.check_key()
except SecretFileError as error:
    raise SystemExit(f"error: {error}") from None
app = st.App(
    "home.py", routes=[*viewer.routes(BASE), *locality.routes(BASE)], middleware=[Middleware(Guard)], lifespan=greeted
)
