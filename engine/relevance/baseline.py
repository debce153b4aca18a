"""Maps that explain nothing: what baselines share, and those of the training groups, the same for every scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from engine.relevance.base import Relevance, RelevanceMethod, check_volumes


@dataclass(frozen=True)
class Baseline(RelevanceMethod):
    """A map that would be the same for any network, beside which explanations stand. Of one with signs, |h| counts."""

    antisymmetric: ClassVar[bool] = False
    explanation: ClassVar[bool] = False


@dataclass(frozen=True)
class GroupMap(Baseline):
    """How the training groups differ by one of store.keys.TRAINING_MAPS: the same map for every scan."""

    antisymmetric: ClassVar[bool] = True

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z), positive where more speaks for the class. See RelevanceMethod.attribute.

        Raises:
            ValueError: the brain was built without the training groups.
        """
        del model  # the map is the same for any network
        check_volumes(volumes)
        if self.name not in self.brain.training_maps:
            raise ValueError(f"{self.name} needs training scans of both groups")
        one = self.brain.training_maps[self.name].to(volumes)
        return Relevance((one if explained_class == 1 else -one).expand(len(volumes), *one.shape).clone())
