"""Requests to web servers: a file, a part of one, or whether there is one; through the session of fsspec."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fsspec.asyn import sync

from store.files.trouble import StatusError


def get(fs: Any, url: str, largest: int, timeout_s: float) -> bytes:
    """Read a file, or a little more than `largest` bytes of it; StatusError where the server gives something else."""
    found = _get(fs, url, largest, timeout_s, {})
    assert found is not None
    return found


def part(fs: Any, url: str, ends: tuple[int, int], timeout_s: float) -> bytes | None:
    """Read the bytes of a file from the first of `ends` to before the second; None where the server gives it whole."""
    headers = {"Range": f"bytes={ends[0]}-{ends[1] - 1}", "Accept-Encoding": "identity"}  # else of what is packed
    return _get(fs, url, ends[1] - ends[0], timeout_s, headers)


def _get(fs: Any, url: str, largest: int, timeout_s: float, headers: dict[str, str]) -> bytes | None:
    async def get() -> bytes | None:
        session = await fs.set_session()
        async with session.get(fs.encode_url(url), headers=headers) as answer:
            if headers and answer.status == HTTPStatus.OK:
                return None
            if answer.status != (HTTPStatus.PARTIAL_CONTENT if headers else HTTPStatus.OK):
                raise StatusError(answer.status)
            data = bytearray()
            async for piece in answer.content.iter_chunked(1 << 20):
                data += piece
                if len(data) > largest:
                    break
            return bytes(data)

    return sync(fs.loop, get, timeout=timeout_s)


def head(fs: Any, url: str, timeout_s: float) -> None:
    """See that a file is there; StatusError where the server answers otherwise."""

    async def head() -> None:
        session = await fs.set_session()
        async with session.head(fs.encode_url(url), allow_redirects=True) as answer:
            if answer.status < 400:
                return
            refused = answer.status
        if refused in (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED):
            async with session.get(fs.encode_url(url)) as answer:
                if answer.status < 400:
                    return
                refused = answer.status
        raise StatusError(refused)

    sync(fs.loop, head, timeout=timeout_s)
