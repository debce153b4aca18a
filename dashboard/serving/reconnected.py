"""The ASGI middleware that lets a page run again once its connection was lost and another one has begun."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

NAME = "reconnected"  # of the part of the page that the browser is told to run, which there is not
SECONDS = 0.1  # until it does
SESSION = 2  # the place of the earlier session among the subprotocols: streamlit, a token, the session


class Reconnected:
    """The middleware. A browser that connects once more is told to run the whole app.

    Streamlit's does not by itself, as it takes its session for kept. Where that is gone (another process, or more than
    two minutes), the page would stand there, and its controls, which run a part of the page that the new session does
    not know, would do nothing. The whole app then shows the view of the address.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket" or len(scope.get("subprotocols", ())) <= SESSION:
            await self._app(scope, receive, send)
            return

        async def greeted(message: Message) -> None:
            await send(message)
            if message["type"] == "websocket.accept":
                await send({"type": "websocket.send", "bytes": _run_soon()})

        await self._app(scope, _whole_first(receive, send), greeted)


def _whole_first(receive: Receive, send: Send) -> Receive:
    """Pass on the messages of a browser; the first question runs the whole app, whatever part it was for."""
    has_run = False

    async def changed() -> Message:
        nonlocal has_run
        while True:
            message = await receive()
            asked = BackMsg()
            try:
                asked.ParseFromString(message.get("bytes") or b"")
            except DecodeError:
                return message
            if asked.WhichOneof("type") != "rerun_script":
                return message
            client = asked.rerun_script
            is_ours = client.fragment_id == NAME
            if is_ours:
                await send({"type": "websocket.send", "bytes": _stop()})
                if has_run:
                    continue
            if not has_run and client.fragment_id:
                client.fragment_id, client.is_auto_rerun = "", False
                message = {**message, "bytes": asked.SerializeToString()}
            has_run = True
            return message

    return changed


def _run_soon() -> bytes:
    said = ForwardMsg()
    said.auto_rerun.fragment_id, said.auto_rerun.interval = NAME, SECONDS
    return said.SerializeToString()


def _stop() -> bytes:
    said = ForwardMsg()
    said.stop_auto_rerun.fragment_ids.append(NAME)
    return said.SerializeToString()
