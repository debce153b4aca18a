"""Sensitivity analysis: the gradient of the evidence with respect to each voxel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from engine.relevance.base import Relevance, RelevanceMethod, check_volumes
from engine.relevance.gradients import input_gradients


@dataclass(frozen=True)
class Sensitivity(RelevanceMethod):
    """How much the margin changes with the intensity of a voxel.

    Source: Simonyan et al. 2014, section 3; Rieke et al. 2018, section 2.3, who take |dp/dx|. The margin does not
    saturate as the probability does; dp/dx = p (1 - p) times it, exactly.
    Unit:   margin per z-score. Sign kept: positive where brighter speaks for the target.
    Cost:   one forward and one backward pass a scan.
    """

    name: ClassVar[str] = "sensitivity"
    antisymmetric: ClassVar[bool] = True

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return the (n, x, y, z) gradient of the margin."""
        check_volumes(volumes)
        return Relevance(input_gradients(model, volumes, explained_class, self.batch, self.brain))
