"""Charts with their save buttons, for tests in a browser: `streamlit run tests/helpers/saving_harness.py`.

The address asks for more: `?charts=12` further charts one below the other, `?3d=1` a brain in 3D.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from streamlit.runtime.scriptrunner_utils.script_run_context import get_script_run_ctx

from dashboard.drawing.chart import CLEAR, Chart
from dashboard.drawing.glass import glass_brain
from dashboard.shell import display
from dashboard.shell.components import plot_files, save_chart

NAMES = ["Temporal Mid <b>left</b>", "Hippocampus & more"]


def bars(size: int) -> Chart:
    """Long names, clipped bars, an annotation, a legend; dots that can be clicked."""
    chart = Chart().add(type="bar", x=[3, 2], y=NAMES, orientation="h", name="AD")
    chart.add(x=[1, 2.5], y=NAMES, mode="markers", name="NC", customdata=["first", "second"], marker={"size": size})
    chart.annotate(x=2.5, y=NAMES[0], text="3.00 %")
    return chart.y(tickvals=NAMES, ticktext=NAMES).finish(260, legend="above")


def panels() -> Chart:
    """A heatmap beside a line."""
    chart = Chart(2, own_y=True).column_titles(["Map", "Line"])
    chart.add(
        type="heatmap",
        x=[0, 1, 2, 3],
        y=[0, 1, 2],
        z=np.arange(12).reshape(3, 4),
        showscale=False,
        colorscale="Cividis",
    )
    chart.add(2, x=[0, 1, 2], y=[0.2, 0.9, 0.4], mode="lines")
    return chart.finish(260, plot_bgcolor=CLEAR)


def brain() -> go.Figure:
    """A ball of brain with a warm and a cool place."""
    x, y, z = np.indices((24, 28, 24))
    mask = ((x - 11.5) / 11) ** 2 + ((y - 13.5) / 13) ** 2 + ((z - 11.5) / 11) ** 2 < 1
    heat = np.exp(-((x - 7) ** 2 + (y - 13) ** 2 + (z - 11) ** 2) / 12)
    heat -= np.exp(-((x - 17) ** 2 + (y - 13) ** 2 + (z - 11) ** 2) / 12)
    affine = np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = -96, -132, -78
    return glass_brain((heat * mask).astype(np.float32), mask, affine, 0.2, "drop of margin", "Occlusion, AD")


def page() -> None:
    """One pass of the page."""
    st.set_page_config("Saving", layout="wide")
    state = st.session_state
    state.setdefault("size", 12)
    st.button("Larger dots", on_click=lambda: state.update(size=state.size + 5))
    clicked = display.chart(st, bars(state.size), "chart-bars", on_click=lambda mark: state.update(clicked=mark))
    st.write(f"Clicked now: {clicked}, last: {state.get('clicked')}")
    display.chart(st, panels(), "chart-two-panels")
    if "3d" in st.query_params:
        display.scene(st, brain(), "glass")
        save_chart.save_figure("glass", "chart-glass")
    save_chart.save_figure("nowhere", "nothing")
    for number in range(int(st.query_params.get("charts", 0))):
        display.chart(st, bars(12), f"further-{number}")


if get_script_run_ctx(suppress_warning=True) is not None:
    page()
else:
    app = st.App(__file__, routes=plot_files.routes())
