"""Pictures and files of pages, which Streamlit gives to whoever knows the address: here only to whom it was told."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

TOLD = re.compile(rb"/media/([0-9a-f]{16,128})")
ASKED = re.compile(r"/media/([0-9a-f]{16,128})(\.\w+)?")
PREFIX = "/media/"
KEPT = 20_000  # files
NOBODY = ""  # a reader who is not signed in: what such readers are told is for everyone


class MediaForReaders:
    """The ASGI middleware that remembers which reader was told of which file, and gives it to no other."""

    def __init__(
        self, app: ASGIApp, reader: Callable[[Mapping[str, str], Mapping[str, str]], str], base: str = ""
    ) -> None:
        """Wrap an app.

        Args:
            base: what stands before every address.
            reader: from the headers and cookies of a request, for whom it is: see `access.reader`.
        """
        self._app, self._reader, self._base = app, reader, base
        self._told: OrderedDict[str, set[str]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            whose = self._whose(scope)

            async def noted(message: Message) -> None:
                if message["type"] == "websocket.send" and message.get("bytes"):
                    for name in TOLD.findall(message["bytes"]):
                        self._remember(name.decode(), whose)
                await send(message)

            await self._app(scope, receive, noted)
        elif scope["type"] == "http" and self._inside(scope).startswith(PREFIX) and not self._may(scope):
            answer = PlainTextResponse("This file is not for you, or no longer: reload the page.", 403)
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _whose(self, scope: Scope) -> str:
        connection = HTTPConnection(scope)
        return self._reader(connection.headers, connection.cookies)

    def _remember(self, name: str, whose: str) -> None:
        self._told.setdefault(name, set()).add(whose)
        self._told.move_to_end(name)
        while len(self._told) > KEPT:
            self._told.popitem(last=False)

    def _inside(self, scope: Scope) -> str:
        return scope["path"].removeprefix(self._base)

    def _may(self, scope: Scope) -> bool:
        found = ASKED.fullmatch(self._inside(scope))
        readers = self._told.get(found[1], set()) if found else set()
        return bool(readers & {NOBODY, self._whose(scope)})
