"""Mounts a chart on a page: the browser keeps its plot and changes what has changed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import streamlit as st

from dashboard.drawing.chart import Chart
from dashboard.shell.components import plot_files
from dashboard.shell.components.save_chart import component_key

NAME = "brainwhy_chart"
BUTTONS = 25  # pixels of the row of buttons below a chart


@functools.cache
def _component() -> Callable[..., Any]:
    # In the page itself, not apart from it: Plotly keeps its styles in the head of the page.
    return st.components.v2.component(
        NAME,
        html='<div class="brainwhy-chart" data-state="due"></div>',
        css=(plot_files.FRONTEND / "plot.css").read_text(encoding="utf-8"),
        js=(plot_files.FRONTEND / "plot_loader.js").read_text(encoding="utf-8"),
        isolate_styles=False,
    )


def show_chart(
    place: Any, chart: Chart, key: str, *, clicks: bool = False, on_click: Callable[[Any], None] | None = None
) -> Any:  # fmt: skip
    """Draw a chart here, when the reader sees its place; return the customdata that was clicked just now, or None.

    What is clicked comes from the browser: nothing but a wish, to be checked as what stands in a link is.

    Args:
        clicks: marks with customdata can be clicked.
        on_click: called with the customdata of the click before the next pass.
    """
    own_key = component_key(key)
    figure, words = chart.written()
    data = {
        "module": plot_files.url("plot.js"),
        "plotly": [plot_files.url(plot_files.PART), plot_files.url(plot_files.WHOLE)],
        "save": plot_files.url("save_figure.js"),
        "name": key,
        "words": words,
        "clicks": clicks,
        "height": round(chart.layout["height"]),
        "figure": figure,
    }
    with place.container(gap=None):
        result = _component()(
            data=data, key=own_key, height=data["height"] + BUTTONS,
            on_click_change=lambda: _pass_on(own_key, on_click),
        )  # fmt: skip
    return result.get("click")


def _pass_on(key: str, on_click: Callable[[Any], None] | None) -> None:
    clicked = st.session_state[key].get("click")
    if clicked and on_click:
        on_click(clicked)
