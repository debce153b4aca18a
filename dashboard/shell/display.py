"""How charts and small tables are put on a page."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pandas as pd
import streamlit as st
from plotly.graph_objects import Figure
from streamlit.delta_generator import DeltaGenerator

from dashboard.drawing.chart import Chart
from dashboard.drawing.pictures import ScreenPicture
from dashboard.shell.components import plot
from dashboard.text import formatting
from store.export.csv import neutralised

FURTHER = "↔ The table has further columns: move it sideways."
LETTER, CELL_EDGES, MOST_DIGITS = 6.9, 17, 6  # of a table on a canvas: pixels, pixels, letters of a number
FEW_COLUMNS = 3
MOST_DOTS = 2000  # of a chart: 300 kB for the browser, which draws them in 0.1 s
INK = {"light": "#10171A", "dark": "#E3E8E9"}


def ink() -> str:
    """Return the colour of words in the theme of this session."""
    theme = getattr(st.context, "theme", None)
    return INK["dark" if getattr(theme, "type", None) == "dark" else "light"]


def chart(
    place: DeltaGenerator, figure: Chart, key: str, *, wide: bool = False, clicks: bool = False,
    on_click: Callable[[Any], None] | None = None,
) -> Any:  # fmt: skip
    """Show a chart with buttons that save it; return the customdata of the mark that was clicked just now, or None.

    The browser draws it in the ink of the theme once the reader is about to see it, and keeps its plot.

    Args:
        wide: on a phone it keeps a width at which it can be read, and is moved sideways.
        clicks: marks with customdata can be clicked.
        on_click: called with the customdata before the next pass, as the callback of a button is; implies `clicks`.
    """
    said = ""
    if (dots := figure.dots()) > MOST_DOTS:
        figure = figure.thinned(MOST_DOTS)
        said = f"{figure.dots():,} of {dots:,} dots are drawn, chosen at random and always the same; lines, means "
        said += "and numbers are of all. The filters at the left show others."
    box = place.container(gap=None)
    inside = box.container(gap=None, key=f"wide-chart-{key}") if wide else box
    clicked = plot.show_chart(inside, figure, key, clicks=clicks or on_click is not None, on_click=on_click)
    if said:
        box.caption(said)
    return clicked


def scene(place: DeltaGenerator, figure: Figure, key: str) -> None:
    """Show a figure in 3D, which Streamlit's own chart draws: our part of plotly.js draws none."""
    place.plotly_chart(figure.update_layout(font_color=ink()), config={"displayModeBar": False}, key=key)


def brain_picture(place: DeltaGenerator, picture: ScreenPicture, caption: str, description: str) -> None:
    """Show a picture of brains with its words as text over it.

    Args:
        caption: written below.
        description: what is to be seen, for those who do not see it; the caption is added.
    """
    box = place.container(gap=None)
    box.html(picture.overlay(f"{description} {caption}"))
    box.image(picture.jpeg, width="stretch", output_format="JPEG", caption=formatting.plain(caption))


def table(place: DeltaGenerator, frame: pd.DataFrame) -> None:
    """Show a small table as text, which Streamlit takes for Markdown; its first column names the rows."""
    said = frame.map(lambda value: formatting.plain(value) if isinstance(value, str) else value)
    said.columns = [formatting.plain(column) for column in frame.columns]
    place.table(said.set_index(said.columns[0]), border="horizontal")


class GridTable(NamedTuple):
    """A table that is ready for `grid`, to be shown to many: change nothing in it."""

    frame: pd.DataFrame
    neutral: pd.DataFrame
    columns: dict[str, Any]
    width: int  # pixels, of one that may be wider than its place; 0 for others


def grid_table(frame: pd.DataFrame, columns: dict[str, Any] | None = None) -> GridTable:
    """Make a table ready for `grid`.

    Args:
        columns: how each is written, as for Streamlit's `column_config`.
    """
    columns = dict(columns or {})
    if len(frame.columns) <= FEW_COLUMNS:
        return GridTable(frame, neutralised(frame), columns, 0)
    first = frame.columns[0]
    columns[first] = {**(columns.get(first) or st.column_config.Column()), "pinned": True}
    return GridTable(frame, neutralised(frame), columns, grid_width(frame, columns))


def grid(
    place: DeltaGenerator, table: pd.DataFrame | GridTable, *, columns: dict[str, Any] | None = None, **options: Any
) -> Any:  # fmt: skip
    """Show a table that the reader may sort; its first column stays while narrow screens move it sideways.

    Streamlit draws it on a canvas, which says nothing of columns beyond its edge: below it a line does, where the
    table is wider than its place.

    Args:
        table: also one that is ready (`grid_table`).
        columns: how each is written, as for Streamlit's `column_config`; for a table that is not ready.
    """
    ready = table if isinstance(table, GridTable) else grid_table(table, columns)
    event = place.dataframe(ready.neutral, hide_index=True, column_config=ready.columns, **options)
    if width := ready.width:
        place.html(
            f"<style>.further-{width} {{display: none; opacity: 0.65}} @container (max-width: {width}px) "
            f"{{.further-{width} {{display: block}}}}</style>"
            f'<div style="container-type: inline-size"><small class="further-{width}">{FURTHER}</small></div>'
        )
    return event


def grid_width(frame: pd.DataFrame, columns: dict[str, Any]) -> int:
    """Estimate the pixels that a table needs, in tens: of each column its width, or its longest text and edges."""
    return math.ceil(sum(_column_width(frame[name], columns.get(name) or {}) for name in frame.columns) / 10) * 10


def _column_width(values: pd.Series, look: dict[str, Any]) -> float:
    if isinstance(look.get("width"), int):
        return look["width"]
    letters = MOST_DIGITS if values.dtype.kind == "f" else values.map(str).str.len().max() if len(values) else 0
    return LETTER * max(len(str(look.get("label") or values.name)), letters) + CELL_EDGES
