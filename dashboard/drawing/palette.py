"""Colours: groups, methods, heatmaps. Told apart by people with any common colour deficiency."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np

from store import StoreError

POSITIVE, NEGATIVE, MCI, OTHER, UNKNOWN = "#D55E00", "#0072B2", "#E69F00", "#56B4E9", "#7F7F7F"
ACCENT, QUIET = "#3B8C90", "#8A9499"
METHODS = {
    "sensitivity": "#2A9D8F",
    "guided_backprop": "#AA4499",
    "occlusion": "#8C8C2E",
    "area_occlusion": "#B07856",
    "segment_occlusion": "#665CD6",
    "input_x_gradient": "#9F1C50",
    "integrated_gradients": "#9F8AE6",
    "smoothgrad": "#684E1B",
    "deeplift": "#802AEA",
    "lrp": "#8CB219",
    "grad_cam": "#82299E",
    "guided_grad_cam": "#C789C5",
}
BASELINES = {  # maps that explain nothing: without a hue, from dark to light
    "sobel": "#191919",
    "intensity": "#3A3A3A",
    "smooth_random": "#5E5E5E",
    "t_map": "#858585",
    "linear_weights": "#AEAEAE",
    "linear_pattern": "#D7D7D7",
}
# Relevance from the threshold (0) to the top of the scale (1).
HOT_STOPS = np.array([0.0, 0.45, 1.0])
HOT_COLOURS = np.array([[0.72, 0.06, 0.08], [0.95, 0.30, 0.05], [1.0, 0.93, 0.35]])  # red to yellow
COOL_COLOURS = np.array([[0.10, 0.22, 0.78], [0.08, 0.50, 0.96], [0.45, 0.97, 1.0]])  # blue to cyan
PAPER_COLOURS = np.array([[0.86, 0.05, 0.05], [0.95, 0.06, 0.05], [1.0, 0.10, 0.08]])  # red, from transparent
PAPER_NEGATIVE_COLOURS = np.array([[0.10, 0.25, 0.86], [0.12, 0.32, 0.95], [0.15, 0.40, 1.0]])
FULL_ALPHA_AT = 0.5
TOP_ALPHA = 0.95


def group_colour(diagnosis: str, groups: Sequence[str]) -> str:
    """Return the colour of a group or diagnosis; the positive group of any cohort has that of AD."""
    colours = {"MCI": MCI, groups[1]: NEGATIVE, groups[0]: POSITIVE, "": UNKNOWN, "unknown": UNKNOWN}
    return colours.get(diagnosis, OTHER)


def method_colour(method: str) -> str:
    """Return the fixed colour of a method."""
    return (METHODS | BASELINES).get(method, QUIET)


def faint(colour: str, alpha: float) -> str:
    """Return a hexadecimal colour with transparency, for Plotly."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha})"


Coloured = tuple[np.ndarray, np.ndarray]


def hot(values: np.ndarray, low: float, high: float) -> Coloured:
    """Return colour (..., 3) and alpha (...) of relevance; nothing below `low`, no hard edge above it."""
    return _ramp(values, low, high, HOT_COLOURS, FULL_ALPHA_AT)


def cool(values: np.ndarray, low: float, high: float) -> Coloured:
    """Colour the size of negative relevance as `hot` does, from blue to cyan."""
    return _ramp(values, low, high, COOL_COLOURS, FULL_ALPHA_AT)


def paper(values: np.ndarray, low: float, high: float) -> Coloured:
    """Colour as in the paper: from transparent to red."""
    return _ramp(values, low, high, PAPER_COLOURS, 1.0)


def paper_negative(values: np.ndarray, low: float, high: float) -> Coloured:
    """Colour negative relevance beside `paper`: from transparent to blue."""
    return _ramp(values, low, high, PAPER_NEGATIVE_COLOURS, 1.0)


def viridis(values: np.ndarray, low: float, high: float) -> Coloured:
    """Colour by Matplotlib's viridis: even in lightness."""
    return _sequential("viridis", values, low, high)


def cividis(values: np.ndarray, low: float, high: float) -> Coloured:
    """Colour by Matplotlib's cividis: the same to people with and without a colour deficiency."""
    return _sequential("cividis", values, low, high)


def _place(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((values - low) / max(high - low, 1e-30), 0, 1)


def _ramp(values: np.ndarray, low: float, high: float, colours: np.ndarray, full_alpha_at: float) -> Coloured:
    place = _place(values, low, high)
    colour = np.stack([np.interp(place, HOT_STOPS, colours[:, c]) for c in range(3)], axis=-1)
    return colour, np.clip(place / full_alpha_at, 0, 1) * TOP_ALPHA


def _sequential(name: str, values: np.ndarray, low: float, high: float) -> Coloured:
    place = _place(values, low, high)
    return _map_colours(name, place), np.clip(place / FULL_ALPHA_AT, 0, 1) * TOP_ALPHA


def _map_colours(name: str, place: np.ndarray) -> np.ndarray:
    from matplotlib import colormaps  # takes long to load, and most pages need none of its colours  # noqa: PLC0415

    return colormaps[name](place)[..., :3]


SCALES: dict[str, Callable[[np.ndarray, float, float], Coloured]] = {
    "hot": hot, "paper": paper, "viridis": viridis, "cividis": cividis,
}  # fmt: skip
NEGATIVE_SCALES = {"paper": paper_negative}  # of the others: cool
SEQUENTIAL = ("viridis", "cividis")
LEVELS = 255  # steps of a lookup table on either side of 0


@functools.cache
def lookup(colours: str, signed: bool) -> np.ndarray:
    """Return red, green, blue, alpha from 0 to 1, (2 LEVELS + 1, 4) float32: row LEVELS + k has the place k / LEVELS.

    A place is 0 at the threshold and 1 at the top of the scale, negative for negative relevance. Unsigned tables
    have the same colours on both sides. Signed, viridis and cividis use their upper half, which does not hold blue.

    Raises:
        StoreError: there is no such colour scale.
    """
    if colours not in SCALES:
        raise StoreError(f"there is no colour scale {colours!r}: choose {', '.join(SCALES)}")
    place = np.arange(-LEVELS, LEVELS + 1) / LEVELS
    colour, alpha = SCALES[colours](np.abs(place), 0, 1)
    if signed:
        if colours in SEQUENTIAL:
            colour = _map_colours(colours, (1 + np.abs(place)) / 2)
        negative = place < 0
        colour[negative], alpha[negative] = NEGATIVE_SCALES.get(colours, cool)(-place[negative], 0, 1)
    table = np.concatenate([colour, alpha[:, None]], axis=1).astype(np.float32)
    table.setflags(write=False)
    return table
