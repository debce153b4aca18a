"""files.parquet: which files a run consists of, with size and checksum, and the descriptions of its arrays in full.

It lies beside the manifest of a run that is read through a server. From it a reader knows without asking what is there,
and whether what arrived is what was published. It belongs to one manifest, whose own row it holds. A large table has a
row for each of its pieces, too (tables/name.parquet/000000, ...), by which parts of it are checked: pieces.py.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from store.files import parquet, pieces
from store.files.bounds import LARGEST_ARRAY_JSON, LARGEST_FILE, LARGEST_TABLE_FILE, MIB
from store.files.local import LocalFiles
from store.files.manifest import is_inside
from store.spec import ARRAYS_FOLDER, FIGURES_FOLDER, MANIFEST, MODELS_FOLDER, TABLES_FOLDER

FILES = "files.parquet"
LARGEST_LIST = 256 * MIB  # a run of 20 000 scans has some 10 MiB
DESCRIPTION = "zarr.json"
_COLUMNS = {"path": pa.string(), "bytes": pa.int64(), "sha256": pa.string(), "text": pa.string()}
_FOLDERS = (ARRAYS_FOLDER, TABLES_FOLDER, MODELS_FOLDER, FIGURES_FOLDER)


class FileEntry(NamedTuple):
    """A file of a run.

    Attributes:
        path: from the folder of the run.
        size: bytes.
        sha256: of its bytes, hexadecimal.
        text: the whole file, where it describes an array; else None.
    """

    path: str
    size: int
    sha256: str
    text: str | None = None


def paths_of(run: Path) -> list[str]:
    """List the files of a local run that store/spec.py knows, sorted, without the manifest and this list.

    What else lies in the folder (hidden files, notes, what an interrupted copy left) does not belong to the run.
    """
    found = [file for folder in _FOLDERS for file in sorted((run / folder).rglob("*")) if file.is_file()]
    paths = [file.relative_to(run).as_posix() for file in found]
    return [path for path in paths if not _is_leftover(path)]


def _is_leftover(path: str) -> bool:
    return path.endswith((".partial", ".tmp")) or any(part.startswith(".") for part in path.split("/"))


def describe(path: str, data: bytes | mmap.mmap) -> list[FileEntry]:
    """Return the row of a file, and behind it those of its pieces, where it is a large table."""
    rows, step = [_whole(path, data)], pieces.PIECE_BYTES
    if path.startswith(f"{TABLES_FOLDER}/") and len(data) >= pieces.PIECES_FROM:
        parts = (data[start : start + step] for start in range(0, len(data), step))
        rows += [FileEntry(_piece(path, k), len(part), sha256_of(part)) for k, part in enumerate(parts)]
    return rows


def is_piece(path: str) -> bool:
    """Return whether a row is of a piece of a table."""
    return ".parquet/" in path


def checksums_of_pieces(listed: Mapping[str, FileEntry], path: str) -> list[str] | None:
    """Return the SHA-256 of each piece of a file; None where the list does not have it, or not all of them."""
    count = -(-listed[path].size // pieces.PIECE_BYTES) if path in listed else 0
    last = _piece(path, count - 1)
    rows = [listed.get(_piece(path, k)) for k in range(count)] if last in listed else []
    found = [row.sha256 for row in rows if row is not None]
    return found if count and len(found) == count else None


def _piece(path: str, number: int) -> str:
    return f"{path}/{number:06d}"


def _whole(path: str, data: bytes | mmap.mmap) -> FileEntry:
    is_text = path.endswith(f"/{DESCRIPTION}") and len(data) <= LARGEST_ARRAY_JSON
    return FileEntry(path, len(data), sha256_of(data), bytes(data).decode() if is_text else None)


def sha256_of(data: bytes | mmap.mmap) -> str:
    """Compute the SHA-256 of bytes, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def is_sha256(text: object) -> bool:
    """Return whether a value is a SHA-256 as it is written here: 64 hexadecimal digits in lower case."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")


def read_all(run: Path) -> Iterator[tuple[str, bytes | mmap.mmap]]:
    """Yield (path, bytes) of every file of a local run, the manifest last; tables that are very large are mapped.

    Raises:
        BrokenRunError: one is no regular file inside the run.
    """
    for path in [*paths_of(run), MANIFEST]:
        yield path, read_one(run, path)


def read_one(run: Path, path: str) -> bytes | mmap.mmap:
    """Return the bytes of a file of a local run; errors as for `read_all`."""
    is_table = path.startswith(f"{TABLES_FOLDER}/")
    with LocalFiles(str(run)).open(path, LARGEST_TABLE_FILE if is_table else LARGEST_FILE) as file:
        if os.fstat(file.fileno()).st_size > LARGEST_FILE:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return file.read()


def to_parquet(entries: Iterable[FileEntry]) -> bytes:
    """Write the list as the bytes of files.parquet; one of the entries is the manifest."""
    rows = sorted(entries)
    columns = {name: pa.array(values, _COLUMNS[name]) for name, values in zip(_COLUMNS, zip(*rows, strict=True),
                                                                               strict=True)}  # fmt: skip
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd", write_statistics=False)
    return sink.getvalue()


def parse(data: bytes, manifest: bytes) -> dict[str, FileEntry] | None:
    """Return path -> entry of a list, None where it belongs to another manifest than the bytes of `manifest`.

    Raises:
        ValueError: it is damaged, or what no run can have.
    """
    try:
        table = parquet.read(data, list(_COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise ValueError("is unreadable") from error
    if {field.name: field.type for field in table.schema} != _COLUMNS:
        raise ValueError("has other columns than a list of files")
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    entries = {row[0]: FileEntry(*row) for row in rows}
    for entry in entries.values():
        if not is_inside(entry.path) or entry.size is None or entry.size < 0 or not is_sha256(entry.sha256):
            raise ValueError("names a file that cannot be one of a run")
    own = entries.get(MANIFEST)
    return entries if own is not None and own.sha256 == sha256_of(manifest) else None
