"""Whether a reader is the one person at this computer: declared when the server starts, never guessed.

The server prints an address with a token at its start. Who opens it gets a cookie, and with it sees single patients.
`-- --local` declares instead that nobody else reaches the server. Neither counts where a login is configured, where
the server answers other computers, or for a request that names another host or has come through a proxy.
"""

from __future__ import annotations

import functools
import hmac
import secrets
import sys
from collections.abc import Mapping
from http.cookies import SimpleCookie
from urllib.parse import urlsplit

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from streamlit.errors import StreamlitSecretNotFoundError

from dashboard.serving import hosting, secret_files
from dashboard.serving.roles import GROUP

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPTION = "--local"
COOKIE = "brainwhy_local"
COOKIE_SECONDS = 30 * 24 * 3600
SECRET_FILE = "local.key"
PATH = "/brainwhy/local"
TOKEN = secrets.token_urlsafe(24)  # of this server process
# What proxies add to a request, beside everything that begins with X-Forwarded.
OF_PROXIES = frozenset({
    "forwarded", "via", "x-real-ip", "x-client-ip", "client-ip", "true-client-ip", "x-cluster-client-ip",
    "cf-connecting-ip", "fastly-client-ip", "x-original-forwarded-for", "x-original-host", "x-original-url",
    "x-envoy-external-address", "x-proxyuser-ip", "x-appengine-user-ip", "x-arr-log-id",
})  # fmt: skip


def is_local(headers: Mapping[str, str], cookies: Mapping[str, str]) -> bool:
    """Return whether a request comes from the person at this computer."""
    return is_possible() and is_direct(headers) and (is_declared_for_all() or _shows_cookie(cookies))


def is_possible() -> bool:
    """Return whether this server may take anyone for local: it answers this computer only, and nobody can sign in.

    `python -m dashboard serve` takes nobody for local, whatever address it has: a proxy stands before it.
    """
    return hosting.current() is None and st.get_option("server.address") in LOOPBACK and not has_login()


def has_login() -> bool:
    """Return whether a login is configured: [auth] in the secrets, or headers that name the user.

    Secrets that cannot be read count as one.
    """
    if st.get_option("server.trustedUserHeaders"):
        return True
    try:
        return "auth" in st.secrets
    except StreamlitSecretNotFoundError as error:
        return getattr(error, "error_id", None) != "no-secrets-found"


def is_declared_for_all() -> bool:
    """Return whether the server was started with `-- --local`."""
    return OPTION in sys.argv[1:]


def has_passed_a_proxy(headers: Mapping[str, str]) -> bool:
    """Return whether a request shows the trace of a proxy."""
    names = {name.lower() for name in headers}
    return bool(names & OF_PROXIES) or any(name.startswith("x-forwarded") for name in names)


def is_direct(headers: Mapping[str, str]) -> bool:
    """Return whether a request names this computer as its host and shows no trace of a proxy."""
    if has_passed_a_proxy(headers):
        return False
    try:
        parts = urlsplit(f"//{next((value for name, value in headers.items() if name.lower() == 'host'), '')}")
        return parts.hostname in LOOPBACK and parts.username is None and not (parts.path or parts.query)
    except ValueError:
        return False


def _shows_cookie(cookies: Mapping[str, str]) -> bool:
    return hmac.compare_digest(cookies.get(COOKIE, "").encode(), _cookie().encode())


@functools.cache
def _cookie() -> str:
    """Return what the browser of this person shows; it outlives the server, as its secret does."""
    return hmac.new(secret_files.kept(secret_files.folder() / SECRET_FILE), b"cookie", "sha256").hexdigest()


def routes(base: str = "") -> list[Route]:
    """Return the route behind the printed address; `base` stands before all addresses of the server."""

    async def opened(request: Request) -> Response:
        given = request.path_params["token"]
        allowed = is_possible() and is_direct(request.headers) and hmac.compare_digest(given.encode(), TOKEN.encode())
        if not allowed:
            return PlainTextResponse(
                "This address is not valid (any more): open the one that the server printed at its start.",
                403, {"Cache-Control": "no-store"},
            )  # fmt: skip
        answer = RedirectResponse(f"{base}/", 303, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})
        jar = SimpleCookie({COOKIE: _cookie()})
        jar[COOKIE] |= {"path": base or "/", "max-age": COOKIE_SECONDS, "httponly": True, "samesite": "Strict"}
        answer.headers["set-cookie"] = jar[COOKIE].OutputString()
        return answer

    return [Route(f"{base}{PATH}/{{token}}", opened, methods=["GET"])]


def greeting(base: str = "") -> str:
    """Return what the server says at its start: its address, and who sees what."""
    address = st.get_option("server.address")
    host = f"[{address}]" if ":" in (address or "") else address
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    url = f"{scheme}://{host or 'localhost'}:{st.get_option('server.port')}{base}"
    if settings := hosting.current():
        others = "results of groups" if settings.public == GROUP else "a page to sign in"
        login = "roles come from the claims of a login" if has_login() else "there is no login"
        return f"Brainwhy: {url}\nReaders without a role see {others}; {login}."
    if not is_possible():
        who = (
            "Single patients: after a login whose claims hold the role patient."
            if has_login()
            else "It answers other computers and has no login: everyone sees results of groups alone."
        )
        return f"Brainwhy: {url}\n{who}"
    if is_declared_for_all():
        return f"Brainwhy: {url}\nStarted with {OPTION}: every program and person of this computer sees everything."
    return (
        f"Brainwhy, for you at this computer:\n{url}{PATH}/{TOKEN}\n"
        f"Your browser remembers it. Without it, {url} shows results of groups alone."
    )
