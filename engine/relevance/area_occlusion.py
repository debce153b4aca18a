"""Brain-area occlusion: how the evidence drops when a whole region of the atlas is replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from engine.relevance.base import Patch, Relevance, RelevanceMethod, check_volumes, drops, each_volume, reference_volume
from engine.relevance.patches import patch_margins


@dataclass(frozen=True)
class AreaOcclusion(RelevanceMethod):
    """How much the evidence for the target drops when an atlas region is replaced; left and right separately.

    Source: Rieke et al. 2018, section 2.3.
    Unit:   drop of margin and of probability, one pair a region. Positive: spoke for the target.
    Cost:   a local forward pass a region.

    Attributes:
        reference: what replaces the tissue, see reference_volume.
        engine: incremental, or dense: whole forward passes.
    """

    name: ClassVar[str] = "area_occlusion"
    native_grid: ClassVar[str] = "regions"
    antisymmetric: ClassVar[bool] = True
    gradient: ClassVar[bool] = False

    reference: str | float = "mean"
    engine: str = "incremental"

    def attribute(self, model: nn.Module, volumes: Tensor, target: int) -> Relevance:
        """(n, regions) drops, region r at index r - 1; 0 where a region has no voxel. See RelevanceMethod.attribute."""
        check_volumes(volumes)
        boxes = region_boxes(self.brain.labels, self.brain.regions)
        at = torch.tensor(list(boxes)) - 1

        def of_one(volume: Tensor) -> tuple[Tensor, Tensor]:
            margin, probability = torch.zeros((2, self.brain.regions))
            reference = reference_volume(self.reference, volume, self.brain)
            patches = self.patches(volume, reference, boxes)
            found = drops(*patch_margins(model, volume, patches, target, self.batch, self.engine))
            margin[at], probability[at] = (part.cpu() for part in found)
            return margin, probability

        return Relevance(*(torch.stack(part) for part in zip(*each_volume(volumes, of_one), strict=True)))

    def patches(
        self, volume: Tensor, reference: Tensor, boxes: Mapping[int, tuple[slice, ...]]
    ) -> list[Patch]:  # fmt: skip
        """One for each region.

        Args:
            volume, reference: (x, y, z), the scan and what replaces it.
            boxes: region -> bounding box, of `region_boxes`.
        """
        return [self._patch(volume, reference, region, box) for region, box in boxes.items()]

    def _patch(self, volume: Tensor, reference: Tensor, region: int, box: tuple[slice, ...]) -> Patch:
        """The bounding box of a region, with the region's own voxels replaced."""
        return Patch(box, lambda: torch.where(self.brain.labels[box] == region, reference[box], volume[box]))


def region_boxes(labels: Tensor, count: int) -> dict[int, tuple[slice, ...]]:
    """Region -> bounding box, for the regions 1..count that have a voxel, in their order."""
    found = ndimage.find_objects(labels.cpu().numpy().astype(np.int32), max_label=count)
    return {region: box for region, box in enumerate(found, start=1) if box is not None}
