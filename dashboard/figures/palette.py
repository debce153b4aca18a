"""Colours: groups, methods, heatmaps. Told apart by people with any common colour deficiency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

POSITIVE, NEGATIVE, MCI, OTHER, UNKNOWN = "#D55E00", "#0072B2", "#E69F00", "#56B4E9", "#7F7F7F"
ACCENT, QUIET = "#3B8C90", "#8A9499"
METHODS = {
    "sensitivity": "#2A9D8F",
    "guided_backprop": "#AA4499",
    "occlusion": "#8C8C2E",
    "area_occlusion": "#B07856",
}
# Relevance from the threshold (0) to the top of the scale (1): red to yellow, alpha rising.
HOT_STOPS = np.array([0.0, 0.45, 1.0])
HOT_COLOURS = np.array([[0.72, 0.06, 0.08], [0.95, 0.30, 0.05], [1.0, 0.93, 0.35]])
FULL_ALPHA_AT = 0.5


def group_colour(diagnosis: str, groups: Sequence[str]) -> str:
    """The colour of a group or diagnosis; the positive group of any cohort has that of AD."""
    colours = {"MCI": MCI, groups[1]: NEGATIVE, groups[0]: POSITIVE, "": UNKNOWN}
    return colours.get(diagnosis, OTHER)


def method_colour(method: str) -> str:
    """The fixed colour of a method."""
    return METHODS.get(method, QUIET)


def faint(colour: str, alpha: float) -> str:
    """A hexadecimal colour with transparency, for Plotly."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha})"


def hot(values: np.ndarray, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Colour (..., 3) and alpha (...) of relevance; nothing below `low`, no hard edge above it."""
    place = np.clip((values - low) / max(high - low, 1e-30), 0, 1)
    colour = np.stack([np.interp(place, HOT_STOPS, HOT_COLOURS[:, c]) for c in range(3)], axis=-1)
    return colour, np.clip(place / FULL_ALPHA_AT, 0, 1) * 0.95
