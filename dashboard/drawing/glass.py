"""The thresholded heatmap inside a transparent brain, in 3D, which turns, as nilearn's projections do not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.drawing import palette
from dashboard.drawing.colours import short

STEP_MM, SHELL_MM = 5.0, 7.0  # voxels that are drawn, about
LETTERS_MM = 14.0  # from the brain
NESTED = (0.0, 0.35, 0.7)  # surfaces on the way from the threshold to the largest value
PLACES = (1, 3, 5)  # of the surfaces, on either side of 0
SENT = 1000  # times this, values are sent as small integers
NO_CAPS = {f"{axis}_show": False for axis in "xyz"}
GREY = "#8A9499"
CAMERA = {"eye": {"x": -1.05, "y": 0.95, "z": 0.4}, "center": {"x": 0, "y": 0, "z": -0.03}}  # from left and front


def glass_brain(
    volume: np.ndarray, mask: np.ndarray, affine: np.ndarray, threshold: float, unit: str, title: str
) -> go.Figure:
    """Draw nested surfaces: at the threshold, and at 35 % and 70 % of the way from there to the largest value.

    Warm where relevance is positive, cool where it is negative. The map is averaged over blocks of about 5 mm first.

    Args:
        volume: (x, y, z) relevance, 0 outside the brain.
        mask: (x, y, z) brain on the same grid.
        affine: (4, 4) voxel -> mm, axis-aligned.
        threshold: in the unit of the map; above 0.
    """
    figure = go.Figure([_shell(mask, affine), _letters(mask, affine)])
    values, centres = blocks(volume, affine, STEP_MM)
    reach = float(np.abs(values).max(initial=0.0))
    if threshold > 0 and reach > threshold:
        figure.add_trace(_surfaces(values, centres, threshold, reach, unit))
    else:
        figure.add_annotation(
            x=0.5, y=0.02, xref="paper", yref="paper", showarrow=False, font_size=13,
            text="Nothing lies above the threshold, averaged over blocks of about 5 mm.",
        )  # fmt: skip
    hidden = {"visible": False, "showspikes": False}
    figure.update_layout(
        title={"text": title, "font": {"size": 14}, "x": 0, "y": 0.98}, height=520, showlegend=False,
        margin={"l": 0, "r": 0, "t": 30, "b": 0}, paper_bgcolor="rgba(0,0,0,0)", uirevision="glass",
        scene={"xaxis": hidden, "yaxis": hidden, "zaxis": hidden, "aspectmode": "data", "camera": CAMERA,
               "bgcolor": "rgba(0,0,0,0)"},
    )  # fmt: skip
    return figure


def blocks(volume: np.ndarray, affine: np.ndarray, step_mm: float) -> tuple[np.ndarray, list[np.ndarray]]:
    """Average over blocks of whole voxels, about `step_mm` wide, in a frame of zeros; return also the centres, mm."""
    values, centres = np.asarray(volume, np.float32), []
    for axis in range(3):
        step = float(affine[axis, axis])
        width = max(1, math.floor(step_mm / abs(step) + 0.5))
        count = -(-values.shape[axis] // width)
        padding = [(0, count * width - n if a == axis else 0) for a, n in enumerate(values.shape)]
        shape = (*values.shape[:axis], count, width, *values.shape[axis + 1 :])
        values = np.pad(values, padding).reshape(shape).mean(axis=axis + 1)
        first = affine[axis, 3] + step * (width - 1) / 2
        centres.append(first + step * width * np.arange(-1, count + 1))
    return np.pad(values, 1), centres


def _surfaces(
    values: np.ndarray, centres: Sequence[np.ndarray], threshold: float, reach: float, unit: str
) -> go.Isosurface:
    """Draw one trace for both signs, values bent so that Plotly's even spacing is that of `levels`."""
    inside, places = _cropped(values, centres, np.abs(values) > threshold / 2)
    levels = [threshold + share * (reach - threshold) for share in NESTED]
    bent = np.sign(inside) * np.interp(np.abs(inside), [0, *levels, reach], [0, *PLACES, PLACES[-1] + 1])
    signs = [s for s, n in ((-1, -inside.min()), (1, inside.max())) if n > threshold]
    marks = {s * place: s * level for s in signs for place, level in zip(PLACES, levels, strict=True)}
    low, high = min(marks), max(marks)
    return go.Isosurface(
        **_grid(places), value=np.rint(bent.ravel() * SENT).astype(np.int16), isomin=low * SENT, isomax=high * SENT,
        surface={"count": len(marks)}, caps=NO_CAPS, cmin=min(low, 0) * SENT, cmax=max(high, 0) * SENT, opacity=0.5,
        colorscale=_colours(min(low, 0), max(high, 0)), hoverinfo="skip", showscale=True,
        lighting={"ambient": 0.6, "diffuse": 0.7, "specular": 0.15},
        colorbar={
            "title": {"text": unit, "side": "right", "font": {"size": 12}}, "thickness": 12, "len": 0.6, "x": 0.98,
            "tickvals": [place * SENT for place in marks], "outlinewidth": 0,
            "ticktext": [short(level, levels[-1]) for level in marks.values()],
        },
    )  # fmt: skip


