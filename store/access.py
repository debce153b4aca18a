"""Read access to one folder, on a disk or behind any fsspec URL. Private to the package: hands out Zarr arrays."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from zarr.storage import FsspecStore, LocalStore

from store.encoding import checksum, hexadecimal
from store.errors import BrokenRun, StoreNotFound
from store.shards import decode_shard, is_one_shard
from store.spec import ARRAYS_FOLDER, MANIFEST, TABLES_FOLDER


class Folder:
    """A store, a run or a staging folder."""

    def __init__(self, place: str | Path) -> None:
        """Raises StoreNotFound: nothing installed can read such a URL."""
        self.url = str(place).rstrip("/") or "/"
        try:
            self._fs, self.root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise StoreNotFound(f"cannot open {self.url}: {error}") from error
        self._arrays: dict[str, zarr.Array] = {}
        self._zarr_store: LocalStore | FsspecStore | None = None

    @property
    def name(self) -> str:
        return self.root.rstrip("/").rsplit("/", 1)[-1]

    def child(self, name: str) -> Folder:
        return Folder(f"{self.url.rstrip('/')}/{name}")

    def exists(self, path: str = "") -> bool:
        return self._fs.exists(f"{self.root}/{path}".rstrip("/"))

    def folders(self) -> list[str]:
        """Names of the folders in this one, without hidden ones."""
        self._fs.invalidate_cache()
        entries = self._fs.ls(self.root, detail=True)
        names = [e["name"].rstrip("/").rsplit("/", 1)[-1] for e in entries if e["type"] == "directory"]
        return sorted(n for n in names if not n.startswith("."))

    def read(self, path: str) -> bytes:
        """The bytes of a file; BrokenRun if it is missing or unreadable."""
        try:
            return self._fs.cat_file(f"{self.root}/{path}")
        except OSError as error:
            raise BrokenRun(f"run {self.name}: {path} is missing or unreadable: copy or build the run again") from error

    def manifest(self) -> dict[str, Any]:
        """The manifest as it stands; BrokenRun if it is not a JSON object."""
        try:
            manifest = json.loads(self.read(MANIFEST))
        except ValueError as error:
            raise BrokenRun(f"run {self.name}: {MANIFEST} is unreadable: copy or build the run again") from error
        if not isinstance(manifest, dict):
            raise BrokenRun(f"run {self.name}: {MANIFEST} is not an object: copy or build the run again")
        return manifest

    def table(self, path: str, columns: Sequence[str] | None = None, filters: list | None = None) -> pa.Table:
        """A Parquet file, e.g. tables/scans.parquet."""
        data = self.read(path)
        try:
            wanted = None if columns is None else list(columns)
            return pq.read_table(io.BytesIO(data), columns=wanted, filters=filters or None)
        except (pa.ArrowException, OSError) as error:
            raise BrokenRun(f"run {self.name}: {path} is unreadable: copy or build the run again") from error

    def tables(self, folder: str = TABLES_FOLDER) -> list[str]:
        """Names of the Parquet files in a folder, without ending, sorted."""
        paths = self._fs.glob(f"{self.root}/{folder}/*.parquet")
        return sorted(path.rsplit("/", 1)[-1].removesuffix(".parquet") for path in paths)

    def array_paths(self) -> list[str]:
        """Every array in the folder, found by its metadata file; slow on an object store."""
        top = f"{self.root}/{ARRAYS_FOLDER}/"
        found = (p for p in self._fs.find(top) if p.endswith("/zarr.json"))
        return sorted(p[len(top) :].removesuffix("/zarr.json") for p in found if b'"array"' in self._fs.cat_file(p))

    def array(self, path: str) -> zarr.Array | None:
        """An open array, or None if there is none."""
        if path not in self._arrays:
            try:
                self._arrays[path] = zarr.open_array(store=self._zarr(), path=path, mode="r", zarr_format=3)
            except FileNotFoundError:
                return None
            except Exception as error:  # zarr lets errors of JSON, codecs and file systems through as they are
                raise BrokenRun(f"run {self.name}: array {path} is unreadable: copy or build the run again") from error
        return self._arrays[path]

    def missing_files(self, path: str, array: zarr.Array) -> Iterator[tuple[int, ...]]:
        """Places of the shards (or chunks) that are not there; Zarr would read them as 0 without a word."""
        edges = array.shards or array.chunks
        for place in np.ndindex(*(-(-n // e) for n, e in zip(array.shape, edges, strict=True))):
            if not self.has_file(path, array, place):
                yield place

    def has_file(self, path: str, array: zarr.Array, place: Sequence[int]) -> bool:
        """Whether the shard (or chunk) at a place is there."""
        return self.exists(self._file(path, array, place))

    @staticmethod
    def _file(path: str, array: zarr.Array, place: Sequence[int]) -> str:
        return f"{ARRAYS_FOLDER}/{path}/{array.metadata.chunk_key_encoding.encode_chunk_key(tuple(place))}"

    def numbers(self, path: str, index: int | None = None) -> np.ndarray:
        """The stored numbers of an array, or of one leading index.

        Raises:
            BrokenRun: the array, one of its files or the index is missing, or a file cannot be decoded.
        """
        array = self.array(path)
        if array is None:
            raise BrokenRun(f"run {self.name}: array {path} is missing: copy or build the run again")
        if index is None:
            gap = next(self.missing_files(path, array), None)
        else:
            place = (index,) + (0,) * (array.ndim - 1)
            gap = None if index < array.shape[0] and self.has_file(path, array, place) else place
        if gap is not None:
            raise BrokenRun(f"run {self.name}: array {path} lacks the file at {gap}: copy or build the run again")
        try:
            if index is not None and is_one_shard(array):
                return decode_shard(self.read(self._file(path, array, place)), array)
            return np.asarray(array[...] if index is None else array[index])
        except Exception as error:  # a damaged file fails in many ways: zlib, blosc, index out of range, ...
            raise BrokenRun(f"run {self.name}: array {path} cannot be decoded: copy or build the run again") from error

    def crc32(self, path: str) -> str:
        """CRC-32 of all stored numbers of an array; volumes are read one at a time."""
        array = self.array(path)
        if array is None or array.ndim < 4 or (array.shards or array.chunks)[0] > 1:
            return hexadecimal(checksum(self.numbers(path)))
        crc = 0
        for index in range(array.shape[0]):
            crc = checksum(self.numbers(path, index), crc)
        return hexadecimal(crc)

    def sha256(self, path: str) -> str:
        """SHA-256 of a file, hexadecimal."""
        return hashlib.sha256(self.read(path)).hexdigest()

    def _zarr(self) -> LocalStore | FsspecStore:
        if self._zarr_store is None:
            if "file" in self._fs.protocol:
                self._zarr_store = LocalStore(f"{self.root}/{ARRAYS_FOLDER}", read_only=True)
            else:
                url = self._fs.unstrip_protocol(f"{self.root}/{ARRAYS_FOLDER}")
                self._zarr_store = FsspecStore.from_url(url, read_only=True)
        return self._zarr_store
