"""What a reader may choose in the viewer, and how it is checked when it comes from a link."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

LARGEST_MM = 500.0
LARGEST_CLUSTER = 1e6  # mm3; a brain has 1.9e6
CHOICES = {
    "threshold_kind": ("percentile", "absolute"),
    "colours": ("hot", "paper", "viridis", "cividis"),
    "sign": ("signed", "absolute"),
    "outlines": ("cursor", "all", "none"),
    "scale": ("own", "shared"),
    "convention": ("neurological", "radiological"),
    "anatomy": ("template", "scan"),
    "plane": ("coronal", "sagittal", "axial"),
}
DEFAULTS: dict[str, Any] = {
    "mm": None,  # the strongest voxel of the main map
    "method": None,  # the first
    "threshold": 90.0,
    "threshold_kind": "percentile",
    "cluster": 0.0,
    "opacity": 0.85,
    "colours": "hot",
    "sign": "signed",
    "smooth": True,
    "outlines": "cursor",
    "agreement": False,  # the mean over networks trained again, as opaque as they agree
    "truth": False,  # the outline of what was imposed on a simulated brain
    "scale": "own",
    "convention": "neurological",
    "anatomy": "template",
    "plane": "coronal",
    "zoom": 1.0,
    "centre": None,  # of a zoomed picture, mm; the crosshair
    "black": 0.0,  # percent of the range of the anatomy
    "white": 100.0,
    "second": None,  # of which map the outline is drawn over the main one
}
MOST_ZOOM = 10
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def clean_options(raw: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Check the values of a link: return the valid ones, and in words what was ignored. Unknown keys are left alone.

    Args:
        raw: texts as in a link ("-26,-18,-16"), or values as in the view state.
    """
    valid, ignored = {}, []
    checks = _checks(absolute=raw.get("threshold_kind") == "absolute")
    for key, text in raw.items():
        if key not in DEFAULTS or (text is None and DEFAULTS[key] is None):
            continue
        try:
            valid[key] = checks[key](text)
        except (ValueError, TypeError, OverflowError) as error:
            ignored.append(f"{key}={str(text)[:60]}: {error}")
    return valid, ignored


@functools.cache
def _checks(absolute: bool) -> dict[str, Callable[[Any], Any]]:
    highest = math.inf if absolute else 99.9
    choices = {key: _choice(values) for key, values in CHOICES.items()}
    return choices | {
        "mm": _position,
        "method": _name,
        "threshold": _number(0, highest),
        "cluster": _number(0, LARGEST_CLUSTER),
        "opacity": _number(0, 1),
        "zoom": _number(1, MOST_ZOOM),
        "centre": _position,
        "second": _name,
        "black": _number(0, 99),
        "white": _number(1, 100),
        "smooth": _switch,
        "truth": _switch,
        "agreement": _switch,
    }


def _choice(values: tuple[str, ...]) -> Callable[[Any], str]:
    def check(text: Any) -> str:
        if text not in values:
            raise ValueError(f"choose {', '.join(values)}")
        return text

    return check


def _number(low: float, high: float) -> Callable[[Any], float]:
    words = f"a number of at least {low:g}" if high == math.inf else f"a number from {low:g} to {high:g}"

    def check(text: Any) -> float:
        value = _finite(text, words)
        if not low <= value <= high:
            raise ValueError(f"must be {words}")
        return value

    return check


def _finite(text: Any, words: str) -> float:
    try:
        value = float(text)
    except (ValueError, TypeError, OverflowError):
        raise ValueError(f"must be {words}") from None
    if not math.isfinite(value) or isinstance(text, bool):
        raise ValueError(f"must be {words}")
    return value


def _position(text: Any) -> list[float]:
    words = "three numbers in mm, as in -26,-18,-16"
    parts = text.split(",") if isinstance(text, str) else text
    if not isinstance(parts, list | tuple) or len(parts) != 3:
        raise ValueError(f"must be {words}")
    values = [_finite(part, words) for part in parts]
    if max(map(abs, values)) > LARGEST_MM:
        raise ValueError(f"lies more than {LARGEST_MM:g} mm from the origin")
    return values


def _name(text: Any) -> str:
    if not isinstance(text, str) or not text:
        raise ValueError("must be the name of a method")
    return text


def _switch(text: Any) -> bool:
    if isinstance(text, bool):
        return text
    if str(text).lower() in _TRUE + _FALSE:
        return str(text).lower() in _TRUE
    raise ValueError("must be on or off")