def _colours(start: int, end: int) -> list[tuple[float, str]]:
    """Colour from `start` to `end`, in PLACES: grey below the threshold, then as slices are coloured."""
    stops = []
    for place in np.linspace(0, 1, 101):
        value = start + place * (end - start)
        strength = np.array((abs(value) - PLACES[0]) / (PLACES[-1] - PLACES[0]))
        colour = (palette.cool if value < 0 else palette.hot)(strength, 0, 1)[0]
        # Up to a little below the threshold, lest the surface at the threshold be mixed with grey.
        stops.append((float(place), GREY if abs(value) < 0.85 * PLACES[0] else _rgb(colour)))
    return stops


def _rgb(colour: np.ndarray) -> str:
    return "rgb({:.0f}, {:.0f}, {:.0f})".format(*(255 * colour))


def _shell(mask: np.ndarray, affine: np.ndarray) -> go.Isosurface:
    values, centres = blocks(mask, affine, SHELL_MM)
    values, centres = _cropped(values, centres, values > 0)
    return go.Isosurface(
        **_grid(centres), value=np.rint(100 * values.ravel()).astype(np.int16), isomin=50, isomax=50,
        surface={"count": 1}, caps=NO_CAPS, opacity=0.13, showscale=False,
        colorscale=[(0, GREY), (1, GREY)], hoverinfo="skip", lighting={"ambient": 0.7, "diffuse": 0.5},
    )  # fmt: skip


def _letters(mask: np.ndarray, affine: np.ndarray) -> go.Scatter3d:
    """Write L, R, A, P, S, I around the brain."""
    ends = []
    for axis in range(3):
        inside = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        first, last = (inside[0], inside[-1]) if len(inside) else (0, mask.shape[axis] - 1)
        ends.append(sorted(float(affine[axis, axis] * i + affine[axis, 3]) for i in (first, last)))
    middle = [sum(pair) / 2 for pair in ends]
    places, words = [], []
    for axis, pair in enumerate(("LR", "PA", "IS")):
        for side, letter in enumerate(pair):
            place = list(middle)
            place[axis] = ends[axis][side] + (LETTERS_MM if side else -LETTERS_MM)
            places.append(place)
            words.append(letter)
    x, y, z = zip(*places, strict=True)
    return go.Scatter3d(
        x=x, y=y, z=z, mode="text", text=words, textfont={"size": 15, "color": GREY}, hoverinfo="skip"
    )  # fmt: skip


def _grid(centres: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return x, y, z of every point, in whole mm: small numbers travel fast."""
    whole = [np.floor(c + 0.5) for c in centres]
    small = np.int8 if max(np.abs(c).max() for c in whole) < 128 else np.int16
    mesh = np.meshgrid(*(c.astype(small) for c in whole), indexing="ij")
    return {axis: points.ravel() for axis, points in zip("xyz", mesh, strict=True)}


def _cropped(
    values: np.ndarray, centres: Sequence[np.ndarray], used: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Crop to the part that is used and one block more on every side."""
    kept = []
    for axis in range(3):
        places = np.flatnonzero(used.any(axis=tuple(a for a in range(3) if a != axis)))
        first, last = (int(places[0]), int(places[-1])) if len(places) else (0, values.shape[axis] - 1)
        kept.append(slice(max(first - 1, 0), last + 2))
    return values[tuple(kept)], [c[k] for c, k in zip(centres, kept, strict=True)]
