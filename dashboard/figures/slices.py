"""The coronal slices of the paper's figure 1, and the colour range that groups share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.figures import planes
from dashboard.figures.cuts import linear_weights
from dashboard.figures.pictures import png
from dashboard.figures.planes import Range as Scale

__all__ = ["Anatomy", "Scale", "common_scale", "coronal_planes", "linear_weights", "png", "strip", "take_anatomy"]

PAPER_SLICES = (80, 114, 149)  # coronal slices of figure 1 in Rieke et al. 2018, on the 1 mm grid of 229
PAPER_SIZE = 229
SLICE_WIDTH = 280  # pixels, at least


@dataclass(frozen=True)
class Anatomy:
    """The template in the planes that are shown."""

    sections: planes.Sections

    @property
    def y_mm(self) -> list[float]:
        return list(self.sections.positions_mm)


def paper_slices(size: int) -> tuple[int, ...]:
    """The paper's coronal slices; on another grid the same places in proportion."""
    if size == PAPER_SIZE:
        return PAPER_SLICES
    return tuple(min(round(s * size / PAPER_SIZE), size - 1) for s in PAPER_SLICES)


def paper_positions(size: int, affine: np.ndarray) -> list[float]:
    """The y in mm of the paper's slices, on a grid of `size` voxels from back to front."""
    return [float(affine[1, 1] * j + affine[1, 3]) for j in paper_slices(size)]


def take_anatomy(template: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> Anatomy:
    """The paper's planes of a template on the 1 mm grid."""
    affine = np.asarray(affine, float)
    whole = planes.Anatomy(template, mask > 0, affine)
    return Anatomy(planes.sections(whole, "coronal", paper_positions(template.shape[1], affine)).cropped())


def coronal_planes(volume: np.ndarray, affine: np.ndarray, y_mm: Sequence[float]) -> np.ndarray:
    """(slices, x, z) planes of a volume at positions in mm, interpolated between its slices."""
    return planes.cut_all(volume, affine, "coronal", y_mm)


def common_scale(volumes: Sequence[np.ndarray], mask: np.ndarray, unit: str) -> Scale:
    """One scale for several maps: from the median to the 99.5th percentile inside the mask."""
    inside = np.concatenate([volume[mask] for volume in volumes])
    low, high = (float(q) for q in np.percentile(inside, [50, 99.5])) if inside.size else (0.0, 0.0)
    if high <= max(low, 0):
        low, high = 0.0, float(inside.max(initial=0.0))
    return Scale(low, high if high > 0 else 1.0, unit)


def strip(anatomy: Anatomy, relevance: np.ndarray, affine: np.ndarray, scale: Scale) -> np.ndarray:
    """(height, width, 3) uint8 picture: the slices side by side, the colour bar at the right.

    Args:
        relevance: (slices, x, z) on the working grid.
        affine: of the working grid, voxel -> mm.
    """
    factor = max(2, math.ceil(SLICE_WIDTH / len(anatomy.sections.across_mm)))
    return planes.arrange(
        anatomy.sections, relevance, affine, planes.Style(), scale, pixels_per_mm=factor
    ).drawn()  # fmt: skip
