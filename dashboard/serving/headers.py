"""Headers that tell a browser what pages of this server may do, Secure cookies, and limits of what it may send."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import streamlit as st
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboard.serving import streamlit_login

MOST_BODY = 64 * 1024  # bytes of a request: the longest is a form with a password
# What Streamlit's pages need: styles that scripts write, pictures as data, components whose code is a blob.
POLICY = (
    "default-src 'self'", "style-src 'self' 'unsafe-inline'", "img-src 'self' data: blob:", "font-src 'self' data:",
    "connect-src 'self' data: blob:", "worker-src 'self' blob:", "media-src 'self' data: blob:", "frame-src 'self'",
    "object-src 'none'", "base-uri 'self'", "form-action 'self'",
)  # fmt: skip
NOBODY = "'none'"
INLINE = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def policy(scripts: Sequence[str], frames: Sequence[str] = ()) -> str:
    """Return the content security policy; of scripts that stand in pages it allows these alone, by their hashes.

    Args:
        scripts: HTML with the scripts.
        frames: the sites that may show pages in frames of theirs.
    """
    page = Path(st.__file__).parent / "static" / "index.html"
    inline = [code for text in (page.read_text(encoding="utf-8"), *scripts) for code in INLINE.findall(text)]
    hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in inline]
    allowed = " ".join(f"'sha256-{found}'" for found in hashes)
    return "; ".join((
        *POLICY, f"script-src 'self' blob: 'wasm-unsafe-eval' {allowed}",
        f"frame-ancestors {' '.join(frames) or NOBODY}",
    ))  # fmt: skip


class SafeHeaders:
    """The ASGI middleware that adds the headers, makes cookies Secure behind TLS and refuses large requests."""

    def __init__(self, app: ASGIApp, scripts: Sequence[str] = (), frames: Sequence[str] = ()) -> None:
        """Wrap an app.

        Args:
            scripts: HTML whose scripts pages may run.
            frames: the sites that may show pages in frames of theirs.
        """
        self._app = app
        self._headers = ({} if frames else {"x-frame-options": "DENY"}) | {
            "content-security-policy": policy(scripts, frames),
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",  # the way back after a login is read from it
            "cross-origin-opener-policy": "same-origin",
            "permissions-policy": "camera=(), geolocation=(), microphone=()",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        secure = scope["scheme"] == "https" or is_behind_tls()

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                if secure:
                    _make_secure(headers)
            await send(message)

        if _length(scope) > MOST_BODY:
            await PlainTextResponse("This request is too large.", 413)(scope, receive, with_headers)
            return
        await self._app(scope, _bounded(receive), with_headers)


def _length(scope: Scope) -> int:
    said = Headers(scope=scope).get("content-length", "0")
    return int(said) if said.isascii() and said.isdigit() and len(said) < 12 else MOST_BODY + 1


def _bounded(receive: Receive) -> Receive:
    """Pass on a request up to the limit; a longer one that did not say its length ends as if it were broken off."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return message if seen <= MOST_BODY else {"type": "http.disconnect"}

    return counted


def _make_secure(headers: MutableHeaders) -> None:
    lines = headers.getlist("set-cookie")
    if lines:
        del headers["set-cookie"]
        for line in lines:
            headers.append("set-cookie", line if re.search(r"(?i);\s*secure\b", line) else f"{line}; Secure")


@functools.cache
def is_behind_tls() -> bool:
    """Return whether readers reach this server by https, as the address of its login says."""
    return streamlit_login.address().startswith("https://")
