"""Frames -> Plotly charts of one region over all scans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dashboard.drawing import palette
from dashboard.drawing.chart import GRID, Chart
from dashboard.views.shared.charts import dots, trend

STRIP_SEED = 0
DOTS_BELOW, BOX_ABOVE = 0.08, 0.3  # of a row, from its middle
ROW = 88  # pixels


def distribution(
    table: pd.DataFrame, diagnoses: Sequence[str], groups: Sequence[str], *, axis: str, factor: float
) -> Chart:
    """Draw a box and a dot a scan for each diagnosis; a click on a dot gives its subject and scan.

    Whiskers end at the last scan within 1.5 interquartile ranges of the box.

    Args:
        table: scan, subject, diagnosis, value.
        axis: the measure with its unit; factor: takes the values to the unit.
    """
    chart, names, rng = Chart(), [], np.random.default_rng(STRIP_SEED)
    for place, diagnosis in enumerate(diagnoses):
        part = table[table["diagnosis"] == diagnosis]
        colour, values = palette.group_colour(diagnosis, groups), part["value"].to_numpy(float) * factor
        names.append(f"{diagnosis}<br>n = {len(part)}")
        if len(part):
            chart.add(**_box(values, place - BOX_ABOVE, colour))
        y = place + DOTS_BELOW + rng.uniform(-0.22, 0.22, len(part))
        chart.add(**dots(part, values, y, diagnosis, diagnoses, colour))
    chart.x(title=axis, rangemode="tozero", **GRID)
    chart.y(tickvals=list(range(len(diagnoses))), ticktext=names, range=[len(diagnoses) - 0.5, -0.6])
    return chart.finish(90 + ROW * max(len(diagnoses), 1))


def means(table: pd.DataFrame, diagnoses: Sequence[str], groups: Sequence[str], *, axis: str, factor: float) -> Chart:
    """Draw mean ± SD of each diagnosis, which say nothing of a single scan; arguments as for `distribution`."""
    chart, names = Chart(), []
    for place, diagnosis in enumerate(diagnoses):
        values = table["value"][table["diagnosis"] == diagnosis].to_numpy(float) * factor
        names.append(f"{diagnosis}<br>n = {len(values)}")
        if len(values) > 1:
            colour = palette.group_colour(diagnosis, groups)
            chart.add(
                x=[values.mean()], y=[place], mode="markers", hoverinfo="skip", showlegend=False,
                marker={"size": 11, "color": colour, "symbol": "diamond"},
                error_x={"array": [values.std(ddof=1)], "color": colour, "thickness": 1.6, "width": 5},
            )  # fmt: skip
    chart.x(title=axis, rangemode="tozero", **GRID)
    chart.y(tickvals=list(range(len(diagnoses))), ticktext=names, range=[len(diagnoses) - 0.5, -0.6])
    return chart.finish(90 + ROW * max(len(diagnoses), 1))


def _box(values: np.ndarray, place: float, colour: str) -> dict[str, Any]:
    """Return a box of quartiles whose whiskers end at the last value within 1.5 interquartile ranges."""
    low, median, high = np.percentile(values, [25, 50, 75])
    reach = 1.5 * (high - low)
    return {
        "type": "box", "q1": [low], "median": [median], "q3": [high], "y": [place], "orientation": "h", "width": 0.2,
        "lowerfence": [values[values >= low - reach].min()], "upperfence": [values[values <= high + reach].max()],
        "line": {"color": colour, "width": 1.4}, "fillcolor": palette.faint(colour, 0.08), "hoverinfo": "skip",
    }  # fmt: skip


def with_age(
    table: pd.DataFrame, diagnoses: Sequence[str], groups: Sequence[str], *, axis: str, factor: float
) -> Chart:
    """Draw one dot a scan, age against the measure, and the line of least squares of each diagnosis."""
    chart = Chart()
    for diagnosis in diagnoses:
        part = table[(table["diagnosis"] == diagnosis) & table["age"].notna()]
        colour = palette.group_colour(diagnosis, groups)
        x, y = part["age"].to_numpy(float), part["value"].to_numpy(float) * factor
        chart.add(**dots(part, x, y, diagnosis, diagnoses, colour))
        if len(part) > 2 and np.ptp(x) > 0:
            chart.add(**trend(x, y, colour))
    chart.x(title="age in years").y(title=axis, rangemode="tozero", **GRID)
    return chart.finish(90 + ROW * max(len(diagnoses), 2))
