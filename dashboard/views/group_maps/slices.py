"""The default form of Group maps: slices of every method and group, which the browser cuts and draws."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import averages as data_averages
from dashboard.data import runs
from dashboard.data.anatomy import extent
from dashboard.data.runs import Run
from dashboard.data.selection import Selection
from dashboard.drawing import brain_maps, palette, planes
from dashboard.shell import link_values, url_state
from dashboard.viewer import slices as viewer_slices
from dashboard.viewer.component import REVISION
from dashboard.views.group_maps import reading
from dashboard.views.group_maps.seen import Seen, View, changes_page
from dashboard.views.shared import map_controls, map_grid, trust_line
from dashboard.views.shared.average_pictures import Drawing
from dashboard.views.shared.follow import follow
from dashboard.views.shared.map_controls import MapStyle
from dashboard.views.shared.map_grid import Panel
from dashboard.views.shared.two_sets import Columns
from store.reading.truth import has_truth

PREFIX = "g_"
SHEET = "g"
MEDIAN = "median"  # of the maps in a unit: where colour starts until a threshold is typed
SIDES = ("neurological", "radiological")
_SAID_REVISION = "_g_revision"


# -- the view in the link ---------------------------------------------------------------------------------------------


def _one_of(*allowed: str) -> Callable[[str], str]:
    return functools.partial(link_values.one_of, {text: text for text in allowed})


def _number(low: float, high: float, kind: type = float) -> Callable[[str], Any]:
    return functools.partial(link_values.number_of, low=low, high=high, kind=kind)


def _typed(text: str) -> float | None:
    return None if text == MEDIAN else _number(0.0, map_controls.ANY)(text)


def _switch(text: str) -> bool:
    return _one_of("on", "off")(text) == "on"


def counts(plane: str) -> list[str]:
    """Return the numbers of slices that a plane has, as a link writes them; the first is the default."""
    return [map_controls.PAPER, *map_controls.SLICES] if plane == "coronal" else [map_controls.THREE, "1", "5", "7"]


def read_view(run: Run, units: Sequence[str]) -> View:
    """Return the view from the link or from before, each value checked; the link names what matters in it.

    Args:
        units: in which the pictures are measured.
    """
    value = url_state.value
    plane = value(f"{PREFIX}plane", "coronal", _one_of(*planes.PLANES))
    view: View = {"plane": plane, "n": value(f"{PREFIX}n", counts(plane)[0], _one_of(*counts(plane)))}
    for name, through in ((one, planes.PLANES[one][2]) for one in planes.PLANES):
        low, high = extent(run, name)
        axis = "xyz"[through]
        shown = name == plane and view["n"] != map_controls.PAPER
        middle, within = round((low + high) / 2), _number(low, high, int)
        view[axis] = value(PREFIX + axis, str(middle), within) if shown else _kept_centre(axis, middle, within)
    view["rule"] = value(f"{PREFIX}rule", "percentile", _one_of(*map_controls.THRESHOLDS))
    view["from"] = 50.0
    if view["rule"] == "percentile":
        view["from"] = value(f"{PREFIX}from", "50.0", _number(0.0, 99.0))
    view["at"] = {}
    for unit in units if view["rule"] == "value" else ():
        view["at"][unit] = value(f"{PREFIX}at_{map_controls.slug(unit)}", MEDIAN, _typed)
    view["opacity"] = value(f"{PREFIX}opacity", "1.0", _number(0.1, 1.0))
    view["smooth"] = value(f"{PREFIX}smooth", "on", _switch)
    view["colours"] = value(f"{PREFIX}colours", next(iter(palette.SCALES)), _one_of(*palette.SCALES))
    view["truth"] = knows_truth(run) and value(f"{PREFIX}truth", "off", _switch)
    view["side"] = value(f"{PREFIX}side", SIDES[0], _one_of(*SIDES))
    return view


def knows_truth(run: Run) -> bool:
    """Say whether it is known where the change of a simulated run was imposed."""
    reader = runs.opened(run)
    return bool(reader.simulated and has_truth(reader))


def _kept_centre(axis: str, middle: int, within: Callable[[str], int]) -> int:
    """Return the centre along an axis that the reader chose before, else the middle."""
    try:
        return within(url_state.kept(PREFIX + axis) or str(middle))
    except ValueError:
        return middle


def write_view(view: View) -> None:
    """Keep a view that the browser tells of; `read_view` puts it into the link."""
    for name, value in view.items():
        if name == "at":
            for unit, number in value.items():
                url_state.put(
                    f"{PREFIX}at_{map_controls.slug(unit)}", MEDIAN if number is None else repr(float(number))
                )
        elif isinstance(value, bool):
            url_state.put(f"{PREFIX}{name}", "on" if value else "off")
        elif name in ("from", "opacity"):
            url_state.put(f"{PREFIX}{name}", repr(float(value)))
        else:
            url_state.put(f"{PREFIX}{name}", str(value))


def led_to(plane: str, centre: int) -> dict[str, str]:
    """Return what puts three slices around a place in mm, in the next pass, for `set_before_next_pass`."""
    st.session_state[_SAID_REVISION] = st.session_state.get(_SAID_REVISION, 0) + 1
    axis = "xyz"[planes.PLANES[plane][2]]
    return {f"{PREFIX}n": map_controls.THREE, f"{PREFIX}{axis}": str(centre)}


def positions(run: Run, view: View) -> tuple[float, ...]:
    """Return the mm of the slices of a view."""
    if view["n"] == map_controls.PAPER:
        return map_controls.paper_positions(run)
    centre = view["xyz"[planes.PLANES[view["plane"]][2]]]
    return brain_maps.spread(extent(run, view["plane"]), int(view["n"]), float(centre))


def as_seen(look: MapStyle, grid: Sequence[Panel], view: View) -> tuple[MapStyle, dict[Panel, Drawing]]:
    """Return the style of slices that look as the view says, and how each picture is drawn with it."""
    run = grid[0].averages[0].selection.run
    style = planes.Style(
        view["plane"], view["smooth"], view["colours"], look.value == "signed", view["opacity"], view["side"]
    )
    percentile = view["from"] if view["rule"] == "percentile" else None
    found = replace(
        look, style=style, positions=positions(run, view), percentile=percentile, truth=view.get("truth", False)
    )
    return found, map_grid.drawings(grid, found, {} if percentile is not None else thresholds(grid, view))


def thresholds(grid: Sequence[Panel], view: View) -> dict[str, float]:
    """Return unit -> where colour starts: as typed, else at the median of the maps, to two digits."""
    typed = view["at"]
    return {
        unit: float(f"{median:.2g}") if typed.get(unit) is None else typed[unit]
        for unit, median in map_grid.medians(grid).items()
    }


# -- on the page ------------------------------------------------------------------------------------------------------


def choose_what(
    run: Run, methods: Sequence[str], place: DeltaGenerator, more: Callable[[], None] = lambda: None
) -> MapStyle:
    """Choose what is averaged and which maps are shown; how they look is chosen in the browser."""
    with place.popover("More"):
        value, scale, difference, shown = map_controls.choose_what(PREFIX, run, methods)
        shared = map_controls.choose_shared(PREFIX, st.container())
        more()
    return MapStyle(planes.Style(), (), value, scale, shared, None, difference, shown)


def controls(selection: Selection, look: MapStyle) -> Seen:
    """Show the controls of the look, in the browser; return what is seen, its pictures yet to be filled in."""
    run, units = selection.run, _units(selection, look)
    seen = Seen(look, as_seen, read_view(run, units))

    def show() -> View:
        options = read_view(run, units) | {REVISION: st.session_state.get(_SAID_REVISION, 0)}
        view, expired = viewer_slices.show_controls(run, options, units, SHEET)
        if expired:
            st.rerun()
        write_view(view)
        url_state.forget({PREFIX + name for name in ("n", "x", "y", "z", "from", *_at(units))})
        return read_view(run, units)

    follow(seen, show, changes_page)
    return seen


def _at(units: Sequence[str]) -> list[str]:
    return [f"at_{map_controls.slug(unit)}" for unit in units]


def _units(selection: Selection, look: MapStyle) -> list[str]:
    """Return the units of the pictures, which need no reading."""
    if look.shared:
        return [data_averages.SHARED_UNIT]
    value = data_averages.AGREED if look.agreement else look.value
    every = (data_averages.Average(selection.of(method=method), value, look.scale) for method in look.methods)
    return list(dict.fromkeys(data_averages.measured(average)[2] for average in every))


def show(selection: Selection, seen: Seen, columns: Columns, title: Callable[[str], str]) -> None:
    """Show every method as soon as its averages are read, and fill in what is seen.

    Args:
        title: method -> what stands above its pictures, Markdown.
    """
    run, look = selection.run, seen.look
    averages = map_grid.averages_by_method(selection, look, columns)
    every = map_grid.read_first(average for own in averages.values() for average in own.values())
    progress = reading.Reading([average for average in every if not data_averages.is_known(average)])
    for method, own in averages.items():
        missing = reading.read(map_grid.read_first(own.values()), progress)
        grid = map_grid.panels(method, {n: a for n, a in own.items() if a not in missing}, columns, look)
        with st.container(key=f"maps-row-{method}"):
            st.markdown(title(method))
            pictures = [picture_of(panel, look) for panel in grid]
            why = {name: missing[average] for name, average in own.items() if average in missing}
            viewer_slices.show_row(run, pictures, why, SHEET, method)
            trust_line.show(run, selection.model_set, method)
        seen.grid += grid
    progress.end()


def picture_of(panel: Panel, look: MapStyle) -> viewer_slices.SlicesPicture:
    """Describe a picture of the grid to the browser."""
    return viewer_slices.SlicesPicture(
        panel.heading,
        f"{panel.heading}, {panel.people()}",
        map_grid.method_words(panel),
        panel.averages,
        panel.factors,
        panel.unit,
        map_grid.scale_key(panel, look),
        map_grid.is_signed(panel, look),
        panel.levels(),
        panel.opacity,
    )
