"""The strongest regions of a patient against others, in a patient report."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dashboard.drawing import palette
from dashboard.reports import layout
from dashboard.reports.layout import QUIET, Page
from dashboard.reports.subject import Subject
from dashboard.text.formatting import count, method_name, region_name
from dashboard.views.patient import tables as patient_tables
from dashboard.views.patient.charts import APART

TOP = 10
LABELS, NUMBERS, HEAD, FOOT = 25.0, 9.0, 4.0, 4.0  # of a chart, in mm; numbers: for each group
Place = tuple[float, float, float, float]  # x, y, width, height in mm


def draw(page: Page, subject: Subject, method: str, place: Place) -> None:
    """Draw the ten strongest regions as dots, those of the others as lines, the percentiles at the right."""
    tables = subject.against(method)
    if tables is None:
        page.text(place[0], place[1] + 8, "Regions were not measured for this scan.", 7, color=QUIET)
        return
    known = subject.run.table("regions", ["region", "in_atlas"])
    inside = set(known.region[known.in_atlas.astype(bool)])
    top = patient_tables.top_regions(next(iter(tables.values())), inside, TOP)
    if top.empty:
        page.text(place[0], place[1] + 8, "The heatmap is 0 everywhere: no region has a share.", 7, color=QUIET)
        return
    shown = {group: table.set_index("region").loc[top.region].reset_index() for group, table in tables.items()}
    if subject.reference and all((table.n == 0).all() for table in shown.values()):
        text = f"{subject.reference.run_id} has no {method_name(method).lower()} of other people."
        page.text(place[0], place[1] + 2.6, text, 5.8, color=QUIET)
    _dots(page, method, shown, place, subject.compared_run.groups)


def _dots(page: Page, method: str, tables: Mapping[str, pd.DataFrame], place: Place, groups: tuple[str, str]) -> None:
    x, y, width, height = place
    height -= HEAD + FOOT
    top, several = next(iter(tables.values())), len(tables) > 1
    axes = page.axes(x + LABELS, y + HEAD, width - LABELS - NUMBERS * len(tables), height)
    layout.plain_axes(axes, 6)
    share, rows = 100 * top.share.to_numpy(float), np.arange(len(top))
    ends = [*share]
    offsets = np.linspace(-APART, APART, len(tables)) if several else [0.0]
    for number, ((group, table), offset) in enumerate(zip(tables.items(), offsets, strict=True)):
        colour = palette.group_colour(group, groups) if several else palette.QUIET
        mean, spread = 100 * table["mean"].to_numpy(float), np.nan_to_num(100 * table.sd.to_numpy(float))
        axes.hlines(rows + offset, np.maximum(mean - spread, 0), mean + spread, color=colour, linewidth=1)
        axes.scatter(mean, rows + offset, marker="|", s=22, color=colour, linewidths=1.2)
        ends += [*(mean + spread)]
        right = x + width - NUMBERS * (len(tables) - 1 - number)
        if several:
            page.text(
                right, y + 2.6, layout.shortened(group, NUMBERS, 5.8), 5.8, color=colour, weight="bold", ha="right"
            )
        elif table.percentile.notna().any():
            page.text(right, y + 2.6, "percentile", 5.8, color=QUIET, ha="right")
        _percentiles(page, table, (right, y, height))
    end = layout.axis_end(ends)
    axes.set(xlim=(0, end), ylim=(TOP - 0.4, -0.6), yticks=[], xticks=[0, end / 2, end])
    axes.set_xticklabels(["0", f"{end / 2:g}", f"{end:g}"])
    axes.scatter(share, rows, s=14, color=palette.method_colour(method), zorder=3, clip_on=False)
    for number, region in enumerate(top.region):
        name = layout.shortened(region_name(region), LABELS - 1, 6)
        page.text(x + LABELS - 1.5, _line(y, height, number), name, 6, ha="right")


def _percentiles(page: Page, table: pd.DataFrame, place: tuple[float, float, float]) -> None:
    """Write a column of those that are known, ending at (right, from y, height)."""
    right, y, height = place
    for number, value in enumerate(table.percentile):
        if np.isfinite(value):
            page.text(right, _line(y, height, number), f"{value:.0f}", 6, color=QUIET, ha="right")


def _line(y: float, height: float, number: int) -> float:
    """Return the base line of the words of a region."""
    return y + HEAD + height * (number + 0.6) / (TOP + 0.2) + 0.75


def in_words(subject: Subject) -> str:
    """Say what lines, dots and numbers are."""
    others = subject.others()
    if not any(others.values()):
        return "Dot: this patient. There is no other subject to compare with."
    if subject.reference:
        people = " and ".join(f"{n} {group}" for group, n in others.items())
        line = f"Lines: mean ± SD of the {people} subjects of {subject.reference.run_id}, the first above"
    else:
        (group, n), *_ = others.items()
        line = f"Line: mean ± SD of the other {group}, n = {count(n, 'subject')}"
    known = max(others.values()) >= patient_tables.FEWEST
    return f"{line}. Dot: this patient{', with the percentile among them.' if known else '.'}"
