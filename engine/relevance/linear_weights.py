"""Weights of a linear classifier of the same training scans: as a baseline that explains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.relevance.baseline import GroupMap


@dataclass(frozen=True)
class LinearWeights(GroupMap):
    """Weights of a linear support vector machine on the voxels, whatever the network does: a baseline, no explanation.

    Weights also cancel what is no disease, so that they may be large where the groups do not differ: Haufe et al. 2014
    (NeuroImage 87:96). See linear_pattern for what they mean.
    Source: engine/analysis/contrast.py.
    Unit:   decision value per z-score, positive where more speaks for the class.
    Cost:   two passes over the training scans of a network, once.
    """

    name: ClassVar[str] = "linear_weights"
    own_unit: ClassVar[str] = "decision value per z-score"
