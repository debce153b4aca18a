"""Welch t map: where the training groups differ: as a baseline that explains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from engine.relevance.baseline import GroupMap


@dataclass(frozen=True)
class TMap(GroupMap):
    """Welch's t of each voxel between the training groups, whatever the network does: a baseline, no explanation.

    What voxel-based morphometry would show of the same scans; of a map for both groups, its size |t| counts.
    Source: Welch 1947; engine/analysis/contrast.py. Scans count alike.
    Unit:   t, positive where the explained group has more.
    Cost:   two passes over the training scans of a network, once.
    """

    name: ClassVar[str] = "t_map"
    own_unit: ClassVar[str] = "t"
