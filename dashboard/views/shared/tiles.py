"""Small pictures of single heatmaps: one slice each, on colours of its own."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from dashboard.data import averages as data_averages
from dashboard.data import byte_cache
from dashboard.data.anatomy import brain
from dashboard.data.averages import MIB, Average
from dashboard.drawing import brain_maps, planes
from dashboard.drawing.pictures import ScreenPicture
from dashboard.views.shared import average_pictures

PERCENTILE = 90.0  # of the brain, where the colour of each picture starts
SHARP, TEXT, LIMIT = 1.5, 14, 6 * MIB


@dataclass(frozen=True)
class Tile:
    """One heatmap, an average of one scan, at one place of a plane in mm."""

    average: Average
    plane: str
    mm: float


_pictures = functools.partial(byte_cache.shared, "pictures of single heatmaps", LIMIT)  # ByteCache[ScreenPicture]


def picture(tile: Tile) -> ScreenPicture:
    """Return the picture of a heatmap, read and drawn where it is not kept.

    Raises:
        NotInRunError: the run has no such heatmap, or it is 0 everywhere.
    """
    return _pictures().get(tile, lambda: _draw(tile))


def _draw(tile: Tile) -> ScreenPicture:
    """Read one heatmap and draw one slice of it."""
    run, own = tile.average.selection.run, brain(tile.average.selection.run)
    packed = data_averages.brain_map(tile.average)
    heat = np.abs(brain_maps.places(own, tile.plane, [tile.mm]).cut(packed.values(), smooth=True))
    scale = brain_maps.colour_range([packed.levels], "", PERCENTILE)
    layout = planes.Layout(pixels_per_mm=SHARP, text=TEXT, bar=False, small_print=False)
    cuts = average_pictures.sections(run, tile.plane, (tile.mm,))
    return ScreenPicture.of(planes.arrange(cuts, heat, own.affine, planes.Style(tile.plane), scale, layout))
