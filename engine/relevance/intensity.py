"""Intensity: how unusual each voxel of the scan is, as a baseline that explains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from engine.relevance.base import Relevance, check_volumes
from engine.relevance.baseline import Baseline


@dataclass(frozen=True)
class Intensity(Baseline):
    """|z|: how far each voxel is from the training mean, whatever the network does: a baseline, no explanation.

    Methods that multiply by the input (input x gradient, integrated gradients, LRP) have this as a factor.
    Unit:   standard deviations of the training scans, 0 or more; what the network sees where it is not z-scored.
    Cost:   none.
    """

    name: ClassVar[str] = "intensity"
    own_unit: ClassVar[str] = "z-score"

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z) |z|. See RelevanceMethod.attribute."""
        del model, explained_class  # the map is the same for any network and both classes
        check_volumes(volumes)
        return Relevance(volumes[:, 0].abs())
