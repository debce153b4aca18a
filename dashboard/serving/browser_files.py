"""The ASGI middleware that brings Streamlit's files for the browser from memory; Streamlit reads each from the disk."""

from __future__ import annotations

import functools
import gzip
import mimetypes
import re
from collections.abc import Collection
from pathlib import Path

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

STATIC = Path(st.__file__).parent / "static"
KEPT = "public, immutable, max-age=31536000"  # the names change with what is in the files
PACKED = (".js", ".css", ".svg")
SMALLEST, COMPRESSION = 1000, 6  # bytes of a file that is worth packing; of gzip
# 170 kB of Streamlit's own letters, which its page asks for first: ours are the system's (config.toml).
LETTERS = re.compile(r'<link\s+rel="preload"\s+href="\./static/media/SourceSans[^>]*>')


class BrowserFiles:
    """The middleware; what it does not know goes on to the app."""

    def __init__(self, app: ASGIApp, base: str = "", pages: Collection[str] = ()) -> None:
        """Wrap an app.

        Args:
            base: what stands before every address.
            pages: the addresses of pages.
        """
        self._app, self._start, self._pages = app, f"{base}/", {"", *pages}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = None
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"].startswith(self._start):
            name = scope["path"].removeprefix(self._start)
            if name in files():
                packs = "gzip" in Headers(scope=scope).get("accept-encoding", "")
                answer = await run_in_threadpool(_file, name, packs)
            elif name in self._pages:
                answer = Response(page(), media_type="text/html", headers={"Cache-Control": "no-cache"})
        await (answer or self._app)(scope, receive, send)


@functools.cache
def files() -> dict[str, Path]:
    """Return Streamlit's files whose names change with what is in them, by their addresses."""
    return {path.relative_to(STATIC).as_posix(): path for path in (STATIC / "static").rglob("*") if path.is_file()}


def _file(name: str, packs: bool) -> Response:
    content, is_packed = read(name, packs)
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0]
    headers = {"Cache-Control": KEPT, "Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if is_packed else {})
    return Response(content, media_type=kind or "application/octet-stream", headers=headers)


@functools.cache
def read(name: str, packs: bool) -> tuple[bytes, bool]:
    """Return a file, and whether it is packed by gzip; read once."""
    content = files()[name].read_bytes()
    if not packs or len(content) < SMALLEST or not name.endswith(PACKED):
        return content, False
    return gzip.compress(content, COMPRESSION, mtime=0), True


@functools.cache
def page() -> str:
    """Return the page that starts Streamlit in the browser, without what it asks for in vain."""
    return LETTERS.sub("", (STATIC / "index.html").read_text(encoding="utf-8"))
