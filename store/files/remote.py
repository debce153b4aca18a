"""Files of a store behind a URL: time limits, a few retries, checksums on arrival. Needs the extra `remote`.

Files are fetched whole; of large tables only what is read (pieces.py), where the server knows ranges. Where a run has
a list of its files (file_list.py), nobody asks the server whether one is there, what arrives is compared with its
checksum, and is kept on disk. After a silence, the same part of a run answers at once for a few seconds that it cannot
be reached, so that readers do not wait one after another; the rest of the run goes on.
"""

from __future__ import annotations

import io
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from statistics import median
from typing import Any, TypeVar

import fsspec

from store.errors import BrokenRunError, RefusedError, StoreNotFoundError, UnreachableError
from store.files import bounds, disk_cache, file_list, http
from store.files.file_list import FILES, FileEntry
from store.files.pieces import PieceFile, compare, compare_whole
from store.files.trouble import ArrivalError, trouble_of
from store.spec import MANIFEST

CONNECT_S, SILENCE_S, FILE_S = 4.0, 6.0, 120.0  # to connect; between two packets; for one file
WAITS_S = (0.3, 1.0)  # before the second and the third attempt
ATTEMPTS_S = 10.0  # no further attempt begins later than this
REMEMBERED_S = 4.0  # how long a silence is remembered
PART_DEPTH = 2  # of which part of a run: one table, or all cells of the averages
SLOW_S, LAST_FILES, SERVERS = 1.0, 8, 32  # from when a server is called slow, by the median of its last answers
NEEDED = (
    "the server must show a list of the folder's contents, or the store hold the list of its runs, which "
    "`python -m store index` writes"
)
_HTTP = ("http", "https")
_AHEAD = ThreadPoolExecutor(4, thread_name_prefix="fetch-ahead")
_silences: dict[str, tuple[float, str]] = {}
_waited: OrderedDict[str, deque[float]] = OrderedDict()  # seconds for the last files, by server

Result = TypeVar("Result")


