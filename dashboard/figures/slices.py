"""Heatmaps over anatomy as pictures: coronal slices of the 1 mm template, neurological convention."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dashboard.figures import palette

PAPER_SLICES = (80, 114, 149)  # coronal slices of figure 1 in Rieke et al. 2018, on the 1 mm grid of 229
PAPER_SIZE = 229
SLICE_WIDTH = 280  # pixels, at least
MARGIN_MM = 5
INK = (205, 211, 214)
TEXT = 23  # pixels; pictures are shown at about half their size
BRAIN = 0.85  # brightness of the anatomy


@dataclass(frozen=True)
class Anatomy:
    """The template in the planes that are shown: (slices, x, z) brain and mask, both on the 1 mm grid."""

    brain: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    slices: tuple[int, ...]

    @property
    def y_mm(self) -> list[float]:
        return [float(self.affine[1, 1] * j + self.affine[1, 3]) for j in self.slices]

    def box(self) -> tuple[slice, slice]:
        """The part of (x, z) that holds brain in any of the slices, and a margin."""
        edges = []
        for axis, size in ((0, self.mask.shape[1]), (1, self.mask.shape[2])):
            inside = np.flatnonzero(self.mask.any(axis=(0, 2 - axis)))
            first, last = (inside[0], inside[-1]) if len(inside) else (0, size - 1)
            edges.append(slice(max(first - MARGIN_MM, 0), min(last + MARGIN_MM + 1, size)))
        return edges[0], edges[1]


@dataclass(frozen=True)
class Scale:
    """The range of a colour bar, in `unit`: transparent at `low`, yellow at `high`."""

    low: float
    high: float
    unit: str


def paper_slices(size: int) -> tuple[int, ...]:
    """The paper's coronal slices; on another grid the same places in proportion."""
    if size == PAPER_SIZE:
        return PAPER_SLICES
    return tuple(min(round(s * size / PAPER_SIZE), size - 1) for s in PAPER_SLICES)


