"""Frames -> Plotly charts of how well a regression predicts its target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from dashboard.drawing import palette
from dashboard.drawing.chart import FAINT, GRID, Chart
from dashboard.drawing.charts import CHANCE, folds_row
from dashboard.text.formatting import CLASSIFIERS, ERRORS
from dashboard.text.outputs import OutputDescription

SHOWN = ("mae", "r")
ROOM = 0.06  # of the range of values, on either side


def error(
    metric: str, metrics: pd.DataFrame, summary: Mapping[tuple[str, str], tuple[float | None, float | None]], unit: str
) -> Chart:
    """Draw one of ERRORS for the networks and the linear baselines: a dot a fold, mean and SD.

    Args:
        metrics: classifier, metric, model, value of the folds.
        summary: (classifier, metric) -> mean, SD over the folds.
        unit: of the metric; may be empty.
    """
    found = set(metrics.classifier)
    classifiers = [c for c in CLASSIFIERS if c in found]
    chart = Chart()
    for place, row in enumerate(classifiers):
        values = metrics[(metrics.classifier == row) & (metrics.metric == metric)]
        for trace in folds_row(row, place, values, *summary.get((row, metric), (None, None)), "top center"):
            chart.add(**trace)
    chart.y(
        tickvals=list(range(len(classifiers))), ticktext=[CLASSIFIERS[c] for c in classifiers],
        range=[len(classifiers) - 0.4, -0.75],
    )  # fmt: skip
    title = f"{ERRORS[metric]}, {unit}" if unit else ERRORS[metric]
    return chart.x(title=title, ticks="outside", tickcolor=FAINT).finish(110 + 54 * len(classifiers))


def predicted_and_true(rows: pd.DataFrame, answer: OutputDescription, groups: Sequence[str]) -> Chart:
    """Draw one dot a scan, the true value across, the predicted one upwards; on the dotted line both are the same.

    Args:
        rows: observed, value, group; nobody is named.
    """
    known = rows[["observed", "value"]].to_numpy(float)
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    room = ROOM * ((high - low) or 1)
    ends = [low - room, high + room]
    chart = Chart().add(x=ends, y=ends, mode="lines", line=CHANCE, hoverinfo="skip", showlegend=False)
    for group in groups:
        own = rows[rows.group == group]
        chart.add(
            x=own.observed, y=own.value, mode="markers", name=f"{group}, n = {len(own)}", cliponaxis=False,
            marker={"size": 8, "color": palette.faint(palette.group_colour(group, groups), 0.7)},
            hovertemplate="true %{x:.4g}, predicted %{y:.4g}<extra></extra>",
        )  # fmt: skip
    unit = f", {answer.unit}" if answer.unit else ""
    chart.x(title=f"true {answer.label}{unit}", range=ends, constrain="domain", **GRID)
    return chart.y(title=answer.axis, range=ends, scaleanchor="x", **GRID).finish(380, legend="above")
