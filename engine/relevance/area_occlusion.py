"""Brain-area occlusion: how the evidence drops when a whole region of the atlas is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from engine.relevance.base import Box, Patch, Relevance, RelevanceMethod, check_volumes, drops
from engine.relevance.batching import each_volume
from engine.relevance.fills import fill_volume
from engine.relevance.patches import patch_margins


@dataclass(frozen=True)
class AreaOcclusion(RelevanceMethod):
    """How much the evidence for a class drops when an atlas region is replaced; left and right separately.

    Source: Rieke et al. 2018, section 2.3.
    Unit:   drop of margin and of probability, one pair a region. Positive: spoke for the class.
    Cost:   a local forward pass a region.

    Attributes:
        reference: what replaces the tissue, see fill_volume.
        engine: incremental, or dense: whole forward passes.
    """

    name: ClassVar[str] = "area_occlusion"
    native_grid: ClassVar[str] = "regions"
    antisymmetric: ClassVar[bool] = True
    gradient: ClassVar[bool] = False

    reference: str | float = "mean"
    engine: str = "incremental"

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return the (n, regions) drops, region r at index r - 1; 0 where a region has no voxel."""
        check_volumes(volumes)
        boxes = region_boxes(self.brain.labels, self.brain.regions)
        at = torch.tensor(list(boxes)) - 1

        def of_one(volume: Tensor) -> tuple[Tensor, Tensor]:
            margin, probability = torch.zeros((2, self.brain.regions))
            fill = fill_volume(self.reference, volume, self.brain)
            patches = self.patches(volume, fill, boxes)
            found = drops(*patch_margins(model, volume, patches, explained_class, self.batch, self.engine))
            margin[at], probability[at] = (part.cpu() for part in found)
            return margin, probability

        return Relevance(*(torch.stack(part) for part in zip(*each_volume(volumes, of_one), strict=True)))

    def patches(self, volume: Tensor, fill: Tensor, boxes: Mapping[int, Box]) -> list[Patch]:
        """Return one patch for each region.

        Args:
            volume, fill: (x, y, z), the scan and what replaces it.
            boxes: region -> bounding box, of `region_boxes`.
        """
        return label_patches(volume, fill, self.brain.labels, boxes)


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
