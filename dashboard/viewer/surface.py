"""Mounts pictures of the cortical surface on a page, which name the region and the values under the cursor."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from dashboard.drawing.pictures import ScreenPicture
from dashboard.drawing.surface import SIDES, TILE, strongest
from dashboard.drawing.surface_mesh import HEMISPHERES, PER_HEMISPHERE
from dashboard.viewer import serving

LARGEST, NO_VALUE = 32767, -32768

_surface = st.components.v2.component(
    "brainwhy_surface",
    html='<div class="surface"></div>',
    css=(serving.FRONTEND / "surface.css").read_text(encoding="utf-8"),
    js=(serving.FRONTEND / "surface.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class SurfacePicture:
    """A map on the cortex, as it is drawn and as it is read.

    Attributes:
        heading: what it is, short; it stands above the picture and beside its value.
        caption: whose map by which method, of which run; below the picture.
        description: what is to be seen, for those who do not see it.
        values: (vertices,) as drawn, NaN where there is none.
        unit: of the values.
    """

    heading: str
    caption: str
    description: str
    picture: ScreenPicture
    values: np.ndarray
    unit: str


def show(
    maps: Sequence[SurfacePicture], surface: str, convention: str, regions: np.ndarray, names: Mapping[int, str],
    key: str,
) -> None:  # fmt: skip
    """Show pictures of one surface side by side, with one reading of what is under the cursor in all of them.

    Args:
        regions: (vertices,) index of the region, 0 for none.
        names: index -> name of the region.
    """
    start = strongest(maps[0].values)
    data: dict[str, Any] = {
        "address": serving.surface_url(surface, convention),
        "width": TILE[0] * len(HEMISPHERES),
        "height": TILE[1] * len(SIDES),
        "left": PER_HEMISPHERE,
        "start": start,
        "regions": _packed(regions.astype("<u2")),
        "names": {str(index): name for index, name in names.items()},
        "maps": [_map(one) for one in maps],
    }
    _surface(data=data, key=key)


def _map(one: SurfacePicture) -> dict[str, Any]:
    known = np.nan_to_num(one.values)
    step = (float(np.abs(known).max(initial=0.0)) or 1.0) / LARGEST
    integers = np.where(np.isfinite(one.values), np.rint(known / step), NO_VALUE).astype("<i2")
    return {
        "heading": one.heading,
        "caption": one.caption,
        "words": one.picture.overlay(one.description),
        "image": base64.b64encode(one.picture.jpeg).decode(),
        "width": one.picture.width,
        "height": one.picture.height,
        "values": _packed(integers),
        "step": step,
        "unit": one.unit,
    }


def _packed(numbers: np.ndarray) -> str:
    return base64.b64encode(zlib.compress(numbers.tobytes(), 1)).decode()
