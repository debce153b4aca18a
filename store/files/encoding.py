"""How numbers become stored numbers: paths, shards, 16-bit integers, checksums."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import numpy as np
from zarr.codecs import BloscCodec

from store.errors import SpecViolationError
from store.spec import POSITIONS, SPACE, ArraySpec

INNER_CHUNK = 64
LARGEST_INTEGER = 32767
LEADING_DIMS = ("scan", "quantity")
NATIVE_DIMS = {"voxels": SPACE, "positions": POSITIONS, "regions": ("region",)}


def path_part(name: str) -> str:
    """Write a name as one level of a path: "AD" stays, "AD/MCI" becomes "AD%2FMCI"."""
    if not isinstance(name, str) or not name.strip():
        raise SpecViolationError(f"{name!r} cannot name a part of a store: give a text that is not empty")
    part = quote(name, safe=" ()+,=@!&'")
    return part.replace(".", "%2E") if part.startswith(".") else part


def array_path(spec: ArraySpec, **fields: str) -> str:
    """Return the path of one array of a family, e.g. heatmaps/fold-1/sensitivity/AD/margin."""
    return spec.path.format(**{field: path_part(name) for field, name in fields.items()})


def dimension_names(spec: ArraySpec, native_grid: str | None) -> tuple[str, ...]:
    """Return the dimensions of an array; "..." stands for those of the native grid.

    Raises:
        SpecViolationError: the native grid is unknown.
    """
    if "..." not in spec.dims:
        return spec.dims
    if not isinstance(native_grid, str) or native_grid not in NATIVE_DIMS:
        raise SpecViolationError(
            f"{spec.path}: native_grid is {native_grid!r}, must be one of {', '.join(NATIVE_DIMS)}"
        )
    return (*spec.dims[:-1], *NATIVE_DIMS[native_grid])


def layout(shape: Sequence[int], dims: Sequence[str]) -> dict[str, Any]:
    """Choose chunks, shards and codec: one file for each leading index.

    A file is there whole or not at all after a kill; several chunk files of one volume would not be.
    """
    leading = [d for d in dims if d in LEADING_DIMS]
    inner = shape[len(leading) :]
    codec = BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle")
    if tuple(dims[-3:]) != SPACE:
        return {"chunks": (1,) * len(leading) + tuple(inner), "compressors": codec}
    chunks = [min(INNER_CHUNK, n) for n in inner]
    shards = [-(-n // c) * c for n, c in zip(inner, chunks, strict=True)]
    ones = (1,) * len(leading)
    return {"chunks": (*ones, *chunks), "shards": (*ones, *shards), "compressors": codec}


def quantise(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Round to (int16 integers, scale): value = integer * scale, wrong by at most scale / 2. Scale 1 where all is 0.

    Raises:
        SpecViolationError: a value is not finite.
    """
    largest = float(np.abs(values).max(initial=0))
    if not np.isfinite(largest):
        raise SpecViolationError("a map holds numbers that are not finite: mend what computed it")
    scale = largest / LARGEST_INTEGER if largest else 1.0
    wide = np.divide(values, scale, dtype=_precision(scale))
    return np.rint(wide, out=wide).astype(np.int16), scale


def dequantise(integers: np.ndarray, scale: float) -> np.ndarray:
    """Multiply stored integers by their scale, float32."""
    return np.multiply(integers, scale, dtype=_precision(scale)).astype(np.float32, copy=False)


def _precision(scale: float) -> type:
    # A scale near the end of the range of float32 would lose its digits there.
    return np.float32 if 1e-30 < scale < 1e30 else np.float64


def checksum(stored: np.ndarray, before: int = 0) -> int:
    """Compute the CRC-32 of the numbers, little-endian in C order, continuing from `before`."""
    plain = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("<"))
    return zlib.crc32(plain.data.cast("B") if plain.size else b"", before)


def hexadecimal(crc: int) -> str:
    """Write a checksum as tables and the manifest have it."""
    return f"{crc:08x}"
