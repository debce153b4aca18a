"""Maps of the brain's voxels in few bytes, the planes through them, and the colour range that several share.

A map of the whole grid takes 34 MB at 1 mm; kept as half-precision numbers of the brain alone it takes 4 MB or less,
and any plane is found in it within milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow

from dashboard.drawing import cuts
from dashboard.drawing.planes import Range

QUANTILES = 1001  # of the size of the values, kept with each map: thresholds in steps of 0.1 %
SAMPLED = 1 << 18  # values at most, for the quantiles: their ranks are within 0.1 %
TOP_PERCENTILE = 99.5
_HALF = np.float32(2**15)  # the largest value as half-precision number: small values keep their digits
_CODEC = "lz4"


@dataclass(frozen=True)
class Brain:
    """The brain's voxels of a grid, cropped to them.

    Attributes:
        mask: (x, y, z) bool, with a margin around the brain.
        affine: (4, 4) of `mask`, voxel -> mm.
        box: the crop, in the whole grid.
    """

    mask: np.ndarray
    affine: np.ndarray
    box: tuple[slice, slice, slice]

    @classmethod
    def of(cls, mask: np.ndarray, affine: np.ndarray) -> Brain:
        """Crop the (x, y, z) bool mask of a whole grid with its affine to the brain."""
        box = cuts.Anatomy(mask, mask, affine).box
        moved = np.array(affine, float)
        moved[:3, 3] += moved[:3, :3] @ [edge.start for edge in box]
        return cls(np.ascontiguousarray(mask[box]), moved, box)

    @property
    def voxels(self) -> int:
        return int(np.count_nonzero(self.mask))

    @property
    def voxel_cm3(self) -> float:
        return abs(float(np.linalg.det(self.affine[:3, :3]))) / 1000

    def inside(self, volume: np.ndarray) -> np.ndarray:
        """Return the values of a volume on the whole grid, (voxels,)."""
        return volume[self.box][self.mask]

    def spread_out(self, values: np.ndarray) -> np.ndarray:
        """Put `values` (voxels,) into an (x, y, z) float32 volume on the grid of `mask`, 0 around them."""
        volume = np.zeros(self.mask.shape, np.float32)
        volume[self.mask] = values
        return volume

    def mm(self, place: int) -> tuple[float, float, float]:
        """Return the centre of the brain's voxel with this number."""
        voxel = np.unravel_index(np.flatnonzero(self.mask)[place], self.mask.shape)
        x, y, z = (float(v) for v in self.affine[:3, :3] @ voxel + self.affine[:3, 3])
        return x, y, z


@dataclass(frozen=True)
class BrainMap:
    """A group average of the brain's voxels in few bytes.

    Attributes:
        data: compressed half-precision numbers of the brain's voxels.
        step: number -> value.
        levels: (QUANTILES,) quantiles of |value|, from the smallest to the largest.
        total: sum of |value| over the brain's voxels.
        peak, peak_mm: value of the largest |value| and where it is.
        without_relevance: scans left out, as their heatmaps are 0 everywhere and cannot be divided by their sum.
    """

    data: bytes
    voxels: int
    step: float
    levels: np.ndarray
    total: float
    peak: float
    peak_mm: tuple[float, float, float]
    scans: int
    subjects: int
    without_relevance: int = 0

    @property
    def bytes(self) -> int:
        return len(self.data) + self.levels.nbytes

    def values(self) -> np.ndarray:
        """Unpack the values, (voxels + 1,) float32; the last is 0, for places outside the brain."""
        plain = pyarrow.decompress(self.data, 2 * self.voxels, codec=_CODEC)
        values = np.zeros(self.voxels + 1, np.float32)
        np.multiply(np.frombuffer(plain, np.float16), np.float32(self.step), out=values[:-1])
        return values


