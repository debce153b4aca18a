"""Brain-area occlusion: how the evidence drops when a whole region of the atlas is replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from engine.relevance.base import Box, Patch
from engine.relevance.patches import PatchOcclusion


@dataclass(frozen=True)
class AreaOcclusion(PatchOcclusion):
    """How much the evidence for a class drops when an atlas region is replaced; left and right separately.

    Source: Rieke et al. 2018, section 2.3.
    Unit:   drop of margin and of probability, one pair a region. Positive: spoke for the class.
    Cost:   a local forward pass a region.
    """

    name: ClassVar[str] = "area_occlusion"
    native_grid: ClassVar[str] = "regions"

    @cached_property
    def boxes(self) -> dict[int, Box]:
        """The bounding boxes of the regions that have a voxel."""
        return region_boxes(self.brain.labels, self.brain.regions)

    def parts(self, volume: Tensor, fill: Tensor) -> tuple[list[Patch], Callable[[Tensor], Tensor]]:
        """Return the regions, and what brings their drops to (regions,): region r at r - 1, 0 without a voxel."""

        def bring(found: Tensor) -> Tensor:
            of_regions = torch.zeros(self.brain.regions)
            of_regions[torch.tensor(list(self.boxes)) - 1] = found.cpu()
            return of_regions

        return label_patches(volume, fill, self.brain.labels, self.boxes), bring


def label_patches(volume: Tensor, fill: Tensor, labels: Tensor, boxes: Mapping[int, Box]) -> list[Patch]:
    """Return a patch for each label: its bounding box, with the voxels of the label replaced.

    Args:
        volume, fill, labels: (x, y, z).
        boxes: label -> bounding box, of `region_boxes`.
    """

    def patch(label: int, box: Box) -> Patch:
        return Patch(box, lambda: torch.where(labels[box] == label, fill[box], volume[box]))

    return [patch(label, box) for label, box in boxes.items()]


def region_boxes(labels: Tensor, count: int) -> dict[int, Box]:
    """Return region -> bounding box, for the regions 1..count that have a voxel, in their order."""
    found = ndimage.find_objects(labels.cpu().numpy().astype(np.int32), max_label=count)
    return {region: box for region, box in enumerate(found, start=1) if box is not None}
