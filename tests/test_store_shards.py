"""Whole shards against Zarr, which wrote them."""

from __future__ import annotations

import numpy as np
import pytest
import zarr
from numcodecs import Blosc
from numcodecs.checksum32 import CRC32C

from store import BrokenRunError
from store.files.encoding import layout
from store.files.folders import Folder
from store.files.shards import decode_file, is_one_file
from store.spec import SPACE

SHAPE = (2, 70, 64, 129)  # chunks of 64: cut short, exact, one voxel left


def make(folder, values, write_empty_chunks=True, **changes):
    """An array as the writer lays it out, at arrays.zarr/a, with `values` in row 1."""
    array = zarr.create_array(
        store=str(folder / "arrays.zarr"), name="a", shape=values.shape, dtype=values.dtype, fill_value=0,
        zarr_format=3, config={"write_empty_chunks": write_empty_chunks},
        **(layout(values.shape, ("scan", *SPACE)) | changes),
    )  # fmt: skip
    array[1] = values[1]
    return array, folder / "arrays.zarr/a/c/1/0/0/0"


@pytest.fixture
def values():
    numbers = np.random.default_rng(0).integers(-32768, 32768, SHAPE).astype(np.int16)
    numbers[1, :64, :, 64:] = 0
    return numbers


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("write_empty_chunks", [True, False])
def test_a_shard_is_decoded_like_zarr_does(tmp_path, values, dtype, write_empty_chunks):
    array, file = make(tmp_path, values.astype(dtype), write_empty_chunks)
    assert is_one_file(array, 1)
    found = decode_file(file.read_bytes(), array, 1)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array[1])


@pytest.mark.parametrize(
    "changes",
    [
        {"shards": None},
        {"shards": (1, 64, 64, 64)},
        {"compressors": zarr.codecs.ZstdCodec()},
        {"serializer": zarr.codecs.BytesCodec(endian="big")},
        {"filters": zarr.codecs.TransposeCodec(order=(0, 3, 2, 1))},
    ],
)
def test_other_layouts_are_left_to_zarr(tmp_path, values, changes):
    array, _ = make(tmp_path, values, **changes)
    assert not is_one_file(array, 1)
    np.testing.assert_array_equal(Folder(tmp_path).numbers("a", 1), values[1])


def test_a_shard_of_several_volumes_is_another_layout(tmp_path, values):
    array, _ = make(tmp_path, values, shards=(2, 128, 64, 192))
    assert not is_one_file(array, 1)


@pytest.mark.parametrize("what", ["cut", "empty", "index", "header", "past the end"])
def test_damage_is_an_error(tmp_path, values, what):
    array, file = make(tmp_path, values)
    data, index_size = bytearray(file.read_bytes()), 2 * 3 * 16 + 4
    start, size = np.frombuffer(data[-index_size:-4], "<u8")[:2].tolist()
    if what in ("cut", "empty"):
        data = data[: len(data) // 2 if what == "cut" else 0]
    elif what == "index":
        data[-20] ^= 1
    elif what == "header":
        data[start + 12] ^= 1  # encoded bytes, as the chunk itself says
    else:
        data = data[start : start + size // 2] + data[-index_size:]
    file.write_bytes(data)
    with pytest.raises(BrokenRunError, match="cannot be decoded"):
        Folder(tmp_path).numbers("a", 1)
    with pytest.raises((ValueError, RuntimeError)):
        decode_file(bytes(data), array, 1)


def test_a_chunk_of_too_few_numbers_is_an_error(tmp_path, values):
    _, file = make(tmp_path, values)
    data, index_size = file.read_bytes(), 2 * 3 * 16 + 4
    few = Blosc().encode(values[1, 0, 0])
    index = np.frombuffer(data[-index_size:-4], "<u8").copy()
    index[:2] = len(data) - index_size, len(few)
    file.write_bytes(data[:-index_size] + few + CRC32C().encode(index).tobytes())
    with pytest.raises(BrokenRunError, match="cannot be decoded"):
        Folder(tmp_path).numbers("a", 1)
