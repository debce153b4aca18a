"""Activation pattern of a linear classifier of the same training scans: as a baseline that explains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.relevance.baseline import GroupMap


@dataclass(frozen=True)
class LinearPattern(GroupMap):
    """Where a linear classifier finds its signal, whatever the network does: a baseline, no explanation.

    Source: Haufe et al. 2014 (NeuroImage 87:96), equation 6: covariance of the voxels times the weights of
    linear_weights, divided by the variance of its decision value.
    Unit:   z-score per decision value, positive where the explained group has more.
    Cost:   two passes over the training scans of a network, once.
    """

    name: ClassVar[str] = "linear_pattern"
    own_unit: ClassVar[str] = "z-score per decision value"
