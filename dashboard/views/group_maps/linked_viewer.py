"""The viewer on Group maps: the averages of one method and their difference, under one crosshair."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import viewer
from dashboard.data import averages as data_averages
from dashboard.data import runs
from dashboard.data.runs import Run
from dashboard.data.selection import Selection
from dashboard.drawing import palette, planes
from dashboard.shell import url_state
from dashboard.text import formatting
from dashboard.viewer.group_volumes import GroupVolume
from dashboard.views.group_maps import agreement, look_words, reading
from dashboard.views.group_maps.seen import Seen, changes_page
from dashboard.views.shared import map_grid, trust_line, viewer_link
from dashboard.views.shared.average_pictures import Drawing
from dashboard.views.shared.follow import follow
from dashboard.views.shared.map_controls import MapStyle
from dashboard.views.shared.map_grid import Panel
from dashboard.views.shared.two_sets import Columns

KINDS = {"slices": "Slices", "viewer": "Viewer"}
PREFIX = "gv_"
TOP = 0.999  # of the brain, as in viewer/frontend/heatmaps.js: the brightest colour
DIFFERENCE_COLOUR = "#7d8a90"  # beside the colours of the groups


def is_wanted(place: DeltaGenerator) -> bool:
    """Let the reader choose between pictures of slices and the viewer; return whether it is the viewer."""
    return url_state.choose(
        "g_as", "Shown as", list(KINDS), widget="segmented", words=KINDS.__getitem__, place=place,
        label_visibility="collapsed",
        help="Slices: every method as pictures. Viewer: one method, all planes under one crosshair.",
    ) == "viewer"  # fmt: skip


def show(selection: Selection, look: MapStyle, columns: Columns, title: str) -> Seen:
    """Show the averages of the chosen method in the viewer, or those of the first of the methods that are chosen.

    Args:
        title: above the viewer, Markdown.
    Returns:
        What is seen: slices that look as the viewer does now.
    """
    method = method_of(selection, look)
    look = replace(look, methods=(method,))
    averages = map_grid.averages_by_method(selection, look, columns)[method]
    progress = reading.Reading([one for one in averages.values() if not data_averages.is_known(one)])
    missing = reading.read(list(averages.values()), progress)
    progress.end()
    for name, average in averages.items():
        if average in missing:
            st.info(f"**{formatting.plain(name)}**: {formatting.plain(missing[average])}")
    grid = map_grid.panels(method, {n: a for n, a in averages.items() if a not in missing}, columns, look)
    st.markdown(title)
    why, agreed = agreed_panels(selection, look, columns, grid)
    seen = Seen(look, functools.partial(as_seen, agreed), {}, grid)
    if not grid:
        return seen
    run, headings = selection.run, [panel.heading for panel in grid]
    pictures, label = (
        _pictures(grid, agreed, look, run),
        f"Brainwhy · {look_words.line(selection, 'group averages', method)}",
    )

    def draw() -> dict[str, Any]:
        scene = viewer.group_scene(runs.opened(run), run, pictures, label, no_agreement=why)
        view = viewer.show(
            scene,
            figures={},
            group_words="",
            options=viewer_link.options(PREFIX, headings, headings[0]),
            key="g_viewer",
        )
        viewer_link.remember(PREFIX, view)
        return view

    follow(seen, draw, changes_page)
    trust_line.show(run, selection.model_set, method)
    return seen


def method_of(selection: Selection, look: MapStyle) -> str:
    """Return the method whose maps are shown: that of the sidebar, where it is among the chosen ones."""
    return selection.method if selection.method in look.methods else look.methods[0]


def agreed_panels(
    selection: Selection, look: MapStyle, columns: Columns, grid: Sequence[Panel]
) -> tuple[str, dict[str, Panel]]:
    """Return heading -> the mean over networks that were trained again, as opaque as they agree; or why there is none.

    Nothing of them is read before the reader asks for it.
    """
    why = agreement.why_not_of(selection, columns)
    method = look.methods[0]
    asked = replace(look, agreement=True, shared=False)
    own = map_grid.averages_by_method(selection, asked, columns)[method] if not why else {}
    shown = {panel.heading for panel in grid}
    known = {name: one for name, one in own.items() if name in shown and data_averages.networks_that_agree(one)}
    if not known and not why:
        why = f"This run has no maps of agreement of {formatting.method_name(method).lower()} for these groups."
    return why.replace("**", ""), {panel.heading: panel for panel in map_grid.panels(method, known, columns, asked)}


def agreement_volume(panel: Panel | None) -> GroupVolume | None:
    """Return what the viewer fetches of an agreement: the mean, and how many networks agree; None without one."""
    if panel is None or panel.opacity is None:
        return None
    mean = panel.averages[0]
    return GroupVolume((mean, panel.opacity), (1.0, 1.0), data_averages.networks_that_agree(mean))


def _pictures(
    grid: Sequence[Panel], agreed: Mapping[str, Panel], look: MapStyle, run: Run
) -> list[viewer.GroupPicture]:
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
            agreement=agreement_volume(agreed.get(panel.heading)),
            agreement_unit=agreed[panel.heading].unit if panel.heading in agreed else "",
        )
        for panel in grid
    ]


def as_seen(
    agreed: Mapping[str, Panel], look: MapStyle, grid: Sequence[Panel], view: Mapping[str, Any]
) -> tuple[MapStyle, dict[Panel, Drawing]]:
    """Return how slices are drawn as the viewer draws them: its plane at the crosshair, its threshold and colours.

    So what is downloaded is what is seen.

    Args:
        agreed: heading -> what is seen instead, where the view shows the agreement of networks.
    """
    if view["agreement"]:
        grid = [agreed.get(panel.heading, panel) for panel in grid]
        for panel in grid:
            for average in map_grid.read_first(panel.averages):
                data_averages.figures(average)
    _, _, through = planes.PLANES[view["plane"]]
    mm = view["mm"] or data_averages.figures(grid[0].averages[0]).peak_mm
    signed = look.value == "signed" and view["sign"] == "signed"
    style = planes.Style(view["plane"], view["smooth"], view["colours"], signed, view["opacity"], view["convention"])
    percentile = view["threshold"] if view["threshold_kind"] == "percentile" else None
    seen = replace(look, style=style, positions=(float(mm[through]),), percentile=percentile)
    typed = {} if percentile is not None else {panel.unit: view["threshold"] for panel in grid}
    drawn = map_grid.drawings(grid, seen, typed)
    tops = {panel: max(_top(one) for one in grid if one.is_difference == panel.is_difference) for panel in grid}
    return seen, {
        panel: replace(drawing, scale=replace(drawing.scale, high=max(tops[panel], 1.0001 * drawing.scale.low)))
        for panel, drawing in drawn.items()
    }


def _top(panel: Panel) -> float:
    """Return the value of the brightest colour of a map in the viewer."""
    levels = panel.levels()
    return float(levels[round(TOP * (len(levels) - 1))] or levels[-1] or 1.0)
