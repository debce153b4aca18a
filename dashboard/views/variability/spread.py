"""Where the heatmaps of patients differ: the standard deviation over them, on slices of the brain."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace

import streamlit as st

from dashboard.data import averages as data_averages
from dashboard.data.averages import Average
from dashboard.drawing import planes
from dashboard.shell import page
from dashboard.shell.display import brain_picture
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.shared import average_pictures, map_controls, map_grid
from dashboard.views.shared.average_pictures import Drawing
from dashboard.views.shared.map_controls import MapStyle
from dashboard.views.shared.map_grid import Panel
from dashboard.views.variability.patients import Patients


def show(patients: Patients) -> list[Download]:
    """Show the controls, a map a diagnosis, and how to read it."""
    look = _look(patients)
    averages = _averages(patients, look)
    panels = map_grid.panels(patients.selection.method, averages, list(averages), look)
    drawn = map_grid.drawings(panels, look, {})
    places = st.columns(max(len(drawn), 2))
    for place, panel, picture in zip(places, drawn, average_pictures.on_screen(list(drawn.values())), strict=False):
        caption = f"{panel.heading}, SD over {panel.people().removeprefix('n = ')}"
        brain_picture(place, picture, caption, map_grid.description(panel, look))
    selection = patients.selection
    fine = data_averages.resolution(selection.run, selection.model_set, selection.method)
    st.caption(f"{map_controls.small_print(look)} True resolution: {fine}.")
    page.how_to_read(
        "A bright place is one where the heatmaps of the patients differ much from each other; where it is dark, they "
        "agree. All groups share one scale.",
        r"s(v) = \sqrt{\frac{\sum_i w_i\, h_i(v)^2}{\sum_i w_i} - \bar h(v)^2},\quad "
        r"w_i = \frac{1}{\text{explained scans of the subject}}",
        "h is signed relevance; for gradients each scan is divided by its sum of |h| first, as in the run's own group "
        "averages. Other methods side by side: Group maps, More, Spread.",
    )  # fmt: skip
    return _downloads(patients, drawn) if drawn else []


def _look(patients: Patients) -> MapStyle:
    """Choose how the maps are drawn."""
    selection = patients.selection
    columns = st.columns([1.5, 1.5, 1.2, 1.2, 0.7], vertical_alignment="bottom", gap="small")
    plane, positions = map_controls.choose_sections("v_", selection.run, columns)
    start = map_controls.choose_percentile("v_", columns[3])
    with columns[4].popover("More", width="stretch"):
        smooth, colours, convention = map_controls.choose_drawing("v_")
    style = planes.Style(plane, smooth, colours, convention=convention)
    return MapStyle(style, positions, "spread", None, False, start, False, (selection.method,))


def _averages(patients: Patients, look: MapStyle) -> dict[str, Average]:
    """Return diagnosis -> its spread, read with progress where the stored sums do not answer."""
    selection, bar = patients.selection, st.empty()
    wanted = {
        diagnosis: Average(selection.of(scan_filter=replace(selection.scan_filter, diagnosis=(diagnosis,))), look.value)
        for diagnosis in patients.diagnoses
    }

    def step(done: int, count: int) -> None:
        bar.progress(done / count, f"Reading the heatmaps of a diagnosis: {done} of {count}")

    impossible = average_pictures.make_ready(list(wanted.values()), look.style, look.positions, step)
    bar.empty()
    for diagnosis, average in wanted.items():
        if average in impossible:
            st.info(f"**{formatting.plain(diagnosis)}**: {formatting.plain(impossible[average])}")
    return {diagnosis: average for diagnosis, average in wanted.items() if average not in impossible}


def _downloads(patients: Patients, drawn: Mapping[Panel, Drawing]) -> list[Download]:
    """Return the maps as pictures and as NIfTI."""
    selection, name = patients.selection, f"{patients.file}_spread"
    title = f"{selection.run.run_id}: spread (SD) of relevance, evidence for {selection.evidence_as_text()}"
    note = map_grid.note_of_pictures(selection)
    maps = [
        Download.nifti(
            f"{panel.heading}, NIfTI", f"{name}_{panel.heading}_{data_averages.measured(panel.averages[0])[0]}",
            functools.partial(map_grid.nifti_of, panel),
        )
        for panel in drawn
    ]  # fmt: skip
    return [*map_grid.picture_files("Maps", name, lambda: map_grid.sheet(drawn, title, note)), *maps]
