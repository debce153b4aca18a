"""Cached group averages and their pictures. What is kept is bounded in bytes, whatever the cohort and the grid."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import plotly.graph_objects as go
import streamlit as st

from dashboard.data import runs, workers
from dashboard.data.byte_cache import Bounded
from dashboard.data.runs import Run
from dashboard.data.selection import Selection
from dashboard.drawing import brain_maps, pictures, planes
from dashboard.drawing import glass as figures_3d
from dashboard.drawing.brain_maps import Brain, BrainMap, Places
from dashboard.drawing.pictures import ScreenPicture
from store import GroupMap, NotInRun
from store.export import nifti
from store.keys import GroupKey

VALUES = ("size", "signed", "spread")
SHARED_UNIT = "% of the map / cm3"
MIB = 1 << 20
MAPS_LIMIT, CUTS_LIMIT, GROUNDS_LIMIT, PICTURES_LIMIT, FIGURES_LIMIT = 26 * MIB, 6 * MIB, 4 * MIB, 6 * MIB, 2 * MIB
WIDTH = 512  # pixels that the sections of a picture share
SHARPEST = 3.0  # pixels a mm
TEXT = 23  # pixels; three pictures in a row shrink them to about 10 on a screen
WORKERS = 2  # pictures drawn at once
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Average:
    """Which group average.

    Attributes:
        selection: method, target and scans.
        value: size (|relevance|, for occlusions its positive part), signed (the mean) or spread (SD over scans).
        scale: margin, probability or relative; None: as in the run's own ranking of regions.
    """

    selection: Selection
    value: str = "size"
    scale: str | None = None


@dataclass(frozen=True)
class Drawing:
    """One picture of the grid: an average, or the difference of two, each times its factor."""

    averages: tuple[Average, ...]
    factors: tuple[float, ...]
    positions: tuple[float, ...]
    style: planes.Style
    scale: planes.Range


@st.cache_resource(show_spinner=False)
def _maps() -> Bounded[BrainMap]:
    return Bounded(MAPS_LIMIT, lambda kept: kept.bytes)


@st.cache_resource(show_spinner=False)
def _figures() -> Bounded[BrainMap]:
    return Bounded(FIGURES_LIMIT, lambda kept: kept.bytes)


@st.cache_resource(show_spinner=False)
def _differences() -> Bounded[np.ndarray]:
    return Bounded(FIGURES_LIMIT, lambda levels: levels.nbytes)


@st.cache_resource(show_spinner=False)
def _cuts() -> Bounded[np.ndarray]:
    return Bounded(CUTS_LIMIT, lambda planes: planes.nbytes)


@st.cache_resource(show_spinner=False)
def _grounds() -> Bounded[planes.Ground]:
    return Bounded(GROUNDS_LIMIT, lambda kept: kept.bytes)


@st.cache_resource(show_spinner=False)
def _pictures() -> Bounded[ScreenPicture]:
    return Bounded(PICTURES_LIMIT, lambda one: one.bytes)


@st.cache_resource(show_spinner=False)
def _pool() -> ThreadPoolExecutor:
    """One for all sessions: the memory that a thread has used stays with it."""
    return ThreadPoolExecutor(WORKERS)


@st.cache_resource(max_entries=2, show_spinner=False)
def anatomy(run: Run) -> planes.Anatomy:
    """The 1 mm template as the ground of pictures."""
    reader = runs.opened(run)
    return planes.Anatomy(reader.array("template"), reader.array("mask") > 0, reader.affine("template"), white=255)


@st.cache_resource(max_entries=2, show_spinner=False)
def brain(run: Run) -> Brain:
    """The brain on the working grid."""
    reader = runs.opened(run)
    return Brain.of(reader.mask, reader.affine())


@st.cache_resource(max_entries=4, show_spinner=False)
def sections(run: Run, plane: str, positions: tuple[float, ...]) -> planes.Sections:
    """The template cut at some positions."""
    return planes.sections(anatomy(run), plane, positions)


@st.cache_resource(max_entries=4, show_spinner=False)
def _places(run: Run, plane: str, positions: tuple[float, ...]) -> Places:
    return brain_maps.places(brain(run), plane, positions)


def extent(run: Run, plane: str) -> tuple[float, float]:
    """First and last mm of the brain across a plane."""
    found, axis = anatomy(run), planes.PLANES[plane][2]
    edges = found.box[axis].start, found.box[axis].stop - 1
    low, high = sorted(float(round(found.affine[axis, axis] * e + found.affine[axis, 3])) for e in edges)
    return low, high


# Small answers that a pass asks for a hundred times: Streamlit's caches would take longer than the pictures.
@functools.lru_cache(256)
def _average_of(run: Run, method: str, scale: str | None) -> tuple[str, str, str]:
    return runs.average_of(runs.opened(run), method, scale)


def measured(average: Average) -> tuple[str, str, str]:
    """Scale, statistic and unit of an average."""
    chosen = average.selection
    scale, statistic, unit = _average_of(chosen.run, chosen.method, average.scale)
    if average.value == "size":
        return scale, statistic, unit
    unit = unit.replace("|", "")
    return (scale, "mean", unit) if average.value == "signed" else (scale, "sd", f"SD, {unit}")


def header_words(average: Average) -> str:
    """Say what the numbers of `volume` are, short enough for the header of a NIfTI file."""
    scale, statistic, _ = measured(average)
    chosen = average.selection
    return nifti.average_words(runs.opened(chosen.run), chosen.method, statistic, scale)


@functools.lru_cache(256)
def _scales(run: Run, model_set: str, method: str) -> frozenset[str]:
    cells = runs.table(run, "cells")
    return frozenset(cells.scale[(cells.model_set == model_set) & (cells.method == method)])


@functools.lru_cache(16)
def diagnoses_of_groups(run: Run, model_set: str) -> dict[str, tuple[str, ...]]:
    """Group -> diagnoses whose scans form it."""
    reader = runs.opened(run)
    return {group: tuple(nifti.diagnoses_of(reader, model_set, group)) for group in reader.groups}


@functools.lru_cache(256)
def resolution(run: Run, model_set: str, method: str) -> str:
    """The true resolution of a method's heatmaps, in words."""
    reader, table = runs.opened(run), runs.table(run, "cells")
    cell = table[(table.model_set == model_set) & (table.method == method)].iloc[0]
    key = GroupKey(model_set, method, cell.target, cell.scale)
    attributes = reader.attributes(key.cell_path(cell.diagnosis, cell.predicted))
    step = abs(float(reader.affine()[0, 0]))
    return {
        "voxels": f"{step:g} mm voxels" if reader.is_gradient(method) else "segments of each scan",
        "positions": f"one value every {step * attributes.get('stride', 1):g} mm",
        "regions": "one value a region",
    }[cell.native_grid]


