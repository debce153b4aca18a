"""The main heatmap of a patient on the cortical surface, drawn as the viewer draws it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.data import map_images, reference_run, runs
from dashboard.data.anatomy import brain
from dashboard.data.selection import Selection
from dashboard.shell import access, notices, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.viewer.surface import Place
from dashboard.views.patient import pictures
from dashboard.views.patient.downloads import label
from dashboard.views.shared import surface_maps, surface_view, viewer_link
from dashboard.views.shared.surface_view import SurfaceMap
from store.reading.agreement import networks_are_enough


def section(
    selection: Selection, model: str, row: pd.Series, method: str, view: Mapping[str, Any]
) -> list[Download]:  # fmt: skip
    """Show the main heatmap on the surface, on request; return the files."""
    box = url_state.fold(
        "p_surface_open", f"On the surface and through a glass brain: {formatting.method_name(method)}"
    )
    if box is None:
        return []
    shape = surface_view.choose_surface("p_", box)
    with box, st.spinner("Opening the surface"):
        one = _map(selection, model, row, method, view)
        surface_view.show(box, selection.run, [one], shape, "p-surface", _lead)
    name = f"{selection.run.run_id}_{access.pseudonym(row['scan'])}_{model}_{method}_{selection.target}"
    return surface_view.files(name, selection.run, [one], shape, [reference_run.warning(selection.run).strip()])


def _lead(place: Place) -> None:
    """Bring the crosshair of the viewer to a place on the cortex."""
    url_state.set_before_next_pass(viewer_link.led_to("p_", place))


def _map(selection: Selection, model: str, row: pd.Series, method: str, view: Mapping[str, Any]) -> SurfaceMap:
    run, scan, target = selection.run, row["scan"], selection.target
    reader = runs.opened(run)
    agreed = bool(view.get("agreement")) and networks_are_enough(reader, model, method, scan)
    found = (
        map_images.agreed_map(reader, model, method, scan, target)
        if agreed
        else map_images.signed_map(reader, model, method, scan, target, "margin")
    )
    scale = pictures.ranges({method: found}, method, view, reader)[method]
    key = (model, method, scan, target, agreed)
    sizes = found if view["sign"] == "signed" else found.of_size(reader.is_gradient(method))
    key = (*key, view["sign"])
    values = surface_maps.of_volume(run, sizes.grid, key) * np.float32(scale.factor)
    opacity = None if found.opacity is None else surface_maps.of_volume(run, found.opacity, (*key, "opacity"))
    style = replace(pictures.style_of(view), smooth=bool(view["smooth"]) and found.smooth)
    heading = formatting.method_name(method)
    caption = label(selection, model, row).removesuffix(notices.RESEARCH_ONLY).rstrip()

    def voxels() -> tuple[np.ndarray, np.ndarray | None]:
        inside = brain(run).inside
        shares = None if found.opacity is None else inside(found.opacity)
        return inside(sizes.grid) * np.float32(scale.factor), shares

    return SurfaceMap((run, key, scale.factor), heading, caption, values, style, scale.scale, voxels, opacity)
