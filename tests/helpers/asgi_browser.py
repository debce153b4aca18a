"""A browser without a network: asks an ASGI app, keeps its cookies, and opens websockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers


@dataclass
class Answer:
    """What an app answers."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Client:
    """A browser at an app; `cookies` are those it shows, whatever their path."""

    app: Any
    scheme: str = "https"
    host: str = "brains.example.org"
    cookies: dict[str, str] = field(default_factory=dict)

    def _scope(self, kind: str, address: str, headers: Mapping[str, str]) -> dict[str, Any]:
        parts = urlsplit(address)
        sent = {"host": self.host, **headers}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return {
            "type": kind, "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": self.scheme,
            "path": unquote(parts.path), "raw_path": parts.path.encode(), "query_string": parts.query.encode(),
            "root_path": "", "headers": [(k.lower().encode(), v.encode()) for k, v in sent.items()],
            "client": ("203.0.113.9", 1), "server": (self.host, 443), "subprotocols": [], "state": {},
        }  # fmt: skip

    def ask(self, address: str, method: str = "GET", content: bytes = b"", **headers: str) -> Answer:
        """Send one request and take in the cookies of its answer."""
        sent = {"content-length": str(len(content)), **headers} if content else headers
        scope = self._scope("http", address, sent) | {"method": method}
        said: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            said.append(message)

        asyncio.run(self.app(scope, receive, send))
        answer = Answer(said[0]["status"], Headers(raw=said[0]["headers"]), b"".join(m.get("body", b"") for m in said))
        for line in answer.headers.getlist("set-cookie"):
            for name, part in SimpleCookie(line).items():
                self.cookies.pop(name, None)
                if part["max-age"] != "0" and part["max-age"] != 0:
                    self.cookies[name] = part.value
        return answer

    def talk(self, address: str, *messages: bytes, before_last: Any = None) -> list[dict[str, Any]]:
        """Open a websocket, send messages and leave; return all that the app sent.

        Args:
            before_last: is called before the last message is sent.
        """
        scope = self._scope("websocket", address, {}) | {"scheme": "wss"}
        left, said = [{"type": "websocket.connect"}], []
        left += [{"type": "websocket.receive", "bytes": message} for message in messages]
        left += [{"type": "websocket.disconnect", "code": 1000}]

        async def receive() -> dict[str, Any]:
            if len(left) == 2 and before_last is not None:
                before_last()
            return left.pop(0)

        async def send(message: dict[str, Any]) -> None:
            said.append(message)

        asyncio.run(self.app(scope, receive, send))
        return said