def is_stored(average: Average) -> bool:
    """Whether group cells answer: no filter but diagnosis and decision, and a scale in which the run has cells.

    Nor where such a filter takes some of the scans of a subject: in the cells they have the weights of all of them.
    """
    chosen = average.selection
    if chosen.needs_streaming:
        return False
    scale = measured(average)[0]
    if scale not in _scales(chosen.run, chosen.model_set, chosen.method):
        return False
    key = GroupKey(chosen.model_set, chosen.method, chosen.target, scale)
    return _cells_answer(chosen.run, key, chosen.scan_filter.diagnosis, chosen.scan_filter.correct)


@functools.lru_cache(256)
def _cells_answer(run: Run, key: GroupKey, diagnosis: tuple[str, ...] | None, correct: bool | None) -> bool:
    return runs.opened(run).cells_answer(key, diagnosis=diagnosis, correct=correct)


def is_ready(average: Average, style: planes.Style, positions: tuple[float, ...]) -> bool:
    """Whether an average can be drawn at these places without reading it."""
    return average in _figures() and (average, style.plane, positions, style.smooth) in _cuts()


def _question(average: Average) -> Callable[[Progress | None], GroupMap]:
    """What asks the store for an average; it asks nothing of the caches, so that it may run in any thread."""
    chosen = average.selection
    scale, statistic, _ = measured(average)
    key = GroupKey(chosen.model_set, chosen.method, chosen.target, scale)
    reader, group, wanted = runs.opened(chosen.run), chosen.scan_filter, [statistic]
    if is_stored(average):
        return lambda _: reader.group_map(key, diagnosis=group.diagnosis, correct=group.correct, statistics=wanted)
    rows = chosen.rows()
    pairs = list(zip(rows.model, rows.scan, strict=True))
    return lambda progress: reader.subset_map(key, pairs, statistics=wanted, progress=progress)


def _maker(average: Average) -> Callable[[Progress | None], BrainMap]:
    """What makes the kept map of an average, in any thread."""
    run, ask = average.selection.run, _question(average)
    scale, statistic, _ = measured(average)
    own, factor = brain(run), runs.per_cm3(runs.opened(run).affine()) if scale == "relative" else 1.0

    def make(progress: Progress | None) -> BrainMap:
        found = ask(progress)
        packed = brain_maps.pack(getattr(found, statistic), own, found.scans, found.subjects, factor)
        return replace(packed, without_relevance=found.without_relevance)

    return make


def volume(average: Average) -> np.ndarray:
    """(x, y, z) float32 of the average on the working grid, in the unit of the store, computed anew."""
    return getattr(_question(average)(None), measured(average)[1])


def figures(average: Average) -> BrainMap:
    """What is known of an average beside its voxels: numbers of scans and subjects, quantiles, peak. Without `data`."""
    return _figures().get(average, lambda: replace(_map(average), data=b""))


def _map(average: Average, progress: Progress | None = None) -> BrainMap:
    return _maps().get(average, lambda: _maker(average)(progress))


