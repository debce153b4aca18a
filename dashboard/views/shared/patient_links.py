"""Charts and lists whose dots and rows open the page of a patient."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dashboard.drawing.chart import Chart
from dashboard.shell import display, url_state


def draw_chart_of_patients(place: Any, figure: Chart, key: str, wide: bool = False) -> None:
    """Draw a chart whose dots carry (subject, scan); a click on one opens the patient; `wide`: as for `chart`."""
    if clicked := display.chart(place, figure, key, clicks=True, wide=wide):
        open_patient(*clicked[:2])


def draw_table_of_patients(
    place: Any, table: pd.DataFrame | display.GridTable, rows: pd.DataFrame, key: str, **look: Any
) -> None:
    """Draw a table; a chosen row opens the patient of the same row of `rows`, which has the columns subject and scan.

    Args:
        look: as for `display.grid`.
    """
    event = display.grid(place, table, on_select="rerun", selection_mode="single-row", key=key, **look)
    if event.selection.rows:
        row = rows.iloc[event.selection.rows[0]]
        open_patient(row.subject, row.scan)


def open_patient(subject: str, scan: str) -> None:
    """Open the Patient page with a scan; does not return."""
    url_state.go("patient", {"p_subject": subject, "p_scan": scan})
