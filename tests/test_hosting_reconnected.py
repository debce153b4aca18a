"""What a browser is told, and what the server hears, once a page's connection was lost and another one has begun."""

from __future__ import annotations

import asyncio

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from dashboard.serving.reconnected import NAME, Reconnected

FIRST, AGAIN = ["streamlit", "token"], ["streamlit", "token", "session"]


def question(fragment: str = "", **more: str) -> bytes:
    asked = BackMsg()
    asked.rerun_script.fragment_id = fragment
    asked.rerun_script.query_string = more.get("query", "v=1")
    return asked.SerializeToString()


def conversation(subprotocols: list[str], messages: list[bytes | None]) -> tuple[list[ForwardMsg], list[str]]:
    """What the browser is told, and the fragments of the questions that the app hears; None: text, not bytes."""
    told: list[ForwardMsg] = []
    heard: list[str] = []

    async def app(_, receive, send) -> None:
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            if message.get("bytes") is None:
                heard.append("text")
            else:
                asked = BackMsg.FromString(message["bytes"])
                heard.append(asked.rerun_script.fragment_id if asked.WhichOneof("type") == "rerun_script" else "other")

    async def run() -> None:
        incoming = iter([{"type": "websocket.receive", "bytes": data} for data in messages])

        async def receive() -> dict:
            return next(incoming, {"type": "websocket.disconnect"})

        async def send(message: dict) -> None:
            if message["type"] == "websocket.send":
                told.append(ForwardMsg.FromString(message["bytes"]))

        await Reconnected(app)({"type": "websocket", "subprotocols": subprotocols}, receive, send)

    asyncio.run(run())
    return told, heard


def test_a_first_connection_is_left_as_it_is():
    assert conversation(FIRST, [question(), question("part")]) == ([], ["", "part"])


def test_a_page_that_connects_again_runs_whole_once():
    told, heard = conversation(AGAIN, [question(NAME), question("part"), question(NAME)])
    assert [said.WhichOneof("type") for said in told] == ["auto_rerun", "stop_auto_rerun", "stop_auto_rerun"]
    assert told[0].auto_rerun.fragment_id == told[1].stop_auto_rerun.fragment_ids[0] == NAME
    assert heard == ["", "part"]


def test_a_reader_who_is_quicker_gets_the_whole_app_too():
    _, heard = conversation(AGAIN, [question("part"), question(NAME), question("part")])
    assert heard == ["", "part"]


def test_other_messages_pass():
    beat = BackMsg(app_heartbeat=True).SerializeToString()
    assert conversation(AGAIN, [beat, None])[1] == ["other", "text"]
