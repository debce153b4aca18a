"""Mounts the viewer on a page."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import streamlit as st

from dashboard.drawing import palette
from dashboard.shell import notices
from dashboard.viewer import serving
from dashboard.viewer.options import CHOICES, DEFAULTS, clean_options
from dashboard.viewer.scene import Map, MapAgreement, RegionFigures, Scene, Truth, Volume

REVISION = "revision"
COLOUR_STEPS = 17  # of the 255 on either side of 0 in the palette's tables; the browser interpolates

_viewer = st.components.v2.component(
    "brainwhy_viewer",
    html='<div class="viewer" data-state="starting"></div>',
    css=(serving.FRONTEND / "viewer.css").read_text(encoding="utf-8"),
    js=(serving.FRONTEND / "loader.js").read_text(encoding="utf-8"),
)


def show(
    scene: Scene,
    *,
    figures: Mapping[str, Mapping[int, RegionFigures]],
    group_words: str,
    options: Mapping[str, Any],
    key: str,
) -> dict[str, Any]:
    """Draw the viewer here; return the view: every option of DEFAULTS as the reader has set it.

    The options count when a viewer with this key first appears, and again whenever options["revision"] (any number)
    changes; in between the reader's own choices stand, also from one scene to the next.

    Args:
        figures: method -> atlas index -> the region's share, percentile and group mean.
        group_words: who the percentile is among, e.g. "AD".
        options: as in DEFAULTS; what is not valid is ignored.
    """
    start = _known(DEFAULTS | clean_options(options)[0], scene)
    revision = options.get(REVISION, 0)
    data = {
        "module": serving.module_url(),
        "scene": _scene(scene),
        "figures": {
            method: {str(index): [row.share, row.percentile, row.n, row.group_mean] for index, row in rows.items()}
            for method, rows in figures.items()
        },
        "group": group_words,
        "options": start,
        REVISION: revision,
        "colours": _colours(),
        "notice": notices.RESEARCH_ONLY,
    }
    result = _viewer(data=data, key=key, on_view_change=_nothing, on_refresh_change=_nothing)
    view = result.view
    # A view from before the last revision is not what the browser is about to show.
    if not isinstance(view, dict) or view.get(REVISION) != revision:
        return start
    unset = {name: None for name in ("centre", "second") if view.get(name) is None}
    return _known(start | unset | clean_options(view)[0], scene)


def _known(view: dict[str, Any], scene: Scene) -> dict[str, Any]:
    """Fit the options to the scene: the first method where it lacks the chosen one, as the browser does; a truth and
    agreement only where it has them.
    """
    methods = [entry.method for entry in scene.maps]
    view = view if scene.truth else view | {"truth": False}
    view = view | {"agreement": False} if scene.no_agreement else view
    return view if view["method"] in methods else view | {"method": methods[0]}


@functools.cache
def _colours() -> dict[str, dict[str, list]]:
    """Return name -> positive, negative (signed), absolute: rows of red, green, blue, alpha from threshold to top."""
    tables = {}
    for name in CHOICES["colours"]:
        signed, absolute = (palette.lookup(name, flag) for flag in (True, False))
        middle = palette.LEVELS
        negative = signed[:middle][::-1]
        tables[name] = {
            "positive": _rows(signed[middle:]),
            # Next to 0 the colour is the negative one already, at the threshold it is transparent.
            "negative": _rows(np.vstack([[*negative[0, :3], 0], negative])),
            "absolute": _rows(absolute[middle:]),
        }
    return tables


def _rows(table: np.ndarray) -> list[list[float]]:
    return [[round(float(value), 3) for value in row] for row in table[::COLOUR_STEPS]]


def _scene(scene: Scene) -> dict[str, Any]:
    # Not `asdict`, which copies every name and every number: the whole is written as JSON at once.
    return (
        vars(scene)
        | {name: _parts(getattr(scene, name)) for name in ("anatomy", "atlas", "scan")}
        | {
            "truth": _with_volume(scene.truth),
            "regions": {str(index): name for index, name in scene.regions.items()},
            "maps": [_map(entry) for entry in scene.maps],
        }
    )


def _parts(volume: Volume | None) -> dict[str, Any] | None:
    return None if volume is None else vars(volume)


def _with_volume(part: Truth | MapAgreement | None) -> dict[str, Any] | None:
    return None if part is None else vars(part) | {"volume": vars(part.volume)}


def _map(entry: Map) -> dict[str, Any]:
    values = entry.region_values
    by_text = None if values is None else {str(index): value for index, value in values.items()}
    parts = {"volume": _parts(entry.volume), "agreement": _with_volume(entry.agreement)}
    return vars(entry) | {"region_values": by_text} | parts


def _nothing() -> None:
    """Do nothing: a state of the component needs a callback to be read."""
