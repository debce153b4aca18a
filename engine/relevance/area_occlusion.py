"""Brain-area occlusion: how the evidence drops when a whole region of the atlas is replaced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.relevance.base import Relevance, RelevanceMethod, check_volumes, drops, reference_volume


@dataclass(frozen=True)
class AreaOcclusion(RelevanceMethod):
    """How much the evidence for the target drops when an atlas region is replaced; left and right separately.

    Source: Rieke et al. 2018, section 2.3.
    Unit:   drop of margin and of probability, one pair a region. Positive: spoke for the target.
    Cost:   one forward pass a region.

    Attributes:
        reference: what replaces the tissue, see reference_volume.
    """

    name: ClassVar[str] = "area_occlusion"
    native_grid: ClassVar[str] = "regions"
    antisymmetric: ClassVar[bool] = True

    reference: str | float = "mean"

    def attribute(self, model: nn.Module, volumes: Tensor, target: int) -> Relevance:
        """(n, regions) drops, region r at index r - 1. See RelevanceMethod.attribute."""
        check_volumes(volumes)
        labels = self.brain.labels
        results = []
        for volume in volumes[:, 0]:
            reference = reference_volume(self.reference, volume, self.brain)

            def occluded(start: int, stop: int, volume=volume, reference=reference) -> Tensor:
                regions = torch.arange(start + 1, stop + 1, device=labels.device, dtype=labels.dtype)
                inside = labels[None] == regions[:, None, None, None]
                return torch.where(inside, reference, volume)[:, None]

            results.append(drops(model, volume, target, self.brain.regions, occluded, self.batch))
        margin, probability = (torch.stack(part).cpu() for part in zip(*results, strict=True))
        return Relevance(margin, probability)
