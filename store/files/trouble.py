"""What a server of files did, in words by cause, and whether another attempt may help."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from typing import NamedTuple

AGAIN = "nothing is damaged, try again in a moment"
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired", "InvalidToken"}
_CUT_SHORT = {"ClientPayloadError", "ContentLengthError", "IncompleteReadError", "ResponseStreamingError"}


class StatusError(Exception):
    """What an HTTP server answers instead of a file."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class ArrivalError(Exception):
    """What arrived is not what was published; says how it differs."""


class Trouble(NamedTuple):
    """What happened.

    Attributes:
        words: for the reader.
        passes: whether another attempt may help.
        is_missing: the server has no such file.
        is_expired: the credentials have expired.
    """

    words: str
    passes: bool = False
    is_missing: bool = False
    is_expired: bool = False


def trouble_of(error: Exception, silence_s: float) -> Trouble:
    """Say what an error of a library means; `silence_s` is how long it waits for an answer, seconds."""
    chain = list(_chain(error))
    if any(map(_is_expired, chain)):
        return Trouble(
            "the credentials for this store have expired: renew them as you got them, for example with aws sso login, "
            "and try again; where they are environment variables, start this program again",
            is_expired=True,
        )
    for one in chain:
        if isinstance(one, ArrivalError):
            return Trouble(str(one), passes=True)
        if (status := _status(one)) is not None:
            return _by_status(status)
    for one in chain:
        if isinstance(one, PermissionError) or "credentials" in str(one).lower():
            return Trouble(f"the server refuses access ({_line(one)}): it wants credentials")
        if isinstance(one, TimeoutError | asyncio.TimeoutError) or "timeout" in type(one).__name__.lower():
            return Trouble(f"the server did not answer within {silence_s:g} s: {AGAIN}", passes=True)
        if type(one).__name__ in _CUT_SHORT:
            return Trouble(f"the server broke off in the middle of a file: {AGAIN}", passes=True)
    return Trouble(f"the server cannot be reached ({_line(error)}): {AGAIN}", passes=True)


def _by_status(status: int) -> Trouble:
    if status in (404, 410):
        return Trouble(f"the server answers {_named(status)}", is_missing=True)
    if status in (401, 403):
        return Trouble(
            f"the server refuses access ({_named(status)}): it wants credentials, or hides that the file is "
            "missing where the store may not be listed"
        )
    if status in _BUSY:
        return Trouble(f"the server is in trouble ({_named(status)}): {AGAIN}", passes=True)
    return Trouble(f"the server answers {_named(status)}: is the address right?")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Return an error and those that it was made from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _response(error: BaseException) -> dict:
    response = getattr(error, "response", None)
    return response if isinstance(response, dict) else {}


def _is_expired(error: BaseException) -> bool:
    """Return whether an error of botocore says that credentials have expired, those of a single sign-on included."""
    if _response(error).get("Error", {}).get("Code") in _EXPIRED:
        return True
    is_botocore = type(error).__module__.startswith("botocore")
    return is_botocore and any(words in str(error) for words in ("has expired", "is expired"))


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an error of ours, of aiohttp or of botocore."""
    found = getattr(error, "status", None)
    if found is None:
        found = _response(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    return found if isinstance(found, int) and found >= 400 else None


def _named(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())[:120]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
