"""Relevance on the cortical surface as a picture: both hemispheres from outside and from inside, drawn without WebGL.

Kept beside nilearn's `plot_surf_stat_map`, which takes 2.4 s for four views by Matplotlib (here 0.03 s after the
first), and says of no pixel which vertex it shows.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboard.drawing import palette
from dashboard.drawing.colours import WIDER, Range, Style, colour_bar, levels, table
from dashboard.drawing.pictures import INK, QUIET, Picture, Text, beside, text_width, titled
from dashboard.drawing.surface_mesh import HEMISPHERES, Cortex, cortex, of_hemisphere

SIDES = ("lateral", "medial")
TILE = (470, 346)  # pixels across and down of one view
EDGES = 26, 14  # pixels beside the brain, where letters stand, and above it
TEXT = 39  # pixels; three pictures in a row shrink them to about 10 on a screen
NOTHING = 0xFFFF  # in an index of vertices: no brain
LIGHT = np.array([0.92, 0.25, 0.3])  # towards the eye, to the front, up; made a unit below
SHADOW, GYRUS, SULCUS, WALL = 0.45, 0.74, 0.46, 0.34  # brightness: away from the light, of anatomy


@dataclass(frozen=True)
class View:
    """What is seen of one hemisphere from one side: three vertices behind each pixel of the brain.

    Attributes:
        pixel: (pixels,) int32, number of the pixel in a tile, row by row.
        vertices: (pixels, 3) int16, the corners of the triangle that is seen there.
        weights: (pixels, 3) float32 of the corners, with the sum 1.
        grey: (pixels,) float32 brightness of the anatomy.
    """

    pixel: np.ndarray
    vertices: np.ndarray
    weights: np.ndarray
    grey: np.ndarray

    @property
    def nearest(self) -> np.ndarray:
        """The vertex that is nearest to each pixel, (pixels,)."""
        return np.take_along_axis(self.vertices, self.weights.argmax(axis=1)[:, None], axis=1)[:, 0]


def order(convention: str) -> tuple[str, ...]:
    """Return the hemispheres from left to right in the picture."""
    return HEMISPHERES if convention == "neurological" else HEMISPHERES[::-1]


def picture(
    values: np.ndarray, surface: str, style: Style, scale: Range, opacity: np.ndarray | None = None
) -> Picture:  # fmt: skip
    """Draw four views of a map on the cortex beside its colour bar: lateral above, medial below.

    Args:
        values: (vertices,) relevance, NaN where there is none.
        surface: inflated or pial.
        style, scale: as of sections; the plane does not matter.
        opacity: (vertices,) 0 to 1, which alpha is multiplied by.
    """
    heat = np.nan_to_num(values if style.signed else np.abs(values))
    width, height = TILE
    pixels = np.zeros((len(SIDES) * height, len(HEMISPHERES) * width, 3), np.uint8)
    texts: list[Text] = []
    for row, side in enumerate(SIDES):
        for column, hemisphere in enumerate(order(style.convention)):
            tile = _painted(view(surface, hemisphere, side), heat, style, scale, opacity)
            pixels[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
            texts += _letters(hemisphere, side, column * width, row * height)
    whole = Picture(pixels, tuple(texts))
    return beside([whole, colour_bar(whole.height, style, scale, TEXT)])


def to_take_away(drawn: Sequence[Picture], headings: Sequence[str], notes: Sequence[str]) -> Picture:
    """Put pictures side by side, each with its heading, and notes below them, for a file that stands alone."""
    size = 0.8 * TEXT
    whole = beside([titled(one, words, size) for one, words in zip(drawn, headings, strict=True)])
    for line in (line for note in notes for line in lines(note, 0.7 * size, whole.width - size)):
        whole = titled(whole, "", size, line)
    return whole


def lines(words: str, size: float, width: float) -> list[str]:
    """Break words into lines that are at most so many pixels wide, as far as single words allow.

    The letters of browsers and of PDF are somewhat wider than those of pixels.
    """
    found: list[str] = []
    for word in words.split():
        longer = f"{found[-1]} {word}" if found else word
        if found and WIDER * text_width(longer, size) <= width:
            found[-1] = longer
        else:
            found.append(word)
    return found


def index_of_vertices(surface: str, convention: str) -> np.ndarray:
    """Return (height, width) uint16: the vertex behind each pixel of the four views, NOTHING outside the brain."""
    rows = []
    for side in SIDES:
        tiles = []
        for hemisphere in order(convention):
            seen = view(surface, hemisphere, side)
            tile = np.full(TILE[0] * TILE[1], NOTHING, np.uint16)
            tile[seen.pixel] = seen.nearest
            tiles.append(tile.reshape(TILE[::-1]))
        rows.append(np.concatenate(tiles, axis=1))
    return np.concatenate(rows)


def strongest(values: np.ndarray) -> int | None:
    """Return the vertex of the largest |value|; None where no vertex has a value but 0."""
    size = np.nan_to_num(np.abs(values))
    return int(size.argmax()) if size.any() else None


@functools.lru_cache(maxsize=8)
def view(surface: str, hemisphere: str, side: str) -> View:
    """Return what is seen of one hemisphere of a surface from one side; made once, in 0.1 s, and then kept: 2 MB."""
    own = cortex()
    part = of_hemisphere(hemisphere)
    points = own.points(surface)[part].astype(np.float64)
    faces = own.faces[(own.faces >= part.start).all(axis=1) & (own.faces < part.stop).all(axis=1)] - part.start
    towards = 1.0 if (hemisphere == "right") == (side == "lateral") else -1.0  # x of the eye
    normals = _normals(points, faces)
    faces = faces[np.einsum("ij,ij->i", np.cross(*_edges(points, faces)), [[towards, 0, 0]]) > 0]
    flat, depth = _on_screen(points, surface, towards), towards * points[:, 0]
    pixel, triangle, weights = _rasterised(flat, depth, faces)
    corners = faces[triangle]
    light = normals @ ((LIGHT / np.linalg.norm(LIGHT)) * [towards, 1, 1])
    bright = (SHADOW + (1 - SHADOW) * np.clip(light, 0, 1)) * _anatomy(own, part)
    grey = np.einsum("ij,ij->i", bright[corners], weights)
    return View(
        pixel, (corners + part.start).astype(np.int16), weights.astype(np.float32), grey.astype(np.float32)
    )  # fmt: skip


def _edges(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    first, second, third = (points[faces[:, corner]] for corner in range(3))
    return second - first, third - first


def _normals(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Return (vertices, 3) unit vectors to the outside, the mean of the triangles around each vertex."""
    of_faces = np.cross(*_edges(points, faces))
    normals = np.stack(
        [
            sum(np.bincount(faces[:, corner], of_faces[:, axis], len(points)) for corner in range(3))
            for axis in range(3)
        ],
        axis=1,
    )
    return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)


