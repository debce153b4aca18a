"""Files of a store behind a URL: time limits, a few retries, and words by cause. Needs the extra `remote`.

Files are fetched whole and never by ranges, which not every server knows. After a silence, the same part of a run
answers at once for a few seconds that it cannot be reached, so that those who wait for it do not wait one after
another; the rest of the run goes on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, TypeVar

import fsspec
from fsspec.asyn import sync

from store.errors import BrokenRunError, StoreNotFoundError, UnreachableError

CONNECT_S, SILENCE_S, FILE_S = 4.0, 6.0, 120.0  # to connect; between two packets; for one file
WAITS_S = (0.3, 1.0)  # before the second and the third attempt
ATTEMPTS_S = 10.0  # no further attempt begins later than this
REMEMBERED_S = 4.0  # how long a silence is remembered
PART_DEPTH = 2  # of which part of a run: one table, or all cells of the averages
_HTTP = ("http", "https")
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_silences: dict[str, tuple[float, str]] = {}

Result = TypeVar("Result")


class _StatusError(Exception):
    """What an HTTP server answers instead of a file."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class RemoteFiles:
    """The files below a URL."""

    def __init__(self, url: str) -> None:
        """Open a URL; StoreNotFoundError: nothing installed can read such a one."""
        protocol = fsspec.core.split_protocol(url)[0]
        try:
            self._fs, self.root = fsspec.core.url_to_fs(url, **_options(protocol))
        except ImportError as error:
            raise StoreNotFoundError(
                f"cannot open {url}: {error}: install what reads such addresses, for s3:// and https:// with "
                "pip install 'brainwhy[remote]'"
            ) from error
        except ValueError as error:
            raise StoreNotFoundError(f"cannot open {url}: {error}") from error
        self._is_http = protocol in _HTTP
        if hasattr(self._fs, "retries"):
            self._fs.retries = 1  # those below are enough

    def exists(self, path: str) -> bool:
        """Return whether something is there; UnreachableError where the server does not say."""
        place = self._place(path)
        try:
            self._patiently(path, lambda: self._head(place) if self._is_http else self._fs.info(place))
        except FileNotFoundError:
            return False
        return True

    def read(self, path: str, largest: int) -> bytes:
        """Read the bytes of a file.

        Raises:
            FileNotFoundError: it is not there.
            BrokenRunError: it is larger than `largest`.
            UnreachableError: the server refuses, is busy, silent, or answers with something else; says which.
        """
        place = self._place(path)
        data = self._patiently(
            path,
            lambda: self._get(place, largest) if self._is_http else self._fs.cat_file(place, start=0, end=largest + 1),
        )
        if len(data) > largest:
            raise BrokenRunError(f"{path} has more than the {largest} bytes that it can need")
        if data[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise UnreachableError(
                f"the server answers with a web page instead of {path}: is the address right, or does it want a login?"
            )
        return data

    def folders(self) -> list[str]:
        """List the names of the folders in this one, without hidden ones; OSError where it is no folder.

        Raises:
            FileNotFoundError: there is nothing of this address.
            UnreachableError: the server does not list it; says what it lacks.
        """
        self._fs.invalidate_cache()
        try:
            entries = self._patiently("", lambda: self._fs.ls(f"{self.root.rstrip('/')}/", detail=True))
        except FileNotFoundError:
            if self._is_http:
                raise UnreachableError(
                    f"{self.root} answers 404 (Not Found), so its runs cannot be listed: check the address; the server "
                    "must show a list of the folder's contents, as `python -m http.server` and nginx's autoindex do"
                ) from None
            raise
        except NotADirectoryError:
            raise FileNotFoundError(self.root) from None
        names = [self._name(entry["name"]) for entry in entries if entry["type"] == "directory"]
        if self._is_http and not entries:
            raise UnreachableError(
                f"the page at {self.root} links to nothing, so its runs cannot be listed: the server must show a list "
                "of the folder's contents, as `python -m http.server` and nginx's autoindex do"
            )
        return [name for name in names if name]

    def _name(self, place: str) -> str:
        """Return the name of a folder directly below this one; empty for links to itself, upwards and to elsewhere."""
        inside = place.removeprefix(self.root.rstrip("/")).strip("/")
        if not place.startswith(self.root.rstrip("/") + "/") or inside.startswith("."):
            return ""
        return "" if any(c in inside for c in "/?#\\") else inside

    def _place(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}".rstrip("/")

    def _get(self, url: str, largest: int) -> bytes:
        async def get() -> bytes:
            session = await self._fs.set_session()
            async with session.get(self._fs.encode_url(url)) as answer:
                if answer.status != HTTPStatus.OK:
                    raise _StatusError(answer.status)
                data = bytearray()
                async for piece in answer.content.iter_chunked(1 << 20):
                    data += piece
                    if len(data) > largest:
                        break
                return bytes(data)

        return sync(self._fs.loop, get, timeout=FILE_S)

    def _head(self, url: str) -> None:
        async def head() -> None:
            session = await self._fs.set_session()
            async with session.head(self._fs.encode_url(url), allow_redirects=True) as answer:
                if answer.status < 400:
                    return
                refused = answer.status
            if refused in (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED):
                async with session.get(self._fs.encode_url(url)) as answer:
                    if answer.status < 400:
                        return
                    refused = answer.status
            raise _StatusError(refused)

        sync(self._fs.loop, head, timeout=FILE_S)

    def _patiently(self, path: str, attempt: Callable[[], Result]) -> Result:
        """Return what an attempt to reach `path` returns; try again after a short wait where the trouble may pass."""
        part = self._place("/".join(path.split("/")[:PART_DEPTH]))
        until, words = _silences.get(part, (0.0, ""))
        if time.monotonic() < until:
            raise UnreachableError(words)
        started = time.monotonic()
        for wait in (*WAITS_S, None):
            try:
                return attempt()
            except FileNotFoundError:
                raise
            except Exception as error:
                words, passing = _words(error)
                if words == "":
                    raise FileNotFoundError(self.root) from error
                if not passing:
                    raise UnreachableError(words) from error
                if wait is None or time.monotonic() - started > ATTEMPTS_S:
                    _silences[part] = time.monotonic() + REMEMBERED_S, words
                    raise UnreachableError(words) from error
                time.sleep(wait)
        raise AssertionError("every attempt returns or raises")


def _options(protocol: str | None) -> dict[str, Any]:
    """Write time limits in the words of the libraries that fsspec uses."""
    if protocol in _HTTP:
        import aiohttp  # noqa: PLC0415

        limits = aiohttp.ClientTimeout(total=FILE_S, sock_connect=CONNECT_S, sock_read=SILENCE_S)
        return {"client_kwargs": {"timeout": limits}}
    if protocol in ("s3", "s3a"):
        retries = {"max_attempts": 0}
        return {"config_kwargs": {"connect_timeout": CONNECT_S, "read_timeout": SILENCE_S, "retries": retries}}
    return {}


def _words(error: Exception) -> tuple[str, bool]:
    """Return (what happened, whether another attempt may help); no words where the file is not there."""
    for one in _chain(error):
        status = _status(one)
        if status in (404, 410):
            return "", False
        if status in (401, 403):
            return (
                f"the server refuses access ({_named(status)}): it wants credentials, or hides that the file is "
                "missing where the store may not be listed", False,
            )  # fmt: skip
        if status in _BUSY:
            return f"the server is in trouble ({_named(status)}): nothing is damaged, try again in a moment", True
        if status is not None:
            return f"the server answers {_named(status)}: is the address right?", False
    for one in _chain(error):
        if isinstance(one, PermissionError) or "credentials" in str(one).lower():
            return f"the server refuses access ({_line(one)}): it wants credentials", False
        if isinstance(one, TimeoutError | asyncio.TimeoutError) or "timeout" in type(one).__name__.lower():
            return (
                f"the server did not answer within {SILENCE_S:g} s: nothing is damaged, try again in a moment", True
            )  # fmt: skip
    return f"the server cannot be reached ({_line(error)}): nothing is damaged, try again in a moment", True


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and those that it was made from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an error of ours, of aiohttp or of botocore."""
    found = getattr(error, "status", None)
    response = getattr(error, "response", None)
    if found is None and isinstance(response, dict):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return found if isinstance(found, int) and found >= 400 else None


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:120]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
