"""Charts with their save buttons, for tests in a browser: `streamlit run tests/helpers/saving_harness.py`."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from plotly.subplots import make_subplots

from dashboard.drawing.glass import glass_brain
from dashboard.shell import display
from dashboard.shell.components import save_chart


def bars() -> go.Figure:
    """Long names, clipped bars, an annotation, a legend."""
    figure = go.Figure(
        go.Bar(x=[3, 2], y=["Temporal Mid <b>left</b>", "Hippocampus & more"], orientation="h", name="AD")
    )
    figure.add_scatter(x=[1, 2.5], y=["Temporal Mid <b>left</b>", "Hippocampus & more"], mode="markers", name="NC")
    figure.add_annotation(x=2.5, y=0, text="3.00 %", showarrow=False)
    return figure.update_layout(height=260, showlegend=True, paper_bgcolor="rgba(0,0,0,0)")


def panels() -> go.Figure:
    """A heatmap beside a line."""
    figure = make_subplots(1, 2, subplot_titles=["Map", "Line"])
    figure.add_trace(go.Heatmap(z=np.arange(12).reshape(3, 4), showscale=False, colorscale="Cividis"), 1, 1)
    figure.add_trace(go.Scatter(x=[0, 1, 2], y=[0.2, 0.9, 0.4], mode="lines"), 1, 2)
    return figure.update_layout(height=260, paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")


def brain() -> go.Figure:
    """A ball of brain with a warm and a cool place."""
    x, y, z = np.indices((24, 28, 24))
    mask = ((x - 11.5) / 11) ** 2 + ((y - 13.5) / 13) ** 2 + ((z - 11.5) / 11) ** 2 < 1
    heat = np.exp(-((x - 7) ** 2 + (y - 13) ** 2 + (z - 11) ** 2) / 12)
    heat -= np.exp(-((x - 17) ** 2 + (y - 13) ** 2 + (z - 11) ** 2) / 12)
    affine = np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = -96, -132, -78
    return glass_brain((heat * mask).astype(np.float32), mask, affine, 0.2, "drop of margin", "Occlusion, AD")


st.set_page_config("Saving", layout="wide")
for key, figure in {"bars": bars(), "two panels": panels(), "glass": brain()}.items():
    display.chart(st, figure, key, save=False)
    save_chart.save_figure(key, f"chart-{key.replace(' ', '-')}")
save_chart.save_figure("nowhere", "nothing")
