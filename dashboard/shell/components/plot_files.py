"""The routes of what charts need in the browser: our own modules, and plotly.js from its installed package."""

from __future__ import annotations

import functools
import gzip
import hashlib
import logging
import threading
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dashboard.serving.addresses import base_path
from dashboard.shell.components import plotly_part

PREFIX = "/brainwhy/plots"
FRONTEND = Path(__file__).parent
OWN = ("plot.js", "save_figure.js")
PART, WHOLE = "plotly-part.js", "plotly.js"
COMPRESSION = 6
_making = threading.Lock()


def routes(base: str = "") -> list[Route]:
    """Return the routes for st.App, which does not put baseUrlPath before them itself."""
    return [Route(f"{base_path(base)}{PREFIX}/{{version}}/{{name}}", answer, methods=["GET"])]


def url(name: str) -> str:
    """Return the address of a file on this server; it changes with the code and with plotly.js."""
    return f"{base_path()}{PREFIX}/{version()}/{name}"


async def answer(request: Request) -> Response:
    """Answer with a file, gzip; its address changes with what is in it, so it may be kept for ever."""
    name = request.path_params["name"]
    if request.path_params["version"] != version() or name not in (*OWN, PART, WHOLE):
        return PlainTextResponse(
            "There is no such file in this version: reload the page.", 404, {"Cache-Control": "no-store"}
        )
    headers = {
        "Content-Encoding": "gzip", "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }  # fmt: skip
    return Response(await run_in_threadpool(packed, name), media_type="text/javascript", headers=headers)


def packed(name: str) -> bytes:
    """Return a file, gzip; made once, also where several readers ask at the same time."""
    with _making:
        return _packed(name)


@functools.cache
def _packed(name: str) -> bytes:
    text = _plotly(name == PART) if name in (PART, WHOLE) else (FRONTEND / name).read_text(encoding="utf-8")
    return gzip.compress(text.encode(), COMPRESSION, mtime=0)


def _plotly(in_part: bool) -> str:
    source = plotly_part.whole()
    if in_part:
        try:
            return plotly_part.part(source)
        except plotly_part.UnknownShapeError as error:
            # Another version of Plotly's package: charts are as good, but a browser reads four times as much.
            logging.getLogger(__name__).warning("%s. Browsers are given all of it.", error)
    return source


@functools.cache
def version() -> str:
    """Return the hash that stands in the addresses."""
    files = [FRONTEND / name for name in (*OWN, "plotly_part.py")]
    content = hashlib.sha256(plotly_part.whole().encode())
    for file in files:
        content.update(file.name.encode() + file.read_bytes())
    return content.hexdigest()[:12]
