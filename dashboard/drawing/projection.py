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
CELL = 4  # pixels: how finely the voxel behind a picture is known
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


def voxels_behind(values: np.ndarray, brain: Brain, convention: str) -> np.ndarray:
    """Find the voxel that a picture shows at each of its cells, CELL pixels wide and high: that of the largest size.

    Args:
        values: (voxels,) relevance of the brain's voxels.
    Returns:
        (4, rows, columns) int32 number of the voxel, -1 where there is no brain; the sides in the order of `picture`.
    """
    numbers = np.cumsum(brain.mask, dtype=np.int32).reshape(brain.mask.shape) - 1
    sizes = np.where(brain.mask, np.abs(brain.spread_out(values)), np.float32(-1))
    found = []
    for side in (*order(convention), "coronal", "axial"):
        axis, part = AXES[side], _part(brain, side)
        inside, size = numbers[part], sizes[part]
        if not size.size:
            found.append(np.full(tuple(-(-n // CELL) for n in TILE[::-1]), np.int32(-1)))
            continue
        place = np.expand_dims(size.argmax(axis=axis), axis)
        flat = np.take_along_axis(inside, place, axis).squeeze(axis)
        seen = _on_screen(np.where(brain.mask[part].any(axis=axis), flat, np.int32(-1)), side, convention)
        rows, columns = (np.floor(at[::CELL] + 0.5).astype(int) for at in _voxel_of_pixels(brain, seen.shape))
        known = ((rows >= 0) & (rows < seen.shape[0]))[:, None] & ((columns >= 0) & (columns < seen.shape[1]))
        clipped = seen[rows.clip(0, seen.shape[0] - 1)[:, None], columns.clip(0, seen.shape[1] - 1)]
        found.append(np.where(known, clipped, np.int32(-1)))
    return np.stack(found)


def _part(brain: Brain, side: str) -> tuple[slice, slice, slice]:
    """Return the part of the brain that a projection looks through: a half, or the whole."""
    if AXES[side] != 0:
        return slice(None), slice(None), slice(None)
    mm = brain.affine[0, 3] + brain.affine[0, 0] * np.arange(brain.mask.shape[0])
    used = np.flatnonzero(mm <= 0 if side == "left" else mm >= 0)
    return (slice(used[0], used[-1] + 1) if len(used) else slice(0, 0)), slice(None), slice(None)


def _on_screen(flat: np.ndarray, side: str, convention: str) -> np.ndarray:
    """Turn a projection (across, up) into rows from the top and columns from the left."""
    image = flat.T[::-1]
    flipped = side == "left" or (AXES[side] != 0 and convention == "radiological")
    return image[:, ::-1] if flipped else image


def _voxel_of_pixels(brain: Brain, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return fractional rows and columns of a projection of this shape, at the pixels of a tile."""
    step = float(np.abs(np.diag(brain.affine)[:3]).max())
    room = np.array(TILE) - 2 * np.array(EDGES)
    x, y, z = (n * step for n in brain.mask.shape)
    pixels_per_voxel = step * min(room[0] / max(x, y), room[1] / max(y, z))
    rows, columns = (
        (np.arange(count) - (count - 1) / 2) / pixels_per_voxel + (n - 1) / 2
        for count, n in zip(TILE[::-1], shape, strict=True)
    )
    return rows, columns


def projected(
    values: np.ndarray, brain: Brain, side: str, convention: str, opacity: np.ndarray | None = None
) -> Projection:  # fmt: skip
    """Look through the brain from one side: left, right (a half from its outside), coronal or axial (the whole)."""
    axis = AXES[side]
    part = _part(brain, side)
    mask, volume = brain.mask[part], brain.spread_out(values)[part]
    shares = np.ones_like(volume) if opacity is None else brain.spread_out(opacity)[part]
    if not mask.size:
        empty = np.zeros((brain.mask.shape[2], brain.mask.shape[1]), np.float32)
        return Projection(empty, empty, empty)
    place = np.expand_dims(np.abs(volume).argmax(axis=axis), axis)
    flat = (*(np.take_along_axis(v, place, axis).squeeze(axis) for v in (volume, shares)), mask.sum(axis=axis))
    return Projection(*(_on_screen(one, side, convention) for one in flat))


def _painted(seen: Projection, brain: Brain, style: Style, scale: Range) -> np.ndarray:
    """Colour one projection: (height, width, 3) uint8, black around the brain."""
    from scipy.ndimage import binary_erosion, map_coordinates  # noqa: PLC0415

    at = np.meshgrid(*_voxel_of_pixels(brain, seen.value.shape), indexing="ij")

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
