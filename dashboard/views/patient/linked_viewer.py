"""The linked viewer of the Patient page: what it shows, and what it writes under the cursor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from dashboard import viewer
from dashboard.data import runs
from dashboard.data.selection import Selection
from dashboard.shell import url_state
from dashboard.views.patient.against_people import Figures
from dashboard.views.shared import viewer_link
from dashboard.views.shared.follow import follow

FOLLOWING = ("p_3d", "p_surface_open")  # parts of the page that show the look, too, once they are opened


@dataclass
class Seen:
    """The view of a patient that the browser has told of last, also long after the page has run."""

    view: dict[str, Any] = field(default_factory=dict)


def follow_view(show: Callable[[], dict[str, Any]], on_page: bool) -> Seen:
    """Show the viewer; a change of its look runs nothing else, unless the page shows it, too.

    Args:
        on_page: pictures on the page follow every look.
    """
    seen = Seen()
    if on_page:
        seen.view = show()
    else:
        follow(seen, show, _changes_page)
    return seen


def _changes_page(before: dict[str, Any], after: dict[str, Any]) -> bool:
    return before.get("method") != after["method"] or any(url_state.kept(key) for key in FOLLOWING)


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
