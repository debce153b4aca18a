"""The group averages of two runs beside each other. A part of the Compare runs page."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from dashboard.data import averages as data_averages
from dashboard.data import runs as data_runs
from dashboard.data.averages import Average
from dashboard.data.runs import Run
from dashboard.data.selection import ScanFilter, Selection
from dashboard.drawing import planes
from dashboard.shell import display, url_state
from dashboard.text import formatting
from dashboard.views.shared import average_pictures, map_controls, map_grid, trust_line
from dashboard.views.shared.average_pictures import Drawing
from dashboard.views.shared.map_controls import MapStyle
from dashboard.views.shared.map_grid import Panel


@dataclass(frozen=True)
class Choice:
    """What of both runs is set side by side: diagnosis and target of each, since groups may have other names."""

    runs: tuple[Run, Run]
    model_set: str
    method: str
    diagnoses: tuple[str, str]

    @property
    def names(self) -> tuple[str, str]:
        """Return the names of the runs."""
        return self.runs[0].run_id, self.runs[1].run_id

    def targets(self) -> tuple[str, str]:
        """Return the targets of the runs' own group analyses."""
        return data_runs.explained_target(self.runs[0]), data_runs.explained_target(self.runs[1])


def same_grid(runs: tuple[Run, Run]) -> bool:
    """Say whether the voxels of both runs stand at the same places in mm."""
    first, second = (data_runs.opened(run) for run in runs)
    return first.shape("grid/mask") == second.shape("grid/mask") and (first.affine() == second.affine()).all()


def look_of(choice: Choice) -> tuple[MapStyle, bool]:
    """Show the controls of the maps; return the style and whether values are shares of each map."""
    columns = st.columns([1, 1, 1, 1, 1.2], vertical_alignment="bottom", gap="small")
    plane, positions = map_controls.choose_sections("c_", choice.runs[0], columns)
    percentile = map_controls.choose_percentile("c_", columns[3])
    share = url_state.toggle(
        "c_share", "As a share of each map", True, place=columns[4],
        help="Margins of different networks differ in size; shares do not. Off: in the unit of the method.",
    )  # fmt: skip
    style = planes.Style(plane)
    return MapStyle(style, positions, "size", None, share, percentile, same_grid(choice.runs), (choice.method,)), share


def maps(choice: Choice) -> list[tuple[Panel, Drawing]]:
    """Show the group average of both runs on one scale, and their difference where the grids are the same."""
    look, share = look_of(choice)
    asked = {
        run.run_id: Average(Selection(run, choice.model_set, choice.method, target, ScanFilter(diagnosis=(diagnosis,))))
        for run, diagnosis, target in zip(choice.runs, choice.diagnoses, choice.targets(), strict=True)
    }
    impossible = average_pictures.make_ready(list(asked.values()), look.style, look.positions)
    averages = {name: average for name, average in asked.items() if average not in impossible}
    units = {data_averages.measured(a)[2] for a in averages.values()}
    if not share and len(units) > 1:
        st.info(f"The runs measure in different units ({' and '.join(sorted(units))}): shown as a share of each map.")
        look = replace(look, shared=True)
    drawn = map_grid.drawings(map_grid.panels(choice.method, averages, choice.names[::-1], look), look, {})
    st.html(map_controls.ROWS)
    columns = iter(st.container(key="maps-row-compare").columns(3 if look.difference else 2))
    who = dict(zip(choice.names, choice.diagnoses, strict=True))
    for panel, picture in zip(drawn, average_pictures.on_screen(list(drawn.values())), strict=True):
        whose = "" if panel.is_difference else f": {who[panel.heading]}"
        caption = f"{panel.heading}{whose}, {panel.people()}"
        display.brain_picture(next(columns), picture, caption, map_grid.description(panel, look))
    for name, average in asked.items():
        if average in impossible:
            next(columns).info(f"**{formatting.plain(name)}**: {formatting.plain(impossible[average])}")
    for run in choice.runs:
        trust_line.show(run, choice.model_set, choice.method, name=run.run_id)
    st.caption(map_controls.small_print(look))
    return list(drawn.items())
