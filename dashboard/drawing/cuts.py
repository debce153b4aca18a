"""Planes through volumes. Grids are axis-aligned, voxel -> mm by an affine; positions are in mm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

# Plane -> the axes across, upwards and through it.
PLANES = {"coronal": (0, 2, 1), "sagittal": (1, 2, 0), "axial": (0, 1, 2)}
MARGIN_MM = 5


class Cut(NamedTuple):
    """A plane through a volume: (across, up) values and the mm of their centres."""

    values: np.ndarray
    across_mm: np.ndarray
    up_mm: np.ndarray


@dataclass(frozen=True)
class Anatomy:
    """A brain and its mask, (x, y, z), on one grid; `white` is the value of the brain that is drawn brightest."""

    brain: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    white: float = 255.0

    @cached_property
    def box(self) -> tuple[slice, slice, slice]:
        """The part of the grid that holds the brain, and a margin."""
        edges = []
        for axis, size in enumerate(self.mask.shape):
            inside = np.flatnonzero(self.mask.any(axis=tuple(a for a in range(3) if a != axis)))
            edges.append(_widened(inside, size, float(self.affine[axis, axis])))
        return edges[0], edges[1], edges[2]


@dataclass(frozen=True)
class Sections:
    """Anatomy cut for a montage: (sections, across, up) brain (0 to 1) and mask, and the mm of their centres."""

    plane: str
    positions_mm: tuple[float, ...]
    brain: np.ndarray
    mask: np.ndarray
    across_mm: np.ndarray
    up_mm: np.ndarray

    def cropped(self) -> Sections:
        """Return the part that holds brain in any of the sections, and a margin."""
        steps = (self.across_mm, self.up_mm)
        kept = [
            _widened(np.flatnonzero(self.mask.any(axis=(0, 2 - axis))), len(mm), float(mm[1] - mm[0]))
            for axis, mm in enumerate(steps)
        ]
        part = (slice(None), *kept)
        across, up = (mm[k] for mm, k in zip(steps, kept, strict=True))
        return Sections(self.plane, self.positions_mm, self.brain[part], self.mask[part], across, up)


def cut(volume: np.ndarray, affine: np.ndarray, plane: str, mm: float, *, smooth: bool = True) -> Cut:
    """Cut one plane through a volume at a position in mm: between its slices, or the nearest one."""
    values = cut_all(volume, affine, plane, [mm], smooth=smooth)[0]
    across, up, _ = PLANES[plane]
    return Cut(values, *(centres(volume.shape[axis], affine, axis) for axis in (across, up)))


def cut_all(
    volume: np.ndarray, affine: np.ndarray, plane: str, positions_mm: Sequence[float], *, smooth: bool = True,
    absolute: bool = False,
) -> np.ndarray:  # fmt: skip
    """Cut planes (positions, across, up) float32 of a volume; beyond its edge the edge slice."""
    across, up, through = PLANES[plane]
    places = (np.asarray(positions_mm, float) - affine[through, 3]) / affine[through, through]
    lower, upper, share = _neighbours(places, volume.shape[through], smooth)
    used, number = np.unique(np.concatenate([lower, upper]), return_inverse=True)
    planes = np.take(volume, used, axis=through).transpose(through, across, up).astype(np.float32, copy=False)
    if absolute:
        planes = np.abs(planes)
    return _mixed(planes, 0, number[: len(places)], number[len(places) :], share)


def sampled(values: np.ndarray, axis: int, places: np.ndarray, *, smooth: bool = True) -> np.ndarray:
    """Return float32 values at fractional indices of one axis: between its values, or the nearest; beyond it the edge.

    Not a product with weights: that would set the threads of the linear algebra library against each other where
    several sessions draw at once.
    """
    return _mixed(values.astype(np.float32, copy=False), axis, *_neighbours(places, values.shape[axis], smooth))


def _neighbours(places: np.ndarray, size: int, smooth: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the index below, the one above, and the share of the latter."""
    places = np.clip(places, 0, size - 1)
    lower = np.floor(places if smooth else places + 0.5).astype(int)
    share = (places - lower).astype(np.float32) if smooth else np.zeros(len(places), np.float32)
    return lower, np.minimum(lower + (share > 0), size - 1), share


def _mixed(values: np.ndarray, axis: int, lower: np.ndarray, upper: np.ndarray, share: np.ndarray) -> np.ndarray:
    below = np.take(values, lower, axis=axis)
    if not share.any():
        return below
    above = np.take(values, upper, axis=axis)
    above -= below
    above *= share.reshape([-1 if a == axis else 1 for a in range(values.ndim)])
    above += below
    return above


def linear_weights(places: np.ndarray, size: int) -> np.ndarray:
    """Return weights (places, size) of linear interpolation at fractional indices; the edge value beyond the edge."""
    places = np.clip(places, 0, size - 1)
    lower = np.minimum(np.floor(places).astype(int), max(size - 2, 0))
    weights = np.zeros((len(places), size))
    rows = np.arange(len(places))
    weights[rows, lower] = 1 - (places - lower)
    if size > 1:
        weights[rows, lower + 1] = places - lower
    return weights


def nearest_weights(places: np.ndarray, size: int) -> np.ndarray:
    """Return weights (places, size) that take the nearest index."""
    weights = np.zeros((len(places), size))
    weights[np.arange(len(places)), np.floor(np.clip(places, 0, size - 1) + 0.5).astype(int)] = 1
    return weights


def sections(anatomy: Anatomy, plane: str, positions_mm: Sequence[float]) -> Sections:
    """Cut the anatomy in one plane at some positions, cropped to the brain, alike for all positions."""
    across, up, _ = PLANES[plane]
    kept = tuple(anatomy.box[axis] if axis in (across, up) else slice(None) for axis in range(3))
    brain, mask = (
        cut_all(volume[kept], anatomy.affine, plane, positions_mm) for volume in (anatomy.brain, anatomy.mask)
    )
    mm = (centres(anatomy.mask.shape[axis], anatomy.affine, axis)[anatomy.box[axis]] for axis in (across, up))
    return Sections(plane, tuple(positions_mm), brain / np.float32(anatomy.white), mask, *mm)


def _widened(inside: np.ndarray, size: int, step: float) -> slice:
    """Return the slice from the first to the last of some indices and MARGIN_MM more; all where there is none."""
    first, last = (int(inside[0]), int(inside[-1])) if len(inside) else (0, size - 1)
    margin = math.ceil(MARGIN_MM / abs(step))
    return slice(max(first - margin, 0), min(last + margin + 1, size))


def centres(size: int, affine: np.ndarray, axis: int) -> np.ndarray:
    return affine[axis, axis] * np.arange(size) + affine[axis, 3]
