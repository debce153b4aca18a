"""Truth scores of a simulated run as a chart: each method between what knows nothing and what could be reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dashboard.drawing import palette
from dashboard.drawing.chart import FAINT, GRID, Chart
from dashboard.text.formatting import in_order, method_name

REFERENCES = {
    "reference": ("untrained networks ± SD", "circle-open", 0.18),
    "null_reference": ("networks trained where nothing was imposed ± SD", "diamond-open", 0.34),
}  # column -> words, symbol, how far below the middle of a row


def scores(own: pd.DataFrame, shown: Mapping[str, str]) -> Chart:
    """Draw one row a method, one column a score: value and interval, references with their spread, the ceiling.

    Args:
        own: method, score, value, value_low, value_high, reference, reference_sd, null_reference, null_reference_sd,
            ceiling, group_difference.
        shown: score -> title of its column.
    """
    shown = {score: title for score, title in shown.items() if (own["score"] == score).any()}
    methods = in_order(own["method"].tolist())
    chart = Chart(len(shown), gap=0.08).column_titles(shown.values())
    for column, score in enumerate(shown, 1):
        rows = own[own["score"] == score].set_index("method").reindex(methods)
        for trace in _traces(rows):
            chart.add(column, showlegend=column == 1 and bool(trace["x"]), **trace)
        ends = [0.0, 1.0] if score != "region_rank_correlation" else [min(0.0, rows["value"].min() - 0.15), 1.0]
        ends = [ends[0] - 0.03, ends[1] + 0.04]
        chart.x(column, range=ends, tick0=0, dtick=0.25, ticks="outside", tickcolor=FAINT, **GRID)
    names = [method_name(method) for method in methods]
    chart.y(tickvals=list(range(len(methods))), ticktext=names, range=[len(methods) - 0.45, -0.6])
    return chart.finish(96 + 62 * len(methods), legend="below", toggles=False)


def _traces(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the traces of one score: the ceiling, the references, then the values."""
    places = list(range(len(rows)))
    found: list[dict[str, Any]] = []
    best = rows["group_difference"].astype(float)
    found.append({
        "name": "difference of the groups in the training scans", "mode": "markers", "hoverinfo": "x+name",
        "marker": {"symbol": "line-ns-open", "size": 22, "color": "#A68A3C", "line": {"width": 2}},
        **_points(best, places),
    })  # fmt: skip
    for name, (words, symbol, below) in REFERENCES.items():
        values, spread = rows[name].astype(float), rows[f"{name}_sd"].astype(float)
        kept = values.notna()
        found.append({
            "name": words, "mode": "markers", "hovertemplate": "%{x:.3f}<extra></extra>",
            "marker": {"symbol": symbol, "size": 9, "color": palette.QUIET, "line": {"width": 1.6}},
            "error_x": {"array": spread[kept].fillna(0).tolist(), "color": palette.QUIET, "thickness": 1.2, "width": 3},
            **_points(values, [place + below for place in places]),
        })  # fmt: skip
    values = rows["value"].astype(float)
    kept = values.notna()
    texts = [f"{value:.3f}".replace("-", "−") for value in values[kept]]
    found.append({
        "name": "these networks, 95 % CI over subjects", "mode": "markers+text", "text": texts, "cliponaxis": False,
        "textposition": "top center", "textfont": {"size": 11}, "hovertemplate": "%{x:.3f}<extra></extra>",
        "marker": {"size": 11, "color": [palette.method_colour(method) for method in rows.index[kept]]},
        "error_x": {
            "symmetric": False, "array": (rows["value_high"] - values)[kept].astype(float).fillna(0).tolist(),
            "arrayminus": (values - rows["value_low"])[kept].astype(float).fillna(0).tolist(), "color": palette.QUIET,
            "thickness": 1.8, "width": 5,
        },
        **_points(values, places),
    })  # fmt: skip
    return found


def _points(values: pd.Series, places: Sequence[float]) -> dict[str, list[float]]:
    """Return x and y of the values that are known."""
    kept = values.notna().to_numpy()
    return {"x": values[kept].tolist(), "y": [place for place, known in zip(places, kept, strict=True) if known]}
