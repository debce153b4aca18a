"""Files of remote stores, kept on this disk by their checksum: a file that was fetched once is not fetched again.

What is kept can be neither stale nor another file, since its name is its SHA-256, which is computed again when it is
read. Several processes may use one folder: files appear whole by a rename, and one that another process has just
deleted is fetched again.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import secrets
import stat
import threading
import time
from functools import lru_cache
from pathlib import Path

from store.errors import StoreNotFoundError
from store.files.file_list import is_sha256, sha256_of

LOG = logging.getLogger(__name__)
FOLDER, GIGABYTES = "BRAINWHY_CACHE", "BRAINWHY_CACHE_GB"  # environment variables
OFF, DEFAULT_GB = "off", 2.0
LOCK = ".lock"
SWEPT_TO = 0.9  # of the bound, when it is passed
SHARE_UNSWEPT = 0.05  # of the bound, that a process writes between two looks at the whole
LARGEST_SHARE = 0.25  # of the bound, for one file
TOUCHED_AGAIN_S = 60.0  # a file that is read more often is marked as used once in this time
LEFTOVER_S = 3600.0  # a file that is still being written after this time is nobody's


class DiskCache:
    """A folder of files by checksum, bounded in bytes: those that were not used for longest are deleted first."""

    def __init__(self, folder: Path, bound: float) -> None:
        """Make the folder, readable by its owner only.

        Raises:
            OSError: it cannot be made, or belongs to somebody else.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
        if found.st_uid != os.geteuid():
            raise PermissionError(f"{folder} belongs to somebody else")
        if stat.S_IMODE(found.st_mode) & 0o077:
            folder.chmod(0o700)
        self.folder, self.bound = folder, bound
        self._unswept = bound  # the first file that is kept looks at the whole
        self._lock = threading.Lock()

    def get(self, sha256: str) -> bytes | None:
        """Return the file of a checksum; None where it is not kept, or not as it was written."""
        place = self._place(sha256)
        try:
            data = place.read_bytes()
            if sha256_of(data) != sha256:
                place.unlink(missing_ok=True)
                return None
            if time.time() - place.stat().st_mtime > TOUCHED_AGAIN_S:
                os.utime(place)
        except OSError:
            return None
        return data

    def holds(self, sha256: str) -> bool:
        """Return whether a file is kept, without reading it."""
        return self._place(sha256).is_file()

    def put(self, sha256: str, data: bytes) -> None:
        """Keep a file; a full or forbidden disk is no error, since the file can be fetched again."""
        if len(data) > LARGEST_SHARE * self.bound:
            return
        place = self._place(sha256)
        temporary = place.with_name(f"{place.name}.{secrets.token_hex(6)}.tmp")
        try:
            place.parent.mkdir(exist_ok=True, mode=0o700)
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            temporary.replace(place)
        except OSError as error:
            LOG.info("a file is not kept on disk: %s", error.strerror)
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        with self._lock:
            self._unswept += len(data)
            is_due = self._unswept > SHARE_UNSWEPT * self.bound
            if is_due:
                self._unswept = 0
        if is_due:
            self.sweep()

    def _place(self, sha256: str) -> Path:
        if not is_sha256(sha256):
            raise ValueError("no SHA-256")
        return self.folder / sha256[:2] / sha256

    def sweep(self) -> None:
        """Delete what was not used for longest until the bound is kept; nothing while another process does so."""
        with open(os.open(self.folder / LOCK, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return
            kept, total = [], 0
            for file in self.folder.glob("??/*"):
                with contextlib.suppress(OSError):
                    found = file.stat()
                    if file.suffix == ".tmp" and time.time() - found.st_mtime > LEFTOVER_S:
                        file.unlink()
                        continue
                    kept.append((found.st_mtime, found.st_size, file))
                    total += found.st_size
            if total <= self.bound:
                return
            for _, size, file in sorted(kept):
                file.unlink(missing_ok=True)
                total -= size
                if total <= SWEPT_TO * self.bound:
                    return


def of_environment() -> DiskCache | None:
    """Return the cache that the environment asks for: ~/.cache/brainwhy of 2 GB unless it says otherwise.

    None where BRAINWHY_CACHE is "off", or where the folder cannot be used, which is logged.

    Raises:
        StoreNotFoundError: BRAINWHY_CACHE_GB is no number.
    """
    folder, size = os.environ.get(FOLDER, ""), os.environ.get(GIGABYTES, "") or str(DEFAULT_GB)
    if folder.lower() == OFF:
        return None
    try:
        bound = float(size) * 1e9
    except ValueError:
        bound = float("nan")
    if not 0 <= bound < float("inf"):
        raise StoreNotFoundError(f"{GIGABYTES} is {size!r}: give the gigabytes that may be kept on disk, such as 2")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    place = folder or os.path.join(base, "brainwhy", "files")
    return _opened(place, bound) if bound and not place.startswith("~") else None  # a user may have no home


@lru_cache(maxsize=8)
def _opened(folder: str, bound: float) -> DiskCache | None:
    try:
        return DiskCache(Path(folder), bound)
    except OSError as error:
        LOG.warning("files of remote stores are not kept on disk: %s", error)
        return None
