"""Whole volumes out of their shards. Zarr schedules each inner chunk by itself, which costs more than decoding it."""

from __future__ import annotations

import struct

import numpy as np
import zarr
from numcodecs import Blosc
from numcodecs.checksum32 import CRC32C
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, Endian, ShardingCodec, ShardingCodecIndexLocation

_INDEX = (BytesCodec(endian=Endian.little), Crc32cCodec())
_CHECKSUM_BYTES = 4
_ABSENT = np.iinfo(np.uint64).max  # begin of a chunk that was left out because it holds the fill value alone
_HEADER = struct.Struct("<4xIII")  # of a Blosc buffer: decoded bytes, bytes of a block, encoded bytes


def is_one_shard(array: zarr.Array) -> bool:
    """Whether each leading index of the array is one shard of Blosc chunks, as encoding.layout makes them."""
    if array.shards is None or len(array.metadata.codecs) != 1:
        return False
    codec = array.metadata.codecs[0]
    return (
        isinstance(codec, ShardingCodec)
        and codec.index_location == ShardingCodecIndexLocation.end
        and codec.index_codecs == _INDEX
        and len(codec.codecs) == 2
        and codec.codecs[0] == _INDEX[0]
        and isinstance(codec.codecs[1], BloscCodec)
        and array.shards[0] == 1
        and all(shard >= n for shard, n in zip(array.shards[1:], array.shape[1:], strict=True))
    )


def decode_shard(data: bytes, array: zarr.Array) -> np.ndarray:
    """The numbers of one leading index, (x, y, z) in the dtype of the array.

    Args:
        data: the file of the shard, laid out as in the Zarr v3 sharding specification.
        array: one for which `is_one_shard` holds.
    Raises:
        ValueError, RuntimeError: the index or a chunk is damaged.
    """
    edges = array.chunks[1:]
    grid = tuple(shard // edge for shard, edge in zip(array.shards[1:], edges, strict=True))
    index = _index(data, grid)
    number = array.dtype.newbyteorder("<")
    volume = np.empty(array.shape[1:], number)
    chunk, codec, before = np.empty(edges, number), Blosc(), None
    for place in np.ndindex(grid):
        target = volume[tuple(slice(edge * k, edge * (k + 1)) for k, edge in zip(place, edges, strict=True))]
        if not target.size or index[place][0] == _ABSENT:
            target[...] = array.fill_value
            continue
        piece = _piece(data, *index[place], chunk.nbytes)
        # Most chunks outside the brain are the same bytes: what was decoded is still there.
        if piece != before:
            codec.decode(piece, out=chunk)
            before = piece
        target[...] = chunk[tuple(slice(n) for n in target.shape)]
    return volume


def _index(data: bytes, grid: tuple[int, ...]) -> np.ndarray:
    """(*grid, 2) integers: where each chunk begins in the shard, and its bytes."""
    size = 16 * int(np.prod(grid)) + _CHECKSUM_BYTES
    plain = CRC32C().decode(np.frombuffer(data, "u1")[-size:])
    return np.frombuffer(plain, "<u8").reshape(*grid, 2)


def _piece(data: bytes, start: int, size: int, decoded: int) -> bytes:
    """The encoded bytes of a chunk, if they are all there: Blosc would read on behind them."""
    piece = data[int(start) : int(start) + int(size)]
    if len(piece) < 16 or _HEADER.unpack_from(piece)[::2] != (decoded, len(piece)):
        raise ValueError("a chunk is missing or cut short")
    return piece
