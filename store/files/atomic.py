"""Local files that are there whole or not at all, also after a kill or a full disk."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.errors import NotWritableError

LEFTOVERS = ("*.partial", "*.tmp")
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def writable(place: Path) -> Iterator[None]:
    """Turn a full or forbidden disk into NotWritableError with a clear line; other errors pass."""
    try:
        yield
    except NotWritableError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            line = f"no space left on {place}: free some and run the same command again, nothing computed is lost"
        elif error.errno in _FORBIDDEN:
            line = f"cannot write to {place} ({os.strerror(error.errno)}): give permission or choose another place"
        elif error.errno == errno.EXDEV:
            line = f"cannot move {place}: the staging folder and the store must be on one file system"
        else:
            raise
        raise NotWritableError(line) from error


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yield a path to write to, which then takes the place of `file`; after an error nothing is left of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old or the new one, never a part."""
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(path.name + ".tmp")
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush(path.parent)


def flush(path: Path) -> None:
    """Make a file, or the entries of a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(folder: Path) -> None:
    """Delete what an interrupted writer left behind."""
    for pattern in LEFTOVERS:
        for path in folder.rglob(pattern):
            path.unlink(missing_ok=True)


def size_of(folder: Path) -> int:
    """Count the bytes in a local folder; 0 if there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def move(source: Path, destination: Path) -> None:
    """Rename a folder, durably."""
    with writable(source):
        destination.parent.mkdir(parents=True, exist_ok=True)
        os.replace(source, destination)
        flush(destination.parent)


def discard(folder: Path, aside: Path) -> None:
    """Delete a folder so that no reader ever sees a half of it: first move it to `aside`."""
    if folder.is_symlink():  # what it leads to is not ours to delete
        folder.unlink()
        return
    if aside.exists():
        shutil.rmtree(aside)
    if folder.exists():
        move(folder, aside)
        shutil.rmtree(aside)
