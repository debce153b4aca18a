"""Whole volumes out of their files. Zarr schedules each inner chunk by itself, which costs more than decoding it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import zarr
from numcodecs import Blosc
from numcodecs.checksum32 import CRC32C
from zarr.codecs import (
    BloscCodec,
    BytesCodec,
    Crc32cCodec,
    Endian,
    ShardingCodec,
    ShardingCodecIndexLocation,
    TransposeCodec,
    ZstdCodec,
)

_INDEX = (BytesCodec(endian=Endian.little), Crc32cCodec())
_CHECKSUM_BYTES = 4
_ABSENT = np.iinfo(np.uint64).max  # begin of a chunk that was left out because it holds the fill value alone
_HEADER = struct.Struct("<4xIII")  # of a Blosc buffer: decoded bytes, bytes of a block, encoded bytes


def codecs_of(array: zarr.Array) -> Sequence[Any]:
    """Return how an array is encoded; runs are Zarr 3 alone."""
    return array.metadata.codecs  # type: ignore[union-attr]


def declared_dimensions(array: zarr.Array) -> tuple[str, ...]:
    """Return the names that an array gives its dimensions; none where it names none."""
    return tuple(name or "" for name in array.metadata.dimension_names or ())  # type: ignore[union-attr]


def plain_layout(array: zarr.Array) -> bool:
    """Return whether the array is Blosc chunks in C order, in shards or not, as encoding.layout makes them."""
    codecs = codecs_of(array)
    if array.shards is not None and len(codecs) == 1 and isinstance(codecs[0], ShardingCodec):
        codec = codecs[0]
        if codec.index_location != ShardingCodecIndexLocation.end or codec.index_codecs != _INDEX:
            return False
        codecs = codec.codecs
    return len(codecs) == 2 and codecs[0] == _INDEX[0] and isinstance(codecs[1], BloscCodec)


def is_one_file(array: zarr.Array, leading: int) -> bool:
    """Return whether each index of the first `leading` dimensions is one file of a plain layout."""
    files = array.shards or array.chunks
    return (
        plain_layout(array)
        and all(edge == 1 for edge in files[:leading])
        and all(edge >= n for edge, n in zip(files[leading:], array.shape[leading:], strict=True))
    )


def decode_file(data: bytes, array: zarr.Array, leading: int) -> np.ndarray:
    """Return the numbers of one file, in the dtype of the array, without its leading dimensions.

    Args:
        data: a shard, laid out as in the Zarr v3 sharding specification, or a chunk.
        array: one for which `is_one_file` holds.
    Raises:
        ValueError, RuntimeError: the index or a chunk is damaged.
    """
    edges, shape = array.chunks[leading:], array.shape[leading:]
    shard = (array.shards or array.chunks)[leading:]
    grid = tuple(whole // edge for whole, edge in zip(shard, edges, strict=True))
    index = (
        np.array([0, len(data)], "u8").reshape(*(1 for _ in grid), 2) if array.shards is None else _index(data, grid)
    )
    number = array.dtype.newbyteorder("<")
    volume = np.empty(shape, number)
    chunk, codec, before = np.empty(edges, number), Blosc(), None
    for place in np.ndindex(grid):
        target = volume[tuple(slice(edge * k, edge * (k + 1)) for k, edge in zip(place, edges, strict=True))]
        if not target.size or index[place][0] == _ABSENT:
            target[...] = array.fill_value
            continue
        begin, size = index[place]
        piece = _piece(data, begin, size, chunk.nbytes)
        # Most chunks outside the brain are the same bytes: what was decoded is still there.
        if piece != before:
            codec.decode(piece, out=chunk)
            before = piece
        target[...] = chunk[tuple(slice(n) for n in target.shape)]
    return volume


def check_file(data: bytes, array: zarr.Array) -> None:
    """See that no chunk of a file, of another layout than ours, unpacks to more bytes than its array declares.

    Raises:
        ValueError: one does, or the array is laid out or compressed in a way that hides how much it unpacks to.
    """
    codecs, pieces = codecs_of(array), [(0, len(data))]
    if array.shards is not None:
        codec = codecs[0]
        if codec.index_location != ShardingCodecIndexLocation.end or codec.index_codecs != _INDEX:
            raise ValueError("its shards are laid out in a way that this code does not read")
        grid = tuple(shard // edge for shard, edge in zip(array.shards, array.chunks, strict=True))
        codecs, pieces = codec.codecs, _index(data, grid).reshape(-1, 2).tolist()
    kinds = [type(codec) for codec in codecs if not isinstance(codec, TransposeCodec)]
    if kinds[:1] != [BytesCodec] or kinds[1:] not in ([], [BloscCodec], [ZstdCodec]):
        raise ValueError("its chunks are encoded in a way that this code does not read")
    decoded = int(np.prod(array.chunks)) * array.dtype.itemsize
    for start, size in pieces:
        if start == _ABSENT:
            continue
        if kinds[1:] == [BloscCodec]:
            _piece(data, start, size, decoded)
        elif (_zstd_size(data[start : start + size]) if kinds[1:] else size) != decoded:
            raise ValueError("a chunk does not unpack to what its array declares")


def _zstd_size(frame: bytes) -> int:
    """Read how many bytes a Zstandard frame says it unpacks to (RFC 8878, 3.1.1.1); -1 where it does not say."""
    if len(frame) < 6 or frame[:4] != b"\x28\xb5\x2f\xfd":
        return -1
    single, dictionary = frame[4] >> 5 & 1, (0, 1, 2, 4)[frame[4] & 3]
    size = (single, 2, 4, 8)[frame[4] >> 6]
    start = 5 + (1 - single) + dictionary
    number = frame[start : start + size]
    return int.from_bytes(number, "little") + (256 if size == 2 else 0) if size and len(number) == size else -1


def _index(data: bytes, grid: tuple[int, ...]) -> np.ndarray:
    """Read where each chunk begins in the shard, and its bytes, (*grid, 2) integers."""
    size = 16 * int(np.prod(grid)) + _CHECKSUM_BYTES
    plain = CRC32C().decode(np.frombuffer(data, "u1")[-size:])
    return np.frombuffer(plain, "<u8").reshape(*grid, 2)


def _piece(data: bytes, start: int, size: int, decoded: int) -> bytes:
    """Return the encoded bytes of a chunk, if they are all there: Blosc would read on behind them."""
    piece = data[int(start) : int(start) + int(size)]
    if len(piece) < 16 or _HEADER.unpack_from(piece)[::2] != (decoded, len(piece)):
        raise ValueError("a chunk is missing or cut short")
    return piece