def _anatomy(own: Cortex, part: slice) -> np.ndarray:
    """Return (vertices,) brightness: gyri bright, sulci dark, the medial wall darkest."""
    share = 0.5 + 0.5 * np.tanh(4 * own.depth[part])
    return np.where(own.medial_wall[part], WALL, GYRUS + share * (SULCUS - GYRUS))


def _on_screen(points: np.ndarray, surface: str, towards: float) -> np.ndarray:
    """Return (vertices, 2) pixels from the top left, on one scale for all views of a surface."""
    every = cortex().points(surface)
    low, high = every.min(axis=0), every.max(axis=0)
    room = np.array(TILE) - 2 * np.array(EDGES)
    scale = float((room / (high - low)[1:]).min())
    middle = (low + high)[1:] / 2
    across, down = (points[:, 1] - middle[0]) * towards, -(points[:, 2] - middle[1])
    return np.stack([across, down], axis=1) * scale + (np.array(TILE) - 1) / 2


def _rasterised(flat: np.ndarray, depth: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the triangle in front at every pixel of a tile.

    Every triangle is small, so all of them are asked at once whether they hold a pixel at the same place in their own
    box; of those that hold a pixel the one nearest to the eye stays.

    Args:
        flat: (vertices, 2) pixels. depth: (vertices,), larger is nearer. faces: (triangles, 3).

    Returns:
        pixel: (pixels,) sorted. triangle: (pixels,) of `faces`. weights: (pixels, 3) of its corners.
    """
    corners = flat[faces]
    first = np.ceil(corners.min(axis=1)).astype(int)
    span = np.floor(corners.max(axis=1)).astype(int) - first
    (ax, ay), (bx, by), (cx, cy) = (corners[:, c].T for c in range(3))
    area = (by - cy) * (ax - cx) + (cx - bx) * (ay - cy)
    found = []
    for right, down in np.ndindex(*(span.max(axis=0) + 1)):
        some = np.flatnonzero((span[:, 0] >= right) & (span[:, 1] >= down) & (np.abs(area) > 1e-9))
        x, y = first[some, 0] + right, first[some, 1] + down
        one = ((by - cy)[some] * (x - cx[some]) + (cx - bx)[some] * (y - cy[some])) / area[some]
        two = ((cy - ay)[some] * (x - cx[some]) + (ax - cx)[some] * (y - cy[some])) / area[some]
        weights = np.stack([one, two, 1 - one - two], axis=1)
        held = (weights >= -1e-9).all(axis=1) & (x >= 0) & (y >= 0) & (x < TILE[0]) & (y < TILE[1])
        found.append((y[held] * TILE[0] + x[held], some[held], weights[held]))
    pixel, triangle, weights = (np.concatenate(part) for part in zip(*found, strict=True))
    near = np.einsum("ij,ij->i", depth[faces[triangle]], weights)
    by_pixel = np.lexsort((-near, pixel))
    front = by_pixel[np.concatenate([[True], np.diff(pixel[by_pixel]) > 0])]
    return pixel[front].astype(np.int32), triangle[front], np.clip(weights[front], 0, 1)


def _painted(
    seen: View, heat: np.ndarray, style: Style, scale: Range, opacity: np.ndarray | None
) -> np.ndarray:  # fmt: skip
    """Colour one view: (height, width, 3) uint8, black around the brain."""
    at, weights = seen.vertices, seen.weights
    if style.smooth:
        value = (heat[at] * weights).sum(axis=1)
    else:
        at = seen.nearest
        value = heat[at]
    colours = table(style)[levels(value, scale) + palette.LEVELS]
    alpha = colours[:, 3]
    if opacity is not None:
        shares = np.nan_to_num(opacity)[at]
        alpha = alpha * ((shares * weights).sum(axis=1) if style.smooth else shares)
    grey = seen.grey[:, None]
    tile = np.zeros((TILE[0] * TILE[1], 3), np.uint8)
    tile[seen.pixel] = np.rint(255 * (grey + (colours[:, :3] - grey) * alpha[:, None]))
    return tile.reshape(TILE[1], TILE[0], 3)


def _letters(hemisphere: str, side: str, x: int, y: int) -> list[Text]:
    """Name a view, and where its front and back are."""
    front_at_left = (hemisphere == "left") == (side == "lateral")
    letters = ("A", "P") if front_at_left else ("P", "A")
    middle = y + TILE[1] / 2
    return [
        Text(x + 8, y + 6, f"{hemisphere.capitalize()}, {side}", 0.8 * TEXT, "lt", INK),
        Text(x + 4, middle, letters[0], 0.75 * TEXT, "lm", QUIET),
        Text(x + TILE[0] - 4, middle, letters[1], 0.75 * TEXT, "rm", QUIET),
    ]
