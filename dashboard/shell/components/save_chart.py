"""Two buttons that save a chart as it stands on the page, as PNG or SVG, made in the browser."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

FRONTEND = Path(__file__).parent
HTML = """<div class="save" role="group" aria-label="Save this chart">
<button type="button" data-kind="png" title="Save this chart as PNG, twice its size on the screen">PNG</button>
<button type="button" data-kind="svg" title="Save this chart as SVG, to be edited or printed">SVG</button>
<span role="status"></span></div>"""


@functools.cache
def _component() -> Callable[..., Any]:
    return st.components.v2.component(
        "brainwhy_save_figure",
        html=HTML,
        css=(FRONTEND / "save_figure.css").read_text(),
        js=(FRONTEND / "save_figure.js").read_text(),
    )


def save_figure(key: str, name: str) -> None:
    """Show buttons that save a Plotly chart of the page.

    Args:
        key: of the chart (`st.plotly_chart(..., key=key)`).
        name: of the file, without its ending.
    """
    _component()(data={"key": key, "name": name}, key=f"save-{component_key(key)}")


def component_key(key: str) -> str:
    """Return the key without two underlines in a row, which Streamlit refuses there; no two keys become one."""
    return key.replace("%", "%25").replace("__", "_%5F")
