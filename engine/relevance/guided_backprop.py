"""Guided backpropagation: the gradient, with negative gradients cut off at every ReLU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from engine.relevance.base import Relevance, RelevanceMethod, check_volumes
from engine.relevance.gradients import input_gradients
from engine.relevance.hooks import guided_relus


@dataclass(frozen=True)
class GuidedBackprop(RelevanceMethod):
    """What excites the units that speak for a class.

    Source: Springenberg et al. 2015, section 3.4; Rieke et al. 2018, section 2.3. All ReLUs take part, those between
    the fully connected layers too.
    Unit:   margin per z-score, signed. The map for one class is not minus the map for the other.
    Cost:   one forward and one backward pass a scan and class.
    """

    name: ClassVar[str] = "guided_backprop"
    antisymmetric: ClassVar[bool] = False

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return the (n, x, y, z) guided gradient of the margin."""
        check_volumes(volumes)
        with guided_relus(model):
            return Relevance(input_gradients(model, volumes, explained_class, self.batch, self.brain, guided=True))
