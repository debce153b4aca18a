"""What has changed on a page reaches a browser in few parts, in its order."""

from __future__ import annotations

import asyncio

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from dashboard.serving import together


def part(text: str) -> dict:
    message = ForwardMsg(hash=text)
    message.delta.new_element.markdown.body = text
    return {"type": "websocket.send", "bytes": message.SerializeToString()}


def finished() -> dict:
    return {"type": "websocket.send", "bytes": ForwardMsg(script_finished=0).SerializeToString()}


def run(says, send=None, kind: str = "websocket"):
    """What a browser was sent, with the time of each, while an app says things."""
    sent = []

    async def noted(message):
        sent.append((message, asyncio.get_running_loop().time()))

    async def receive():
        return {}

    async def main():
        await together.Together(lambda scope, receive, send: says(send))({"type": kind}, receive, send or noted)

    asyncio.run(main())
    return sent


def test_parts_wait_for_the_end_of_the_pass_and_keep_their_order():
    before = []

    async def says(send):
        await send({"type": "websocket.accept"})
        for text in "abc":
            await send(part(text))
            await asyncio.sleep(0.01)
        before.append(asyncio.get_running_loop().time())
        await send(finished())

    sent = run(says)
    assert [message for message, _ in sent] == [{"type": "websocket.accept"}, *map(part, "abc"), finished()]
    assert sent[0][1] < before[0] <= sent[1][1]


def test_parts_of_a_long_pass_come_meanwhile(monkeypatch):
    monkeypatch.setattr(together, "LONGEST", 0.05)
    seen = []

    async def says(send):
        await send(part("a"))
        await asyncio.sleep(0.5)
        seen.append(asyncio.get_running_loop().time())
        await send(part("b"))
        await asyncio.sleep(0.5)
        await send(finished())

    sent = run(says)
    assert [message for message, _ in sent] == [part("a"), part("b"), finished()]
    assert sent[0][1] < seen[0]
    assert sent[1][1] < sent[2][1] - 0.2


def test_what_is_no_part_and_what_is_no_message_leave_at_once():
    others = [{"type": "websocket.send", "bytes": b"\xff"}, {"type": "websocket.send", "text": "x"}, finished()]

    async def says(send):
        for message in others:
            await send(message)
        await asyncio.sleep(0)
        return None

    assert [message for message, _ in run(says)] == others


def test_requests_that_are_no_connections_pass():
    async def says(send):
        await send(part("a"))

    assert len(run(says, kind="http")) == 1
    assert run(says) == []  # a connection that has ended is sent nothing more


def test_who_sends_next_learns_that_the_browser_has_gone(monkeypatch):
    monkeypatch.setattr(together, "LONGEST", 0.01)

    async def gone(message):
        raise ConnectionError("gone")

    async def says(send):
        await send(part("a"))
        await asyncio.sleep(0.2)
        with pytest.raises(ConnectionError):
            await send(part("b"))

    run(says, gone)
