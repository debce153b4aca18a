"""Frames -> Plotly charts of two runs beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from dashboard.drawing import palette
from dashboard.drawing.chart import FAINT, GRID, Chart
from dashboard.drawing.charts import CHANCE
from dashboard.text.formatting import CLASSIFIERS, ERRORS, count, mean_sd, region_name, region_with_code

LABELS = 8
WIDE, HIGH = 0.3, 0.06  # of the axes: the room of a label
LEFT = 0.4  # of the axis: nearer to its start a label stands at the right of its dot
COLOURS = (palette.ACCENT, "#A68A3C")  # of the first and the second run
SYMBOLS = ("circle", "diamond")
JUDGED = {"folds": "cross-validation", "holdout": "held-out"}
LEFT_END = 0.6  # a number at a smaller value would lie on the names of the rows
APART = 0.2  # of a row, from its middle to either run


def metrics(compared: pd.DataFrame, names: tuple[str, str], metric_names: Mapping[str, str]) -> Chart:
    """Draw the metrics of two runs: a row a classifier, a column a metric.

    Filled marks are mean ± SD over the folds, open ones the held-out test set.

    Args:
        compared: classifier, metric, judged, value_a, sd_a, n_a, value_b, sd_b, n_b.
        names: of the runs.
        metric_names: metric -> title of its column, if either run has it.
    """
    metric_names = {metric: name for metric, name in metric_names.items() if (compared.metric == metric).any()}
    classifiers = [c for c in CLASSIFIERS if c in set(compared.classifier)]
    chart = Chart(len(metric_names), gap=0.2 / len(metric_names)).column_titles(metric_names.values())
    for column, metric in enumerate(metric_names, 1):
        for number, run in enumerate("ab"):
            for judged in ("folds", "holdout"):
                rows = compared[(compared.metric == metric) & (compared.judged == judged)]
                dots = _metric_dots(rows[rows[f"value_{run}"].notna()], run, judged, classifiers)
                chart.add(column, name=f"{names[number]}, {JUDGED[judged]}", showlegend=column == 1, **dots)
        if metric in ERRORS:
            chart.x(column, ticks="outside", tickcolor=FAINT)
            continue
        own = compared[compared.metric == metric]
        low = min(0.45, own[["value_a", "value_b"]].min().min())
        chart.line(column, x=0.5, **CHANCE)
        chart.x(
            column, range=[low - 0.04, 1.12], tickformat=".1f", dtick=0.2, tick0=0, ticks="outside", tickcolor=FAINT
        )
    rows, texts = list(range(len(classifiers))), [CLASSIFIERS[c] for c in classifiers]
    chart.y(tickvals=rows, ticktext=texts, range=[len(rows) - 0.45, -0.6])
    return chart.finish(120 + 76 * len(classifiers), legend="below", margin={"r": 44})


def _metric_dots(rows: pd.DataFrame, run: str, judged: str, classifiers: Sequence[str]) -> dict[str, Any]:
    """Return the trace of one run, metric and set of test scans, with texts for the pointer."""
    number = "ab".index(run)
    places = [classifiers.index(c) + (2 * number - 1) * APART for c in rows.classifier]
    value, sd = rows[f"value_{run}"], rows[f"sd_{run}"].fillna(0)
    texts = [mean_sd(v, s) for v, s in zip(value, rows[f"sd_{run}"], strict=True)]
    custom = [
        f"{t}, n = {count(n, 'fold' if judged == 'folds' else 'scan')}"
        for t, n in zip(texts, rows[f"n_{run}"], strict=True)
    ]
    look = {"size": 9, "color": COLOURS[number], "symbol": SYMBOLS[number] + ("" if judged == "folds" else "-open")}
    at_left = (value < LEFT_END) & ~rows.metric.isin(ERRORS)
    return {
        "x": value, "y": places, "mode": "markers+text" if judged == "folds" else "markers", "text": texts,
        "textposition": ["top right" if left else "top center" for left in at_left],
        "textfont": {"size": 11}, "cliponaxis": False, "customdata": custom, "marker": look,
        "error_x": {"array": sd, "color": COLOURS[number], "thickness": 1.6, "width": 4},
        "hovertemplate": "%{customdata}<extra></extra>",
    }  # fmt: skip


def regions(compared: pd.DataFrame, names: tuple[str, str]) -> Chart:
    """Draw every region as a dot, its share in the first run across and in the second upwards.

    The regions that changed most are named.

    Args:
        compared: region, share_a, share_b, rank_a, rank_b, difference; in percent, by change.
        names: of the runs.
    """
    top = 1.08 * max(float(compared[["share_a", "share_b"]].max().max()), 1e-9)
    chart = Chart().add(x=[0, top], y=[0, top], mode="lines", hoverinfo="skip", line=CHANCE)
    custom = [(region_with_code(row.region), row.rank_a, row.rank_b) for row in compared.itertuples()]
    chart.add(
        x=compared.share_a, y=compared.share_b, mode="markers", customdata=custom, cliponaxis=False,
        marker={"size": 7, "color": palette.faint(palette.ACCENT, 0.75)},
        hovertemplate="%{customdata[0]}<br>%{x:.3g} %, rank %{customdata[1]}<br>%{y:.3g} %, rank %{customdata[2]}"
        "<extra></extra>",
    )  # fmt: skip
    for row in choose_labelled(compared, top):
        above = row.difference > 0
        chart.annotate(
            x=row.share_a, y=row.share_b, text=region_name(row.region), xshift=-6 if above else 6,
            xanchor="right" if above and row.share_a > LEFT * top else "left", yshift=9 if above else -9,
        )  # fmt: skip
    common = {"range": [0, top], "constrain": "domain"}
    chart.x(title=f"share in {names[0]}, %", **common)
    return chart.y(title=f"share in {names[1]}, %", scaleanchor="x", **common, **GRID).finish(460)


def choose_labelled(compared: pd.DataFrame, top: float) -> list:
    """Return the rows to label: those that changed most, without those whose label would lie on another."""
    kept: list = []
    for row in compared.itertuples():
        near = (
            abs(row.share_a - other.share_a) < WIDE * top and abs(row.share_b - other.share_b) < HIGH * top
            for other in kept
        )
        if not any(near):
            kept.append(row)
        if len(kept) == LABELS:
            break
    return kept
