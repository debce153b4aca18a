"""Relevance through a glass brain: the strongest value on every line of sight, from four sides.

Kept beside nilearn's `plot_glass_brain`, whose words and lines Matplotlib draws: here colours, letters and the colour
bar are those of all other pictures, and words stay text in SVG.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dashboard.drawing import palette
from dashboard.drawing.brain_maps import Brain
from dashboard.drawing.colours import Range, Style, colour_bar, levels, table
from dashboard.drawing.pictures import INK, QUIET, Picture, Text, beside
from dashboard.drawing.surface import EDGES, TEXT, TILE, order

THIN, THICK, OUTLINE = 0.08, 0.24, 0.6  # brightness of the glass: where it is thin, where thick, and of its edge
NAMES = {"left": "Left half", "right": "Right half", "coronal": "Front to back", "axial": "Top to bottom"}
AXES = {"left": 0, "right": 0, "coronal": 1, "axial": 2}


@dataclass(frozen=True)
class Projection:
    """What is seen from one side, rows from the top, columns from the left.

    Attributes:
        value: (rows, columns) the value of the largest size on each line of sight.
        opacity: (rows, columns) at the same voxel.
        thickness: (rows, columns) voxels of the brain on each line.
    """

    value: np.ndarray
    opacity: np.ndarray
    thickness: np.ndarray


def picture(
    values: np.ndarray, brain: Brain, style: Style, scale: Range, opacity: np.ndarray | None = None
) -> Picture:  # fmt: skip
    """Draw four projections of a map beside its colour bar: each half from its outside above, the whole brain below.

    Args:
        values: (voxels,) relevance of the brain's voxels.
        style, scale: as of sections; the plane does not matter.
        opacity: (voxels,) 0 to 1, which alpha is multiplied by.
    """
    heat = values if style.signed else np.abs(values)
    width, height = TILE
    pixels = np.zeros((2 * height, 2 * width, 3), np.uint8)
    texts: list[Text] = []
    for number, side in enumerate((*order(style.convention), "coronal", "axial")):
        row, column = divmod(number, 2)
        seen = projected(heat, brain, side, style.convention, opacity)
        tile = _painted(seen, brain, style, scale)
        pixels[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
        texts += _letters(side, style.convention, column * width, row * height)
    whole = Picture(pixels, tuple(texts))
    return beside([whole, colour_bar(whole.height, style, scale, TEXT)])


def projected(
    values: np.ndarray, brain: Brain, side: str, convention: str, opacity: np.ndarray | None = None
) -> Projection:  # fmt: skip
    """Look through the brain from one side: left, right (a half from its outside), coronal or axial (the whole)."""
    axis = AXES[side]
    part = [slice(None)] * 3
    if axis == 0:
        mm = brain.affine[0, 3] + brain.affine[0, 0] * np.arange(brain.mask.shape[0])
        used = np.flatnonzero(mm <= 0 if side == "left" else mm >= 0)
        part[0] = slice(used[0], used[-1] + 1) if len(used) else slice(0, 0)
    mask, volume = brain.mask[tuple(part)], brain.spread_out(values)[tuple(part)]
    shares = np.ones_like(volume) if opacity is None else brain.spread_out(opacity)[tuple(part)]
    if not mask.size:
        empty = np.zeros((brain.mask.shape[2], brain.mask.shape[1]), np.float32)
        return Projection(empty, empty, empty)
    place = np.expand_dims(np.abs(volume).argmax(axis=axis), axis)
    flipped = side == "left" or (axis != 0 and convention == "radiological")

    def on_screen(flat: np.ndarray) -> np.ndarray:
        image = flat.T[::-1]
        return image[:, ::-1] if flipped else image

    strongest, shown = (np.take_along_axis(v, place, axis).squeeze(axis) for v in (volume, shares))
    return Projection(on_screen(strongest), on_screen(shown), on_screen(mask.sum(axis=axis)))


def _painted(seen: Projection, brain: Brain, style: Style, scale: Range) -> np.ndarray:
    """Colour one projection: (height, width, 3) uint8, black around the brain."""
    from scipy.ndimage import binary_erosion, map_coordinates  # noqa: PLC0415

    step = float(np.abs(np.diag(brain.affine)[:3]).max())
    room = np.array(TILE) - 2 * np.array(EDGES)
    x, y, z = (n * step for n in brain.mask.shape)
    pixels_per_voxel = step * min(room[0] / max(x, y), room[1] / max(y, z))
    rows, columns = (
        (np.arange(count) - (count - 1) / 2) / pixels_per_voxel + (n - 1) / 2
        for count, n in zip(TILE[::-1], seen.value.shape, strict=True)
    )
    at = np.meshgrid(rows, columns, indexing="ij")

    def sampled(values: np.ndarray, smooth: bool) -> np.ndarray:
        return map_coordinates(values.astype(np.float32), at, order=1 if smooth else 0, cval=0.0)

    thickness = sampled(seen.thickness, True)
    inside = thickness > 0.5
    share = thickness / max(float(thickness.max()), 1e-6)
    grey = np.where(inside, THIN + (THICK - THIN) * share, 0.0)
    grey[inside & ~binary_erosion(inside, iterations=2)] = OUTLINE
    # The signs apart, lest neighbours of either sign cancel each other between them.
    positive, negative = (sampled(np.maximum(part, 0), style.smooth) for part in (seen.value, -seen.value))
    value = np.where(positive >= negative, positive, -negative)
    colours = table(style)[levels(value, scale) + palette.LEVELS]
    alpha = colours[..., 3] * sampled(seen.opacity, style.smooth) * inside
    return np.rint(255 * (grey[..., None] + (colours[..., :3] - grey[..., None]) * alpha[..., None])).astype(np.uint8)


def _letters(side: str, convention: str, x: int, y: int) -> list[Text]:
    """Name a projection, and what is at its left and right."""
    ends = {"left": "AP", "right": "PA"}.get(side, "LR" if convention == "neurological" else "RL")
    middle = y + TILE[1] / 2
    return [
        Text(x + 8, y + 6, NAMES[side], 0.8 * TEXT, "lt", INK),
        Text(x + 4, middle, ends[0], 0.75 * TEXT, "lm", QUIET),
        Text(x + TILE[0] - 4, middle, ends[1], 0.75 * TEXT, "rm", QUIET),
    ]
