"""Pictures for checking the preprocessing by eye: one overlay a scan, one contact sheet a cohort.

Drawn by Pillow: nilearn.plotting (plot_anat and two add_contours) takes 2.9 times as long a scan (0.52 s, not 0.18 s),
and 4 s to import in every worker process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from engine.images.geometry import bounding_box
from engine.images.grid import ORIGIN_MM
from engine.images.template import brain_mask, template_brain

CUT_MM = (4.0, -20.0, 6.0)  # sagittal, coronal (hippocampus), axial (ventricles)
ZOOM_TO_MM = 0.5  # a pixel of an overlay
MASK_COLOUR = (255, 96, 64)
TISSUE_COLOUR = (64, 200, 255)
MARK_COLOUR, FRAME = (255, 210, 0), 3
TISSUE_LEVEL = 0.83  # of the template's white matter: its border with grey matter
MARGIN_MM = 12  # around the template's brain
TILE_WIDTH, TILE_CAPTION, TILE_COLUMNS, TILE_ROWS = 400, 18, 5, 40


def overlay(volume: np.ndarray, mm: int, title: str) -> Image.Image:
    """Draw three planes of a volume on Grid(mm) with the template's outlines: brain orange, white matter blue."""
    inside = volume[brain_mask(mm) & (volume > 0)]
    top = np.percentile(inside, 99.5) if inside.size else 1.0
    shown = (np.clip(volume / top, 0, 1), brain_mask(mm), template_brain(mm))
    planes = [_plane([_cut(array, axis, mm) for array in shown], mm) for axis in range(3)]
    height, gap, head = max(p.height for p in planes), 8, 26
    picture = Image.new("RGB", (sum(p.width for p in planes) + gap * 4, height + head + gap), "black")
    at = gap
    for plane in planes:
        picture.paste(plane, (at, head + (height - plane.height) // 2))
        at += plane.width + gap
    ImageDraw.Draw(picture).text((gap, 4), title, fill="white", font=ImageFont.load_default(16))
    return picture


def contact_sheets(quality: pd.DataFrame, overlays: Path, marks: Mapping[str, str] | None = None) -> list[Image.Image]:
    """Draw small overlays of all scans, worst correlation with the template first; 200 a page.

    Args:
        quality: columns scan and template_correlation.
        overlays: folder with <scan>.png; scans without one are left out.
        marks: scan -> words about it; its tile is framed.
    """
    words = marks or {}
    worst_first = quality.sort_values("template_correlation", na_position="first")
    tiles = [
        _tile(overlays / f"{row.scan}.png", f"{row.scan}  r = {row.template_correlation:.2f}", words.get(row.scan, ""))
        for row in worst_first.itertuples()
        if (overlays / f"{row.scan}.png").is_file()
    ]
    page = TILE_COLUMNS * TILE_ROWS
    return [_sheet(tiles[first : first + page]) for first in range(0, len(tiles), page)]


def _cut(volume: np.ndarray, axis: int, mm: int) -> np.ndarray:
    """Return a plane with superior (or anterior) up, and the patient's right on the right."""
    index = round((CUT_MM[axis] - ORIGIN_MM[axis]) / mm)
    margin = MARGIN_MM // mm
    box = [slice(max(0, part.start - margin), part.stop + margin) for part in _brain_box(mm)]
    return volume.take(index, axis)[tuple(part for other, part in enumerate(box) if other != axis)].T[::-1]


@lru_cache(maxsize=4)
def _brain_box(mm: int) -> tuple[slice, ...]:
    return bounding_box(brain_mask(mm))


def _plane(cuts: list[np.ndarray], mm: int) -> Image.Image:
    """Draw one plane of (scan, brain mask, template) with the outlines of the last two."""
    grey, mask, template = cuts
    factor = mm / ZOOM_TO_MM
    size = (round(grey.shape[1] * factor), round(grey.shape[0] * factor))
    pixels = np.stack([_zoom(grey, size) * 255] * 3, axis=-1)
    for shape, level, width, colour in ((template, TISSUE_LEVEL, 1, TISSUE_COLOUR), (mask, 0.5, 2, MASK_COLOUR)):
        region = _zoom(shape, size) > level
        pixels[region & ~ndimage.binary_erosion(region, iterations=width)] = colour
    return Image.fromarray(pixels.astype(np.uint8))


def _zoom(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(plane, dtype=np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC)).clip(0, 1)


def _tile(file: Path, caption: str, mark: str) -> Image.Image:
    with Image.open(file) as opened:
        whole = opened.convert("RGB")
    planes = whole.crop((0, 26, whole.width, whole.height))  # the caption below replaces the title
    planes = planes.resize((TILE_WIDTH, round(planes.height * TILE_WIDTH / planes.width)), Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (TILE_WIDTH, planes.height + TILE_CAPTION), "black")
    tile.paste(planes, (0, TILE_CAPTION))
    draw = ImageDraw.Draw(tile)
    draw.text((6, 2), f"{caption}  {mark}", fill=MARK_COLOUR if mark else "white", font=ImageFont.load_default(12))
    if mark:
        draw.rectangle((0, 0, tile.width - 1, tile.height - 1), outline=MARK_COLOUR, width=FRAME)
    return tile


def _sheet(tiles: list[Image.Image]) -> Image.Image:
    columns = min(TILE_COLUMNS, len(tiles))
    height = max(tile.height for tile in tiles)
    sheet = Image.new("RGB", (columns * TILE_WIDTH, math.ceil(len(tiles) / columns) * height), "black")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * TILE_WIDTH, number // columns * height))
    return sheet
