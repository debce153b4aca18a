"""The routes of links: /s/... leads to the long form, /share/... opens a signed link.

They answer with lines of words and redirections to pages of this server, never with data.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from dashboard.links import passwords, short, signed, web_page
from dashboard.links.tables import LinkError, LinkRefusedError
from dashboard.serving.state import State

COOKIE = "brainwhy_share"
LARGEST_FORM, LARGEST_VIEW = 2048, short.LONGEST_QUERY + 1024  # bytes
TOO_LARGE = "This is more than the server takes here."
FAILED = "The server cannot read its links now: try again in a minute."
PLAIN_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class LinkServer:
    """What the routes need of the server.

    Attributes:
        base: before all its addresses, "" or "/heat".
        state: the state file, which all processes share.
        key: the signing key, the same in every process.
        titles: of the pages, by the names in their addresses.
        clock: seconds since 1970.
    """

    base: str
    state: Callable[[], State]
    key: Callable[[], bytes]
    titles: Mapping[str, str]
    clock: Callable[[], float] = time.time


def routes(server: LinkServer) -> list[Route]:
    """Return the routes of short and of signed links."""
    answers: list[tuple[str, str, Callable[[LinkServer, Request], Awaitable[Response]]]] = [
        (f"/{short.PATH}", "POST", _keep_short),
        (f"/{short.PATH}/{{token:path}}", "GET", _open_short),
        (f"/{signed.PATH}/leave", "GET", _leave),
        (f"/{signed.PATH}/{{token:path}}", "GET", _show_entrance),
        (f"/{signed.PATH}/{{token:path}}", "POST", _enter),
    ]
    return [
        Route(server.base + path, functools.partial(_answered, server, answer), methods=[method])
        for path, method, answer in answers
    ]


async def _answered(
    server: LinkServer, answer: Callable[[LinkServer, Request], Awaitable[Response]], request: Request
) -> Response:
    """Give the answer of a route, or one line where it fails: never a traceback."""
    try:
        return await answer(server, request)
    except LinkRefusedError as error:
        return web_page.refused(str(error), error.status)
    except LinkError as error:
        return PlainTextResponse(str(error), 400, PLAIN_HEADERS)
    except Exception as error:
        LOG.error("a link could not be answered: %s", type(error).__name__)
        return PlainTextResponse(FAILED, 503, PLAIN_HEADERS)


async def _asked(server: LinkServer, question: Callable[..., Any], *arguments: Any) -> Any:
    """Ask the state file in a thread, so that other readers do not wait."""
    return await asyncio.get_running_loop().run_in_executor(None, lambda: question(server.state(), *arguments))


async def _open_short(server: LinkServer, request: Request) -> Response:
    view = await _asked(server, short.find, server.key(), request.path_params["token"])
    if view.page not in server.titles:
        raise LinkRefusedError(short.UNKNOWN)
    return RedirectResponse(server.base + view.address, 302, PLAIN_HEADERS)


async def _keep_short(server: LinkServer, request: Request) -> Response:
    """Keep a view that a page of this server has written; the letters that come with it show that."""
    try:
        sent = json.loads(await _body(request, LARGEST_VIEW))
        view, given = short.View(sent["page"], sent["query"]), sent["token"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise LinkError("This is no view of a page.") from None
    if not all(isinstance(text, str) for text in (*view, given)) or view.page not in server.titles:
        raise LinkError("This is no view of a page.")
    await _asked(server, short.keep, server.key(), view, given, server.clock())
    return Response(status_code=204, headers=PLAIN_HEADERS)


async def _show_entrance(server: LinkServer, request: Request) -> Response:
    now = server.clock()
    link = await _asked(server, signed.check, server.key(), request.path_params["token"], now)
    return web_page.entrance(link, _title(server, link), now)


async def _enter(server: LinkServer, request: Request) -> Response:
    token, now = request.path_params["token"], server.clock()
    link = await _asked(server, signed.check, server.key(), token, now)
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return web_page.entrance(link, _title(server, link), now, "Press Open here, not on another page.", 403)
    try:
        form = parse_qs((await _body(request, LARGEST_FORM)).decode("ascii"), max_num_fields=8)
    except ValueError:
        raise LinkRefusedError("This is no form of this page.", 400) from None
    password = form.get("password", [""])[-1]
    if link.role == "patient" and form.get("agreed") != ["yes"]:
        return web_page.entrance(link, _title(server, link), now, "Confirm the data use agreement to go on.", 403)
    try:
        link, session = await _asked(server, signed.enter, server.key(), token, password, now)
    except LinkRefusedError as error:
        if error.status not in (passwords.WRONG, passwords.TOO_MANY):
            raise
        return web_page.entrance(link, _title(server, link), now, str(error), error.status)
    answer = RedirectResponse(server.base + link.view.address, 303, PLAIN_HEADERS)
    ends = int(min(signed.SESSION_SECONDS, link.ends_at + 1 - now))
    _set_cookie(answer, request, server.base, session, ends)
    return answer


async def _leave(server: LinkServer, request: Request) -> Response:
    """Let the browser forget the link that it has opened."""
    answer = RedirectResponse(f"{server.base}/", 303, PLAIN_HEADERS)
    _set_cookie(answer, request, server.base, "", 0)
    return answer


def _title(server: LinkServer, link: signed.SignedLink) -> str:
    return server.titles.get(link.page, link.page)


def _set_cookie(answer: Response, request: Request, base: str, value: str, seconds: int) -> None:
    jar = SimpleCookie({COOKIE: value})
    jar[COOKIE] |= {"path": base or "/", "max-age": seconds, "httponly": True, "samesite": "Lax"}
    if "https" in (request.url.scheme, request.headers.get("x-forwarded-proto", "").lower()):
        jar[COOKIE]["secure"] = True
    answer.headers["set-cookie"] = jar[COOKIE].OutputString()


async def _body(request: Request, largest: int) -> bytes:
    """Return what was sent, as long as it is not more than the server takes."""
    found = b""
    async for part in request.stream():
        found += part
        if len(found) > largest:
            raise LinkRefusedError(TOO_LARGE, 413)
    return found
