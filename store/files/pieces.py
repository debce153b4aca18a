"""A large file behind a server, of which only those pieces are fetched that are read.

A checksum of a whole file says nothing of a part. So the list of a run's files (file_list.py) has the SHA-256 of every
piece of a large table: whatever is fetched is compared before it is used, and kept on disk by its checksum.
"""

from __future__ import annotations

import hashlib
import io
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from store.files.bounds import LARGEST_TABLE, MIB
from store.files.trouble import ArrivalError

PIECE_BYTES = MIB // 4
PIECES_FROM = 8 * MIB  # smaller tables are fetched whole
REQUEST_BYTES = 4 * MIB  # of neighbouring pieces that are asked for at once
KEPT_BYTES = 32 * MIB  # in memory, of an open file
EXPECTED_BYTES = 16 * MIB  # that are fetched before they are read
MEND = "the transfer or the copy in the store is damaged: try again, and if it stays so, publish the run again"
_POOL = ThreadPoolExecutor(6, thread_name_prefix="fetch-pieces")


class Kept(Protocol):
    """Where pieces are kept by their checksum: disk_cache.DiskCache."""

    def get(self, sha256: str) -> bytes | None: ...

    def put(self, sha256: str, data: bytes) -> None: ...

    def holds(self, sha256: str) -> bool: ...


class PieceFile(io.BufferedIOBase):
    """A file that is open for reading; what it reads is checked piece by piece."""

    def __init__(self, size: int, checksums: Sequence[str], fetch: Callable[[int, int], bytes], kept: Kept | None):
        """Open a file of `size` bytes.

        Args:
            checksums: SHA-256 of each piece of PIECE_BYTES, hexadecimal.
            fetch: (first byte, byte after the last) -> these bytes, checked by `compare`; raises errors of the store.
            kept: what outlives this file; None for nothing.
        """
        self._size, self._checksums, self._fetch, self._disk = size, checksums, fetch, kept
        self._at = 0
        self._memory: OrderedDict[int, bytes] = OrderedDict()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if self._at < 0:
            raise ValueError("is cut short")
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Read bytes from here on.

        Raises:
            ValueError: more than a table may have are asked for at once.
        """
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if end - self._at > LARGEST_TABLE:
            raise ValueError(f"has a part of more than {LARGEST_TABLE // MIB} MiB")
        found, number = bytearray(), self._at // PIECE_BYTES
        while self._at < end:
            piece, begin = self._piece(number, end), number * PIECE_BYTES
            found += piece[self._at - begin : end - begin]
            self._at, number = min(begin + len(piece), end), number + 1
        return bytes(found)

    def expect(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch what lies in ranges (first byte, byte after the last), several at once, before it is read."""
        wanted: set[int] = set()
        for first, end in ranges:
            last = min(end, self._size)
            wanted.update(range(max(first, 0) // PIECE_BYTES, -(-last // PIECE_BYTES)))
            if len(wanted) * PIECE_BYTES > EXPECTED_BYTES:
                break
        lacking = sorted(number for number in wanted if not self._is_here(number))[: EXPECTED_BYTES // PIECE_BYTES]
        for pieces in list(_POOL.map(self._fetched, _runs(lacking))):
            self._keep(pieces)

    def _is_here(self, number: int) -> bool:
        return number in self._memory or (self._disk is not None and self._disk.holds(self._checksums[number]))

    def _piece(self, number: int, end: int) -> bytes:
        """Return a piece; where it must be fetched, with those behind it that lie before `end`."""
        if number in self._memory:
            self._memory.move_to_end(number)
            return self._memory[number]
        kept = self._disk.get(self._checksums[number]) if self._disk is not None else None
        if kept is not None:
            return self._keep({number: kept})
        wanted = [number]
        while (behind := wanted[-1] + 1) * PIECE_BYTES < end and not self._is_here(behind):
            if len(wanted) * PIECE_BYTES >= REQUEST_BYTES:
                break
            wanted.append(behind)
        return self._keep(self._fetched(wanted))

    def _fetched(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Fetch neighbouring pieces."""
        first = numbers[0] * PIECE_BYTES
        data = self._fetch(first, min((numbers[-1] + 1) * PIECE_BYTES, self._size))
        pieces = {n: data[n * PIECE_BYTES - first : (n + 1) * PIECE_BYTES - first] for n in numbers}
        if self._disk is not None:
            for number, piece in pieces.items():
                self._disk.put(self._checksums[number], piece)
        return pieces

    def _keep(self, pieces: dict[int, bytes]) -> bytes:
        """Keep pieces in memory; returns the first."""
        self._memory.update(pieces)
        while len(self._memory) * PIECE_BYTES > KEPT_BYTES:
            self._memory.popitem(last=False)
        return next(iter(pieces.values()))


def compare(path: str, data: bytes, first: int, end: int, checksums: Sequence[str]) -> None:
    """See that neighbouring pieces have arrived as they were published.

    Args:
        first, end: where they begin, and the byte after them.
    Raises:
        ArrivalError: they have not; says how they differ.
    """
    if len(data) != end - first:
        raise ArrivalError(f"a part of {path} arrives with {len(data)} of {end - first} bytes: {MEND}")
    for start in range(0, len(data), PIECE_BYTES):
        digest = hashlib.sha256(data[start : start + PIECE_BYTES]).hexdigest()
        if digest != checksums[(first + start) // PIECE_BYTES]:
            raise ArrivalError(f"a part of {path} arrives with other contents than were published: {MEND}")


def compare_whole(path: str, data: bytes, size: int, sha256: str) -> None:
    """See that a file has arrived as it was published; ArrivalError where it has not."""
    if len(data) != size:
        raise ArrivalError(f"{path} arrives with {len(data)} of {size} bytes: {MEND}")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ArrivalError(f"{path} arrives with other contents than were published: {MEND}")


def _runs(numbers: Sequence[int]) -> list[list[int]]:
    """Gather neighbouring numbers, as many as one request may ask for."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] + 1 == number and len(found[-1]) * PIECE_BYTES < REQUEST_BYTES:
            found[-1].append(number)
        else:
            found.append([number])
    return found
