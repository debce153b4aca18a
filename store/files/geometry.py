"""From a method's native grid to full volumes. Pure NumPy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from store.errors import SpecViolationError


def nearest_positions(size: int, stride: int, positions: int) -> np.ndarray:
    """Return the index of the cube position that each voxel of one axis belongs to, (size,).

    Block k is centred at voxel stride * k: with stride 12 it is [12k - 6, 12k + 6). The last block takes the rest.
    """
    voxels = np.arange(size)
    return np.minimum((2 * voxels + stride) // (2 * stride), positions - 1)


def positions_to_voxels(values: np.ndarray, stride: int, shape: Sequence[int]) -> np.ndarray:
    """Paint the value of each cube position on its block of voxels, (..., x, y, z).

    Args:
        values: (..., px, py, pz).
        stride: voxels between cube centres, which start at voxel 0.
        shape: (x, y, z) of the full grid.
    """
    for axis, (size, positions) in enumerate(zip(shape, values.shape[-3:], strict=True)):
        values = np.take(values, nearest_positions(size, stride, positions), axis=axis - 3)
    return values


def regions_to_voxels(values: np.ndarray, atlas: np.ndarray) -> np.ndarray:
    """Paint value r - 1 on atlas == r, (..., x, y, z); 0 elsewhere, also where the atlas exceeds R.

    Args:
        values: (..., R), one number a region.
        atlas: (x, y, z) integers, 0 outside the brain mask.
    """
    count = values.shape[-1]
    beyond = max(int(atlas.max(initial=0)) - count, 0)
    padding = [(0, 0)] * (values.ndim - 1) + [(1, beyond)]
    return np.take(np.pad(values, padding), atlas, axis=-1)


def to_voxels(
    values: np.ndarray,
    native_grid: str,
    *,
    stride: int | None,
    shape: Sequence[int],
    atlas: np.ndarray,
    mask: np.ndarray,
) -> np.ndarray:
    """Paint the values of a native grid on the full grid, (..., x, y, z), 0 outside the mask.

    Args:
        values: (..., x, y, z), (..., px, py, pz) or (..., R), by `native_grid`.
        native_grid: voxels, positions or regions.
        stride: of positions, in voxels; else ignored.
        shape, atlas, mask: of the full grid.
    Raises:
        SpecViolationError: `native_grid` is none of the three, or positions without a stride.
    """
    if native_grid == "voxels":
        full = np.asarray(values)
    elif native_grid == "positions" and stride:
        full = positions_to_voxels(values, stride, shape)
    elif native_grid == "regions":
        full = regions_to_voxels(values, atlas)
    else:
        raise SpecViolationError(
            f"native grid {native_grid!r} with stride {stride}: use voxels, positions (stride) or regions"
        )
    # Chosen, not multiplied: a negative number times 0 is -0.0, which is not the fill value.
    return np.where(mask.astype(bool), full, np.zeros((), full.dtype))


def region_at(atlas: np.ndarray, affine: np.ndarray, regions: pd.DataFrame, mm: Sequence[float]) -> str:
    """Return the region of an (x, y, z) atlas at a position in mm, as the table `regions` names it; empty outside."""
    voxel = np.rint(np.linalg.solve(affine, [*mm, 1.0])[:3]).astype(int)
    if (voxel < 0).any() or (voxel >= atlas.shape).any():
        return ""
    found = regions.region[regions["index"] == int(atlas[tuple(voxel)])]
    return str(found.iloc[0]) if len(found) else ""
