"""Guided Grad-CAM: guided backpropagation where Grad-CAM finds the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from engine.relevance.base import Relevance, RelevanceMethod, check_volumes
from engine.relevance.grad_cam import GradCam
from engine.relevance.guided_backprop import GuidedBackprop


@dataclass(frozen=True)
class GuidedGradCam(RelevanceMethod):
    """The product of guided backpropagation and the upsampled Grad-CAM map.

    Source: Selvaraju et al. 2017 (arXiv 1610.02391), section 3.2.
    Unit:   that of both multiplied; only ratios within a map mean something.
    Cost:   that of both.
    """

    name: ClassVar[str] = "guided_grad_cam"
    antisymmetric: ClassVar[bool] = False

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z) product of the two maps. See RelevanceMethod.attribute."""
        check_volumes(volumes)
        where = GradCam(self.brain, self.batch).attribute(model, volumes, explained_class).margin
        return Relevance(
            where * GuidedBackprop(self.brain, self.batch).attribute(model, volumes, explained_class).margin
        )
