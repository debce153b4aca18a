"""The maps of one method on the cortical surface: every group and their difference, as the sections are drawn."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import streamlit as st

from dashboard.data import averages as data_averages
from dashboard.data import runs
from dashboard.data.selection import Selection
from dashboard.shell import notices, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
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
    shape = surface_view.choose_surface("g_", box)
    with box, st.spinner("Opening the surface"):
        maps = [_map(selection, panel, drawing) for panel, drawing in own.items()]
        surface_view.show(box, selection.run, maps, shape, "g-surface")
    name = f"{selection.run.run_id}_{selection.model_set}_{selection.method}_{selection.target}"
    return surface_view.files(
        name, selection.run, maps, shape, [map_grid.note_of_pictures(selection).removesuffix(notices.RESEARCH_ONLY)]
    )


def _map(selection: Selection, panel: Panel, drawing: Drawing) -> SurfaceMap:
    """Return a picture of the grid on the surface."""
    run, manifest = selection.run, runs.manifest(selection.run)
    who = "difference of the groups, own scale" if panel.is_difference else f"group average, {panel.people()}"
    parts = [
        *(["SIMULATED"] if manifest["simulated"] else []), who, formatting.method_name(panel.method),
        f"evidence for {selection.evidence_as_text()}", f"run {run.run_id}", f"made {manifest['created'][:10]}",
    ]  # fmt: skip
    opacity = None if drawing.opacity is None else surface_maps.of_averages((drawing.opacity,), (1.0,))

    def voxels() -> tuple[np.ndarray, np.ndarray | None]:
        shares = None if drawing.opacity is None else data_averages.combined((drawing.opacity,), (1.0,))
        return data_averages.combined(drawing.averages, drawing.factors), shares

    values = surface_maps.of_averages(drawing.averages, drawing.factors)
    key, caption = (drawing.averages, drawing.factors), f"{' · '.join(parts)}."
    return SurfaceMap(key, panel.heading, caption, values, drawing.style, drawing.scale, voxels, opacity)
