"""Saved pictures of one patient: the planes at the crosshair by every method, and every visit in one plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import nibabel as nib
import numpy as np
import plotly.graph_objects as go
import streamlit as st

from dashboard import queries, queries_maps, states, viewer
from dashboard.figures import pictures, planes, words
from dashboard.figures.glass import glass_brain
from dashboard.filters import Selection
from store import RunReader

TEXT = 15  # pixels of the letters in a saved picture


def sheet(
    selection: Selection, model: str, scan: str, methods: Sequence[str], view: Mapping[str, Any]
) -> pictures.Picture:
    """Three planes at the crosshair, one row a method, with the viewer's threshold, colours and convention."""
    reader, rows = queries.opened(selection.run), []
    main = view["method"] if view["method"] in methods else methods[0]
    mm = crosshair(reader, model, main, scan, selection.target, view)
    cuts = planes.sections_at(queries_maps.anatomy(selection.run), mm)
    for method in methods:
        heatmap = reader.heatmap(model, method, scan, target=selection.target)
        scale = limits(heatmap, reader.mask, view, unit_of(method))
        drawn = planes.orthogonal(cuts, heatmap, reader.affine(), mm, style_of(view), scale, text=TEXT)
        rows.append(pictures.titled(drawn, words.method_name(method), TEXT + 3))
    source = f"{selection.run.run_id}, model {model}. {states.RESEARCH_ONLY}"
    return pictures.below([*rows, _note(rows[0].width, source)])


def style_of(view: Mapping[str, Any]) -> planes.Style:
    """The viewer's way of drawing, coronal."""
    return planes.Style(
        "coronal", smooth=bool(view["smooth"]), colours=view["colours"], signed=view["sign"] == "signed",
        opacity=float(view["opacity"]), convention=view["convention"],
    )  # fmt: skip


def crosshair(
    reader: RunReader, model: str, method: str, scan: str, target: str, view: Mapping[str, Any]
) -> tuple[float, float, float]:
    """The viewer's position in mm; before it has one, the strongest voxel of the method."""
    if view.get("mm") is not None:
        x, y, z = (float(v) for v in view["mm"])
        return x, y, z
    heatmap = np.abs(reader.heatmap(model, method, scan, target=target))
    x, y, z = nib.affines.apply_affine(reader.affine(), np.unravel_index(int(heatmap.argmax()), heatmap.shape))
    return float(x), float(y), float(z)


def _note(width: int, text: str) -> pictures.Picture:
    return pictures.titled(pictures.Picture(np.zeros((8, width, 3), np.uint8)), text, TEXT)


def percentile(view: Mapping[str, Any]) -> float:
    """The viewer's threshold as a percentile of the brain; its default where the reader gave an absolute value."""
    return float(view["threshold"] if view["threshold_kind"] == "percentile" else viewer.DEFAULTS["threshold"])


def limits(heatmap: np.ndarray, mask: np.ndarray, view: Mapping[str, Any], unit: str) -> planes.Range:
    """From the viewer's threshold to the 99.5th percentile of |relevance| in the brain."""
    inside = np.abs(heatmap[mask])
    low, high = (float(q) for q in np.percentile(inside, [percentile(view), 99.5]))
    if view["threshold_kind"] == "absolute":
        low = float(view["threshold"])
    if high <= low:
        low, high = min(low, float(inside.max(initial=0.0))), float(inside.max(initial=0.0)) or 1.0
    return planes.Range(low, high, unit)


@st.cache_data(max_entries=32, show_spinner="Drawing the visits")
def visits_png(
    run: queries.Run, drawn: tuple[tuple[str, str, str], ...], method: str, target: str, view: tuple
) -> bytes:
    """One coronal slice a visit at the crosshair, on one colour scale.

    Args:
        drawn: (model, scan, title) of each visit, in time order.
        view: the viewer's options as sorted pairs.
    """
    options, reader = dict(view), queries.opened(run)
    ground, place = queries_maps.anatomy(run), [options["mm"][1]]
    maps = [reader.heatmap(model, method, scan, target=target) for model, scan, _ in drawn]
    scale = limits(np.concatenate([m[reader.mask] for m in maps]), slice(None), options, "")
    style = style_of(options)
    tiles = [
        pictures.titled(
            planes.picture(ground, heatmap, reader.affine(), place, style, scale, text=TEXT, bar=False), title, TEXT
        )
        for heatmap, (_, _, title) in zip(maps, drawn, strict=True)
    ]  # fmt: skip
    return pictures.beside(tiles).png()


def view_pairs(view: Mapping[str, Any], mm: Sequence[float]) -> tuple:
    """What of the viewer's options the picture of the visits depends on, hashable."""
    used = ("smooth", "colours", "sign", "opacity", "convention", "threshold", "threshold_kind")
    return (*((name, view[name]) for name in used), ("mm", tuple(mm)))


@st.cache_data(max_entries=4, show_spinner="Drawing in 3D")
def glass(run: queries.Run, model: str, method: str, scan: str, target: str, percentile: float) -> go.Figure:
    """A heatmap inside a transparent brain, its surface at a percentile of |relevance| in the brain."""
    reader = queries.opened(run)
    heatmap = reader.heatmap(model, method, scan, target=target)
    threshold = float(np.percentile(np.abs(heatmap[reader.mask]), percentile))
    return glass_brain(
        heatmap, reader.mask, reader.affine(), threshold, queries.answer(run).unit_of(unit_of(method)), ""
    )


def unit_of(method: str) -> str:
    """Of the stored scale: drops for occlusions, gradients for the others."""
    return "drop of margin" if method.endswith("occlusion") else "d margin / d z-score"
