"""Group averages as pictures: sections over the template and a glass brain, kept within bounds in bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from dashboard.data import byte_cache, runs
from dashboard.data.anatomy import anatomy, brain
from dashboard.data.averages import MIB, Average, Progress, brain_map, combined, is_known, read_all
from dashboard.data.byte_cache import ByteCache
from dashboard.data.runs import Run
from dashboard.drawing import brain_maps, pictures, planes
from dashboard.drawing.brain_maps import VoxelIndices
from dashboard.drawing.glass import glass_brain
from dashboard.drawing.pictures import ScreenPicture
from store.reading.truth import voxel_truth

CUTS_LIMIT, GROUNDS_LIMIT, PICTURES_LIMIT = 6 * MIB, 4 * MIB, 6 * MIB
WIDTH = 512  # pixels that the sections of a picture share
SHARPEST = 3.0  # pixels a mm
TEXT = 23  # pixels; three pictures in a row shrink them to about 10 on a screen
WORKERS = 2  # pictures drawn at once


@dataclass(frozen=True)
class Drawing:
    """One picture of the grid: an average, or the difference of two, each times its factor.

    Attributes:
        opacity: an average of shares, 0 to 1, which the alpha of every colour is multiplied by; None: nothing.
        outline: what was imposed on the simulated patients of the run is outlined.
    """

    averages: tuple[Average, ...]
    factors: tuple[float, ...]
    positions: tuple[float, ...]
    style: planes.Style
    scale: planes.Range
    opacity: Average | None = None
    outline: bool = False


_cuts = functools.partial(byte_cache.shared, "cuts of averages", CUTS_LIMIT)  # ByteCache[np.ndarray]
_grounds = functools.partial(byte_cache.shared, "backgrounds", GROUNDS_LIMIT)  # ByteCache[planes.Background]
_pictures = functools.partial(byte_cache.shared, "pictures of averages", PICTURES_LIMIT)  # ByteCache[ScreenPicture]


@st.cache_resource(show_spinner=False)
def _pool() -> ThreadPoolExecutor:
    """Return one pool of threads for all sessions: the memory that a thread has used stays with it."""
    return ThreadPoolExecutor(WORKERS)


@st.cache_resource(max_entries=4, show_spinner=False)
def sections(run: Run, plane: str, positions: tuple[float, ...]) -> planes.Sections:
    """Cut the template at some positions."""
    return planes.sections(anatomy(run), plane, positions)


@st.cache_resource(max_entries=4, show_spinner=False)
def _places(run: Run, plane: str, positions: tuple[float, ...]) -> VoxelIndices:
    return brain_maps.places(brain(run), plane, positions)


@st.cache_resource(max_entries=4, show_spinner=False)
def imposed(run: Run) -> np.ndarray:
    """Return the binary truth of the cohort over the brain's voxels, (voxels + 1,) float32; 0 outside the brain."""
    found = brain(run).inside(voxel_truth(runs.opened(run)).binary)
    return np.append(found.astype(np.float32), np.float32(0))


def is_ready(average: Average, style: planes.Style, positions: tuple[float, ...]) -> bool:
    """Say whether an average can be drawn at these positions without reading it."""
    return is_known(average) and (average, style.plane, positions, style.smooth) in _cuts()


def make_ready(
    averages: Sequence[Average], style: planes.Style, positions: tuple[float, ...], progress: Progress | None = None
) -> dict[Average, str]:
    """Read what is needed to draw averages at some positions; those that group cells answer, several at once.

    Returns:
        Average -> why it cannot be drawn: no scan remains.
    """
    waiting = [average for average in averages if not is_ready(average, style, positions)]
    return read_all(waiting, progress, lambda average: _planes(average, style, positions))


@st.cache_data(max_entries=4, show_spinner=False)
def glass(averages: tuple[Average, ...], factors: tuple[float, ...], threshold: float, unit: str) -> go.Figure:
    """Draw an average, or the difference of two, in a transparent brain."""
    own = brain(averages[0].selection.run)
    values = combined(averages, factors)
    return glass_brain(own.spread_out(values), own.mask, own.affine, threshold, unit, "")


def _planes(average: Average, style: planes.Style, positions: tuple[float, ...]) -> np.ndarray:
    """Return the sections of one average, (positions, across, up); never to be changed."""

    def make() -> np.ndarray:
        cut = _places(average.selection.run, style.plane, positions)
        return cut.cut(brain_map(average).values(), smooth=style.smooth)

    return _cuts().get((average, style.plane, positions, style.smooth), make)


def _heat(drawing: Drawing) -> np.ndarray:
    """Return the sections of a drawing, (positions, across, up); sizes, where its style is not signed."""
    cut = [_planes(average, drawing.style, drawing.positions) for average in drawing.averages]
    heat = cut[0] * np.float32(drawing.factors[0])
    if len(cut) == 2:
        heat -= cut[1] * np.float32(drawing.factors[1])
    return heat if drawing.style.signed else np.abs(heat)


def _prepare(drawing: Drawing) -> Callable[[], pictures.Picture]:
    """Return the function that draws; it asks nothing of the caches, so that it may run in any thread."""
    run = drawing.averages[0].selection.run
    cut, heat, affine = sections(run, drawing.style.plane, drawing.positions), _heat(drawing), brain(run).affine
    count = len(drawing.positions)
    columns = count if count <= 3 else -(-count // 2)
    wide = abs(float(cut.across_mm[-1] - cut.across_mm[0])) * columns
    sharp, style = min(SHARPEST, WIDTH / wide), drawing.style
    key = (run, style.plane, style.convention, drawing.positions, sharp)
    on = _grounds().get(key, lambda: planes.background(cut, affine, style, sharp))
    opacity = None if drawing.opacity is None else _planes(drawing.opacity, style, drawing.positions)
    outline = None
    if drawing.outline:
        outline = _places(run, style.plane, drawing.positions).cut(imposed(run), smooth=True)
    layout = planes.Layout(
        columns=columns, pixels_per_mm=sharp, text=TEXT, small_print=False, on=on, opacity=opacity, outline=outline
    )  # fmt: skip
    return lambda: planes.arrange(cut, heat, affine, style, drawing.scale, layout)


def picture(drawing: Drawing) -> pictures.Picture:
    """Draw as pixels and words."""
    return _prepare(drawing)()


def on_screen(drawings: Sequence[Drawing]) -> list[ScreenPicture]:
    """Draw pictures for the page, several at once; what is saved is drawn as PNG."""
    kept = _pictures()
    # What is kept is taken first: the new ones, of this session or another, may push it out before the end.
    found = {drawing: one for drawing in drawings if (one := kept.found(drawing)) is not None}
    made = {
        drawing: _pool().submit(_drawn, kept, drawing, _prepare(drawing))
        for drawing in drawings
        if drawing not in found
    }
    return [found[drawing] if drawing in found else made[drawing].result() for drawing in drawings]


def _drawn(kept: ByteCache[ScreenPicture], drawing: Drawing, draw: Callable[[], pictures.Picture]) -> ScreenPicture:
    return kept.get(drawing, lambda: ScreenPicture.of(draw()))
