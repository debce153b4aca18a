"""A run into a bucket: first its files, then the list of them, last the manifest, so that no reader sees a half of it.

The same command goes on where it was stopped: a file that is there with the same checksum is not sent again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from store.errors import NotWritableError, UnreachableError
from store.files.file_list import (
    FILES,
    FileEntry,
    describe,
    is_piece,
    paths_of,
    read_all,
    read_one,
    sha256_of,
    to_parquet,
)
from store.files.target import Target, is_tag_of
from store.spec import MANIFEST

AT_ONCE = 6  # files that are sent at the same time
FILE_COST = 50_000  # bytes that could be sent in the time that a file costs, for the time left

Progress = Callable[[int, int], None]


@dataclass
class Sent:
    """What a publication did.

    Attributes:
        files, bytes: that were sent; kept: files that were there already.
        was_there: whether the run was published before, as it is.
        deleted: files of a replaced run.
    """

    files: int = 0
    bytes: int = 0
    kept: int = 0
    deleted: int = 0
    was_there: bool = False
    entries: list[FileEntry] = field(default_factory=list)


def bytes_of(run: Path) -> int:
    """Count the bytes of a local run that are published."""
    return sum((run / path).stat().st_size for path in [*paths_of(run), MANIFEST])


def upload_run(run: Path, target: Target, *, replace: bool = False, progress: Progress | None = None) -> Sent:
    """Send a local run to <target>/<its name>, the manifest last, and compare what has arrived.

    Args:
        replace: whether a run of this name with another manifest may be replaced; it is not readable meanwhile.
        progress: called as progress(done, all), in proportion to the time.
    Raises:
        NotWritableError: another run of this name is there.
        UnreachableError: the place refuses, is silent, or a file does not arrive as it was sent.
        BrokenRunError: a file of the run is not one inside the run.
    """
    name, sent = run.name, Sent()
    manifest = (run / MANIFEST).read_bytes()
    there = target.found(name)
    if f"{name}/{MANIFEST}" in there:
        sent.was_there = target.read(f"{name}/{MANIFEST}") == manifest
        if not sent.was_there and not replace:
            raise NotWritableError(
                f"another run {name} is in {target.url}, with another manifest: give --replace to put this one in its "
                "place, or publish to another prefix"
            )
        if not sent.was_there:
            target.delete([f"{name}/{MANIFEST}"])
    _send_all(run, target, there, sent, progress)
    listed = to_parquet(sent.entries)
    if not target.holds(f"{name}/{FILES}", there.get(f"{name}/{FILES}"), listed):
        target.write(f"{name}/{FILES}", listed)
    arrived = target.found(name)
    _compare(target, run, arrived, sent.entries)
    if not sent.was_there:
        target.write(f"{name}/{MANIFEST}", manifest)
    for path, data in ((MANIFEST, manifest), (FILES, listed)):
        if target.read(f"{name}/{path}") != data:
            raise UnreachableError(f"{target.url}/{name}: {path} has not arrived as it was sent: publish again")
    wanted = {f"{name}/{entry.path}" for entry in sent.entries} | {f"{name}/{FILES}"}
    strange = sorted(set(arrived) - wanted) if replace else []
    target.delete(strange)
    sent.deleted = len(strange)
    return sent


def _send_all(run: Path, target: Target, there: dict, sent: Sent, progress: Progress | None) -> None:
    """Send the files of a run that are not there, a few at a time; the manifest is described only."""
    total, done = bytes_of(run) + FILE_COST * (len(paths_of(run)) + 1), 0
    pending: set[Future] = set()

    def send(path: str, data: bytes) -> tuple[list[FileEntry], bool]:
        full = f"{run.name}/{path}"
        is_there = path == MANIFEST or target.holds(full, there.get(full), data)
        if not is_there:
            target.write(full, data)
        return describe(path, data), is_there

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="publish") as pool:
        try:
            for finished in _bounded(pool, send, read_all(run), pending):
                entries, is_there = finished.result()
                entry = entries[0]
                sent.entries += entries
                sent.kept += is_there and entry.path != MANIFEST
                sent.files += not is_there
                sent.bytes += 0 if is_there else entry.size
                done += entry.size + FILE_COST
                if progress is not None:
                    progress(done, total)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _bounded(pool: ThreadPoolExecutor, work: Callable, items: Iterator, pending: set[Future]) -> Iterator[Future]:
    """Yield finished pieces of work; only a few files wait in memory."""
    for item in items:
        pending.add(pool.submit(work, *item))
        if len(pending) > AT_ONCE:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from finished
    yield from wait(pending).done


def _compare(target: Target, run: Path, arrived: dict[str, dict[str, Any]], entries: list[FileEntry]) -> None:
    """See that every file lies in the bucket as it was sent.

    Raises:
        UnreachableError: one does not.
    """
    for entry in entries:
        if entry.path == MANIFEST or is_piece(entry.path):
            continue
        full = f"{run.name}/{entry.path}"
        info = arrived.get(full)
        is_whole = info is not None and info.get("size") == entry.size
        if is_whole and info is not None and not is_tag_of(info, read_one(run, entry.path)):
            is_whole = sha256_of(target.read(full) or b"") == entry.sha256
        if not is_whole:
            raise UnreachableError(f"{target.url}: {full} has not arrived as it was sent: publish again")
