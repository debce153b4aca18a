"""Activation pattern of a linear classifier of the same training scans: as a baseline that explains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from engine.relevance.base import Relevance, RelevanceMethod
from engine.relevance.training_groups import training_map


@dataclass(frozen=True)
class LinearPattern(RelevanceMethod):
    """Where a linear classifier finds its signal, whatever the network does: a baseline, no explanation.

    Source: Haufe et al. 2014 (NeuroImage 87:96), equation 6: covariance of the voxels times the weights of
    linear_weights, divided by the variance of its decision value.
    Unit:   z-score per decision value, positive where the explained group has more.
    Cost:   two passes over the training scans of a network, once.
    """

    name: ClassVar[str] = "linear_pattern"
    native_grid: ClassVar[str] = "voxels"
    antisymmetric: ClassVar[bool] = True
    gradient: ClassVar[bool] = True
    explanation: ClassVar[bool] = False
    own_unit: ClassVar[str] = "z-score per decision value"

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z), the same map for each scan. See RelevanceMethod.attribute.

        Raises:
            ValueError: the brain was built without the training groups.
        """
        del model  # the map is the same for any network
        return training_map(self.name, self.brain, volumes, explained_class)
