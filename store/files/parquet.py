"""Parquet files from strangers: what they unpack to is added up before any of it is unpacked.

The sizes in the footer may lie, and pyarrow believes the size in each page's own header, up to 2 GiB a page. So the
headers are read here: Thrift in its compact protocol, of which the Parquet format uses a few types.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from store.files.bounds import LARGEST_TABLE, LONGEST_TEXT, MIB, MOST_ROWS, MOST_ROWS_OF_FILE
from store.files.pieces import EXPECTED_BYTES, PieceFile

_FOOTER = 64 * MIB  # bytes that the description of a file may take
_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
_PAGE_SIZES = {2: "unpacked", 3: "packed"}
_DEEPEST = 8


def read(
    source: bytes | io.BufferedIOBase, columns: Sequence[str], filters: list | None = None, *, categories: bool = False
) -> pa.Table:
    """Read those of the columns that a file holds, in that order, row group by row group; the result is bounded.

    Args:
        source: the bytes of a file, or a file that is open for reading, of which only what is needed is read.
        filters: (column, "=", value) that a row must meet; row groups whose statistics exclude it are not read.
        categories: texts as dictionaries, which take little where few of them repeat.
    Raises:
        ValueError: it would unpack to too much; says how.
        pa.ArrowException, OSError: it is damaged.
    """
    found: list[pa.Table] = []
    with _opened(source) as file:
        schema = file.schema_of(columns, categories)
        for part in file.parts(columns, filters, categories, found):
            found.append(part)
    return pa.concat_tables(found) if found else schema.empty_table()


def parts(source: bytes | io.BufferedIOBase, columns: Sequence[str], *, categories: bool = False) -> Iterator[pa.Table]:
    """Yield the columns of one row group after another, none of which is kept; errors as for `read`."""
    with _opened(source) as file:
        yield from file.parts(columns, None, categories)


def count_rows(source: bytes | io.BufferedIOBase) -> int:
    """Count the rows of a file by its footer; errors as for `read`."""
    with _opened(source) as file:
        return file.rows


@contextmanager
def _opened(source: bytes | io.BufferedIOBase) -> Iterator[_Table]:
    with io.BytesIO(source) if isinstance(source, bytes) else source as stream:
        yield _Table(stream)


class _Table:
    """An open Parquet file whose footer has been looked at."""

    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream, self._size = stream, stream.seek(0, io.SEEK_END)
        stream.seek(max(self._size - 8, 0))
        if int.from_bytes(stream.read(4), "little") > _FOOTER:
            raise ValueError("has a description that is too long")
        self._limits = {"thrift_string_size_limit": _FOOTER, "thrift_container_size_limit": 1_000_000}
        file = pq.ParquetFile(stream, **self._limits)
        self._files: dict[tuple[str, ...], pq.ParquetFile] = {}
        self._metadata, self._columns = file.metadata, [file.schema.column(k).path for k in range(len(file.schema))]
        self._schema = file.schema_arrow
        if len(set(self._schema.names)) < len(self._schema.names):
            raise ValueError("holds a column twice")
        self.rows, of_groups = self._metadata.num_rows, _group_rows(self._metadata)
        if not 0 <= self.rows <= MOST_ROWS_OF_FILE or self.rows != sum(of_groups) or min(of_groups, default=0) < 0:
            raise ValueError(f"declares {self.rows} rows, at most {MOST_ROWS_OF_FILE} can be")
        if max(of_groups, default=0) > MOST_ROWS:
            raise ValueError(f"declares {max(of_groups)} rows in one row group, at most {MOST_ROWS} can be")

    def _present(self, columns: Sequence[str]) -> list[str]:
        present = [name for name in columns if name in self._schema.names]
        for name in present:
            kind = self._schema.field(name).type
            if pa.types.is_nested(kind) or pa.types.is_dictionary(kind):
                raise ValueError(f"holds {kind} in column {name}")
        return present

    def schema_of(self, columns: Sequence[str], categories: bool) -> pa.Schema:
        """Return the schema of what is read."""
        fields = [self._schema.field(name) for name in self._present(columns)]
        if categories:
            fields = [f.with_type(pa.dictionary(pa.int32(), f.type)) if _is_text(f.type) else f for f in fields]
        return pa.schema(fields, self._schema.metadata)

    def parts(
        self, columns: Sequence[str], filters: list | None, categories: bool, kept: Sequence[pa.Table] = ()
    ) -> Iterator[pa.Table]:
        """Yield the rows of each row group that meet the filters; `kept` is what the caller still holds of them."""
        present = self._present(columns)
        if absent := [column for column, _, _ in filters or () if column not in present]:
            raise ValueError(f"has no column {absent[0]}")
        texts = [name for name in present if _is_text(self._schema.field(name).type)]
        for group in self._expected(present, filters):
            if (rows := sum(part.num_rows for part in kept)) > MOST_ROWS:
                raise ValueError(f"has more than {rows} such rows, at most {MOST_ROWS} can be read at once")
            taken = sum(part.nbytes for part in kept)
            sizes, wide = self._checked(group, present, taken)
            part = self._file(texts if categories else wide).read_row_group(group, columns=present).select(present)
            for name in wide if not categories else ():
                taken += _size_as_text(part[name])
                if taken + sum(sizes.values()) > LARGEST_TABLE:
                    raise ValueError(f"unpacks to more than {LARGEST_TABLE // MIB} MiB")
                field = self._schema.field(name)
                part = part.set_column(present.index(name), field, part[name].cast(field.type))
            for name in texts:
                if sizes[name] > LONGEST_TEXT and _longest(part[name]) > LONGEST_TEXT:
                    raise ValueError(f"holds a text of more than {LONGEST_TEXT} bytes in column {name}")
            for column, _, value in filters or ():
                part = part.filter(pc.equal(part[column], value))
            if categories:  # also of texts that the file holds one by one
                part = part.cast(self.schema_of(columns, categories))
            if part.num_rows:
                yield part

    def _expected(self, present: list[str], filters: list | None) -> Iterator[int]:
        """Yield the row groups that can hold such rows; of a file behind a server, their columns are fetched before."""
        every = range(self._metadata.num_row_groups)
        groups = [k for k in every if self._metadata.row_group(k).num_rows and not self._is_excluded(k, filters)]
        fetched_to = 0
        for place, group in enumerate(groups):
            if isinstance(self._stream, PieceFile) and place >= fetched_to:
                ranges: list[tuple[int, int]] = []
                while fetched_to < len(groups) and (fetched_to <= place or _bytes_in(ranges) < EXPECTED_BYTES // 2):
                    ranges += [self._extent(groups[fetched_to], self._columns.index(name)) for name in present]
                    fetched_to += 1
                self._stream.expect(ranges)
            yield group

    def _extent(self, group: int, column: int) -> tuple[int, int]:
        """Return where a column of a row group begins, and the byte after it.

        Raises:
            ValueError: that is not in the file, or too much.
        """
        chunk = self._metadata.row_group(group).column(column)
        starts = [chunk.data_page_offset]
        if chunk.has_dictionary_page and chunk.dictionary_page_offset:
            starts.append(chunk.dictionary_page_offset)
        first, size = min(starts), chunk.total_compressed_size
        if not 0 <= first <= first + size <= self._size or size < 0:
            raise ValueError("is cut short")
        if size > LARGEST_TABLE:
            raise ValueError(f"unpacks to more than {LARGEST_TABLE // MIB} MiB")
        return first, first + size

    def _is_excluded(self, group: int, filters: list | None) -> bool:
        """Say whether the statistics of a row group exclude that a row of it meets the filters."""
        for column, _, value in filters or ():
            statistics = self._metadata.row_group(group).column(self._columns.index(column)).statistics
            if statistics is None or not statistics.has_min_max or not isinstance(value, type(statistics.min)):
                continue
            if not statistics.min <= value <= statistics.max:
                return True
        return False

    def _file(self, dictionaries: list[str]) -> pq.ParquetFile:
        """Open the file so that these columns of texts come as dictionaries."""
        key = tuple(dictionaries)
        if key not in self._files:
            options = {"metadata": self._metadata, "read_dictionary": dictionaries or None}
            self._files[key] = pq.ParquetFile(self._stream, **options, **self._limits)
        return self._files[key]

    def _checked(self, group: int, present: list[str], taken: int) -> tuple[dict[str, int], list[str]]:
        """Return column -> bytes that its pages in a row group unpack to, and the columns whose texts may take more.

        Raises:
            ValueError: it is too much in all.
        """
        rows, sizes, wide = self._metadata.row_group(group).num_rows, {}, []
        for name in present:
            sizes[name], dictionary = self._column_sizes(group, self._columns.index(name))
            if taken + sum(sizes.values()) > LARGEST_TABLE:
                raise ValueError(f"unpacks to more than {LARGEST_TABLE // MIB} MiB")
            # A few texts that many rows refer to take little in the file and much as plain texts.
            if taken + sum(sizes.values()) + rows * dictionary > LARGEST_TABLE:
                wide.append(name)
        return sizes, wide

    def _column_sizes(self, group: int, column: int) -> tuple[int, int]:
        """Return (bytes that the pages of a column in a row group unpack to, bytes of the largest dictionary)."""
        chunk, total, dictionary = self._metadata.row_group(group).column(column), 0, 0
        first, behind = self._extent(group, column)
        self._stream.seek(first)
        data, place = self._stream.read(behind - first), 0
        end = len(data)
        while place < end:
            header, place = _page_header(data, place)
            if not (0 <= header.get("packed", -1) <= end - place) or header.get("unpacked", -1) < 0:
                raise ValueError("holds a page that is cut short")
            place += header["packed"]
            total += header["unpacked"]
            if chunk.dictionary_page_offset == first + header["start"]:
                dictionary = max(dictionary, header["unpacked"])
            if total > LARGEST_TABLE:
                return total, dictionary
        return total, dictionary


def _bytes_in(ranges: list[tuple[int, int]]) -> int:
    return sum(end - first for first, end in ranges)


def _group_rows(metadata: pq.FileMetaData) -> list[int]:
    return [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)


def _size_as_text(column: pa.ChunkedArray) -> int:
    """Count the bytes that a column of texts takes once each row has its own."""
    if not _is_dictionary(column):
        return 0
    sizes = (pc.sum(pc.take(pc.binary_length(chunk.dictionary), chunk.indices)) for chunk in column.chunks)
    return sum(size.as_py() or 0 for size in sizes)


def _longest(column: pa.ChunkedArray) -> int:
    texts = pa.chunked_array([chunk.dictionary for chunk in column.chunks]) if _is_dictionary(column) else column
    return pc.max(pc.binary_length(texts)).as_py() or 0


def _is_dictionary(column: pa.ChunkedArray) -> bool:
    return pa.types.is_dictionary(column.type)


def _page_header(data: bytes, start: int) -> tuple[dict[str, int], int]:
    """Return the sizes in the header of a page, and the place where the page begins."""
    found, place, field = {"start": start}, start, 0
    while True:
        kind, field, place = _field(data, place, field)
        if kind == _STOP:
            return found, place
        if kind == _I32 and field in _PAGE_SIZES:
            found[_PAGE_SIZES[field]], place = _signed(data, place)
        else:
            place = _skip(data, place, kind, _DEEPEST)


def _field(data: bytes, place: int, before: int) -> tuple[int, int, int]:
    """Read (type, number, place of the value) of the next field of a struct."""
    byte = _byte(data, place)
    kind, step = byte & 15, byte >> 4
    if kind == _STOP:
        return _STOP, 0, place + 1
    if step:
        return kind, before + step, place + 1
    number, place = _signed(data, place + 1)
    return kind, number, place


def _skip(data: bytes, place: int, kind: int, levels: int) -> int:
    """Return the place behind a value."""
    if levels == 0:
        raise ValueError("holds a page header that is nested too deeply")
    if kind in (_TRUE, _FALSE):
        return place
    if kind in (_BYTE, _DOUBLE):
        return place + (1 if kind == _BYTE else 8)
    if kind in (_I16, _I32, _I64):
        return _varint(data, place)[1]
    if kind == _BINARY:
        size, place = _varint(data, place)
        return place + size
    if kind in (_LIST, _SET):
        byte, place = _byte(data, place), place + 1
        size, item = byte >> 4, byte & 15
        if size == 15:
            size, place = _varint(data, place)
        for _ in range(size):
            place = place + 1 if item in (_TRUE, _FALSE) else _skip(data, place, item, levels - 1)
            _byte(data, place - 1)
        return place
    if kind == _STRUCT:
        field = 0
        while True:
            inner, field, place = _field(data, place, field)
            if inner == _STOP:
                return place
            place = _skip(data, place, inner, levels - 1)
    raise ValueError("holds a page header that cannot be read")


def _byte(data: bytes, place: int) -> int:
    if not 0 <= place < len(data):
        raise ValueError("holds a page header that is cut short")
    return data[place]


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = _byte(data, place)
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("holds a page header that cannot be read")


def _signed(data: bytes, place: int) -> tuple[int, int]:
    value, place = _varint(data, place)
    return value >> 1 ^ -(value & 1), place
