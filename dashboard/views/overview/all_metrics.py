"""Every metric of the run as numbers, folded."""

from __future__ import annotations

from dashboard.data.runs import Run
from dashboard.shell import display, url_state
from dashboard.views.overview import tables


def draw_all_metrics(run: Run, note: str) -> None:
    """Show a table for each level, by scan and by subject, once it is opened.

    Args:
        note: said after the level.
    """
    box = url_state.fold("o_metrics", "All metrics")
    if box is None:
        return
    for level, table in tables.all_metrics(run).items():
        box.caption(f"By {level}. {note}")
        display.grid(box, table)
