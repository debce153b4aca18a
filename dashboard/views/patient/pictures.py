"""Pictures of one patient as the viewer shows them: every method at the crosshair, every visit in one plane, 3D."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import nibabel as nib
import numpy as np
import plotly.graph_objects as go
import streamlit as st

from dashboard.data import map_images, reference_run, runs
from dashboard.data.anatomy import anatomy
from dashboard.data.selection import Selection
from dashboard.drawing import pictures, planes
from dashboard.drawing.glass import glass_brain
from dashboard.text import formatting
from store import RunReader
from store.measures import percent_per_cm3
from store.reading.agreement import networks_are_enough

TOP_PERCENTILE = 99.9  # as in the viewer
SHARED_UNIT = "% of relevance per cm3"  # as in the viewer
TEXT = 15  # pixels of the letters in a saved picture


def sheet(
    selection: Selection, model: str, scan: str, methods: Sequence[str], view: Mapping[str, Any], label: str
) -> pictures.Picture:
    """Draw three planes at the crosshair, one row a method, as the viewer shows them.

    Args:
        view: the viewer's threshold, colours, sign, scale, convention and crosshair.
        label: whose heatmaps these are; it stands on the picture.
    """
    reader, rows = runs.opened(selection.run), []
    main = view["method"] if view["method"] in methods else methods[0]
    mm = crosshair(reader, model, main, scan, selection.target, view)
    cuts = planes.sections_at(anatomy(selection.run), mm)
    agreed = [m for m in methods if view.get("agreement") and networks_are_enough(reader, model, m, scan)]
    found = {
        m: map_images.agreed_map(reader, model, m, scan, selection.target) if m in agreed
        else map_images.signed_map(reader, model, m, scan, selection.target, "margin")
        for m in methods
    }  # fmt: skip
    scales = ranges(found, main, view, reader)
    for method, one in found.items():
        drawn_map = one if view["sign"] == "signed" else one.of_size(reader.is_gradient(method))
        style = replace(style_of(view), smooth=bool(view["smooth"]) and one.smooth)
        drawn = planes.orthogonal(
            cuts, drawn_map.volume * np.float32(scales[method].factor), one.affine, style, scales[method].scale,
            planes.Layout(text=TEXT, resolution=one.resolution, opacity=one.opacity),
        )  # fmt: skip
        rows.append(pictures.titled(drawn, formatting.method_name(method), TEXT + 3))
    notes = (label, reference_run.warning(selection.run).strip(), _cluster_note(view))
    return pictures.below([*rows, *(_note(rows[0].width, line) for line in notes if line)])


def _cluster_note(view: Mapping[str, Any]) -> str:
    """Say that the picture draws the small clusters which the viewer hides; empty where it hides none."""
    size = float(view.get("cluster") or 0)
    return f"Clusters below {size:g} mm3, which the viewer hides, are drawn." if size > 0 else ""


def style_of(view: Mapping[str, Any]) -> planes.Style:
    """Return the viewer's way of drawing, coronal."""
    return planes.Style(
        "coronal", smooth=bool(view["smooth"]), colours=view["colours"], signed=view["sign"] == "signed",
        opacity=float(view["opacity"]), convention=view["convention"],
    )  # fmt: skip


def crosshair(
    reader: RunReader, model: str, method: str, scan: str, target: str, view: Mapping[str, Any]
) -> tuple[float, float, float]:
    """Return the viewer's position in mm; before it has one, the strongest voxel of the method."""
    if view.get("mm") is not None:
        x, y, z = (float(v) for v in view["mm"])
        return x, y, z
    heatmap = np.abs(reader.heatmap(model, method, scan, target=target))
    x, y, z = nib.affines.apply_affine(reader.affine(), np.unravel_index(int(heatmap.argmax()), heatmap.shape))
    return float(x), float(y), float(z)


def _note(width: int, text: str) -> pictures.Picture:
    """Return a line of text as wide as a picture."""
    return pictures.titled(pictures.Picture(np.zeros((8, width, 3), np.uint8)), text, TEXT)


@dataclass(frozen=True)
class MapScale:
    """Colours of one map: `factor` takes its values to the unit of `scale`."""

    scale: planes.Range
    factor: float = 1.0


def ranges(
    found: Mapping[str, map_images.MapImage], main: str, view: Mapping[str, Any], reader: RunReader
) -> dict[str, MapScale]:
    """Return method -> colours, by the rules of the viewer (viewer/frontend/looks.js).

    A percentile holds for each map, or on one scale that of the main map for all. A value means the same only in the
    same unit; elsewhere the same part of the brain stays uncoloured.

    Args:
        main: the method that a threshold is meant for.
    """
    sizes = {method: np.abs(one.grid[reader.mask]) for method, one in found.items()}
    tops = {method: _top(size) for method, size in sizes.items()}
    threshold, percentile = float(view["threshold"]), view["threshold_kind"] == "percentile"
    if view["scale"] == "shared":
        factors = {method: _share_factor(one, reader, method) for method, one in found.items()}
        low = factors[main] * at_percentile(sizes[main], threshold) if percentile else threshold
        top = max(tops[method] * factor for method, factor in factors.items())
        return {method: MapScale(_range(low, top, SHARED_UNIT), factor) for method, factor in factors.items()}
    lows = {}
    for method, size in sizes.items():
        if percentile:
            lows[method] = at_percentile(size, threshold)
        elif found[method].unit == found[main].unit:
            lows[method] = threshold
        else:
            lows[method] = at_percentile(size, rank_in(sizes[main], threshold))
    return {method: MapScale(_range(lows[method], tops[method], one.unit)) for method, one in found.items()}


