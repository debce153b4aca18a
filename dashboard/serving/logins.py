"""The ASGI middleware that lets a login count only while the server keeps it open, and that goes back to its page."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from http.cookies import SimpleCookie
from urllib.parse import quote, unquote, urlsplit

from google.protobuf.message import DecodeError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from dashboard.serving import hosting, sessions, streamlit_login
from dashboard.serving.hosting import Hosting

LOGIN, LOGOUT, CALLBACK = "/auth/login", "/auth/logout", "/oauth2callback"
RETURN_COOKIE, RETURN_SECONDS = "brainwhy_return", 600
LONGEST_RETURN = 3000  # characters of a remembered address; a cookie holds about 4000
ENDED = 1008  # RFC 6455, 7.4.1: a policy is violated
ROLE = "brainwhy.role"  # in the scope: for the access log


class Logins:
    """The middleware. It takes the cookies of logins that are not open out of every request."""

    def __init__(self, app: ASGIApp, pages: Collection[str]) -> None:
        """Wrap an app.

        Args:
            pages: the addresses that a login may go back to, as in "patient".
        """
        self._app = app
        self._pages = frozenset(pages)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = hosting.current()
        if scope["type"] not in ("http", "websocket") or settings is None:
            await self._app(scope, receive, send)
            return
        session = _admit(scope, settings)
        if scope["type"] == "websocket":
            await self._app(scope, _while_open(session, receive, send), send)
            return
        path = scope["path"].removeprefix(settings.base)
        if path == LOGOUT and session:
            await run_in_threadpool(sessions.end, session)
        if path not in (LOGIN, LOGOUT, CALLBACK):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)

        async def changed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                if path == LOGIN:
                    self._remember(connection, headers, settings.base)
                elif path == CALLBACK:
                    await run_in_threadpool(_begin, headers, settings)
                    self._go_back(connection, headers, settings.base)
                else:
                    headers.append("set-cookie", _cookie(sessions.COOKIE, "", 0, settings.base))
            await send(message)

        await self._app(scope, receive, changed)

    def _remember(self, request: HTTPConnection, headers: MutableHeaders, base: str) -> None:
        """Keep the page on which somebody signs in, in a cookie."""
        parts = urlsplit(request.headers.get("referer", ""))
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        if self.is_page(target, base):
            headers.append("set-cookie", _cookie(RETURN_COOKIE, quote(target, safe=""), RETURN_SECONDS, base))

    def _go_back(self, request: HTTPConnection, headers: MutableHeaders, base: str) -> None:
        """Lead back to the page that was remembered, in the place of the first page."""
        target = unquote(request.cookies.get(RETURN_COOKIE, ""))
        if target and self.is_page(target, base) and request.query_params.get("code") and "location" in headers:
            headers["location"] = target
        if target:
            headers.append("set-cookie", _cookie(RETURN_COOKIE, "", 0, base))

    def is_page(self, target: str, base: str) -> bool:
        """Return whether an address is one of our pages, so that a login may lead to it and nowhere else."""
        if len(target) > LONGEST_RETURN or not re.fullmatch(r"/[\w./%?&=~+,:@!$'()*;\-]*", target, re.ASCII):
            return False
        path = urlsplit(target).path
        if target.startswith("//") or not path.startswith(base) or ":" in path:
            return False
        inside = path.removeprefix(base).strip("/")
        return path == f"{base}/{inside}" and (not inside or inside in self._pages)


def _admit(scope: Scope, settings: Hosting) -> str:
    """Return the open login of a request, "" for none; without one, take all cookies of a login out of it."""
    cookies = HTTPConnection(scope).cookies
    claims = streamlit_login.claims(cookies)
    session = sessions.session_id(cookies)
    known = sessions.person_of(session)
    if known is None or not claims or known != sessions.person_key(claims):
        session, claims = "", {}
        scope["headers"] = [
            (name, _without_login(value) if name == b"cookie" else value) for name, value in scope["headers"]
        ]
    scope[ROLE] = settings.roles.role(claims, settings.public)
    return session


def _without_login(header: bytes) -> bytes:
    kept = [
        part
        for part in header.decode("latin-1").split(";")
        if (name := part.partition("=")[0].strip()) != sessions.COOKIE and not streamlit_login.COOKIES.fullmatch(name)
    ]
    return ";".join(kept).strip().encode("latin-1")


def _while_open(session: str, receive: Receive, send: Send) -> Receive:
    """Pass on the messages of a browser while its login is open.

    At the first one after, its page is told to load again, which shows what a reader without a login may see, and the
    connection is closed.
    """

    async def checked() -> Message:
        message = await receive()
        if message["type"] == "websocket.receive" and session and not sessions.is_open(session):
            await send({"type": "websocket.send", "bytes": _load_again(message.get("bytes") or b"")})
            await send({"type": "websocket.close", "code": ENDED})
            return {"type": "websocket.disconnect", "code": ENDED}
        return message

    return checked


def _load_again(asked: bytes) -> bytes:
    """Return Streamlit's message that leads a browser elsewhere: to the address of the view that it asked for."""
    wanted, answer = BackMsg(), ForwardMsg()
    with contextlib.suppress(DecodeError):
        wanted.ParseFromString(asked)
    answer.auth_redirect.url = f"?{wanted.rerun_script.query_string.lstrip('?')}"  # of the page that is shown
    return answer.SerializeToString()


def _begin(headers: MutableHeaders, settings: Hosting) -> None:
    """Write down the login that an answer begins, if it begins one, and let its cookies last as long."""
    given: SimpleCookie = SimpleCookie()
    for line in headers.getlist("set-cookie"):
        given.load(line)
    claims = streamlit_login.claims({name: part.value for name, part in given.items()})
    if not claims:
        return
    role = settings.roles.role(claims, settings.public)
    person, names = sessions.person_key(claims), sessions.name_keys(claims)
    token = sessions.begin(person, role, settings.session_hours, names)
    seconds = int(3600 * settings.session_hours)
    lines = [re.sub(r"(?i)max-age=[1-9]\d*", f"Max-Age={seconds}", line) for line in headers.getlist("set-cookie")]
    del headers["set-cookie"]
    for line in (*lines, _cookie(sessions.COOKIE, token, seconds, settings.base)):
        headers.append("set-cookie", line)


def _cookie(name: str, value: str, seconds: int, base: str) -> str:
    """Write a cookie that scripts cannot read; Secure is added where the server is behind TLS (`headers`)."""
    return f"{name}={value}; Path={base or '/'}; Max-Age={seconds}; HttpOnly; SameSite=Lax"
