"""Welch t map: where the training groups differ: as a baseline that explains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from engine.relevance.base import Relevance, RelevanceMethod
from engine.relevance.training_groups import training_map


@dataclass(frozen=True)
class TMap(RelevanceMethod):
    """Welch's t of each voxel between the training groups, whatever the network does: a baseline, no explanation.

    What voxel-based morphometry would show of the same scans; of a map for both groups, its size |t| counts.
    Source: Welch 1947; engine/analysis/contrast.py. Scans count alike.
    Unit:   t, positive where the explained group has more.
    Cost:   two passes over the training scans of a network, once.
    """

    name: ClassVar[str] = "t_map"
    native_grid: ClassVar[str] = "voxels"
    antisymmetric: ClassVar[bool] = True
    gradient: ClassVar[bool] = True
    explanation: ClassVar[bool] = False
    own_unit: ClassVar[str] = "t"

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z), the same map for each scan. See RelevanceMethod.attribute.

        Raises:
            ValueError: the brain was built without the training groups.
        """
        del model  # the map is the same for any network
        return training_map(self.name, self.brain, volumes, explained_class)
