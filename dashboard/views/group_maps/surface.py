"""The maps of one method on the cortical surface: every group and their difference, as the sections are drawn."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import streamlit as st

from dashboard.data import averages as data_averages
from dashboard.data.runs import Run
from dashboard.data.selection import Selection
from dashboard.shell import notices, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.viewer.surface import Place
from dashboard.views.group_maps import look_words, peaks
from dashboard.views.shared import map_grid, surface_maps, surface_view
from dashboard.views.shared.average_pictures import Drawing
from dashboard.views.shared.map_grid import Panel
from dashboard.views.shared.surface_view import SurfaceMap


def section(selection: Selection, drawn: Mapping[Panel, Drawing]) -> list[Download]:
    """Show the method chosen at the left on the surface, on request; return the files."""
    method = formatting.method_name(selection.method)
    box = url_state.fold("g_surface_open", f"On the surface and through a glass brain: {method}")
    if box is None:
        return []
    own = {panel: drawing for panel, drawing in drawn.items() if panel.method == selection.method}
    if not own:
        box.info(f"{method} has no map above: choose it under Methods, or another one at the left.")
        return []
    shape, plane = surface_view.choose_surface("g_", box), next(iter(own.values())).style.plane
    with box, st.spinner("Opening the surface"):
        maps = [_map(selection, panel, drawing) for panel, drawing in own.items()]
        surface_view.show(box, selection.run, maps, shape, "g-surface", functools.partial(_lead, selection.run, plane))
    name = f"{selection.run.run_id}_{selection.model_set}_{selection.method}_{selection.target}"
    return surface_view.files(
        name, selection.run, maps, shape, [map_grid.note_of_pictures(selection).removesuffix(notices.RESEARCH_ONLY)]
    )


def _lead(run: Run, plane: str, place: Place) -> None:
    """Bring the slices and the crosshair of the page to a place on the cortex."""
    url_state.set_before_next_pass(peaks.led_to(run, place, plane))


def _map(selection: Selection, panel: Panel, drawing: Drawing) -> SurfaceMap:
    """Return a picture of the grid on the surface."""
    who = "difference of the groups, own scale" if panel.is_difference else f"group average, {panel.people()}"
    opacity = None if drawing.opacity is None else surface_maps.of_averages((drawing.opacity,), (1.0,))

    def voxels() -> tuple[np.ndarray, np.ndarray | None]:
        shares = None if drawing.opacity is None else data_averages.combined((drawing.opacity,), (1.0,))
        return data_averages.combined(drawing.averages, drawing.factors), shares

    values = surface_maps.of_averages(drawing.averages, drawing.factors)
    key, caption = (drawing.averages, drawing.factors), f"{look_words.line(selection, who, panel.method)}."
    return SurfaceMap(key, panel.heading, caption, values, drawing.style, drawing.scale, voxels, opacity)
