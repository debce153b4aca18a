"""How charts and small tables are put on a page."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

INK = {"light": "#1D2528", "dark": "#E3E8E9"}


def chart(place: DeltaGenerator, figure: go.Figure, key: str) -> None:
    """A chart in the ink of the theme, without tool bar."""
    theme = getattr(st.context, "theme", None)
    ink = INK.get(getattr(theme, "type", None), INK["light"])
    figure.update_layout(font_color=ink)
    figure.update_xaxes(tickfont_color=ink, title_font_color=ink)
    figure.update_yaxes(tickfont_color=ink, title_font_color=ink)
    place.plotly_chart(figure, config={"displayModeBar": False}, key=key)


def table(place: DeltaGenerator, frame: pd.DataFrame) -> None:
    """A small table as text; its first column names the rows."""
    place.table(frame.set_index(frame.columns[0]), border="horizontal")
