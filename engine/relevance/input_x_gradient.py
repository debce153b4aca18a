"""Input x gradient: what a voxel's distance from the training mean contributes, to first order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from engine.relevance.base import Relevance, RelevanceMethod, check_volumes
from engine.relevance.gradients import input_gradients


@dataclass(frozen=True)
class InputXGradient(RelevanceMethod):
    """Contribution of each voxel if the network were linear around the scan.

    Source: Shrikumar et al. 2016 (arXiv 1605.01713); (x - x0) times the gradient of the margin, where x0 is the
    training mean, which is 0 after normalisation.
    Unit:   margin. Sign kept: positive where the voxel's difference from the mean speaks for the class.
    Cost:   one forward and one backward pass a scan, as sensitivity.
    """

    name: ClassVar[str] = "input_x_gradient"
    antisymmetric: ClassVar[bool] = True
    contribution: ClassVar[bool] = True

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z) input times gradient of the margin. See RelevanceMethod.attribute."""
        check_volumes(volumes)
        return Relevance(volumes[:, 0] * input_gradients(model, volumes, explained_class, self.batch, self.brain))
