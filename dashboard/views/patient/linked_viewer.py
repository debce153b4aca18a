"""The linked viewer of the Patient page: what it shows, and what it writes under the cursor."""

from __future__ import annotations

from typing import Any

import pandas as pd

from dashboard import viewer
from dashboard.data import runs
from dashboard.data.selection import Selection
from dashboard.views.shared import viewer_link


def viewer_figures(selection: Selection, tables: dict[str, pd.DataFrame]) -> dict[str, dict[int, Any]]:
    """Return method -> region -> what the viewer writes under the cursor."""
    regions = runs.table(selection.run, "regions")
    index = dict(zip(regions.region.tolist(), regions["index"].astype(int).tolist(), strict=True))

    def known(number: float) -> float | None:
        return number if number == number else None

    return {
        method: {
            index[region]: viewer.RegionFigures(share, known(percentile), n, known(mean))
            for region, share, percentile, n, mean in zip(
                *(table[name].tolist() for name in ("region", "share", "percentile", "n", "mean")), strict=True
            )
            if region in index and share == share  # a heatmap that is 0 everywhere has no shares
        }
        for method, table in tables.items()
    }


def show(
    selection: Selection, model: str, row: pd.Series, tables: dict[str, pd.DataFrame], group_words: str
) -> dict[str, Any]:
    """Show the linked viewer and return its state."""
    run, methods = selection.run, list(tables)
    scene = viewer.patient_volumes(runs.opened(run), run, model, row["scan"], methods, selection.target)
    view = viewer.show(
        scene, figures=viewer_figures(selection, tables), group_words=group_words,
        options=viewer_link.options("p_", methods, selection.method), key="p_viewer",
    )  # fmt: skip
    viewer_link.remember("p_", view)
    return view
