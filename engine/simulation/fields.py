"""Smooth random fields: cubic B-splines between control points of a lattice over the 1 mm grid."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from engine.images.grid import Grid


def control_points(spacing_mm: int) -> tuple[int, ...]:
    """Return the shape of a lattice of control points over the 1 mm grid."""
    return tuple(n // spacing_mm + 2 for n in Grid(1).shape)


@lru_cache(maxsize=8)
def _spline_basis(grid_mm: int, spacing_mm: int) -> tuple[np.ndarray, ...]:
    """Return cubic B-splines at the voxels of the working grid, per axis (voxels, control points)."""
    bases = []
    for voxels, points in zip(Grid(grid_mm).shape, control_points(spacing_mm), strict=True):
        distance = np.abs(np.arange(voxels)[:, None] * grid_mm / spacing_mm + 0.5 - np.arange(points)[None, :])
        inner, outer = 2 / 3 - distance**2 + distance**3 / 2, (2 - np.minimum(distance, 2)) ** 3 / 6
        bases.append(np.where(distance < 1, inner, outer).astype(np.float32))
    return tuple(bases)


def smooth_field(points: np.ndarray, grid_mm: int, spacing_mm: int) -> np.ndarray:
    """Return smooth fields (k, x, y, z) on the working grid from values (k, ...) at control points."""
    fields = points.astype(np.float32)
    for basis in _spline_basis(grid_mm, spacing_mm):
        fields = np.tensordot(fields, basis, axes=(1, 1))  # each turn consumes the first axis and appends its voxels
    return fields
