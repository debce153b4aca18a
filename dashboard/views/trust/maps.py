"""Group averages of a simulated run as small pictures, the outline of the visible change on each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import streamlit as st

from dashboard.data import averages as data_averages
from dashboard.data import runs
from dashboard.data.anatomy import anatomy, brain
from dashboard.data.averages import Average
from dashboard.data.runs import Run
from dashboard.data.selection import ScanFilter, Selection
from dashboard.drawing import brain_maps, pictures, planes
from dashboard.drawing.brain_maps import BrainMap
from dashboard.drawing.pictures import ScreenPicture
from dashboard.text.formatting import method_name
from dashboard.views.shared import average_pictures
from store import NotInRunError
from store.reading.truth import has_truth, visible_change
from store.spec import TRUTH_VISIBLE

CHANGE = "change"  # in the place of a method: the visible change itself
CHANGE_UNIT = "intensity, white matter 1"
TEXT = 19  # pixels; four pictures in a row shrink them to about 10 on a screen
SHARP = 2.4  # pixels a mm


@dataclass(frozen=True)
class Cut:
    """Where all pictures are cut and where their colour starts.

    Attributes:
        percentile: of the brain, where colour starts.
    """

    plane: str
    mm: float
    percentile: float

    @property
    def style(self) -> planes.Style:
        return planes.Style(self.plane)


@st.cache_resource(max_entries=4, show_spinner=False)
def _change(run: Run) -> BrainMap:
    """Return the mean visible change of the patients, packed as averages are."""
    return brain_maps.pack(visible_change(runs.opened(run)), brain(run), 0, 0)


def is_known(run: Run) -> bool:
    """Say whether the run knows where its change was imposed."""
    return has_truth(runs.opened(run))


def has_change(run: Run) -> bool:
    """Say whether the run has the visible change as a map; runs before version 1.3 of the store have not."""
    return runs.opened(run).has_array(TRUTH_VISIBLE.path)


def peak_mm(run: Run, plane: str) -> float:
    """Return the whole mm of the plane that holds most of the truth."""
    own = brain(run)
    through = planes.PLANES[plane][2]
    volume = own.spread_out(average_pictures.imposed(run)[:-1])
    slices = volume.sum(axis=tuple(axis for axis in range(3) if axis != through))
    return float(round(own.affine[through, through] * int(slices.argmax()) + own.affine[through, 3]))


def averages(run: Run, methods: Sequence[str], diagnoses: tuple[str, ...]) -> dict[str, Average]:
    """Return method -> the average of the patients of the fixed test set, as evidence for the positive group."""
    positive = runs.manifest(run)["groups"][0]
    return {
        method: Average(Selection(run, "holdout", method, positive, ScanFilter(diagnosis=diagnoses)))
        for method in methods
    }


def _map_of(run: Run, key: str, asked: dict[str, Average]) -> BrainMap:
    return _change(run) if key == CHANGE else data_averages.brain_map(asked[key])


def pictures_of(run: Run, asked: dict[str, Average], cut: Cut, with_change: bool) -> dict[str, pictures.Picture]:
    """Draw a picture a map, the visible change first; averages of no scan are left out."""
    keys = [CHANGE] if with_change else []
    for method, average in asked.items():
        try:
            data_averages.brain_map(average)
        except NotInRunError:
            continue
        keys.append(method)
    own, positions = brain(run), (cut.mm,)
    place = brain_maps.places(own, cut.plane, positions)
    sections = average_pictures.sections(run, cut.plane, positions)
    on = planes.background(sections, own.affine, cut.style, SHARP)
    outline = place.cut(average_pictures.imposed(run), smooth=True)
    layout = planes.Layout(pixels_per_mm=SHARP, text=TEXT, small_print=False, on=on, outline=outline)
    drawn = {}
    for key in keys:
        found = _map_of(run, key, asked)
        # Without its unit, which would lie on the numbers of so small a bar: it stands below the picture.
        scale = brain_maps.colour_range([found.levels], "", cut.percentile)
        heat = np.abs(place.cut(found.values(), smooth=True))
        drawn[key] = planes.arrange(sections, heat, own.affine, cut.style, scale, layout)
    return drawn


@st.cache_data(max_entries=48, show_spinner=False)
def on_screen(run: Run, methods: tuple[str, ...], diagnoses: tuple[str, ...], cut: Cut) -> dict[str, ScreenPicture]:
    """Draw the pictures for the page: method, or CHANGE -> picture."""
    drawn = pictures_of(run, averages(run, methods, diagnoses), cut, has_change(run))
    return {key: ScreenPicture.of(picture) for key, picture in drawn.items()}


def name_of(key: str) -> str:
    """Return what a picture shows."""
    return "Visible change" if key == CHANGE else method_name(key)


def unit_of(run: Run, key: str) -> str:
    """Return the unit of the colour bar of a picture."""
    if key == CHANGE:
        return CHANGE_UNIT
    return runs.average_of(runs.opened(run), key)[2]


def sheet(
    run: Run, methods: Sequence[str], diagnoses: tuple[str, ...], cut: Cut, title: str, note: str
) -> pictures.Picture:  # fmt: skip
    """Draw all pictures as one, for a file."""
    drawn = pictures_of(run, averages(run, methods, diagnoses), replace(cut), has_change(run))
    tiles = [
        pictures.titled(picture, f"{name_of(key)}, {unit_of(run, key)}", TEXT)
        for key, picture in drawn.items()
    ]  # fmt: skip
    rows = [pictures.beside(tiles[place : place + 4]) for place in range(0, len(tiles), 4)]
    return pictures.titled(pictures.below(rows), title, TEXT + 4, note)


def outlined(run: Run) -> str:
    """Say what the outline is of."""
    if has_change(run):
        return "where the imposed change is visible, on average over the patients"
    return "where tissue was changed, by the imposed log-Jacobian, which shows at its borders alone"


def extent(run: Run, plane: str) -> tuple[int, int]:
    """Return the first and the last whole mm of the brain across a plane."""
    ground, axis = anatomy(run), planes.PLANES[plane][2]
    edges = ground.box[axis].start, ground.box[axis].stop - 1
    ends = sorted(round(float(ground.affine[axis, axis] * e + ground.affine[axis, 3])) for e in edges)
    return ends[0], ends[1]
