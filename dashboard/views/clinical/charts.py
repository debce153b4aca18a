"""Frames -> Plotly charts of evidence against clinical scores."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import pandas as pd

from dashboard.drawing import palette, regions
from dashboard.drawing.chart import GRID, Chart
from dashboard.views.clinical.correlations import TOGETHER
from dashboard.views.shared.charts import dots, trend

ROOM = 0.05  # of the range of values, on either side


def scatter(
    table: pd.DataFrame, diagnoses: Sequence[str], groups: Sequence[str], *, axes: tuple[str, str], factor: float,
    fitted: Collection[str] = (),
) -> Chart:  # fmt: skip
    """Draw a score against what the networks say, one dot a subject and diagnosis.

    Args:
        table: subject, scan, diagnosis, score, value.
        axes: what stands beside x and y; factor: takes the values to the unit of y.
        fitted: diagnoses that get the straight line of least squares.
    """
    chart = Chart()
    for diagnosis in diagnoses:
        part = table[table["diagnosis"] == diagnosis]
        colour = palette.group_colour(diagnosis, groups)
        x, y = part["score"].to_numpy(float), part["value"].to_numpy(float) * factor
        name = f"{diagnosis}, n = {len(part)}"
        chart.add(**dots(part, x, y, diagnosis, diagnoses, colour) | {"name": name, "cliponaxis": False})
        if diagnosis in fitted and np.ptp(x) > 0:
            chart.add(**trend(x, y, colour), showlegend=False)
    values = table["value"].dropna() * factor
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    room = ROOM * ((high - low) or 1)  # a fitted line may leave the values: of a probability it would go beyond 1
    chart.x(title=axes[0]).y(title=axes[1], range=[low - room, high + room], **GRID)
    return chart.finish(430, legend="above", toggles=False)


def intervals(
    frame: pd.DataFrame, features: Sequence[str], sets: Sequence[str], groups: Sequence[str], *, axis: str
) -> Chart:
    """Draw the rank correlation of each feature as a dot with its confidence interval, one colour a set of subjects.

    A dotted line marks a correlation of 0.

    Args:
        frame: among, feature, rho, low, high, subjects, of one score.
        sets: diagnoses, all together last.
    """
    rows = frame.rename(columns={"among": "diagnosis", "feature": "region", "rho": "value"}).assign(rank=np.nan)
    chart = regions.ranking(rows, features, sets, groups, axis=axis, unit="", factor=1)
    chart.x(rangemode="normal", range=[-1.02, 1.02], tickvals=[-1, -0.5, 0, 0.5, 1])
    for trace, name in zip(chart.data, sets, strict=True):
        if name == TOGETHER:
            trace["marker"]["color"] = palette.QUIET
            trace["error_x"]["color"] = palette.faint(palette.QUIET, 0.75)
    return chart.line(x=0, color=palette.QUIET, width=1, dash="dot")
