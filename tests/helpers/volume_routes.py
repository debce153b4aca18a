"""The addresses of the viewer's volumes, asked without a server."""

from __future__ import annotations

import asyncio
import gzip

import numpy as np
from starlette.routing import Router

from dashboard import viewer
from dashboard.viewer import volumes


def get(url: str, base: str = "", coding: str = "") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an address, from the routes alone; `coding`: what the browser accepts."""
    path, _, query = url.partition("?")
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
        "headers": [(b"accept-encoding", coding.encode())], "root_path": "", "scheme": "http",
        "server": ("localhost", 80),
    }  # fmt: skip
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(Router(viewer.routes(base))(scope, receive, send))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])


def fetched(volume: viewer.Volume) -> np.ndarray:
    """The numbers of a volume as the browser gets them, times their scale; NaN outside the brain."""
    status, headers, body = get(volume.url)
    assert status == 200, body
    assert headers["content-encoding"] == "gzip"
    assert headers["cache-control"].startswith("private")
    integers = np.frombuffer(gzip.decompress(body), np.dtype(volume.dtype).newbyteorder("<")).reshape(volume.shape)
    scale = float(headers["x-scale"]) if volume.scale is None else volume.scale
    return np.where(integers == volumes.OUTSIDE, np.nan, integers * scale)
