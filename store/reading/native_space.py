"""Maps of the working grid in the space of a scan's own file. NumPy alone: the engine left a coarse field behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from store.errors import SpecViolationError

FIELD_UNIT_MM = 0.01  # of the stored displacements
ORDERS = ("linear", "nearest")
_POINTS_AT_ONCE = 1 << 20
_ON_A_VOXEL = 1e-4  # voxels


@dataclass(frozen=True)
class NativeSpace:
    """Where the points of a scan's own file lie in MNI space.

    A point p, in mm of the file's affine, lies at linear @ p + displacement(p), interpolated linearly.

    Attributes:
        shape: of the file, (x, y, z).
        affine: (4, 4) of the file, voxel -> p.
        linear: (4, 4) p -> MNI mm, the part of the way that is affine.
        displacement: (3, nx, ny, nz) int16, the rest of the way in units of FIELD_UNIT_MM.
        field_affine: (4, 4) place in `displacement` -> p, along the axes of the file.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    linear: np.ndarray
    displacement: np.ndarray
    field_affine: np.ndarray

    def steps(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (start, step): point k of the field along an axis lies at voxel start + step * k of the file.

        Raises:
            SpecViolationError: the field does not follow the axes of the file.
        """
        voxels = np.linalg.inv(self.affine) @ self.field_affine
        step = np.diag(voxels)[:3]
        if not (np.abs(voxels[:3, :3] - np.diag(step)) < _ON_A_VOXEL).all() or not (step > 0).all():
            raise SpecViolationError("the field of a native space must follow the axes of the scan's file")
        return voxels[:3, 3], step

    def covered(self) -> tuple[slice, slice, slice]:
        """Return the voxels of the file that lie within the field."""
        start, step = self.steps()
        last = start + step * (np.array(self.displacement.shape[1:]) - 1)
        low = np.clip(np.ceil(start - _ON_A_VOXEL), 0, self.shape).astype(int)
        high = np.clip(np.floor(last + _ON_A_VOXEL) + 1, low, self.shape).astype(int)
        x, y, z = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return x, y, z


class HasSpaces(Protocol):
    """An open run, of which the space of a scan's own file is asked; see RunReader."""

    def shape(self, path: str) -> tuple[int, ...]: ...

    def affine(self) -> np.ndarray: ...

    def native_space(self, scan: str) -> NativeSpace: ...


def to_native(run: HasSpaces, scan: str, values: np.ndarray, *, order: str = "linear") -> tuple[np.ndarray, np.ndarray]:
    """Resample a map of the working grid to the space of a scan's own file: values are kept, not sums.

    Args:
        values: (x, y, z) on the working grid, such as a heatmap; 0 beyond it.
        order: linear, or nearest for labels and for maps that are constant on blocks.
    Returns:
        (array, affine): of the shape and with the affine of the file; float32, or with `nearest` the dtype of
        `values`; 0 where the file shows no brain.
    Raises:
        NotInRunError: the run does not hold this scan's native space.
        BrokenRunError: it should, and the numbers are missing or damaged.
        SpecViolationError: another shape or order.
    """
    if np.shape(values) != run.shape("grid/mask"):
        raise SpecViolationError(
            f"a map of shape {np.shape(values)} is not on the working grid, {run.shape('grid/mask')}"
        )
    space = run.native_space(scan)
    return resample(space, values, run.affine(), order), space.affine


def resample(space: NativeSpace, values: np.ndarray, affine: np.ndarray, order: str = "linear") -> np.ndarray:
    """Resample values of a grid (its affine: voxel -> MNI mm) to a native space, a slab at a time: memory is bounded.

    Raises:
        SpecViolationError: the order is neither linear nor nearest.
    """
    if order not in ORDERS:
        raise SpecViolationError(f"interpolation {order!r}: choose {' or '.join(ORDERS)}")
    look_up = _linear(values) if order == "linear" else _nearest(values)
    moved = np.zeros(space.shape, np.float32 if order == "linear" else values.dtype)
    box, (start, step) = space.covered(), space.steps()
    to_grid = np.linalg.inv(affine)
    straight = to_grid @ space.linear @ space.affine  # voxel of the file -> voxel of the grid
    bent = np.einsum("ac,cxyz->xayz", to_grid[:3, :3] * FIELD_UNIT_MM, space.displacement).astype(np.float32)
    voxels = [np.arange(part.start, part.stop) for part in box]
    points = space.displacement.shape[1:]
    weights = [_weights((v - a) / s, n) for v, a, s, n in zip(voxels, start, step, points, strict=True)]
    thickness = max(1, _POINTS_AT_ONCE // max(1, len(voxels[1]) * len(voxels[2])))
    for first in range(0, len(voxels[0]), thickness):
        part = slice(first, first + thickness)
        # Along the axes of the file, linear interpolation is three products with thin matrices.
        along = np.tensordot(weights[0][part], bent, 1)
        places = (weights[1] @ np.dot(along, weights[2].T)).swapaxes(0, 1)
        places += _straight_places(straight, voxels[0][part], voxels[1], voxels[2])
        moved[voxels[0][part], box[1], box[2]] = look_up(places)
    return moved


def _weights(places: np.ndarray, points: int) -> np.ndarray:
    """Return how much each point of one axis counts at fractional places along it, (places, points) float32."""
    return np.maximum(0, 1 - np.abs(places[:, None] - np.arange(points))).astype(np.float32)


def _straight_places(matrix: np.ndarray, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return where an affine takes these voxels, (3, x, y, z) float32."""
    m = matrix[:3, :, None, None, None]
    places = m[:, 0] * x[:, None, None] + m[:, 1] * y[:, None] + m[:, 2] * z + m[:, 3]
    return places.astype(np.float32)


def _nearest(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Make a look-up of values at fractional places (3, ...): the nearest voxel's; 0 beyond the grid."""
    padded = np.pad(values, 1)

    def look_up(places: np.ndarray) -> np.ndarray:
        return padded[tuple(np.floor(_inside(places, values.shape) + np.float32(1.5)).astype(np.intp))]

    return look_up


def _linear(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Make a trilinear look-up of values at fractional places (3, ...); 0 beyond the grid, and quick among zeros."""
    padded = np.pad(np.asarray(values, dtype=np.float32), 1)
    flat, (_, ny, nz) = padded.ravel(), padded.shape
    corners = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    cells = np.zeros(padded.shape, bool)
    for corner in corners:
        shifted = tuple(slice(c, n - 1 + c) for c, n in zip(corner, padded.shape, strict=True))
        cells[:-1, :-1, :-1] |= padded[shifted] != 0
    somewhere = cells.ravel()

    def look_up(places: np.ndarray) -> np.ndarray:
        places = _inside(places, values.shape) + np.float32(1)
        low = np.minimum(places.astype(np.int32), np.array(values.shape, np.int32)[:, None, None, None])
        cell = (low[0] * np.int32(ny) + low[1]) * np.int32(nz) + low[2]
        there = somewhere[cell]
        found = np.zeros(there.shape, np.float32)
        cell, share = cell[there], [(places[a] - low[a])[there] for a in range(3)]
        total = np.zeros(len(cell), np.float32)
        for corner in corners:
            weight = np.ones((), np.float32)
            for bit, s in zip(corner, share, strict=True):
                weight = weight * (s if bit else 1 - s)
            total += weight * flat[cell + (corner[0] * ny + corner[1]) * nz + corner[2]]
        found[there] = total
        return found

    return look_up


def _inside(places: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Clip places to one voxel around the grid, where all is 0."""
    return np.clip(places, -1, np.array(shape, np.float32)[:, None, None, None])
