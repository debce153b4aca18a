"""A reader of the dashboard without a browser: speaks Streamlit's messages over its websocket."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import tls
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

PATIENCE_S = 120
XSRF = "_streamlit_xsrf"
MOST_KNOWN = 60  # messages that a browser keeps
SIZE = 1 << 28
VOLUME = re.compile(r"/[\w/\-]*brainwhy/volume/[\w\-]+\?expires=\d+&signature=\w+")
FINISHED = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)


@dataclass
class Pass:
    """What one pass of the app or of a page has sent.

    Attributes:
        ms: from the question to the end of the pass.
        elements: (kind, element, fragment) in the order of their arrival.
        leads_to: the address that the browser is sent to, as a login does; "" for none.
    """

    ms: float = 0.0
    bytes: int = 0
    elements: list[tuple[str, Any, str]] = field(default_factory=list)
    leads_to: str = ""

    def text(self) -> str:
        """Everything that was sent as text, whatever holds it."""
        return "\n".join(str(element) for _, element, _ in self.elements)

    def headings(self) -> str:
        """The titles that were sent: quicker to look through than `text`."""
        return "\n".join(element.body for kind, element, _ in self.elements if kind == "heading")

    def widget(self, key: str) -> tuple[str, Any, str]:
        """Kind, element and fragment of the widget with a key, as it was sent last.

        Raises:
            KeyError: there is none.
        """
        for kind, element, fragment in reversed(self.elements):
            if re.search(rf"-{re.escape(key)}$", getattr(element, "id", "")):
                return kind, element, fragment
        raise KeyError(key)

    def has(self, key: str) -> bool:
        """Whether there is a widget with a key."""
        return any(getattr(element, "id", "").endswith(f"-{key}") for _, element, _ in self.elements)

    def data(self, key: str) -> dict[str, Any]:
        """What a component of our own was given; KeyError where there is none."""
        return json.loads(self.widget(key)[1].json)

    def volumes(self) -> list[str]:
        """The addresses of volumes that components were given, from the base path on."""
        given = [element.json for kind, element, _ in self.elements if kind == "bidi_component"]
        return list(dict.fromkeys(address for text in given for address in VOLUME.findall(text)))


class Reader:
    """One session. `url` with its base path; `cookies` and `headers` are those of the browser.

    As a browser, it names the messages of its last passes, and the server does not send these again.
    """

    def __init__(self, url: str, cookies: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None):
        more = dict(headers or {})
        if cookies:
            more["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        parts, trusting = urlsplit(url), None
        if cookies and XSRF in cookies:  # Streamlit takes a login from its own pages alone
            more["Origin"] = f"{parts.scheme}://{parts.netloc}"
        if parts.scheme == "https":
            trusting = tls.trusting()
        self._connection = connect(
            f"{'wss' if trusting else 'ws'}://{parts.netloc}{parts.path.rstrip('/')}/_stcore/stream", ssl=trusting,
            subprotocols=["streamlit", *([cookies[XSRF]] if cookies and XSRF in cookies else [])],
            additional_headers=more, max_size=SIZE, compression=None, open_timeout=60,
        )  # fmt: skip
        self._socket: ClientConnection = self._connection.__enter__()
        self._page, self._query = "", ""
        self._known: dict[str, ForwardMsg] = {}  # the messages of the last pass that the server need not send again

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.__exit__(None, None, None)

    @property
    def query(self) -> str:
        """What stands after the ? of the address now."""
        return self._query

    def send(self, data: bytes | str) -> None:
        """A message as it is."""
        self._socket.send(data)

    def receive(self) -> bytes:
        """What comes next; websockets.ConnectionClosed where the server has ended it."""
        return self._socket.recv(PATIENCE_S)

    def read_all(self) -> None:
        """Read until the server ends the connection; raises websockets.ConnectionClosed then."""
        while True:
            self.receive()

    def open(self, page: str, **query: str) -> Pass:
        """A page of the app, as a link with these words opens it."""
        self._query = urlencode(query)
        message = BackMsg()
        message.rerun_script.page_name, message.rerun_script.query_string = page, self._query
        return self._passed(message)

    def change(self, before: Pass, key: str, **value: Any) -> Pass:
        """Another value of a widget of an earlier pass, e.g. double_array_value=[40.0]; its page runs alone."""
        _, element, fragment = before.widget(key)
        message = BackMsg()
        client = message.rerun_script
        client.query_string, client.page_script_hash, client.fragment_id = self._query, self._page, fragment
        state = client.widget_states.widgets.add(id=element.id)
        for name, given in value.items():
            if name.endswith("_array_value"):
                getattr(state, name).data.extend(given)
            else:
                setattr(state, name, given)
        return self._passed(message)

    def _passed(self, message: BackMsg) -> Pass:
        message.rerun_script.cached_message_hashes.extend(self._known)
        start, found, kept = time.perf_counter(), Pass(), {}
        self._socket.send(message.SerializeToString())
        for data in self._messages():
            found.bytes += len(data)
            said = ForwardMsg.FromString(data)
            if said.WhichOneof("type") == "ref_hash":
                said = self._known[said.ref_hash]
            if said.metadata.cacheable:
                kept[said.hash] = said
            kind = said.WhichOneof("type")
            if kind == "new_session":
                self._page = said.new_session.page_script_hash
            elif kind == "navigation":  # the page that was asked for, of which the script is one of several
                self._page = said.navigation.page_script_hash
            elif kind == "page_info_changed":
                self._query = said.page_info_changed.query_string
            elif kind == "delta" and said.delta.WhichOneof("type") == "new_element":
                element = said.delta.new_element
                name = element.WhichOneof("type")
                found.elements.append((name, getattr(element, name), said.delta.fragment_id))
            elif kind == "auth_redirect":
                found.leads_to = said.auth_redirect.url
            elif kind == "script_finished" and said.script_finished in FINISHED:
                found.ms = 1000 * (time.perf_counter() - start)
                # A part that ran alone says nothing of the others, which the browser still shows.
                older = list(self._known.items())[-MOST_KNOWN:] if message.rerun_script.fragment_id else []
                self._known = dict(older) | kept
                return found
        raise AssertionError("unreachable")

    def _messages(self) -> Iterator[bytes]:
        while True:
            yield self.receive()
