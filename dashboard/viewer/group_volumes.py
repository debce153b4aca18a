"""The volumes of group averages: which ones pages have shown, and their numbers as small integers.

An address names an average by a keyed hash: no filter of scans, which may name subjects or sites, leaves the server.
Only what a page asked for in the name of its reader is known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dashboard.data import averages as data_averages
from dashboard.data.anatomy import brain
from dashboard.data.averages import Average
from dashboard.viewer.token_memory import TokenMemory
from dashboard.viewer.volumes import OUTSIDE, VolumeRequest
from store.files.encoding import quantise

KIND = "average"
KEPT = 2048  # small questions, no volumes


@dataclass(frozen=True)
class GroupVolume:
    """An average, or the first of two averages minus the second, each times its factor."""

    averages: tuple[Average, ...]
    factors: tuple[float, ...]


_known: TokenMemory[GroupVolume] = TokenMemory(KEPT, 32, "average")


def remember(volume: GroupVolume) -> str:
    """Return a name for a volume that says nothing about it; the volume is remembered among the last ones."""
    return _known.remember(volume, repr(volume))


def read(wanted: VolumeRequest) -> tuple[np.ndarray, float]:
    """Return an average that a page has shown, (x, y, z) int16 on the grid of `anatomy.brain`, and its factor.

    Voxels outside the brain are OUTSIDE.

    Raises:
        NotInRunError: no page of this server has shown it lately.
    """
    volume = _known.read(wanted.method)
    own = brain(volume.averages[0].selection.run)
    integers, scale = quantise(own.spread_out(data_averages.combined(volume.averages, volume.factors)))
    integers[~own.mask] = OUTSIDE
    return integers, scale
