"""Charts held against Plotly's schema, which is not done when a page is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import plotly.graph_objects as go

from dashboard.drawing.chart import Chart


def _paths(value: Any, at: str) -> Iterator[str]:
    """Every property below a part of a figure that has a value, such as layout.xaxis.title.text."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, f"{at}.{name}")
    elif isinstance(value, list | tuple) and any(isinstance(item, dict) for item in value):
        for number, item in enumerate(value):
            yield from _paths(item, f"{at}.{number}")
    else:
        yield at


def validated(chart: Chart) -> go.Figure:
    """The chart as a figure whose every property was checked.

    Raises:
        ValueError: a property has a wrong value, is unknown, or is written in a short form that only Python's Plotly
            understands (`tickfont_size`, a title that is a text).
    """
    figure = go.Figure(data=chart.data, layout=chart.layout | {"template": {}})
    understood = {*_paths(list(figure.to_dict()["data"]), "data"), *_paths(figure.to_dict()["layout"], "layout")}
    arrays = {path.rpartition(".")[0] for path in understood if path.endswith(".bdata")}
    wrong = {*_paths(chart.data, "data"), *_paths(chart.layout, "layout")} - understood - arrays
    if wrong:
        raise ValueError(f"no properties of Plotly's own: {', '.join(sorted(wrong))}")
    return figure
