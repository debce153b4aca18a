"""The viewer on Group maps: the averages of one method and their difference, under one crosshair."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import viewer
from dashboard.data import averages as data_averages
from dashboard.data import reference_run, runs
from dashboard.data.averages import Average
from dashboard.data.runs import Run
from dashboard.data.selection import Selection
from dashboard.drawing import palette, planes
from dashboard.shell import url_state
from dashboard.text import formatting
from dashboard.views.group_maps.reading import Reading
from dashboard.views.shared import map_controls, map_grid, trust_line, viewer_link
from dashboard.views.shared.average_pictures import Drawing
from dashboard.views.shared.map_controls import MapStyle
from dashboard.views.shared.map_grid import Panel
from dashboard.views.shared.two_sets import Columns

KINDS = {"slices": "Slices", "viewer": "Viewer"}
PREFIX = "gv_"
DIFFERENCE_COLOUR = "#7d8a90"  # beside the colours of the groups


def is_wanted(place: DeltaGenerator) -> bool:
    """Let the reader choose between pictures of slices and the viewer; return whether it is the viewer."""
    return url_state.choose(
        "g_as", "Shown as", list(KINDS), widget="segmented", words=KINDS.__getitem__, place=place,
        label_visibility="collapsed",
        help="Slices: every method as pictures. Viewer: one method, all planes under one crosshair.",
    ) == "viewer"  # fmt: skip


def choose_what(run: Run, methods: Sequence[str], place: DeltaGenerator) -> MapStyle:
    """Choose what is averaged and which maps are shown; how they look is chosen in the viewer."""
    with place.popover("More"):
        value, scale, difference, shown = map_controls.choose_what("g_", run, methods)
        shared = map_controls.choose_shared("g_", st.container())
    return MapStyle(planes.Style(), (), value, scale, shared, None, difference, shown)


def show(
    selection: Selection, look: MapStyle, columns: Columns, title: str
) -> tuple[MapStyle, dict[Panel, Drawing]]:  # fmt: skip
    """Show the averages of the chosen method in the viewer, or those of the first of the methods that are chosen.

    Args:
        title: above the viewer, Markdown.
    Returns:
        The style of slices that look as the viewer does now, and how each map is drawn with it.
    """
    method = method_of(selection, look)
    look = replace(look, methods=(method,))
    averages = map_grid.averages_by_method(selection, look, columns)[method]
    missing = _read(list(averages.values()))
    for name, average in averages.items():
        if average in missing:
            st.info(f"**{formatting.plain(name)}**: {formatting.plain(missing[average])}")
    grid = map_grid.panels(method, {n: a for n, a in averages.items() if a not in missing}, columns, look)
    st.markdown(title)
    if not grid:
        return look, {}
    run = selection.run
    scene = viewer.group_scene(runs.opened(run), run, _pictures(grid, look, run), _label(selection, method))
    headings = [panel.heading for panel in grid]
    view = viewer.show(
        scene, figures={}, group_words="", options=viewer_link.options(PREFIX, headings, headings[0]), key="g_viewer"
    )
    viewer_link.remember(PREFIX, view)
    trust_line.show(run, selection.model_set, method)
    return as_seen(look, grid, view)


def method_of(selection: Selection, look: MapStyle) -> str:
    """Return the method whose maps are shown: that of the sidebar, where it is among the chosen ones."""
    return selection.method if selection.method in look.methods else look.methods[0]


def _read(averages: Sequence[Average]) -> dict[Average, str]:
    """Read averages with a bar and the time left; return those that cannot be, and why."""
    waiting = [average for average in averages if not data_averages.is_known(average)]
    progress = Reading(waiting)
    impossible = data_averages.read_all(waiting, progress.step)
    progress.end()
    return impossible


def _pictures(grid: Sequence[Panel], look: MapStyle, run: Run) -> list[viewer.GroupPicture]:
    groups = runs.manifest(run)["groups"]
    return [
        viewer.GroupPicture(
            panel.heading,
            "difference, a scale of its own" if panel.is_difference else panel.people(),
            panel.averages,
            panel.factors,
            panel.unit,
            DIFFERENCE_COLOUR if panel.is_difference else palette.group_colour(panel.heading, groups),
            one_sided=look.value != "signed" and not panel.is_difference,
        )
        for panel in grid
    ]


def _label(selection: Selection, method: str) -> str:
    """Say what stands on pictures that are saved from the viewer."""
    kind = " (simulated)" if runs.opened(selection.run).simulated else ""
    return (
        f"Brainwhy {selection.run.run_id}{kind} · {reference_run.warning(selection.run)}"
        f"{formatting.method_name(method)} · averages of {formatting.MODEL_SETS[selection.model_set]} · "
        f"evidence for {selection.evidence_as_text()}"
    )


def as_seen(
    look: MapStyle, grid: Sequence[Panel], view: dict[str, Any]
) -> tuple[MapStyle, dict[Panel, Drawing]]:  # fmt: skip
    """Return how slices are drawn as the viewer draws them: its plane at the crosshair, its threshold and colours.

    So what is downloaded is what is seen.
    """
    _, _, through = planes.PLANES[view["plane"]]
    mm = view["mm"] or data_averages.figures(grid[0].averages[0]).peak_mm
    signed = look.value == "signed" and view["sign"] == "signed"
    style = planes.Style(view["plane"], view["smooth"], view["colours"], signed, view["opacity"], view["convention"])
    percentile = view["threshold"] if view["threshold_kind"] == "percentile" else None
    seen = replace(look, style=style, positions=(float(mm[through]),), percentile=percentile)
    typed = {} if percentile is not None else {panel.unit: view["threshold"] for panel in grid}
    return seen, map_grid.drawings(grid, seen, typed)
