"""The ASGI middleware that gives a browser what has changed on a page in few parts.

Streamlit's server sends what is new every ten milliseconds, and its page is laid out again for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from google.protobuf.message import DecodeError
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

LONGEST = 0.15  # seconds that a part of the page waits for the others


class Together:
    """The middleware. Parts of a page wait for the end of the pass; all else leaves at once, and they before it."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        outbox = _Outbox(send)
        try:
            await self._app(scope, receive, outbox.take)
        finally:
            outbox.close()


class _Outbox:
    """What a connection has still to send, in its order."""

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self._send = send
        self._held: list[Message] = []
        self._waiting: asyncio.Task[None] | None = None
        self._order = asyncio.Lock()
        self._lost: Exception | None = None

    async def take(self, message: Message) -> None:
        """Keep a part of a page for a while; send anything else, and before it what was kept.

        Raises:
            Exception: what sending raised since the last time, as where the browser has gone.
        """
        if self._lost is not None:
            raise self._lost
        self._held.append(message)
        if not _is_part(message):
            await self._flush()
        elif self._waiting is None or self._waiting.done():
            self._waiting = asyncio.create_task(self._flush_later())

    def close(self) -> None:
        """Forget what was kept: nobody is there any more."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def _flush_later(self) -> None:
        await asyncio.sleep(LONGEST)
        try:
            await self._flush()
        except Exception as error:  # nobody waits for this: whoever sends next is told
            self._lost = error

    async def _flush(self) -> None:
        async with self._order:
            while self._held:
                await self._send(self._held.pop(0))


def _is_part(message: Message) -> bool:
    if message["type"] != "websocket.send":
        return False
    try:
        return ForwardMsg.FromString(message.get("bytes") or b"").WhichOneof("type") == "delta"
    except DecodeError:
        return False
