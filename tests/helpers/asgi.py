"""Requests to routes without a server, with whatever bytes in their addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.cookies import SimpleCookie
from urllib.parse import unquote_to_bytes

from starlette.applications import Starlette
from starlette.routing import Route


@dataclass(frozen=True)
class Answer:
    """What a route answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def cookies(self) -> dict[str, str]:
        return {name: morsel.value for name, morsel in SimpleCookie(self.headers.get("set-cookie", "")).items()}


class Client:
    """Asks an app of the given routes; one event loop for all that is asked."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._app = Starlette(routes=list(routes))
        self._runner = asyncio.Runner()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()

    def ask(
        self, path: str, method: str = "GET", body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:  # fmt: skip
        """An answer; the path may hold %xx, which come to the app decoded, as from a server."""
        raw, _, query = path.partition("?")
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": unquote_to_bytes(raw).decode("utf-8", "replace"), "raw_path": raw.encode("utf-8", "replace"),
            "root_path": "", "query_string": query.encode("utf-8", "replace"), "server": ("localhost", 80),
            "client": ("127.0.0.1", 1),
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        }  # fmt: skip
        sent: list[dict] = []
        incoming = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict:
            return next(incoming, {"type": "http.disconnect"})

        async def send(message: dict) -> None:
            sent.append(message)

        self._runner.run(self._app(scope, receive, send))
        start = next(message for message in sent if message["type"] == "http.response.start")
        return Answer(
            start["status"], {k.decode(): v.decode("latin-1") for k, v in start["headers"]},
            b"".join(message.get("body", b"") for message in sent),
        )  # fmt: skip
