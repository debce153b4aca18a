"""What the server refuses before Streamlit sees it: uploads, which no page needs, messages that are none, and a proxy
before a server that is for its own computer.
"""

from __future__ import annotations

import logging

from google.protobuf.message import DecodeError
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg

from dashboard.shell import locality

UPLOADS = "/_stcore/upload_file"
BEHIND_A_PROXY = (
    "This dashboard is for the computer that it runs on, and this request came through a proxy: start it for others by "
    "python -m dashboard serve (docs/hosting.md).\n"
)
UNSUPPORTED, PROTOCOL_ERROR, SERVER_ERROR, POLICY = 1003, 1002, 1011, 1008  # RFC 6455, 7.4.1
LOG = logging.getLogger(__name__)


class Guard:
    """The ASGI middleware around the whole app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and UPLOADS in scope["path"]:
            await PlainTextResponse("This server takes no files.", 404)(scope, receive, send)
        elif scope["type"] in ("http", "websocket") and _is_behind_a_proxy(scope):
            if scope["type"] == "http":
                await PlainTextResponse(BEHIND_A_PROXY, 403, {"Cache-Control": "no-store"})(scope, receive, send)
            else:
                await receive()
                await send({"type": "websocket.close", "code": POLICY})
        elif scope["type"] == "websocket":
            await _connection(self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_behind_a_proxy(scope: Scope) -> bool:
    """Return whether a request to a server for its own computer came through a proxy, and so from who knows where."""
    return locality.has_passed_a_proxy(Headers(scope=scope)) and locality.is_possible()


async def _connection(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Pass on one websocket; close it, with one line in the log, at the first message that is none or that fails."""
    closed = False

    async def close(code: int, why: str) -> Message:
        nonlocal closed
        if not closed:
            closed = True
            LOG.warning("A connection was closed: %s", why)
            await send({"type": "websocket.close", "code": code})
        return {"type": "websocket.disconnect", "code": code}

    async def checked() -> Message:
        message = await receive()
        if message["type"] != "websocket.receive":
            return message
        if message.get("bytes") is None:
            return await close(UNSUPPORTED, "it sent text instead of a message of Streamlit.")
        try:
            kind = BackMsg.FromString(message["bytes"]).WhichOneof("type")
        except DecodeError:
            kind = None
        if kind is None:
            return await close(PROTOCOL_ERROR, "it sent what is no message of Streamlit.")
        return message

    async def open_only(message: Message) -> None:
        nonlocal closed
        if not closed:
            closed = message["type"] == "websocket.close"
            await send(message)

    try:
        await app(scope, checked, open_only)
    except Exception as error:
        LOG.debug("the connection that was closed", exc_info=True)
        await close(SERVER_ERROR, f"{type(error).__name__} while its message was read.")
