"""Frames -> Plotly charts of how far methods lie apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dashboard.drawing import palette
from dashboard.drawing.chart import GRID, Chart
from dashboard.drawing.ordering import leaf_order
from dashboard.drawing.regions import symbol
from dashboard.text.formatting import heatmaps, mean_sd, method_name, three

CORRELATION_AXIS = "Spearman over the shares of regions"
AXIS = "distance × 10<sup>4</sup>, per mm<sup>1.5</sup>"
DISTANCE_COLOURS = [[0, palette.faint(palette.ACCENT, 0.6)], [1, palette.faint(palette.ACCENT, 0.04)]]
STRIP_SEED = 0
STRIP_HEIGHT = 0.26  # of a row


def strips(
    table: pd.DataFrame, pairs: Sequence[tuple[str, str]], diagnoses: Sequence[str], groups: Sequence[str], *,
    column: str, points: bool = True,
) -> Chart:  # fmt: skip
    """Draw one dot a scan for each pair of methods and diagnosis, their mean as a diamond and its SD as a line.

    A click on a dot gives its subject and scan.

    Args:
        table: scan, subject, diagnosis, method_a, method_b and `column`.
        points: False where single patients must not be shown.
    """
    chart, rng = Chart(), np.random.default_rng(STRIP_SEED)
    step = 0.8 / max(len(diagnoses), 1)
    for number, diagnosis in enumerate(diagnoses):
        part = table[table["diagnosis"] == diagnosis]
        place = {pair: i + (number - (len(diagnoses) - 1) / 2) * step for i, pair in enumerate(pairs)}
        drawn = [pair in place for pair in zip(part["method_a"], part["method_b"], strict=True)]
        part = part[np.array(drawn, bool)]
        keys = list(zip(part["method_a"], part["method_b"], strict=True))
        colour = palette.group_colour(diagnosis, groups)
        if points:
            y = np.array([place[key] for key in keys]) + rng.uniform(-0.5, 0.5, len(part)) * STRIP_HEIGHT * step / 0.4
            _dots(chart, part, y, column, (colour, symbol(diagnosis, diagnoses)))
        _means(chart, part, place, column, (diagnosis, colour))
    names = ["<br>".join(method_name(m) for m in pair) for pair in pairs]
    chart.y(tickvals=list(range(len(pairs))), ticktext=names, range=[len(pairs) - 0.45, -0.55], tickfont={"size": 12})
    distance = column == "distance"
    chart.x(title=AXIS if distance else CORRELATION_AXIS, rangemode="tozero" if distance else "normal", **GRID)
    height = 90 + (24 + 22 * len(diagnoses)) * max(len(pairs), 1)
    return chart.finish(height, legend="above", toggles=False)


def _dots(chart: Chart, part: pd.DataFrame, y: np.ndarray, column: str, look: tuple[str, str]) -> None:
    chart.add(
        x=part[column], y=y, mode="markers", showlegend=False, customdata=part[["subject", "scan"]].to_numpy(object),
        marker={"size": 5, "color": palette.faint(look[0], 0.6), "symbol": look[1]},
        hovertemplate="%{customdata[1]}: %{x:.3g}<extra></extra>",
    )  # fmt: skip


def _means(
    chart: Chart, part: pd.DataFrame, place: Mapping[tuple[str, str], float], column: str, who: tuple[str, str]
) -> None:
    """Add mean ± SD of each pair; `who` is the diagnosis and its colour."""
    grouped = part.groupby(["method_a", "method_b"])[column].agg(["mean", "std", "count"])
    known = grouped.loc[[pair for pair in place if pair in grouped.index]]
    texts = [f"{who[0]}: {mean_sd(m, sd)} (mean ± SD), n = {n:.0f}" for m, sd, n in known.to_numpy(float)]
    maps, scans = int(known["count"].max()) if len(known) else 0, part["scan"].nunique()
    n = scans if maps <= scans else heatmaps(maps, scans)
    chart.add(
        x=known["mean"], y=[place[pair] for pair in known.index], mode="markers", hovertext=texts, hoverinfo="text",
        name=f"{who[0]}, n = {n}", cliponaxis=False,
        marker={"size": 10, "color": who[1], "symbol": "diamond", "line": {"width": 1.5, "color": "#FFFFFF"}},
        error_x={"array": known["std"].fillna(0), "color": who[1], "thickness": 2, "width": 5},
    )  # fmt: skip


def dendrogram(linkage: np.ndarray, methods: Sequence[str], end: float) -> Chart:
    """Draw the tree of a hierarchical clustering, leaves at the left.

    Args:
        linkage: (n - 1, 4) in SciPy's convention: the two clusters joined, their distance, methods in the new one.
        end: of the axis, the same for trees that stand side by side.
    """
    order = leaf_order(linkage)
    place = {int(leaf): float(number) for number, leaf in enumerate(order)}
    height = dict.fromkeys(range(len(methods)), 0.0)
    x, y, corners = [], [], []
    for number, (first, second, distance, _) in enumerate(linkage):
        a, b, new = int(first), int(second), len(methods) + number
        x += [height[a], distance, distance, height[b], None]
        y += [place[a], place[a], place[b], place[b], None]
        corners.append(min(place[a], place[b]))
        height[new], place[new] = distance, (place[a] + place[b]) / 2
    chart = Chart().add(x=x, y=y, mode="lines", line={"color": palette.ACCENT, "width": 2}, hoverinfo="skip")
    joins = linkage[:, 2]
    chart.add(
        x=joins, y=corners, mode="text", text=[three(d) for d in joins], textposition="top left", hoverinfo="skip",
        cliponaxis=False,
    )  # fmt: skip
    names = [method_name(methods[leaf]) for leaf in order]
    chart.x(title="distance × 10<sup>4</sup>", range=[0, 1.03 * end])
    chart.y(tickvals=list(range(len(order))), ticktext=names, range=[len(order) - 0.5, -0.7])
    return chart.finish(70 + 38 * len(methods))