class RemoteFiles:
    """The files below a URL."""

    def __init__(self, url: str, is_kept: bool = True) -> None:
        """Open a URL; files are kept on disk unless `is_kept` is False.

        Raises:
            StoreNotFoundError: nothing installed can read such an address, or the environment asks for what cannot be.
        """
        self._url, protocol = url, fsspec.core.split_protocol(url)[0]
        self._cache = disk_cache.of_environment() if is_kept else None
        self._manifest: bytes | None = None
        self._listed: dict[str, FileEntry] | None = None
        self._is_listed = False  # whether the list was asked for
        self._listing = threading.Lock()
        self._coming: dict[str, Future[bytes]] = {}
        self._ignores_ranges = False
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

    def remember(self, manifest: bytes) -> None:
        """Take note of the manifest of a run, to which its list of files belongs."""
        if manifest != self._manifest:
            with self._listing:
                self._manifest, self._listed, self._is_listed = manifest, None, False

    def _list(self) -> dict[str, FileEntry] | None:
        """Return the list of the run's files; None where it has none, or none that belongs to its manifest."""
        if self._manifest is None:
            return None
        with self._listing:
            if not self._is_listed:
                self._listed = self._fetched_list(self._manifest)
                self._is_listed = True
            return self._listed

    def _fetched_list(self, manifest: bytes) -> dict[str, FileEntry] | None:
        try:
            return file_list.parse(self._fetched(FILES, file_list.LARGEST_LIST), manifest)
        except FileNotFoundError:
            return None
        except RefusedError:  # as object stores answer for what is missing, where they may not be listed
            return None
        except ValueError as error:
            raise BrokenRunError(f"{FILES} {error}") from error

    def exists(self, path: str) -> bool:
        """Return whether something is there; UnreachableError where the server does not say."""
        if path and path not in (MANIFEST, FILES) and (listed := self._list()) is not None:
            return path in listed
        place = self._place(path)
        try:
            self._patiently(path, lambda: http.head(self._fs, place, FILE_S) if self._is_http else self._fs.info(place))
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
        listed = None if path in (MANIFEST, FILES) else self._list()
        if listed is None:
            return self._fetched(path, largest)
        if path not in listed:
            raise FileNotFoundError(path)
        entry = listed[path]
        if entry.size > largest:
            raise BrokenRunError(f"{path} has {entry.size} bytes, more than the {largest} that it can need")
        if entry.text is not None and file_list.sha256_of(text := entry.text.encode()) == entry.sha256:
            return text
        if self._cache is not None and (kept := self._cache.get(entry.sha256)) is not None:
            return kept
        coming = self._coming.pop(path, None)
        if coming is not None and not coming.cancel():  # it has begun
            return coming.result()
        return self._fetched_and_kept(entry)

    def _fetched_and_kept(self, entry: FileEntry) -> bytes:
        data = self._fetched(entry.path, entry.size, entry)
        if self._cache is not None:
            self._cache.put(entry.sha256, data)
        return data

    def open(self, path: str, largest: int, asked: Callable[[Callable[[], bytes]], bytes]) -> io.BufferedIOBase:
        """Open a file: in pieces where the run's list has their checksums, else whole; errors as for `read`.

        Args:
            asked: calls what fetches a piece, and puts its errors into words.
        """
        listed, most = self._list() or {}, bounds.LARGEST_FILE
        entry, checksums = listed.get(path), file_list.checksums_of_pieces(listed, path)
        is_kept = self._cache is not None and entry is not None and self._cache.holds(entry.sha256)
        if entry is None or checksums is None or is_kept or self._ignores_ranges:
            return io.BytesIO(self.read(path, most))
        if entry.size > largest:
            raise BrokenRunError(f"{path} has {entry.size} bytes, more than the {largest} that it can need")
        fetch = partial(self._part, entry, checksums)
        file = PieceFile(entry.size, checksums, lambda *ends: asked(partial(fetch, *ends)), self._cache)
        try:
            file.expect([(entry.size - 1, entry.size)])  # the description of a table, at its end
            return file
        except RangesIgnoredError:
            self._ignores_ranges = True
            if entry.size > most:
                raise
        return io.BytesIO(self.read(path, most))

    def _part(self, entry: FileEntry, checksums: Sequence[str], first: int, end: int) -> bytes:
        """Fetch the bytes of neighbouring pieces of a file."""
        place = self._place(entry.path)
        whole_only = f"the server gives whole files only, {entry.path} has {entry.size >> 20} MiB and at most "
        whole_only += f"{bounds.LARGEST_FILE >> 20} are fetched whole: use a server that knows ranges (nginx, S3)"

        def attempt() -> bytes:
            if self._is_http:
                data = http.part(self._fs, place, (first, end), FILE_S)
            else:
                data = self._fs.cat_file(place, start=first, end=end)
            if data is None or len(data) > end - first:
                raise RangesIgnoredError(whole_only)
            compare(entry.path, data, first, end, checksums)
            return data

        return self._patiently(entry.path, attempt)

    def fetch_ahead(self, beginnings: tuple[str, ...], largest: int) -> None:
        """Begin to fetch the files of a listed run whose paths begin so, which are not kept yet and not larger.

        A reader who asks for one that has not begun fetches it itself; after the first that fails no other is begun.
        """
        listed, cache = self._list() if self._cache is not None else None, self._cache
        if listed is None or cache is None:
            return

        def fetch(entry: FileEntry) -> bytes:
            try:
                return self._fetched_and_kept(entry)
            except BaseException:
                for future in list(self._coming.values()):
                    future.cancel()
                raise

        for entry in listed.values():
            is_wanted = entry.path.startswith(beginnings) and entry.size <= largest and entry.text is None
            if is_wanted and not file_list.is_piece(entry.path) and not cache.holds(entry.sha256):
                self._coming[entry.path] = _AHEAD.submit(fetch, entry)

    def _fetched(self, path: str, largest: int, entry: FileEntry | None = None) -> bytes:
        """Read the bytes of a file from the server, those that its entry promises."""
        place = self._place(path)

        def attempt() -> bytes:
            data = (
                http.get(self._fs, place, largest, FILE_S)
                if self._is_http
                else self._fs.cat_file(place, start=0, end=largest + 1)
            )
            if data[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
                raise UnreachableError(
                    f"the server answers with a web page instead of {path}: is the address right, or does it want a "
                    "login?"
                )
            if entry is not None:
                compare_whole(entry.path, data, entry.size, entry.sha256)
            return data

        data = self._patiently(path, attempt)
        if len(data) > largest:
            raise BrokenRunError(f"{path} has more than the {largest} bytes that it can need")
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
                    f"{self.root} answers 404 (Not Found), so its runs cannot be listed: check the address; {NEEDED}"
                ) from None
            raise
        except NotADirectoryError:
            raise FileNotFoundError(self.root) from None
        except RefusedError as error:
            raise RefusedError(f"{error}; for a list of its runs, {NEEDED}" if self._is_http else str(error)) from None
        names = [self._name(entry["name"]) for entry in entries if entry["type"] == "directory"]
        if self._is_http and not entries:
            raise UnreachableError(f"the page at {self.root} links to nothing, so its runs cannot be listed: {NEEDED}")
        return [name for name in names if name]

    def _name(self, place: str) -> str:
        """Return the name of a folder directly below this one; empty for links to itself, upwards and to elsewhere."""
        inside = place.removeprefix(self.root.rstrip("/")).strip("/")
        if not place.startswith(self.root.rstrip("/") + "/") or inside.startswith("."):
            return ""
        return "" if any(c in inside for c in "/?#\\") else inside

    def _place(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}".rstrip("/")

    def _patiently(self, path: str, attempt: Callable[[], Result]) -> Result:
        """Return what an attempt to reach `path` returns; try again after a short wait where the trouble may pass."""
        part = self._place("/".join(path.split("/")[:PART_DEPTH]))
        until, words = _silences.get(part, (0.0, ""))
        if time.monotonic() < until:
            raise UnreachableError(words)
        started = time.monotonic()
        for wait in (*WAITS_S, None):
            begun = time.monotonic()
            try:
                found = attempt()
            except (FileNotFoundError, UnreachableError):
                raise
            except Exception as error:
                trouble = trouble_of(error, SILENCE_S)
                if trouble.is_missing:
                    raise FileNotFoundError(self.root) from error
                if trouble.is_expired:
                    self._renew()
                if not trouble.passes:
                    raise RefusedError(trouble.words) from error
                if wait is None or time.monotonic() - started > ATTEMPTS_S:
                    is_other = isinstance(error, ArrivalError)
                    if not is_other:
                        _silences[part] = time.monotonic() + REMEMBERED_S, trouble.words
                    raise (OtherContentError if is_other else UnreachableError)(trouble.words) from error
                time.sleep(wait)
            else:
                note_wait(self._url, time.monotonic() - begun)
                return found
        raise AssertionError("every attempt returns or raises")

    def _renew(self) -> None:
        """Begin a new session, which takes up credentials that were renewed in the meantime."""
        protocol = fsspec.core.split_protocol(self._url)[0]
        type(self._fs).clear_instance_cache()
        self._fs = fsspec.core.url_to_fs(self._url, **_options(protocol))[0]


class RangesIgnoredError(UnreachableError):
    """The server gives whole files where a part was asked for."""


class OtherContentError(UnreachableError):
    """What arrives, also when it is fetched again, is not what the list of the run's files says."""


def _server(url: str) -> str:
    """Return the part of an address that names the server or the bucket."""
    return "/".join(url.split("/")[:3])


def note_wait(url: str, seconds: float) -> None:
    """Remember how long a file of a server took, seconds."""
    waited = _waited.setdefault(_server(url), deque(maxlen=LAST_FILES))
    waited.append(seconds)
    while len(_waited) > SERVERS:
        _waited.popitem(last=False)


def forget_waits() -> None:
    """Forget how long files took."""
    _waited.clear()


def seconds_a_file(url: str) -> float | None:
    """Return how long the last files of a server took, the median in seconds, where that is long; else None."""
    waited = list(_waited.get(_server(url), ()))
    return median(waited) if len(waited) >= LAST_FILES // 2 and median(waited) >= SLOW_S else None


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
