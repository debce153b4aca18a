"""Occlusion: how the evidence drops when a cube of brain is replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from engine.relevance.base import Box, Patch
from engine.relevance.patches import PatchOcclusion


@dataclass(frozen=True)
class Occlusion(PatchOcclusion):
    """How much the evidence for a class drops when a cube of brain is replaced.

    Source: Zeiler & Fergus 2014, section 4.2; in 3D as in Rieke et al. 2018, section 2.3.
    Unit:   drop of margin and of probability, one pair a cube position. Positive: spoke for the class.
    Cost:   a local forward pass for each cube that changes a voxel; the others are exact zeros and skipped.

    Attributes:
        half_width: voxels; the cube is [c - half_width, c + half_width), clipped at the border.
        stride: voxels between cube centres, which start at 0.
    """

    name: ClassVar[str] = "occlusion"
    native_grid: ClassVar[str] = "positions"

    half_width: int = 20
    stride: int = 12

    def parts(self, volume: Tensor, fill: Tensor) -> tuple[list[Patch], Callable[[Tensor], Tensor]]:
        """Return the cubes, clipped at the border, and what brings their drops to the (px, py, pz) positions."""
        positions = changing_positions(volume != fill, self.half_width, self.stride)

        def bring(found: Tensor) -> Tensor:
            at_positions = torch.zeros(position_shape(volume.shape, self.stride))
            at_positions[tuple(positions.T)] = found.cpu()
            return at_positions

        return self.patches(volume, fill, positions), bring

    def patches(self, volume: Tensor, fill: Tensor, positions: np.ndarray) -> list[Patch]:
        """Return the cubes at positions (n, 3), clipped at the border.

        Args:
            volume, fill: (x, y, z), the scan and what replaces it.
        """
        constant = None if fill.any() else 0.0
        boxes = (cube_at(position, self.half_width, self.stride, volume.shape) for position in positions.tolist())
        return [Patch(box, partial(fill.__getitem__, box), constant) for box in boxes]


def position_shape(shape: tuple[int, ...], stride: int) -> tuple[int, ...]:
    """Return how many cube positions there are along each axis: centres range(0, n, stride)."""
    return tuple(len(range(0, n, stride)) for n in shape)


def cube_at(position: Sequence[int], half_width: int, stride: int, shape: Sequence[int]) -> Box:
    """Return the voxels of the cube around centre stride * position, clipped at the border."""
    centres = [stride * p for p in position]
    return tuple(slice(max(0, c - half_width), min(n, c + half_width)) for c, n in zip(centres, shape, strict=True))


def changing_positions(changed: Tensor, half_width: int, stride: int) -> np.ndarray:
    """Return the (n, 3) positions whose cube holds a voxel that would change; at all others occlusion does nothing.

    Args:
        changed: (x, y, z) bool.
    """
    found = changed.cpu().numpy()
    for axis, n in enumerate(changed.shape):
        along = found.swapaxes(0, axis)
        centres = range(0, n, stride)
        windows = [along[max(0, centre - half_width) : min(n, centre + half_width)] for centre in centres]
        found = np.stack([np.logical_or.reduce(window, 0) for window in windows]).swapaxes(0, axis)
    return np.argwhere(found)
