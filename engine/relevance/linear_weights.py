"""Weights of a linear classifier of the same training scans: as a baseline that explains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from engine.relevance.base import Relevance, RelevanceMethod
from engine.relevance.training_groups import training_map


@dataclass(frozen=True)
class LinearWeights(RelevanceMethod):
    """Weights of a linear support vector machine on the voxels, whatever the network does: a baseline, no explanation.

    Weights also cancel what is no disease, so that they may be large where the groups do not differ: Haufe et al. 2014
    (NeuroImage 87:96). See linear_pattern for what they mean.
    Source: engine/analysis/contrast.py.
    Unit:   decision value per z-score, positive where more speaks for the class.
    Cost:   two passes over the training scans of a network, once.
    """

    name: ClassVar[str] = "linear_weights"
    native_grid: ClassVar[str] = "voxels"
    antisymmetric: ClassVar[bool] = True
    gradient: ClassVar[bool] = True
    explanation: ClassVar[bool] = False
    own_unit: ClassVar[str] = "decision value per z-score"

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z), the same map for each scan. See RelevanceMethod.attribute.

        Raises:
            ValueError: the brain was built without the training groups.
        """
        del model  # the map is the same for any network
        return training_map(self.name, self.brain, volumes, explained_class)
