"""The linked viewer of the Patient page: its options in the link, and what it writes under the cursor."""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import viewer
from dashboard.data import runs
from dashboard.data.selection import Selection
from dashboard.shell import url_state

SIDEBAR_METHOD, REVISION = "_p_sidebar_method", "_p_revision"

STRONGEST = "strongest"  # in a link: the crosshair is at the strongest voxel


def _text(value: Any) -> str:
    """Write the value of an option of the viewer as a link writes it."""
    if value is None:
        return STRONGEST
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return ",".join(f"{v:g}" for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _parsed(name: str, text: str, kind: str) -> Any:
    """Read an option of the viewer from the text of a link.

    Raises:
        ValueError: with the allowed values.
    """
    if name == "mm" and text == STRONGEST:
        return None
    clean, ignored = viewer.clean_options({"threshold_kind": kind, name: text})
    if ignored:
        raise ValueError(ignored[0])
    return clean[name]


def view_options(methods: list[str], wanted: str) -> dict[str, Any]:
    """Return the options of the viewer, from the link or from before.

    A method newly chosen in the sidebar comes first.
    """
    session = st.session_state
    default = wanted if wanted in methods else methods[0]
    kind = url_state.value("p_threshold_kind", "percentile", lambda text: _parsed("threshold_kind", text, text))
    options = {"threshold_kind": kind}
    for name, value in (viewer.DEFAULTS | {"method": default}).items():
        if name != "threshold_kind":
            check = functools.partial(_parsed, name, kind=kind)
            options[name] = url_state.value(f"p_{name}", _text(value), check)
    if session.get(SIDEBAR_METHOD, wanted) != wanted:
        session[REVISION] = session.get(REVISION, 0) + 1
        options["method"] = default
        url_state.put("p_method", default)
    session[SIDEBAR_METHOD] = wanted
    return options | {"revision": session.get(REVISION, 0)}


def remember(view: dict[str, Any]) -> None:
    """Put what the viewer says into the link."""
    for name in viewer.DEFAULTS:
        if view.get(name) is not None:
            url_state.put(f"p_{name}", _text(view[name]))


def viewer_figures(selection: Selection, tables: dict[str, pd.DataFrame]) -> dict[str, dict[int, Any]]:
    """Return method -> region -> what the viewer writes under the cursor."""
    regions = runs.table(selection.run, "regions")
    index = dict(zip(regions.region, regions["index"].astype(int), strict=True))

    def known(number: float) -> float | None:
        return float(number) if number == number else None

    return {
        method: {
            index[r.region]: viewer.RegionFigures(float(r.share), known(r.percentile), int(r.n), known(r.mean))
            for r in table.rename(columns={"mean": "group_mean"}).assign(mean=table["mean"]).itertuples()
            if r.region in index and r.share == r.share  # a heatmap that is 0 everywhere has no shares
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
        options=view_options(methods, selection.method), key="p_viewer",
    )  # fmt: skip
    remember(view)
    return view
