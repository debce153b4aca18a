"""Mounts pictures of the cortical surface on a page, which name the region and the values under the cursor."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from dashboard.drawing.pictures import ScreenPicture
from dashboard.drawing.projection import CELL
from dashboard.drawing.surface import SIDES, TILE, strongest
from dashboard.drawing.surface_mesh import HEMISPHERES, PER_HEMISPHERE
from dashboard.viewer import serving

LARGEST, NO_VALUE = 32767, -32768
NOTHING = 65535  # in the place of a region: no brain
FAR = 200.0  # mm, outside any head
Place = tuple[float, float, float]  # mm

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


@dataclass(frozen=True)
class GlassPicture:
    """A map through a glass brain, and the voxels behind its cells, (4, rows, columns), as `projection.voxels_behind`.

    Attributes:
        picture: as on the cortex; its values are those of the cells.
        mm: (4, rows, columns, 3) of the voxels.
        regions: (4, rows, columns) index of the region of each voxel, 0 for none, NOTHING where there is no brain.
    """

    picture: SurfacePicture
    mm: np.ndarray
    regions: np.ndarray


def show(
    maps: Sequence[SurfacePicture], surface: str, convention: str, regions: tuple[np.ndarray, Mapping[int, str]],
    key: str, lead: Callable[[Place], None],
) -> None:  # fmt: skip
    """Show pictures of one surface side by side, with one reading of what is under the cursor in all of them.

    Args:
        regions: (vertices,) index of the region, 0 for none; and index -> name of the region.
        lead: called before the next pass with the place in mm that the reader has clicked.
    """
    indices, names = regions
    start = strongest(maps[0].values)
    data: dict[str, Any] = {
        "address": serving.surface_url(surface, convention),
        "width": TILE[0] * len(HEMISPHERES),
        "height": TILE[1] * len(SIDES),
        "left": PER_HEMISPHERE,
        "start": start,
        "regions": _packed(indices.astype("<u2")),
        "names": {str(index): name for index, name in names.items()},
        "maps": [_map(one) for one in maps],
    }
    _surface(data=data, key=key, on_jump_change=_clicked(key, lead))


def show_glass(maps: Sequence[GlassPicture], names: Mapping[int, str], key: str, lead: Callable[[Place], None]) -> None:
    """Show pictures through a glass brain side by side; region, place and value behind the cursor are named above them.

    Args:
        names: index -> name of the region.
        lead: as for `show`.
    """
    _, rows, columns = maps[0].regions.shape
    sizes = np.where(maps[0].regions.ravel() == NOTHING, -1, np.abs(np.nan_to_num(maps[0].picture.values)))
    data: dict[str, Any] = {
        "address": "",
        "cell": CELL,
        "tile": list(TILE),
        "cells": [columns, rows],
        "width": TILE[0] * 2,
        "height": TILE[1] * 2,
        "left": 0,
        "start": int(sizes.argmax()),
        "names": {str(index): name for index, name in names.items()},
        "maps": [
            _map(one.picture)
            | {"places": _packed(np.rint(10 * one.mm).astype("<i2")), "regions": _packed(one.regions.astype("<u2"))}
            for one in maps
        ],
    }
    _surface(data=data, key=key, on_jump_change=_clicked(key, lead))


def _clicked(key: str, lead: Callable[[Place], None]) -> Callable[[], None]:
    """Return what tells `lead` of a click, where it is a place in a head."""

    def clicked() -> None:
        place = st.session_state[key].get("jump")
        if place is not None and len(place) == len("xyz") and all(abs(float(mm)) < FAR for mm in place):
            x, y, z = map(float, place)
            lead((x, y, z))

    return clicked


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