def pack(volume: np.ndarray, brain: Brain, scans: int, subjects: int, factor: float = 1.0) -> BrainMap:
    """Keep the brain of an (x, y, z) volume on the whole grid, times `factor`."""
    values = brain.inside(volume).astype(np.float32) * np.float32(factor)
    size = np.abs(values)
    place = int(size.argmax()) if size.size else 0
    top = float(size[place]) if size.size else 0.0
    step = top / float(_HALF) if top > 0 else 1.0
    data = pyarrow.compress((values / np.float32(step)).astype(np.float16).tobytes(), codec=_CODEC, asbytes=True)
    peak, peak_mm = (float(values[place]), brain.mm(place)) if size.size else (0.0, (0.0, 0.0, 0.0))
    total = float(size.sum(dtype=np.float64))
    return BrainMap(data, values.size, step, quantiles(size), total, peak, peak_mm, scans, subjects)


def quantiles(size: np.ndarray) -> np.ndarray:
    """Return evenly spaced quantiles (QUANTILES,) float32, of evenly spaced values where there are many; ends are
    exact.
    """
    if not size.size:
        return np.zeros(QUANTILES, np.float32)
    found = np.quantile(size[:: -(-size.size // SAMPLED)], np.linspace(0, 1, QUANTILES)).astype(np.float32)
    found[0], found[-1] = size.min(), size.max()
    return found


def difference_levels(first: BrainMap, second: BrainMap, factors: tuple[float, float]) -> np.ndarray:
    """Return the quantiles (QUANTILES,) of |first - second| over the brain, each map times its factor."""
    difference = first.values()[:-1] * np.float32(factors[0])
    difference -= second.values()[:-1] * np.float32(factors[1])
    return quantiles(np.abs(difference))


@dataclass(frozen=True)
class VoxelIndices:
    """The voxels of the brain on some planes, and the weights of the planes.

    Attributes:
        index: (planes, across, up) int32 number of the voxel, -1 outside the brain.
        linear, nearest: (positions, planes) weights of the planes.
    """

    index: np.ndarray
    linear: np.ndarray
    nearest: np.ndarray

    def cut(self, values: np.ndarray, *, smooth: bool) -> np.ndarray:
        """Cut `BrainMap.values` at the positions: (positions, across, up) float32."""
        planes = values[self.index]
        weights = self.linear if smooth else self.nearest
        return (weights @ planes.reshape(len(planes), -1)).reshape(len(weights), *planes.shape[1:])


def places(brain: Brain, plane: str, positions_mm: Sequence[float]) -> VoxelIndices:
    """Find the voxels of planes at some positions."""
    across, up, through = cuts.PLANES[plane]
    size = brain.mask.shape[through]
    where = (np.asarray(positions_mm, float) - brain.affine[through, 3]) / brain.affine[through, through]
    linear, nearest = cuts.linear_weights(where, size), cuts.nearest_weights(where, size)
    used = np.flatnonzero((linear + nearest).any(axis=0))
    number = np.cumsum(brain.mask, dtype=np.int32).reshape(brain.mask.shape).take(used, axis=through) - 1
    index = np.where(brain.mask.take(used, axis=through), number, np.int32(-1)).transpose(through, across, up)
    return VoxelIndices(np.ascontiguousarray(index), *(w[:, used].astype(np.float32) for w in (linear, nearest)))


def colour_range(levels: Sequence[np.ndarray], unit: str, percentile: float, at: float | None = None) -> Range:
    """Return one range for maps with these levels: from a percentile of |value| over all, or a value, to the top."""
    pooled = np.concatenate(list(levels)) if levels else np.zeros(1, np.float32)
    low, high = (float(q) for q in np.percentile(pooled, [percentile, TOP_PERCENTILE]))
    low = low if at is None else at
    if high <= low:
        high = float(pooled.max())
    if high <= low:
        high = 2 * low if low > 0 else 1.0
    return Range(low, high, unit)


def spread(extent: tuple[float, float], count: int, centre: float) -> tuple[float, ...]:
    """Return whole mm around a centre, spaced so that `count` planes around the middle fill the extent, within it."""
    step = (extent[1] - extent[0]) / (count + 1)
    found = (centre + step * (k - (count - 1) / 2) for k in range(count))
    return tuple(float(round(min(max(mm, extent[0]), extent[1]))) for mm in found)
