"""A sheet of the heatmaps of all patients: one slice each, those unlike the others of their diagnosis first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard.data.anatomy import anatomy, extent
from dashboard.data.averages import Average
from dashboard.data.selection import OneHeatmap
from dashboard.drawing import planes, slices
from dashboard.shell import access, display, names, page, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.shared import tiles
from dashboard.views.shared.patient_links import open_patient
from dashboard.views.variability import outliers
from dashboard.views.variability.patients import Patients
from store import NotInRunError

AT_ONCE, ACROSS = 24, 6


# Phones and narrow windows have three pictures in a row, where other pages have one or two columns.
NARROW = """<style>@media (max-width: 1250px) {
[class*="st-key-sheet-row"] [data-testid="stHorizontalBlock"] {flex-direction: row; flex-wrap: wrap; gap: 0.5rem;}
[class*="st-key-sheet-row"] [data-testid="stColumn"] {min-width: 30%; flex: 1 1 30%;}}</style>"""


def show(patients: Patients) -> list[Download]:
    """Show the pictures of one page of the sheet; a click on a name opens the patient."""
    if not access.may_see_patients():
        st.info(f"The heatmaps of single patients are {access.only_for_whom()}.")
        return []
    rows = in_order(patients)
    plane, mm, first = _controls(patients, len(rows))
    shown = rows.iloc[first : first + AT_ONCE]
    st.html(NARROW)
    bar = st.empty()
    for start in range(0, len(shown), ACROSS):
        part = shown.iloc[start : start + ACROSS]
        with st.container(key=f"sheet-row-{start}"):
            for place, row in zip(st.columns(ACROSS, gap="small"), part.itertuples(), strict=False):
                _show_one(place, patients, row, plane, mm)
        bar.progress(min(start + ACROSS, len(shown)) / len(shown), "Reading heatmaps")
    bar.empty()
    st.caption(
        f"Each picture has its own colours: from the {tiles.PERCENTILE:.0f}th percentile of |relevance| in the brain "
        "to its top. z: how far the heatmap lies from the others of its diagnosis, as under Outliers; farthest first."
    )
    page.how_to_read(
        "A heatmap that looks unlike its neighbours deserves a look at the scan and its registration. Colours say "
        "where the relevance of each scan lies, not how much there is.",
    )
    table = rows[["subject", "scan", "diagnosis", "z"]]
    return [Download.csv("Order of the sheet, CSV", f"{patients.file}_sheet", lambda: table)]


def in_order(patients: Patients) -> pd.DataFrame:
    """Return the scans that pass with their robust z, the farthest first; those without a distance at the end."""
    found, rows = outliers.with_distance(patients), patients.rows
    if found is None or found.empty:
        return rows.assign(z=np.nan)
    far = rows.merge(found[["model", "scan", "z"]], on=["model", "scan"], how="left")
    return far.sort_values("z", ascending=False, kind="stable", na_position="last").reset_index(drop=True)


def _controls(patients: Patients, count: int) -> tuple[str, float, int]:
    """Choose the plane, its place in mm, and which scans are shown; return also the first of them."""
    run = patients.selection.run
    columns = st.columns([1, 2, 1.2], vertical_alignment="bottom")
    plane = url_state.choose("v_plane", "Plane", list(planes.PLANES), words=str.capitalize, place=columns[0])
    low, high = (int(end) for end in extent(run, plane))
    found = anatomy(run)
    middle = slices.paper_positions(found.brain.shape[1], found.affine)[1] if plane == "coronal" else (low + high) / 2
    axis = "xyz"[planes.PLANES[plane][2]]
    mm = url_state.slide(
        f"v_at_{axis}", "Slice, mm", low, high, round(middle), 1, place=columns[1], format=f"{axis} %d"
    )  # fmt: skip
    pages = [str(number + 1) for number in range(max(-(-count // AT_ONCE), 1))]
    chosen = url_state.choose(
        "v_page", "Scans", pages, place=columns[2],
        words=lambda p: f"{(int(p) - 1) * AT_ONCE + 1} to {min(int(p) * AT_ONCE, count)} of {count}",
    )  # fmt: skip
    return plane, float(mm), (int(chosen) - 1) * AT_ONCE


def _show_one(place: DeltaGenerator, patients: Patients, row: Any, plane: str, mm: float) -> None:
    """Show the picture of a scan, and its name as a button that opens the patient."""
    chosen = patients.selection
    heatmap = OneHeatmap(
        chosen.run, chosen.model_set, chosen.method, chosen.target, model=str(row.model), scan=str(row.scan)
    )  # fmt: skip
    tile = tiles.Tile(Average(heatmap), plane, mm)
    words = f"{row.diagnosis}" + (f", z {round(row.z, 1) + 0.0:.1f}".replace("-", "−") if np.isfinite(row.z) else "")
    try:
        picture = tiles.picture(tile)
        display.brain_picture(place, picture, words, f"Heatmap of a scan on a {plane} section at {mm:.0f} mm.")
    except NotInRunError as error:
        place.info(f"{words}: {formatting.plain(str(error))}")
    name = names.shown_name(row.scan)
    if place.button(formatting.plain(name), key=f"sheet-{row.model}-{name}", type="tertiary", width="stretch"):
        open_patient(row.subject, row.scan)
