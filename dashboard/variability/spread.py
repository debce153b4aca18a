"""Where the heatmaps of patients differ: the standard deviation over them, on slices of the brain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from dashboard import group_grid, map_controls, page, queries, queries_maps, state, states
from dashboard.figures import pictures, planes, words
from dashboard.group_grid import Panel
from dashboard.map_controls import Look
from dashboard.page import Download
from dashboard.queries_maps import Average, Drawing
from dashboard.variability.patients import Patients
from store import NotInRun, export


def show(patients: Patients) -> list[Download]:
    """The controls, a map a diagnosis, and how to read it."""
    look = _look(patients)
    averages = _averages(patients)
    panels = group_grid.panels(patients.selection.method, averages, list(averages), look)
    drawn = group_grid.drawings(panels, look, {})
    places = st.columns(max(len(drawn), 2))
    for place, panel, png in zip(places, drawn, queries_maps.pngs(list(drawn.values())), strict=False):
        caption = f"{panel.heading}, SD over {panel.people().removeprefix('n = ')}"
        place.image(png, width="stretch", caption=caption)
    page.how_to_read(
        "A bright place is one where the heatmaps of the patients differ much from each other; where it is dark, they "
        "agree. All groups share one scale.",
        r"s(v) = \sqrt{\frac{\sum_i w_i\, h_i(v)^2}{\sum_i w_i} - \bar h(v)^2},\quad "
        r"w_i = \frac{1}{\text{explained scans of the subject}}",
        "h is signed relevance; for gradients each scan is divided by its sum of |h| first, as in the run's own group "
        "averages. Other methods side by side: Group maps, More, Spread.",
    )  # fmt: skip
    return _downloads(patients, drawn, averages) if drawn else []


def _look(patients: Patients) -> Look:
    selection = patients.selection
    columns = st.columns([1.5, 1.5, 1.2, 1.2, 0.7], vertical_alignment="bottom", gap="small")
    plane, positions = map_controls.choose_sections("v_", selection.run, columns)
    start = state.slide(
        "v_from", "Threshold", 0.0, 99.0, 50.0, 1.0, place=columns[3], format="%d %%",
        help="Colour starts at this percentile of the values in the brain.",
    )  # fmt: skip
    with columns[4].popover("More", width="stretch"):
        smooth, colours, convention = map_controls.choose_drawing("v_")
    style = planes.Style(plane, smooth, colours, convention=convention)
    return Look(style, positions, "spread", None, False, start, False, (selection.method,))


def _averages(patients: Patients) -> dict[str, Average]:
    """Diagnosis -> its spread, read with progress where the stored sums do not answer."""
    selection, bar, found = patients.selection, st.empty(), {}
    for diagnosis in patients.diagnoses:
        average = Average(selection.of(whom=replace(selection.whom, diagnosis=(diagnosis,))), "spread")
        try:
            queries_maps.figures(average, _reading(bar, diagnosis))
            found[diagnosis] = average
        except NotInRun as error:
            st.info(f"**{diagnosis}**: {error}")
    bar.empty()
    return found


def _reading(bar: Any, diagnosis: str) -> Callable[[int, int], None]:
    def step(done: int, count: int) -> None:
        bar.progress(done / count, f"Reading the heatmaps of {diagnosis}: {done} of {count}")

    return step


def _downloads(patients: Patients, drawn: Mapping[Panel, Drawing], averages: Mapping[str, Average]) -> list[Download]:
    selection, name = patients.selection, f"{patients.file}_spread"
    reader = queries.opened(selection.run)
    kind = "SIMULATED. " if reader.simulated else ""
    title = f"{selection.run.run_id}: spread (SD) of relevance, evidence for {selection.evidence()}"

    def sheet() -> pictures.Picture:
        note = f"{kind}{words.SET_SENTENCES[selection.model_set]} {states.RESEARCH_ONLY}"
        return group_grid.sheet(drawn, title, note)

    def nifti(average: Average) -> bytes:
        return export.nifti_bytes(queries_maps.volume(average), reader.affine(), simulated=reader.simulated)

    maps = [
        Download.nifti(
            f"{diagnosis}, NIfTI", f"{name}_{diagnosis}_{queries_maps.measured(average)[0]}",
            lambda average=average: nifti(average),
        )
        for diagnosis, average in averages.items()
    ]  # fmt: skip
    return [
        Download.png("Maps, PNG", name, lambda: sheet().png()),
        Download.svg("Maps, SVG", name, lambda: sheet().svg()),
        *maps,
    ]
