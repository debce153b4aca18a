"""What a run may claim before anything of it is decoded. A store may come from strangers."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import zarr

MIB = 1 << 20
LARGEST_FILE = 1024 * MIB  # weights, tables
LARGEST_FIGURE = 64 * MIB
LARGEST_JSON = 8 * MIB  # the manifest of a run of 20 000 scans has 3 MiB
LARGEST_ARRAY_JSON = MIB
DEEPEST_JSON = 32
LARGEST_VOLUME = 100_000_000  # numbers of one leading index; the MNI template at 0.5 mm has 68 million
LARGEST_EDGE = 4096
LARGEST_FILE_SHAPE = 500_000_000  # voxels of a scan's own file
MOST_SCANS = 1_000_000
MOST_CHUNKS = 200_000  # of one shard, and files of an array that is read whole
DTYPES = ("uint8", "int16", "float32")
MOST_ROWS = 20_000_000  # of a row group, and read at once
MOST_ROWS_OF_FILE = 2_000_000_000  # the regions of 100 000 scans by six methods have 200 million
LARGEST_TABLE = 768 * MIB  # decoded at once; the regions of 5000 scans by six methods have half of it
LARGEST_TABLE_FILE = 64 * 1024 * MIB  # on this computer, where no more than a row group is read at once
LONGEST_TEXT = 100_000  # bytes of one cell


def parsed_json(data: bytes, largest: int = LARGEST_JSON) -> Any:
    """Parse JSON text to the value that it stands for.

    Raises:
        ValueError: too large, nested too deeply, or no JSON; says which.
    """
    if len(data) > largest:
        raise ValueError(f"has {len(data)} bytes, more than {largest}")
    try:
        value = json.loads(data)
    except RecursionError:
        raise ValueError(f"is nested deeper than {DEEPEST_JSON} levels") from None
    except ValueError:
        raise ValueError("is unreadable") from None
    if _is_deeper(value, DEEPEST_JSON):
        raise ValueError(f"is nested deeper than {DEEPEST_JSON} levels")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    """Return whether objects and lists lie in each other more than so many levels deep."""
    layer = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        inner = (item for outer in layer for item in (outer.values() if isinstance(outer, dict) else outer))
        layer = [item for item in inner if isinstance(item, dict | list)]
    return bool(layer)


def array_problem(array: zarr.Array) -> str | None:
    """Say why the numbers of an array must not be decoded, by its metadata alone; None where they may."""
    shape, files = array.shape, array.shards or array.chunks
    if str(array.dtype) not in DTYPES:
        return f"has dtype {array.dtype}, none of {', '.join(DTYPES)}"
    if not 1 <= len(shape) <= 5 or min(shape) < 1:
        return f"has the shape {shape}"
    if shape[0] > MOST_SCANS or max(shape[1:], default=0) > LARGEST_EDGE or math.prod(shape[-3:]) > LARGEST_VOLUME:
        return f"declares the shape {shape}, larger than any run: at most {LARGEST_VOLUME} numbers a volume"
    # A chunk may reach beyond the array, but no further than to the next multiple of an ordinary chunk.
    if math.prod(files) > 2 * LARGEST_VOLUME or math.prod(array.chunks) > LARGEST_VOLUME:
        return f"declares chunks of {files}, larger than any run"
    if math.prod(-(-file // chunk) for file, chunk in zip(files, array.chunks, strict=True)) > MOST_CHUNKS:
        return f"declares more than {MOST_CHUNKS} chunks in one file"
    return None


def whole_problem(array: zarr.Array) -> str | None:
    """Say why an array must not be read whole; None where it may."""
    files = math.prod(-(-n // edge) for n, edge in zip(array.shape, array.shards or array.chunks, strict=True))
    if math.prod(array.shape) > LARGEST_VOLUME or files > MOST_CHUNKS:
        return f"declares the shape {array.shape}, too large to be read at once"
    return None


def largest_file(array: zarr.Array) -> int:
    """Return the most bytes that a file of an array can have: its numbers, should they not shrink, and the index."""
    edges = array.shards or array.chunks
    chunks = math.prod(-(-file // chunk) for file, chunk in zip(edges, array.chunks, strict=True))
    return math.prod(edges) * np.dtype(array.dtype).itemsize * 5 // 4 + 64 * chunks + MIB
