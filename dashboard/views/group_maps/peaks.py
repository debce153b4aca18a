"""Where two sets of heatmaps differ: the peak in words, the clusters as a list that jumps there, and a picture."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import byte_cache, runs
from dashboard.data.anatomy import anatomy, brain, extent
from dashboard.data.averages import MIB, Average, measured
from dashboard.data.comparison import ALPHA, Difference
from dashboard.data.runs import Run
from dashboard.drawing import brain_maps, planes
from dashboard.drawing.pictures import ScreenPicture
from dashboard.drawing.planes import Range
from dashboard.shell import display, url_state
from dashboard.text import formatting
from dashboard.views.group_maps import linked_viewer, slices
from dashboard.views.shared import region_values, viewer_link
from dashboard.views.shared.map_controls import MapStyle
from store.export import interactive

PLACE = "g_place"  # of the picture, in the link: mm joined by underscores, or PEAK
PEAK = "peak"
SHARP, TEXT = 3.0, 20
ROWS_SEEN = 8  # of the list, without scrolling in it
LIMIT = MIB
Place = tuple[float, float, float]


@dataclass(frozen=True)
class Compared:
    """A test of two averages and what its two sets are called."""

    found: Difference
    first: Average
    second: Average
    names: tuple[str, str]

    @property
    def run(self) -> Run:
        return self.first.selection.run


_kept = functools.partial(byte_cache.shared, "clusters of tests", LIMIT)  # ByteCache[pd.DataFrame]


def volume(run: Run, packed: brain_maps.BrainMap, around: float) -> np.ndarray:
    """Return a map of a test on the working grid, (x, y, z) float32, with a value around the brain."""
    own = brain(run)
    whole = np.full(runs.opened(run).mask.shape, np.float32(around))
    whole[own.box] += own.spread_out(packed.values()[:-1] - np.float32(around))
    return whole


def clusters(compared: Compared) -> pd.DataFrame:
    """Return the clusters of p < 0.05 with their peaks, as `interactive.clusters`, and p (family-wise) at each peak."""

    def make() -> pd.DataFrame:
        run, found = compared.run, compared.found
        reader, affine = runs.opened(run), runs.opened(run).affine()
        title = f"t, {compared.names[0]} against {compared.names[1]}, {measured(compared.first)[2]}"
        t, p = volume(run, found.t, 0.0), volume(run, found.p, 1.0)
        table = interactive.clusters(reader, interactive.ShownMap(t, found.critical, title, two_sided=True))
        mm = table[["x_mm", "y_mm", "z_mm"]].to_numpy(float)
        voxels = np.rint((mm - affine[:3, 3]) / np.diag(affine)[:3]).astype(int)
        return table.assign(p=p[tuple(voxels.T)], critical_t=found.critical)

    return _kept().get((compared.first, compared.second), make)


def place_of_peak(run: Run, packed: brain_maps.BrainMap) -> Place:
    """Return the middle of the block, position or region with the largest |t|, in mm.

    It is the voxel of the unit that is nearest to its centre, for a region may bend around its own.
    """
    own = brain(run)
    size = np.abs(packed.values()[:-1])
    voxels = np.argwhere(own.mask)[size >= size.max()]
    middle = voxels[np.square(voxels - voxels.mean(axis=0)).sum(axis=1).argmin()]
    x, y, z = (float(v) for v in own.affine[:3, :3] @ middle + own.affine[:3, 3])
    return x, y, z


def mm(place: Place) -> str:
    """Write a place as (−26, −18, −16) mm."""
    return f"({', '.join(f'{v:.0f}' for v in place)}) mm".replace("-", "−")


def in_words(compared: Compared) -> str:
    """Say where the largest difference is, how large it is, and who has more, as Markdown."""
    run, found = compared.run, compared.found
    place = place_of_peak(run, found.t)
    reader = runs.opened(run)
    region = region_values.region_at(reader.atlas, reader.affine(), runs.table(run, "regions"), place)
    where = f"{formatting.plain(region)}, MNI " if region != formatting.NONE else "outside the atlas, MNI "
    t = f"{found.t.peak:.2f}".replace("-", "−")
    more = formatting.plain(compared.names[0 if found.t.peak > 0 else 1])
    return f"Largest difference: {where}{mm(place)}, t = {t}, p = {found.smallest:.3f}; {more} has more there."


def show(box: DeltaGenerator, compared: Compared, look: MapStyle) -> None:
    """List the clusters, and draw t where p < 0.05 through the chosen one; through the peak at first."""
    table = clusters(compared)
    chosen = url_state.value(PLACE, PEAK, _place) or place_of_peak(compared.run, compared.found.t)
    left, right = box.columns([1, 1.2], gap="medium")
    _picture(left, compared, look, chosen)
    count = int(table["cluster_mm3"].notna().sum())
    right.markdown(f"**{formatting.count(count, 'cluster')}** with p < {ALPHA:g}. A row leads the slices there.")
    shown = pd.DataFrame({
        "": table["cluster"],
        "Region": [formatting.region_name(region) or formatting.NONE for region in table["region"]],
        "MNI, mm": [", ".join(f"{v:.0f}" for v in row) for row in _places(table)],
        "t": table["value"], "p": table["p"], "cm³": table["cluster_mm3"] / 1000,
    })  # fmt: skip
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    display.grid(
        right, shown, key="g-clusters", selection_mode="single-row",
        on_select=lambda: _jump(compared.run, table, look.style.plane), height=36 * (1 + min(len(shown), ROWS_SEEN)),
        columns={
            "": text(width=40), "MNI, mm": text(width=90), "t": number(format="%.2f", width=55),
            "p": number(format="%.3f", width=55), "cm³": number(format="%.2f", width=55),
        },
    )  # fmt: skip
    right.caption("Letters are further peaks of a cluster. All of it: Download, A against B, clusters.")


def _places(table: pd.DataFrame) -> list[Place]:
    return [(float(x), float(y), float(z)) for x, y, z in table[["x_mm", "y_mm", "z_mm"]].to_numpy()]


def _jump(run: Run, table: pd.DataFrame, plane: str) -> None:
    """Move the test’s picture, the page’s slices and the viewer’s crosshair to the cluster of the chosen row."""
    rows = st.session_state["g-clusters"]["selection"]["rows"]
    if not rows:
        return
    place = _places(table)[rows[0]]
    url_state.set_before_next_pass({PLACE: "_".join(f"{v:g}" for v in place), **led_to(run, place, plane)})


def led_to(run: Run, place: Place, plane: str) -> dict[str, str]:
    """Return what brings the slices and the crosshair of the page to a place, for `set_before_next_pass`."""
    low, high = extent(run, plane)
    centre = min(max(round(place[planes.PLANES[plane][2]]), int(low)), int(high))
    return {**slices.led_to(plane, centre), **viewer_link.led_to(linked_viewer.PREFIX, place)}


def _place(text: str) -> Place | None:
    """Read a place from the link; None for the peak."""
    if text == PEAK:
        return None
    try:
        x, y, z = (float(part) for part in text.split("_"))
    except ValueError:
        raise ValueError(f"write {PEAK}, or three numbers of mm, as in -26_-18_-16") from None
    if not all(abs(v) < 200 for v in (x, y, z)):
        raise ValueError("these mm are outside the head")
    return x, y, z


def _picture(box: DeltaGenerator, compared: Compared, look: MapStyle, place: Place) -> None:
    """Draw t where p < 0.05, in the three planes through a place."""
    run, found, own = compared.run, compared.found, brain(compared.run)
    top = max(abs(found.t.peak), found.critical * 1.01)
    style = replace(look.style, smooth=False, signed=True)
    drawn = planes.orthogonal(
        planes.sections_at(anatomy(run), place), own.spread_out(found.t.values()[:-1]), own.affine, style,
        Range(found.critical, top, "t"), planes.Layout(pixels_per_mm=SHARP, text=TEXT, small_print=False),
    )  # fmt: skip
    first, second = compared.names
    words = f"t, warm: {first} has more; cool: {second} has more; coloured where p < {ALPHA:g}"
    display.brain_picture(box, ScreenPicture.of(drawn), words, f"Three sections of the brain through {mm(place)}.")
