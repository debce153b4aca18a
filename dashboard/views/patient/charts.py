"""Charts of the Patient page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from dashboard.drawing import palette, regions
from dashboard.drawing.chart import GRID, Chart
from dashboard.drawing.charts import CHANCE
from dashboard.text.formatting import region_name, region_with_code, three
from dashboard.text.outputs import OutputDescription

WHOLE = {"range": [-0.03, 1.03], "dtick": 0.5}  # of a probability
APART = 0.2  # of a row: a group's mark from that of the scan


def against_group(table: pd.DataFrame, diagnosis: str, colour: str) -> Chart:
    """Draw the top regions of a patient as dots, the other subjects of the diagnosis as mean and SD, in percent.

    Args:
        table: region, share, mean, sd, percentile, n; the first at the top.
        colour: of the patient's dots.
    """
    places, share = np.arange(len(table)), 100 * table.share
    chart = Chart()
    n = int(table.n.iloc[0]) if len(table) else 0
    if n:
        chart.add(
            x=100 * table["mean"], y=places, mode="markers", name=f"other {diagnosis}, mean ± SD, n = {n}",
            marker={"symbol": "line-ns-open", "size": 11, "color": palette.QUIET, "line": {"width": 2}},
            error_x={"array": (100 * table.sd).fillna(0), "color": palette.QUIET, "thickness": 1.6, "width": 0},
            customdata=np.column_stack([table.region.map(region_with_code)]),
            hovertemplate="%{customdata[0]}: mean %{x:.3g} %<extra></extra>",
        )  # fmt: skip
    said = [
        f"{region_with_code(row.region)}: {three(100 * row.share)} %"
        + (f", percentile {row.percentile:.0f} of {row.n}" if np.isfinite(row.percentile) else "")
        for row in table.itertuples()
    ]
    chart.add(
        x=share, y=places, mode="markers", name="this scan", marker={"size": 10, "color": colour}, text=said,
        hovertemplate="%{text}<extra></extra>", cliponaxis=False,
    )  # fmt: skip
    names = [region_name(r) for r in table.region]
    chart.y(tickvals=list(places), ticktext=names, range=[len(table) - 0.4, -0.6])
    chart.x(title="share of the relevance<br>in the brain, %", rangemode="tozero", **GRID)
    return chart.finish(110 + 27 * max(len(table), 1), legend="above")


def against_groups(tables: Mapping[str, pd.DataFrame], colour: str, groups: Sequence[str]) -> Chart:
    """Draw the top regions of a new scan as dots, the groups of another run above and below as mean and SD.

    Args:
        tables: group -> as `table` of `against_group`, with the same regions.
        colour: of the scan's dots; groups: positive and negative.
    """
    chart, first = Chart(), next(iter(tables.values()))
    places = np.arange(len(first))
    for (group, table), offset in zip(tables.items(), np.linspace(-APART, APART, len(tables)), strict=True):
        n, look = int(table.n.iloc[0]) if len(table) else 0, palette.group_colour(group, groups)
        chart.add(
            x=100 * table["mean"], y=places + offset, mode="markers", name=f"{group}, mean ± SD, n = {n}",
            marker={"symbol": regions.symbol(group, list(tables)), "size": 7, "color": palette.faint(look, 0.75)},
            error_x={"array": (100 * table.sd).fillna(0), "color": look, "thickness": 1.3, "width": 0},
            customdata=np.column_stack([table.region.map(region_with_code)]),
            hovertemplate=f"%{{customdata[0]}}, {group}: mean %{{x:.3g}} %<extra></extra>",
        )  # fmt: skip
    said = [f"{region_with_code(row.region)}, this scan: {three(100 * row.share)} %" for row in first.itertuples()]
    chart.add(
        x=100 * first.share, y=places, mode="markers", name="this scan", text=said, cliponaxis=False,
        marker={"symbol": "star", "size": 12, "color": colour}, hovertemplate="%{text}<extra></extra>",
    )  # fmt: skip
    chart.y(tickvals=list(places), ticktext=[region_name(r) for r in first.region], range=[len(first) - 0.4, -0.6])
    chart.x(title="share of the relevance<br>in the brain, %", rangemode="tozero", **GRID)
    return chart.finish(110 + 34 * max(len(first), 1), legend="above")


def visits(table: pd.DataFrame, answer: OutputDescription, groups_colour: str) -> Chart:
    """Draw what the networks answer over the visits of a person.

    Args:
        table: age (may be missing), session, and the column of the answer; in time order.
    """
    by_age = bool(table.age.notna().all() and table.age.nunique() == len(table))
    x = table.age if by_age else table.session.fillna("").where(table.session.fillna("") != "", table.index.astype(str))
    chart = Chart().line(y=answer.middle, **CHANCE)
    chart.add(
        x=x, y=table[answer.column], mode="lines+markers", line={"color": groups_colour, "width": 1.6},
        marker={"size": 9}, customdata=table.session.fillna(""),
        hovertemplate="session %{customdata}: %{y:.4g}<extra></extra>", cliponaxis=False,
    )  # fmt: skip
    chart.x(title="age in years" if by_age else "session")
    return chart.y(title=answer.axis, **({} if answer.is_value else WHOLE)).finish(230)