def make_ready(
    averages: Sequence[Average], style: planes.Style, positions: tuple[float, ...], progress: Progress | None = None
) -> dict[Average, str]:
    """Read what is needed to draw averages at some places; those that group cells answer, several at once.

    Returns:
        Average -> why it cannot be drawn: no scan remains.
    """
    waiting = [average for average in averages if not is_ready(average, style, positions)]
    unread = [average for average in waiting if is_stored(average) and average not in _maps()]
    answers = {}
    for average in unread:
        pool = workers.readers(average.selection.run.store, average.selection.run.run_id)
        answers[average] = pool.submit(_maps().get, average, partial(_maker(average), None))
    impossible = {}
    for average in waiting:
        try:
            if average in answers:
                answers[average].result()
            _map(average, progress)
            figures(average)
            _planes(average, style, positions)
        except NotInRun as error:
            impossible[average] = str(error)
    return impossible


@st.cache_data(max_entries=4, show_spinner=False)
def glass(averages: tuple[Average, ...], factors: tuple[float, ...], threshold: float, unit: str) -> go.Figure:
    """An average, or the difference of two, in a transparent brain."""
    own = brain(averages[0].selection.run)
    values = _map(averages[0]).values()[:-1] * np.float32(factors[0])
    if len(averages) == 2:
        values -= _map(averages[1]).values()[:-1] * np.float32(factors[1])
    return figures_3d.glass_brain(own.spread_out(values), own.mask, own.affine, threshold, unit, "")


def share_factor(average: Average) -> float:
    """Takes an average to SHARED_UNIT: in percent of its own sum of sizes, per cm3."""
    total = figures(average).total
    return 100 / (total * brain(average.selection.run).voxel_cm3) if total > 0 else 1.0


def levels(averages: Sequence[Average], factors: Sequence[float]) -> np.ndarray:
    """Quantiles of the size of an average, or of the difference of two, times their factors."""
    if len(averages) == 1:
        return figures(averages[0]).levels * np.float32(factors[0])
    key = (tuple(averages), tuple(factors))

    def make() -> np.ndarray:
        return brain_maps.difference_levels(_map(averages[0]), _map(averages[1]), (factors[0], factors[1]))

    return _differences().get(key, make)


def _planes(average: Average, style: planes.Style, positions: tuple[float, ...]) -> np.ndarray:
    """(positions, across, up) of one average; never to be changed."""

    def make() -> np.ndarray:
        cut = _places(average.selection.run, style.plane, positions)
        return cut.cut(_map(average).values(), smooth=style.smooth)

    return _cuts().get((average, style.plane, positions, style.smooth), make)


def _heat(drawing: Drawing) -> np.ndarray:
    """(positions, across, up) of a drawing; sizes, where its style is not signed."""
    cut = [_planes(average, drawing.style, drawing.positions) for average in drawing.averages]
    heat = cut[0] * np.float32(drawing.factors[0])
    if len(cut) == 2:
        heat -= cut[1] * np.float32(drawing.factors[1])
    return heat if drawing.style.signed else np.abs(heat)


def _arranged(drawing: Drawing) -> Callable[[], pictures.Picture]:
    """What draws a drawing; it asks nothing of the caches, so that it may run in any thread."""
    run = drawing.averages[0].selection.run
    cut, heat, affine = sections(run, drawing.style.plane, drawing.positions), _heat(drawing), brain(run).affine
    count = len(drawing.positions)
    columns = count if count <= 3 else -(-count // 2)
    wide = abs(float(cut.across_mm[-1] - cut.across_mm[0])) * columns
    sharp, style = min(SHARPEST, WIDTH / wide), drawing.style
    key = (run, style.plane, style.convention, drawing.positions, sharp)
    on = _grounds().get(key, lambda: planes.ground(cut, affine, style, sharp))
    layout = {"columns": columns, "text": TEXT, "small_print": False, "on": on}
    return lambda: planes.arrange(cut, heat, affine, style, drawing.scale, **layout)


def picture(drawing: Drawing) -> pictures.Picture:
    """A drawing as pixels and words."""
    return _arranged(drawing)()


def on_screen(drawings: Sequence[Drawing]) -> list[ScreenPicture]:
    """Drawings for the page, several at once; what is saved is drawn as PNG."""
    kept = _pictures()
    # What is kept is taken first: the new ones, of this session or another, may push it out before the end.
    found = {drawing: one for drawing in drawings if (one := kept.found(drawing)) is not None}
    made = {
        drawing: _pool().submit(_drawn, kept, drawing, _arranged(drawing))
        for drawing in drawings
        if drawing not in found
    }
    return [found[drawing] if drawing in found else made[drawing].result() for drawing in drawings]


def _drawn(kept: Bounded[ScreenPicture], drawing: Drawing, draw: Callable[[], pictures.Picture]) -> ScreenPicture:
    return kept.get(drawing, lambda: ScreenPicture.of(draw()))
