"""A place that a store is published into: a bucket, or a folder through the same library."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import mmap
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import fsspec

from store.errors import NotWritableError, StoreNotFoundError, UnreachableError
from store.files.file_list import sha256_of
from store.files.remote import CONNECT_S
from store.files.trouble import trouble_of

ANSWER_S = 60.0  # for a file that was sent
WAITS_S = (0.5, 2.0, 8.0)  # before the next attempt
PROBE = ".write-test"
PART_BYTES = 50 << 20  # of a file that is sent in parts

Result = TypeVar("Result")


class Target:
    """A prefix of a bucket, or a folder, that can be written to."""

    def __init__(self, url: str, fresh: bool = False) -> None:
        """Open a URL for writing; `fresh` with a new session, which takes up credentials that were renewed.

        Raises:
            StoreNotFoundError: nothing installed can write to such an address.
        """
        self.url, protocol = url.rstrip("/"), fsspec.core.split_protocol(url)[0]
        if protocol in ("http", "https"):
            raise StoreNotFoundError(
                f"{url} cannot be written to: publish into a bucket (s3://, gs://, az://) or into the folder that the "
                "web server shows"
            )
        self._is_s3 = protocol in ("s3", "s3a")
        options: dict[str, Any] = {"auto_mkdir": True} if protocol in (None, "file", "local") else {}
        if self._is_s3:
            limits = {"connect_timeout": CONNECT_S, "read_timeout": ANSWER_S, "retries": {"max_attempts": 0}}
            options = {"config_kwargs": limits}
        if fresh:
            options["skip_instance_cache"] = True
        try:
            self._fs, self.root = fsspec.core.url_to_fs(url, **options)
        except (ImportError, ValueError) as error:
            raise StoreNotFoundError(f"cannot open {url}: {error}") from error
        if hasattr(self._fs, "retries"):
            self._fs.retries = 1

    def check(self) -> None:
        """See that files can be written here, by one that is deleted again where that is allowed.

        Raises:
            StoreNotFoundError, UnreachableError, NotWritableError: they cannot; says why.
        """
        self.write(PROBE, b"")
        with contextlib.suppress(UnreachableError, NotWritableError, FileNotFoundError):
            self.delete([PROBE])

    def found(self, folder: str) -> dict[str, dict[str, Any]]:
        """Return path (from the target) -> what the place says of each file in a folder."""
        self._fs.invalidate_cache()
        try:
            infos = self._patiently(lambda: self._fs.find(self._place(folder), detail=True))
        except FileNotFoundError:
            return {}
        top = len(self.root.rstrip("/")) + 1
        return {info["name"][top:]: info for info in infos.values()}

    def read(self, path: str) -> bytes | None:
        """Read a file; None where it is not there."""
        try:
            return self._patiently(lambda: self._fs.cat_file(self._place(path)))
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes | mmap.mmap) -> None:
        """Send a file; a file of this name is replaced.

        Raises:
            StoreNotFoundError: there is no such bucket.
        """
        more = {"chunksize": PART_BYTES} if self._is_s3 else {}
        data = data if len(data) > PART_BYTES else bytes(data)
        try:
            self._patiently(lambda: self._fs.pipe_file(self._place(path), data, **more))
        except FileNotFoundError as error:
            words = f"there is no bucket for {self.url}: make it first, or mend the address"
            raise StoreNotFoundError(words) from error

    def delete(self, paths: Sequence[str]) -> None:
        """Delete files that are there."""
        if paths:
            self._patiently(lambda: self._fs.rm([self._place(path) for path in paths]))

    def holds(self, path: str, info: dict[str, Any] | None, data: bytes | mmap.mmap) -> bool:
        """Return whether a file is there with these bytes: by the checksum in `info`, else by reading it back."""
        if info is None or info.get("size") != len(data):
            return False
        return is_tag_of(info, data) or sha256_of(self.read(path) or b"") == sha256_of(data)

    def _place(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}".rstrip("/")

    def _patiently(self, attempt: Callable[[], Result]) -> Result:
        """Return what an attempt returns; try again after a wait where the trouble may pass.

        Raises:
            FileNotFoundError: there is no such file, or no such bucket.
            UnreachableError, NotWritableError: it does not work; says why.
        """
        for wait in (*WAITS_S, None):
            try:
                return attempt()
            except FileNotFoundError:
                raise
            except OSError as error:
                if not (self._is_s3 or hasattr(self._fs, "loop")):  # a folder
                    raise NotWritableError(f"cannot write to {self.url}: {error.strerror or error}") from error
                self._wait_or_raise(error, wait)
            except Exception as error:
                self._wait_or_raise(error, wait)
        raise AssertionError("every attempt returns or raises")

    def _wait_or_raise(self, error: Exception, wait: float | None) -> None:
        trouble = trouble_of(error, ANSWER_S)
        if trouble.is_missing:
            raise FileNotFoundError(self.url) from error
        if wait is None or not trouble.passes:
            raise UnreachableError(f"{self.url}: {trouble.words}") from error
        time.sleep(wait)


def is_tag_of(info: dict[str, Any], data: bytes | mmap.mmap) -> bool:
    """Return whether what an object store says of a file holds the MD5 of these bytes, in one of its ways."""
    tag = str(info.get("ETag", "")).strip('"')
    if "-" in tag:  # Amazon: of the MD5 of the parts
        parts = range(0, len(data), PART_BYTES)
        digests = b"".join(_md5(data[start : start + PART_BYTES]).digest() for start in parts)
        return tag == f"{_md5(digests).hexdigest()}-{len(parts)}"
    settings = info.get("content_settings") or {}
    found = settings.get("content_md5") if isinstance(settings, dict) else None  # Azure
    said = [tag, bytes(found).hex() if found else "", _hexadecimal(info.get("md5Hash"))]  # the last: Google
    return _md5(data).hexdigest() in said


def _md5(data: bytes | mmap.mmap) -> Any:
    return hashlib.md5(data, usedforsecurity=False)


def _hexadecimal(encoded: Any) -> str:
    try:
        return base64.b64decode(encoded or "").hex()
    except (ValueError, TypeError):
        return ""