def _top(size: np.ndarray) -> float:
    """Return where the colours of a map end."""
    return at_percentile(size, TOP_PERCENTILE) or float(size.max(initial=0.0))


def _range(low: float, high: float, unit: str) -> planes.Range:
    """Return a range of colours that is never empty."""
    high = max(high, 1.0001 * low)
    return planes.Range(low, high if high > 0 else 1.0, unit)


def _share_factor(one: map_images.MapImage, reader: RunReader, method: str) -> float:
    """Return percent of all relevance per cm3 for a value of 1; 0 for a map without relevance."""
    total = float(one.of_size(reader.is_gradient(method)).grid[reader.mask].sum(dtype=np.float64))
    return percent_per_cm3(reader.affine()) / total if total > 0 else 0.0


def at_percentile(size: np.ndarray, percent: float) -> float:
    """Return the smallest |h| that is not below so many percent of the brain, as the viewer does."""
    return float(np.percentile(size, percent, method="inverted_cdf")) if size.size else 0.0


def rank_in(size: np.ndarray, value: float) -> float:
    """Return how many percent of the brain have |h| at or below a value."""
    return 100 * float((size <= value).mean()) if size.size else 0.0


@dataclass(frozen=True)
class Threshold:
    """Where colour starts: a value in the unit of the method, and how many percent of the brain have no more."""

    value: float
    percentile: float


def threshold_of(selection: Selection, model: str, method: str, scan: str, view: Mapping[str, Any]) -> Threshold:
    """Return the viewer's threshold for a method, whichever way the reader gave it."""
    reader = runs.opened(selection.run)
    one = map_images.signed_map(reader, model, method, scan, selection.target, "margin")
    drawn = ranges({method: one}, method, view, reader)[method]
    value = drawn.scale.low / drawn.factor if drawn.factor else 0.0
    given = view["threshold_kind"] == "percentile"
    percentile = float(view["threshold"]) if given else rank_in(np.abs(one.grid[reader.mask]), value)
    return Threshold(value, min(percentile, 99.9))


@st.cache_data(max_entries=32, show_spinner="Drawing the visits")
def visits_png(run: runs.Run, drawn: tuple[tuple[str, str, str], ...], method: str, target: str, view: tuple) -> bytes:
    """Draw one coronal slice a visit at the crosshair, on one colour scale.

    Args:
        drawn: (model, scan, title) of each visit, in time order.
        view: the viewer's options as sorted pairs.
    """
    options, reader = dict(view), runs.opened(run)
    ground, place = anatomy(run), [options["mm"][1]]
    found = [map_images.signed_map(reader, model, method, scan, target, "margin") for model, scan, _ in drawn]
    if style_of(options).signed is False:
        found = [one.of_size(reader.is_gradient(method)) for one in found]
    pooled = np.concatenate([np.abs(one.grid[reader.mask]) for one in found])
    low = options["value"] if options["value"] is not None else at_percentile(pooled, options["percentile"])
    scale = _range(low, _top(pooled), found[0].unit)
    style = replace(style_of(options), smooth=options["smooth"] and found[0].smooth)
    tiles = [
        pictures.titled(
            planes.picture(ground, one.volume, one.affine, place, style, scale, text=TEXT, bar=False), title, TEXT
        )
        for one, (_, _, title) in zip(found, drawn, strict=True)
    ]  # fmt: skip
    return pictures.beside([*tiles, planes.colour_bar(max(t.height for t in tiles), style, scale, TEXT)]).png()


def view_pairs(view: Mapping[str, Any], mm: Sequence[float], threshold: Threshold) -> tuple:
    """Return what of the viewer's options the picture of the visits depends on, hashable."""
    used = ("smooth", "colours", "sign", "opacity", "convention")
    value = threshold.value if view["threshold_kind"] == "absolute" else None
    start = (("value", value), ("percentile", threshold.percentile))
    return (*((name, view[name]) for name in used), *start, ("mm", tuple(mm)))


@st.cache_data(max_entries=4, show_spinner="Drawing in 3D")
def glass(run: runs.Run, model: str, method: str, scan: str, target: str, threshold: float) -> go.Figure:
    """Draw a heatmap inside a transparent brain, its surface at a value of |relevance|."""
    reader = runs.opened(run)
    one = map_images.signed_map(reader, model, method, scan, target, "margin")
    return glass_brain(one.grid, reader.mask, reader.affine(), threshold, one.unit, "")
