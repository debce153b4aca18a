"""Read access to one folder, on a disk or behind any fsspec URL. Private to the package: hands out Zarr arrays."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import fsspec
import numpy as np
import pyarrow as pa
import zarr
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

from store.errors import BrokenRunError, MissingManifestError, RunGoneError, StoreError, UnreachableError
from store.files import bounds, parquet, tables
from store.files.encoding import checksum, hexadecimal
from store.files.local import LocalFiles
from store.files.remote import OtherContentError, RemoteFiles
from store.files.shards import check_file, decode_file, is_one_file
from store.spec import ARRAYS_FOLDER, MANIFEST, TABLES_FOLDER

MEND = "copy or build the run again"
METADATA = "zarr.json"

Answer = TypeVar("Answer")


class Folder:
    """A store, a run or a staging folder."""

    def __init__(self, place: str | Path, top: str | None = None, *, is_kept: bool = True) -> None:
        """Open a folder; local links must stay within `top`, by default the folder itself.

        Args:
            is_kept: whether files of servers are kept on this disk.
        Raises:
            StoreNotFoundError: nothing installed can read such a URL.
        """
        self.url = str(place).rstrip("/") or "/"
        self.is_local = fsspec.core.split_protocol(self.url)[0] in (None, "file", "local")
        self._top, self._is_kept = top, is_kept
        self._manifest: bytes | None = None  # as it was read first
        self._files: LocalFiles | RemoteFiles
        if self.is_local:
            self._files = LocalFiles(fsspec.core.url_to_fs(self.url)[1], top)
        else:
            self._files = RemoteFiles(self.url, is_kept)
        self.root: str = self._files.root
        self._arrays: dict[str, zarr.Array] = {}
        self._metadata: dict[str, bytes] = {}

    @property
    def name(self) -> str:
        return self.root.rstrip("/").rsplit("/", 1)[-1]

    def child(self, name: str) -> Folder:
        return Folder(f"{self.url.rstrip('/')}/{name}", self._top or self.root, is_kept=self._is_kept)

    def exists(self, path: str = "") -> bool:
        """Return whether something is there; UnreachableError where a server does not say."""
        try:
            return self._files.exists(path)
        except UnreachableError as error:
            raise type(error)(f"run {self.name}: {error}") from error

    def folders(self) -> list[str]:
        """List the names of the folders in this one, without hidden ones; OSError where it is no folder."""
        return sorted({name for name in self._files.folders() if name and not name.startswith(".")})

    def read(self, path: str, largest: int = bounds.LARGEST_FILE) -> bytes:
        """Read the bytes of a file.

        Raises:
            BrokenRunError: it is missing, unreadable, no regular file of the store, or larger than `largest`.
            UnreachableError: a server refuses or is silent.
        """
        try:
            return self._found(path, largest)
        except FileNotFoundError as error:
            raise self.missing(f"{path} is missing or unreadable") from error

    def _found(self, path: str, largest: int) -> bytes:
        """Read as `read` does; FileNotFoundError where the file is missing."""
        return self._asked(path, lambda: self._files.read(path, largest))

    def _opened(self, path: str) -> io.BufferedIOBase:
        """Open a table for reading, of which no more is read or fetched than is needed; errors as for `read`."""
        files, most = self._files, bounds.LARGEST_TABLE_FILE
        try:
            if isinstance(files, LocalFiles):
                return self._asked(path, lambda: files.open(path, most))
            return self._asked(path, lambda: files.open(path, most, partial(self._asked, path)))
        except FileNotFoundError as error:
            raise self.missing(f"{path} is missing or unreadable") from error

    def _asked(self, path: str, ask: Callable[[], Answer]) -> Answer:
        """Return what the files answer; their errors in words, but FileNotFoundError."""
        try:
            return ask()
        except BrokenRunError as error:
            raise self._broken(str(error)) from None
        except OtherContentError as error:
            raise self._gone() or UnreachableError(f"run {self.name}: {error}") from error
        except UnreachableError as error:
            raise type(error)(f"run {self.name}: {error}") from error
        except FileNotFoundError:
            raise
        except OSError as error:
            raise self._broken(f"{path} is missing or unreadable") from error

    def _broken(self, words: str) -> BrokenRunError:
        return BrokenRunError(f"run {self.name}: {words}: {MEND}")

    def fetch_ahead(self, beginnings: tuple[str, ...], largest: int) -> None:
        """Begin to fetch the files whose paths begin so, where a server has them; see RemoteFiles.fetch_ahead."""
        if isinstance(self._files, RemoteFiles):
            self._files.fetch_ahead(beginnings, largest)

    def missing(self, words: str) -> StoreError:
        """Return the error for a part that is not there: the run is damaged, or was deleted since it was opened."""
        return self._gone() or self._broken(words)

    def _gone(self) -> RunGoneError | None:
        """Return the error where the run was deleted or replaced since its manifest was read, else None."""
        if self._manifest is None:
            return None
        try:
            now = self._files.read(MANIFEST, bounds.LARGEST_JSON)
        except (FileNotFoundError, NotADirectoryError):
            return RunGoneError(f"run {self.name} was deleted from the store while it was open: choose another run")
        except (StoreError, OSError):
            return None
        if now == self._manifest:
            return None
        return RunGoneError(f"run {self.name} was replaced by another one while it was open: reload the page")

    def reason(self, error: StoreError) -> str:
        """Say what is wrong, without the name of the run and the mend, for a list of problems of this run."""
        return str(error).removeprefix(f"run {self.name}: ").removesuffix(f": {MEND}")

    def manifest(self) -> dict[str, Any]:
        """Read the manifest as it stands.

        Raises:
            MissingManifestError: there is none, so the folder is no run.
            BrokenRunError: it is not a JSON object.
        """
        try:
            data = self._found(MANIFEST, bounds.LARGEST_JSON)
        except FileNotFoundError as error:
            raise MissingManifestError(f"run {self.name}: {MANIFEST} is missing or unreadable: {MEND}") from error
        try:
            manifest = bounds.parsed_json(data)
        except ValueError as error:
            raise self._broken(f"{MANIFEST} {error}") from error
        if not isinstance(manifest, dict):
            raise self._broken(f"{MANIFEST} is not an object")
        self._manifest = data
        if isinstance(self._files, RemoteFiles):
            self._files.remember(data)
        return manifest

    def table(
        self, path: str, columns: Sequence[str] | None = None, filters: list | None = None, *, categories: bool = False
    ) -> pa.Table:
        """Read a Parquet file, e.g. tables/scans.parquet: the columns of the specification, or the given ones of them.

        Args:
            filters: (column, "=", value) that a row must meet.
            categories: texts as dictionaries.
        Raises:
            BrokenRunError: it is missing or unreadable, unpacks to too much, or a column is missing or of another kind.
        """
        wanted = tables.wanted_columns(path, columns)
        names = list(dict.fromkeys([*wanted, *(f[0] for f in filters or ())]))
        with self._damage_in_words(path):
            found = parquet.read(self._opened(path), names, filters, categories=categories)
        if lines := tables.problems(tables.name_of(path), found, wanted):
            raise self._broken(lines[0])
        return found.select([name for name in wanted if name in found.column_names])

    def table_parts(self, path: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield a Parquet file row group by row group, texts as dictionaries; errors as for `table`."""
        wanted = tables.wanted_columns(path, columns)
        with self._damage_in_words(path):
            for part in parquet.parts(self._opened(path), wanted, categories=True):
                if lines := tables.problems(tables.name_of(path), part, wanted):
                    raise self._broken(lines[0])
                yield part

    def table_rows(self, path: str) -> int:
        """Count the rows of a Parquet file; errors as for `table`."""
        with self._damage_in_words(path):
            return parquet.count_rows(self._opened(path))

    @contextmanager
    def _damage_in_words(self, path: str) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except FileNotFoundError as error:
            raise self.missing(f"{path} is missing or unreadable") from error
        except (pa.ArrowException, OSError) as error:
            raise self._broken(f"{path} is unreadable") from error
        except ValueError as error:
            raise self._broken(f"{path} {error}") from error

    def tables(self, folder: str = TABLES_FOLDER) -> list[str]:
        """List the names of the Parquet files in a local folder, without ending, sorted."""
        return sorted(path.stem for path in Path(self.root, folder).glob("*.parquet"))

    def array_paths(self) -> list[str]:
        """List every array in a local folder, found by its metadata file."""
        top = Path(self.root, ARRAYS_FOLDER)
        found = [file.parent.relative_to(top).as_posix() for file in top.rglob(METADATA)]
        return sorted(path for path in found if b'"array"' in (top / path / METADATA).read_bytes())

    def array(self, path: str) -> zarr.Array | None:
        """Open the description of an array, whose numbers `numbers` hands out; None if there is none.

        Raises:
            BrokenRunError: it is unreadable, or declares what no run can have.
        """
        if path not in self._arrays:
            file = f"{ARRAYS_FOLDER}/{path}/{METADATA}"
            try:
                data = self._found(file, bounds.LARGEST_ARRAY_JSON)
            except FileNotFoundError:
                return None
            try:
                bounds.parsed_json(data)
                array = _in_memory({METADATA: data})
            except Exception as error:  # zarr lets errors of JSON and codecs through as they are
                raise self._broken(f"array {path} is unreadable") from error
            if problem := bounds.array_problem(array):
                raise self._broken(f"array {path} {problem}")
            self._arrays[path], self._metadata[path] = array, data
        return self._arrays[path]

    def existing_array(self, path: str) -> zarr.Array:
        """Open the description of an array that must be there.

        Raises:
            BrokenRunError: it is not, or as for `array`.
        """
        found = self.array(path)
        if found is None:
            raise self.missing(f"array {path} is missing")
        return found

    def missing_files(self, path: str, array: zarr.Array) -> Iterator[tuple[int, ...]]:
        """List the places of shards (or chunks) that are not there; Zarr would read them as 0 without a word."""
        edges = array.shards or array.chunks
        for place in np.ndindex(*(-(-n // e) for n, e in zip(array.shape, edges, strict=True))):
            if not self.has_file(path, array, place):
                yield place

    def has_file(self, path: str, array: zarr.Array, place: Sequence[int]) -> bool:
        """Return whether the shard (or chunk) at a place is there."""
        return self.exists(self._file(path, array, place))

    @staticmethod
    def _file(path: str, array: zarr.Array, place: Sequence[int]) -> str:
        return f"{ARRAYS_FOLDER}/{path}/{_key(array, place)}"

    def numbers(self, path: str, index: int | None = None) -> np.ndarray:
        """Return the stored numbers of an array, or of one leading index.

        Raises:
            BrokenRunError: the array, one of its files or the index is missing, or a file cannot be decoded.
        """
        array = self.existing_array(path)
        leading = 0 if index is None else 1
        if index is None and (problem := bounds.whole_problem(array)):
            raise self._broken(f"array {path} {problem}")
        if index is not None and not 0 <= index < array.shape[0]:
            raise self._broken(f"array {path} lacks the file at {(index,) + (0,) * (array.ndim - 1)}")
        places = self._places(array, index)
        try:
            if is_one_file(array, leading):
                return decode_file(self._stored(path, array, next(places)), array, leading)
            # Zarr sees what was read and checked here, never the disk or the network.
            files = {METADATA: self._metadata[path]}
            for place in places:
                files[_key(array, place)] = data = self._stored(path, array, place)
                check_file(data, array)
            opened = _in_memory(files)
            return np.asarray(opened[...] if index is None else opened[index])
        except StoreError:
            raise
        except Exception as error:  # a damaged file fails in many ways: zlib, blosc, index out of range, ...
            raise self._broken(f"array {path} cannot be decoded") from error

    @staticmethod
    def _places(array: zarr.Array, index: int | None) -> Iterator[tuple[int, ...]]:
        """List the places of the shards (or chunks) that hold an array or one leading index."""
        edges = array.shards or array.chunks
        counts = [-(-n // edge) for n, edge in zip(array.shape, edges, strict=True)]
        if index is None:
            return iter(np.ndindex(*counts))
        return ((index // edges[0], *place) for place in np.ndindex(*counts[1:]))

    def _stored(self, path: str, array: zarr.Array, place: Sequence[int]) -> bytes:
        file = self._file(path, array, place)
        try:
            return self._found(file, bounds.largest_file(array))
        except FileNotFoundError:
            raise self.missing(f"array {path} lacks the file at {tuple(place)}") from None

    def parts(self, path: str) -> Iterator[np.ndarray]:
        """Yield all stored numbers of an array, one leading index at a time where each is a file."""
        array = self.array(path)
        if array is None or array.ndim < 2 or (array.shards or array.chunks)[0] > 1:
            yield self.numbers(path)
            return
        for index in range(array.shape[0]):
            yield self.numbers(path, index)

    def crc32(self, path: str) -> str:
        """Compute the CRC-32 of all stored numbers of an array."""
        crc = 0
        for stored in self.parts(path):
            crc = checksum(stored, crc)
        return hexadecimal(crc)

    def sha256(self, path: str) -> str:
        """Compute the SHA-256 of a file, hexadecimal."""
        digest = hashlib.sha256()
        with self._opened(path) as file:
            while block := file.read(4 * bounds.MIB):
                digest.update(block)
        return digest.hexdigest()


def _key(array: zarr.Array, place: Sequence[int]) -> str:
    return array.metadata.chunk_key_encoding.encode_chunk_key(tuple(place))  # type: ignore[union-attr]  # Zarr 3 only


def _in_memory(files: dict[str, bytes]) -> zarr.Array:
    make = default_buffer_prototype().buffer.from_bytes
    return zarr.open_array(
        store=MemoryStore({name: make(data) for name, data in files.items()}, read_only=True), mode="r", zarr_format=3
    )
