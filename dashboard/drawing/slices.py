"""The coronal slices of the paper's figure 1."""

from __future__ import annotations

import numpy as np

PAPER_SLICES = (80, 114, 149)  # coronal slices of figure 1 in Rieke et al. 2018, on the 1 mm grid of 229
PAPER_SIZE = 229


def paper_slices(size: int) -> tuple[int, ...]:
    """Return the paper's coronal slices; on another grid the same places in proportion."""
    if size == PAPER_SIZE:
        return PAPER_SLICES
    return tuple(min(round(s * size / PAPER_SIZE), size - 1) for s in PAPER_SLICES)


def paper_positions(size: int, affine: np.ndarray) -> list[float]:
    """Return the y in mm of the paper's slices, on a grid of `size` voxels from back to front."""
    return [float(affine[1, 1] * j + affine[1, 3]) for j in paper_slices(size)]
