"""Parquet files from strangers: what they unpack to is added up before any of it is unpacked.

The sizes in the footer may lie, and pyarrow believes the size in each page's own header, up to 2 GiB a page. So the
headers are read here: Thrift in its compact protocol, of which the Parquet format uses a few types.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from store.files.bounds import LARGEST_TABLE, LONGEST_TEXT, MIB, MOST_ROWS

_FOOTER = 64 * MIB  # bytes that the description of a file may take
_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)
_PAGE_SIZES = {2: "unpacked", 3: "packed"}
_DEEPEST = 8


def read(data: bytes, columns: Sequence[str], filters: list | None = None) -> pa.Table:
    """Read those of the columns that a file holds, in that order; their decoded size is bounded.

    Raises:
        ValueError: it would unpack to too much; says how.
        pa.ArrowException, OSError: it is damaged.
    """
    file = pq.ParquetFile(io.BytesIO(data), thrift_string_size_limit=_FOOTER, thrift_container_size_limit=1_000_000)
    names = [field.name for field in file.schema_arrow]
    present = [name for name in columns if name in names]
    if len(set(names)) < len(names):
        raise ValueError("holds a column twice")
    for name in present:
        kind = file.schema_arrow.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_dictionary(kind):
            raise ValueError(f"holds {kind} in column {name}")
    rows = file.metadata.num_rows
    if not 0 <= rows <= MOST_ROWS or rows != sum(_group_rows(file.metadata)):
        raise ValueError(f"declares {rows} rows, at most {MOST_ROWS} can be")
    places = [k for k in range(len(file.schema)) if file.schema.column(k).path in present]
    sizes = {file.schema.column(k).path: _column_sizes(data, file.metadata, k) for k in places}
    total = sum(size for size, _ in sizes.values())
    if total > LARGEST_TABLE:
        raise ValueError(f"unpacks to more than {LARGEST_TABLE // MIB} MiB")
    # A few texts that many rows refer to take little in the file and much as plain texts.
    wide = [name for name, (_, dictionary) in sizes.items() if total + rows * dictionary > LARGEST_TABLE]
    for name in wide:
        total += _size_as_text(data, name)
        if total > LARGEST_TABLE:
            raise ValueError(f"unpacks to more than {LARGEST_TABLE // MIB} MiB")
    table = pq.read_table(io.BytesIO(data), columns=present, filters=filters or None)
    for name, (size, _) in sizes.items():
        if size > LONGEST_TEXT and _is_text(table.schema.field(name).type) and _longest(table[name]) > LONGEST_TEXT:
            raise ValueError(f"holds a text of more than {LONGEST_TEXT} bytes in column {name}")
    return table


def _group_rows(metadata: pq.FileMetaData) -> list[int]:
    return [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)


def _longest(column: pa.ChunkedArray) -> int:
    return pc.max(pc.binary_length(column)).as_py() or 0


def _size_as_text(data: bytes, name: str) -> int:
    """Count the bytes that a column of texts takes once each row has its own."""
    column = pq.read_table(io.BytesIO(data), columns=[name], read_dictionary=[name])[name]
    if not pa.types.is_dictionary(column.type):
        return 0
    total = 0
    for chunk in column.chunks:
        lengths = pc.binary_length(chunk.dictionary)
        total += pc.sum(pc.take(lengths, chunk.indices)).as_py() or 0
    return total


def _column_sizes(data: bytes, metadata: pq.FileMetaData, column: int) -> tuple[int, int]:
    """Return (bytes that all pages of a column unpack to, bytes of the largest dictionary)."""
    total, dictionary = 0, 0
    for group in range(metadata.num_row_groups):
        if metadata.row_group(group).num_rows == 0:  # its pages are not read, and need not be there
            continue
        chunk = metadata.row_group(group).column(column)
        starts = [chunk.data_page_offset]
        if chunk.has_dictionary_page and chunk.dictionary_page_offset:
            starts.append(chunk.dictionary_page_offset)
        place = min(starts)
        end = place + chunk.total_compressed_size
        if not 0 <= place <= end <= len(data):
            raise ValueError("is cut short")
        while place < end:
            header, place = _page_header(data, place)
            if not (0 <= header.get("packed", -1) <= end - place) or header.get("unpacked", -1) < 0:
                raise ValueError("holds a page that is cut short")
            place += header["packed"]
            total += header["unpacked"]
            if chunk.dictionary_page_offset == header["start"]:
                dictionary = max(dictionary, header["unpacked"])
            if total > LARGEST_TABLE:
                return total, dictionary
    return total, dictionary


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
