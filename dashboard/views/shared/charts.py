"""Parts of charts that several pages draw: dots that open patients, lines of least squares, matrices of methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dashboard.drawing import palette
from dashboard.drawing.chart import Chart
from dashboard.drawing.regions import symbol
from dashboard.text.formatting import method_name, three

CORRELATION_COLOURS = [
    [0, palette.faint("#B07856", 0.6)], [0.5, palette.faint("#B07856", 0.0)], [0.5, palette.faint(palette.ACCENT, 0)],
    [1, palette.faint(palette.ACCENT, 0.6)],
]  # fmt: skip


def dots(
    part: pd.DataFrame, x: np.ndarray, y: np.ndarray, diagnosis: str, diagnoses: Sequence[str], colour: str
) -> dict[str, Any]:
    """Return the trace of one diagnosis, told apart by shape too; a click on a dot gives its subject and scan."""
    return {
        "x": x, "y": y, "mode": "markers", "name": diagnosis,
        "customdata": part[["subject", "scan"]].to_numpy(object),
        "marker": {"size": 7, "color": palette.faint(colour, 0.75), "symbol": symbol(diagnosis, diagnoses)},
        "hovertemplate": f"%{{customdata[1]}}, {diagnosis}<extra></extra>",
    }  # fmt: skip


def trend(x: np.ndarray, y: np.ndarray, colour: str) -> dict[str, Any]:
    """Return the straight line of least squares from the smallest to the largest x, which differ."""
    slope, start = np.polyfit(x, y, 1)
    ends = np.array([x.min(), x.max()])
    line = {"color": colour, "width": 1.6}
    return {"x": ends, "y": start + slope * ends, "mode": "lines", "line": line, "hoverinfo": "skip"}


def short_name(method: str) -> str:
    """Write a method's name on two lines."""
    return method_name(method).replace(" ", "<br>", 1)


def one_word(method: str) -> str:
    """Write a method's name in a word: Sensitivity, Guided, Occlusion, Area."""
    return method_name(method).removeprefix("Brain ").split(" ")[0].capitalize()


def matrix(values: pd.DataFrame, *, low: float, high: float, colours: Sequence, what: str, slim: bool = False) -> Chart:
    """Draw methods against methods, each value written in its cell; the diagonal is empty.

    The names at the top are shortened: they stand in full, in the same order, at the left.

    Args:
        values: (methods, methods); NaN is an empty cell.
        low, high: ends of the colours, the same for matrices that stand side by side.
        what: the value in words, for the pointer.
        slim: for a narrow column: names at the top are slanted, values below 1 have two decimals.
    """
    methods, size = list(values.columns), len(values)
    z = values.to_numpy(float).copy()
    np.fill_diagonal(z, np.nan)
    known = [(i, j) for i in range(size) for j in range(size) if np.isfinite(z[i, j])]
    texts = [f"{z[cell]:.2f}" if slim and abs(z[cell]) < 1 else three(z[cell]) for cell in known]
    chart = Chart().add(
        type="heatmap", z=z, zmin=low, zmax=high, colorscale=colours, showscale=False, xgap=3, ygap=3,
        hoverongaps=False, hovertemplate=f"%{{customdata}}<br>{what} %{{z:.3g}}<extra></extra>",
        customdata=[[f"{method_name(a)} – {method_name(b)}" for b in methods] for a in methods],
    )  # fmt: skip
    # Text of the heatmap itself turns white on strong colours, which is hard to read.
    chart.add(
        x=[j for _, j in known], y=[i for i, _ in known], text=texts, mode="text", hoverinfo="skip",
        textfont={"size": 13 if size <= 4 else 10},
    )  # fmt: skip
    edges, slanted = [-0.5, size - 0.5], slim or size > 4
    common = {"tickvals": list(range(size)), "tickfont": {"size": 11}}
    names = [one_word(m) for m in methods]
    chart.x(ticktext=names, side="top", tickangle=-45 if slanted else 0, range=edges, **common)
    chart.y(ticktext=[short_name(m) for m in methods], range=edges[::-1], **common)
    return chart.finish(40 + 24 * slanted + 50 * max(size, 1), margin={"r": 30 if slanted else 4})
