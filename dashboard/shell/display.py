"""How charts and small tables are put on a page."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
from plotly.graph_objects import Figure
from streamlit.delta_generator import DeltaGenerator

from dashboard.drawing.chart import Chart
from dashboard.drawing.pictures import ScreenPicture
from dashboard.shell.components.save_chart import save_figure
from dashboard.text import formatting

INK = {"light": "#10171A", "dark": "#E3E8E9"}


def ink() -> str:
    """Return the colour of words in the theme of this session."""
    theme = getattr(st.context, "theme", None)
    return INK["dark" if getattr(theme, "type", None) == "dark" else "light"]


def chart(place: DeltaGenerator, figure: Chart | Figure, key: str, *, save: bool = True, **options: Any) -> Any:
    """Show a chart in the ink of the theme, with buttons that save it; return what `plotly_chart` does, given
    `options`.

    Args:
        save: False for what the browser draws on a canvas (3D), which cannot be saved as SVG.
    """
    colour = ink()
    if isinstance(figure, Chart):
        figure = figure.plotly(colour)
    elif figure.layout.font.color != colour:
        figure.update_layout(font_color=colour)
    box = place.container(gap=None)
    answer = box.plotly_chart(figure, config={"displayModeBar": False}, key=key, **options)
    if save:
        with box:
            save_figure(key, key)
    return answer


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
