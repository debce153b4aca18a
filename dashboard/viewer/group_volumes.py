"""The volumes of group averages: which ones pages have shown, and their numbers as small integers.

An address names an average by a keyed hash: no filter of scans, which may name subjects or sites, leaves the server.
Only what a page asked for in the name of its reader is known here.
"""

from __future__ import annotations

import functools
import threading
from dataclasses import dataclass

import numpy as np

from dashboard.data import averages as data_averages
from dashboard.data.anatomy import brain
from dashboard.data.averages import Average
from dashboard.data.runs import Run
from dashboard.viewer.token_memory import TokenMemory
from dashboard.viewer.volumes import OUTSIDE, SomePlanes, VolumeRequest
from store.files.encoding import quantise

KIND = "average"
KEPT = 2048  # small questions, no volumes


@dataclass(frozen=True)
class GroupVolume:
    """An average, or the first of two averages minus the second, each times its factor.

    Attributes:
        networks: above 0, the averages are a mean over so many networks and the share of them that agree on it.
    """

    averages: tuple[Average, ...]
    factors: tuple[float, ...]
    networks: int = 0


_known: TokenMemory[GroupVolume] = TokenMemory(KEPT, 32, "average")
_counting = threading.Lock()


def remember(volume: GroupVolume) -> str:
    """Return a name for a volume that says nothing about it; the volume is remembered among the last ones."""
    return _known.remember(volume, repr(volume))


def read(wanted: VolumeRequest) -> tuple[np.ndarray, float]:
    """Return an average that a page has shown, (x, y, z) int16 on the grid of `anatomy.brain`, and its factor.

    Voxels outside the brain are OUTSIDE. A mean over networks is followed, along x, by how many agree on each voxel.

    Raises:
        NotInRunError: no page of this server has shown it lately.
    """
    volume = _known.read(wanted.method)
    own = brain(volume.averages[0].selection.run)
    if volume.networks:
        mean, scale = read_whole(GroupVolume(volume.averages[:1], volume.factors[:1]))
        shares = own.spread_out(data_averages.brain_map(volume.averages[1]).values()[:-1])
        count = np.rint(shares * volume.networks).astype(np.int16)
        count[~own.mask] = OUTSIDE
        return np.concatenate([mean, count]), scale
    return read_whole(volume)


def read_whole(volume: GroupVolume) -> tuple[np.ndarray, float]:
    """Return the integers of an average on the grid of `anatomy.brain`, OUTSIDE around the brain, and their factor."""
    own = brain(volume.averages[0].selection.run)
    integers, scale = quantise(own.spread_out(data_averages.combined(volume.averages, volume.factors)))
    integers[~own.mask] = OUTSIDE
    return integers, scale


def read_planes(wanted: VolumeRequest, some: SomePlanes) -> tuple[np.ndarray, float]:
    """Return planes of an average that a page has shown, (planes, across, up) int16, and their factor.

    Voxels outside the brain are 0, as pictures of slices have them. Only these planes are made: at 1 mm in a tenth of
    the time that the whole volume takes.

    Raises:
        NotInRunError, NoSuchPlanesError: no page has shown it lately; it has no such planes.
    """
    volume = _known.read(wanted.method)
    run = volume.averages[0].selection.run
    some.check(brain(run).mask.shape)
    with _counting:  # the maps of a page are asked for at once, and have their voxels in common
        voxels = _voxels_of(run, some)
    first, *rest = (data_averages.brain_map(average).values() for average in volume.averages)
    found = first[voxels] * np.float32(volume.factors[0])
    for values, factor in zip(rest, volume.factors[1:], strict=True):
        found -= values[voxels] * np.float32(factor)
    return quantise(found)


@functools.lru_cache(maxsize=8)
def _voxels_of(run: Run, some: SomePlanes) -> np.ndarray:
    """Return the numbers of the brain's voxels on some planes, (planes, across, up) int32; -1 outside the brain."""
    mask = brain(run).mask
    before = np.cumsum(mask, dtype=np.int32).reshape(mask.shape) - 1
    return np.where(some.of(mask), some.of(before), np.int32(-1))
