"""The linked viewer of the Patient page: what it shows, and what it writes under the cursor."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dashboard import viewer
from dashboard.data import runs
from dashboard.data.selection import Selection
from dashboard.views.patient.against_people import Figures
from dashboard.views.shared import viewer_link


def show(
    selection: Selection, model: str, row: pd.Series, figures: Figures, group_words: str
) -> dict[str, Any]:  # fmt: skip
    """Show the linked viewer and return its state.

    Args:
        figures: method -> region -> what the viewer writes under the cursor; the methods are those that it shows.
    """
    run, methods = selection.run, list(figures)
    scene = viewer.patient_volumes(runs.opened(run), run, model, row["scan"], methods, selection.target)
    view = viewer.show(
        scene, figures=figures, group_words=group_words,
        options=viewer_link.options("p_", methods, selection.method), key="p_viewer",
    )  # fmt: skip
    viewer_link.remember("p_", view)
    return view
