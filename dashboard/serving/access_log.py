"""The access log of a server for others: one line of JSON a request, and nothing in it that says who or of whom."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO

from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.serving.logins import ROLE

# Streamlit's own addresses; what stands in them (names of files, sessions) is left out.
OF_STREAMLIT = (
    (r"/static/.*", "/static/{file}"), (r"/media/.*", "/media/{file}"), (r"/component/.*", "/component/{file}"),
    (r"/_stcore/bidi-components/.*", "/_stcore/bidi-components/{file}"),
    (r"(/\w+)?/_stcore/(health|host-config|stream|upload_file|metrics)(/.*)?", r"/_stcore/\2"),
    (r"/auth/(login|logout)", r"/auth/\1"), (r"/oauth2callback", "/oauth2callback"), (r"/", "/"),
)  # fmt: skip


class AccessLog:
    """The ASGI middleware around all others. A connection of a browser is one line, written when it ends."""

    def __init__(
        self, app: ASGIApp, base: str = "", routes: Sequence[BaseRoute] = (), pages: Sequence[str] = (),
        out: TextIO | None = None,
    ) -> None:  # fmt: skip
        """Wrap an app.

        Args:
            base: what stands before every address.
            routes: of the dashboard's own; they are logged as they were declared, as in "/brainwhy/volume/{token}".
            pages: their addresses; any other is logged as "/{other}".
            out: where lines go; None for standard output.
        """
        self._app, self._base, self._routes, self._pages = app, base, routes, frozenset(pages)
        self._out = out

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            elif message["type"] == "websocket.close" and not status:
                status = 403
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._write(scope, status or 500, time.perf_counter() - start)

    def _write(self, scope: Scope, status: int, seconds: float) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "method": scope["method"] if scope["type"] == "http" else "WEBSOCKET",
            "route": self.template(scope),
            "status": status,
            "ms": round(1000 * seconds, 1),
            "role": scope.get(ROLE, "none"),
        }
        print(json.dumps(line), file=self._out or sys.stdout, flush=True)

    def template(self, scope: Scope) -> str:
        """Return the address of a request without what a reader put into it."""
        path = scope["path"]
        for route in self._routes:
            if isinstance(route, Route) and route.matches(scope)[0] != Match.NONE:
                return route.path.removeprefix(self._base)
        inside = path.removeprefix(self._base) or "/"
        if inside.strip("/") in self._pages:
            return f"/{inside.strip('/')}"
        for pattern, template in OF_STREAMLIT:
            if found := re.fullmatch(pattern, inside, re.DOTALL):
                return found.expand(template)
        return "/{other}"