def take_anatomy(template: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> Anatomy:
    """The paper's planes of a template on the 1 mm grid."""
    slices = paper_slices(template.shape[1])
    planes = [np.moveaxis(volume[:, slices, :], 1, 0) for volume in (template, mask > 0)]
    return Anatomy(planes[0], planes[1], np.asarray(affine, float), slices)


def coronal_planes(volume: np.ndarray, affine: np.ndarray, y_mm: Sequence[float]) -> np.ndarray:
    """(slices, x, z) planes of a volume at positions in mm, interpolated between its slices."""
    places = (np.asarray(y_mm) - affine[1, 3]) / affine[1, 1]
    weights = linear_weights(places, volume.shape[1])
    used = np.flatnonzero(weights.any(axis=0))
    return np.einsum("sy,xyz->sxz", weights[:, used], volume[:, used, :], optimize=True).astype(np.float32)


def linear_weights(places: np.ndarray, size: int) -> np.ndarray:
    """(places, size) weights of linear interpolation at fractional indices; the edge value beyond the edge."""
    places = np.clip(places, 0, size - 1)
    below = np.minimum(np.floor(places).astype(int), max(size - 2, 0))
    weights = np.zeros((len(places), size))
    rows = np.arange(len(places))
    weights[rows, below] = 1 - (places - below)
    if size > 1:
        weights[rows, below + 1] = places - below
    return weights


def common_scale(volumes: Sequence[np.ndarray], mask: np.ndarray, unit: str) -> Scale:
    """One scale for several maps: from the median to the 99.5th percentile inside the mask."""
    inside = np.concatenate([volume[mask] for volume in volumes])
    low, high = (float(q) for q in np.percentile(inside, [50, 99.5])) if inside.size else (0.0, 0.0)
    if high <= max(low, 0):
        low, high = 0.0, float(inside.max(initial=0.0))
    return Scale(low, high if high > 0 else 1.0, unit)


def strip(anatomy: Anatomy, planes: np.ndarray, affine: np.ndarray, scale: Scale) -> np.ndarray:
    """(height, width, 3) uint8 picture: the slices side by side, the colour bar at the right.

    Args:
        planes: (slices, x, z) relevance on the working grid.
        affine: of the working grid, voxel -> mm.
    """
    box = anatomy.box()
    factor = max(2, math.ceil(SLICE_WIDTH / (box[0].stop - box[0].start)))
    pictures = []
    for brain, mask, plane, y in zip(anatomy.brain, anatomy.mask, planes, anatomy.y_mm, strict=True):
        picture = _slice_picture(anatomy, (brain, mask, plane), affine, box, factor, scale)
        pictures.append(_labelled(picture, y))
    return np.concatenate([*pictures, _bar(pictures[0].shape[0], scale)], axis=1)


def png(picture: np.ndarray) -> bytes:
    """A picture as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def _slice_picture(anatomy, planes, affine, box, factor, scale) -> np.ndarray:
    """One slice, `factor` pixels a mm, left of the subject at the left."""
    brain, mask, relevance = planes
    fine = [np.arange(b.start, b.stop, 1 / factor) + (1 / factor - 1) / 2 for b in box]
    weights = [linear_weights(f, n) for f, n in zip(fine, brain.shape, strict=True)]
    grey = BRAIN * (weights[0] @ brain.astype(float) @ weights[1].T) / 255
    inside = weights[0] @ mask.astype(float) @ weights[1].T
    mm = [anatomy.affine[a, a] * f + anatomy.affine[a, 3] for a, f in zip((0, 2), fine, strict=True)]
    coarse = [(m - affine[a, 3]) / affine[a, a] for a, m in zip((0, 2), mm, strict=True)]
    heat = [linear_weights(c, n) for c, n in zip(coarse, relevance.shape, strict=True)]
    colour, alpha = palette.hot(heat[0] @ relevance.astype(float) @ heat[1].T, scale.low, scale.high)
    alpha = (alpha * inside)[..., None]
    picture = np.clip(grey * inside, 0, 1)[..., None] * (1 - alpha) + colour * alpha
    return np.round(255 * picture.transpose(1, 0, 2)[::-1]).astype(np.uint8)


def _labelled(picture: np.ndarray, y_mm: float) -> np.ndarray:
    """The picture with L and R, and below it its position."""
    image = Image.fromarray(np.pad(picture, ((0, TEXT + 14), (0, 0), (0, 0))))
    draw = ImageDraw.Draw(image)
    width, height = image.size
    draw.text((10, 10), "L", fill=INK, font=_font(TEXT), anchor="lt")
    draw.text((width - 10, 10), "R", fill=INK, font=_font(TEXT), anchor="rt")
    draw.text((10, height - 10), f"y {y_mm:+.0f} mm", fill=INK, font=_font(TEXT), anchor="ls")
    return np.asarray(image)


def _bar(height: int, scale: Scale) -> np.ndarray:
    """The colour bar: grey below the threshold, its value and the top of the scale marked, the unit along it."""
    image = Image.new("RGB", (148, height))
    draw = ImageDraw.Draw(image)
    top, bottom = round(0.1 * height), round(0.9 * height)
    levels = np.linspace(scale.high, 0, max(bottom - top, 2))
    colour, alpha = palette.hot(levels, scale.low, scale.high)
    column = colour * alpha[:, None] + 0.32 * (1 - alpha[:, None])
    bar = np.repeat(np.round(255 * column).astype(np.uint8)[:, None], 20, axis=1)
    image.paste(Image.fromarray(bar), (16, top))
    for value in (scale.high, scale.low):
        y = top + round((1 - value / scale.high) * (bottom - top))
        if value == scale.low:
            draw.line((10, y, 42, y), fill=(255, 255, 255), width=3)
        draw.text((44, y), _short(value, scale.high), fill=INK, font=_font(TEXT - 3), anchor="lm")
    unit = Image.new("RGB", (bottom - top, 34))
    ImageDraw.Draw(unit).text(((bottom - top) // 2, 17), scale.unit, fill=INK, font=_font(TEXT - 5), anchor="mm")
    image.paste(unit.rotate(90, expand=True), (112, top))
    return np.asarray(image)


def _short(value: float, high: float) -> str:
    """Two digits, without an exponent where that is short: 0.045, .0071; 0 where it is next to nothing."""
    text = f"{value:.2g}" if value > 0.01 * high else "0"
    return text.removeprefix("0") if len(text) > 5 and "e" not in text else text


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
