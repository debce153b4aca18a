"""Segment occlusion: how the evidence drops when segments that the scan itself suggests are replaced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from engine.relevance.area_occlusion import label_patches, region_boxes
from engine.relevance.base import Patch
from engine.relevance.patches import PatchOcclusion
from engine.relevance.segments import segmentations


@dataclass(frozen=True)
class SegmentOcclusion(PatchOcclusion):
    """How much the evidence for a class drops when a segment of the scan is replaced; mean over a hierarchy.

    Each scan is cut by its own intensities into a few, more, and many segments, without an atlas. Each segment of each
    level is replaced by itself; a voxel has the mean over the levels of the drops of the segments that it lies in.

    Source: Yang, Rangarajan & Ranka 2018 (arXiv 1803.02544), sensitivity analysis by hierarchical segmentation; the
            mean over levels is that of their published code, which takes the segments from 3D ultrametric contour maps
            (engine/relevance/segments.py has supervoxels and Ward's criterion) and keeps the probability, not its drop.
    Unit:   drop of margin and of probability. Positive: spoke for the class.
    Cost:   a local forward pass a segment, and the segmentation of the scan.

    Attributes:
        levels: number of segments of each level.
        compactness: see segmentations.
    """

    name: ClassVar[str] = "segment_occlusion"

    levels: tuple[int, ...] = (8, 32, 128, 512)
    compactness: float = 0.5

    def parts(self, volume: Tensor, fill: Tensor) -> tuple[list[Patch], Callable[[Tensor], Tensor]]:
        """Return the segments of all levels, and what brings their drops to (x, y, z), 0 outside the brain mask."""
        levels = self.segmentations(volume)
        boxes = (region_boxes(labels, int(labels.max())) for labels in levels)
        patches = [
            patch for labels, at in zip(levels, boxes, strict=True) for patch in label_patches(volume, fill, labels, at)
        ]
        return patches, partial(_mean_over_levels, levels=levels)

    def segmentations(self, volume: Tensor) -> Tensor:
        """Return the (levels, x, y, z) int32 segments, from 1, of one volume (x, y, z); 0 outside the brain."""
        mask, intensities = self.brain.mask.cpu().numpy(), self.brain.intensities(volume).cpu().numpy()
        found = segmentations(intensities, mask, self.brain.grid_mm, self.levels, self.compactness)
        return torch.from_numpy(found).to(volume.device)


def _mean_over_levels(drops: Tensor, levels: Tensor) -> Tensor:
    """Return the (x, y, z) mean over the levels of the drop of each voxel's segment; 0 outside all segments.

    Args:
        drops: (n,) of the segments of the first level, then of the second, and so on.
        levels: (levels, x, y, z) segments from 1.
    """
    total, first = torch.zeros(levels.shape[1:], dtype=torch.float64, device=drops.device), 0
    for labels in levels:
        count = int(labels.max())
        of_segments = torch.cat([drops.new_zeros(1), drops[first : first + count]]).double()
        total += of_segments[labels.long()]
        first += count
    return (total / len(levels)).float()
