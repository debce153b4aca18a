"""Mounts sheets of slices of group averages on a page, and the controls above them; the browser cuts and draws."""

from __future__ import annotations

import base64
import functools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import streamlit as st

from dashboard.data import runs
from dashboard.data.anatomy import anatomy, brain, extent
from dashboard.data.averages import Average
from dashboard.data.runs import Run
from dashboard.drawing import palette, planes, slices
from dashboard.shell import access, public
from dashboard.viewer import group_volumes, serving, volumes
from dashboard.viewer.component import REVISION
from dashboard.viewer.group_volumes import GroupVolume
from dashboard.viewer.patient_scene import truth_of_patients
from dashboard.viewer.scene import Volume
from store import NotInRunError

HEAD, ROW, NOTE = "head", "row", "note"  # the parts of a sheet

_slices = st.components.v2.component(
    "brainwhy_slices",
    html='<div class="viewer slices" data-state="starting"></div>',
    css="\n".join((serving.FRONTEND / name).read_text(encoding="utf-8") for name in ("viewer.css", "slices.css")),
    js=(serving.FRONTEND / "loader.js").read_text(encoding="utf-8"),
)


@dataclass(frozen=True)
class SlicesPicture:
    """A picture of a sheet: an average, or the first of two minus the second, each times its factor.

    Attributes:
        caption: below the picture; `heading` is its short form.
        method: in words, for those who do not see the picture.
        scale_key: pictures with the same key share threshold and top of the colours.
        signed: negative values have colours of their own.
        levels: quantiles of the size of its values, from the smallest to the largest.
        opacity: an average of shares, which the alpha of every colour is multiplied by.
    """

    heading: str
    caption: str
    method: str
    averages: tuple[Average, ...]
    factors: tuple[float, ...]
    unit: str
    scale_key: str
    signed: bool
    levels: np.ndarray
    opacity: Average | None = None


def show_controls(
    run: Run, options: Mapping[str, Any], units: Sequence[str], sheet: str
) -> tuple[dict[str, Any], bool]:
    """Show the controls of a sheet; return the view as the reader has set it, and whether its addresses have expired.

    Args:
        options: as the view is until the reader changes it, and again whenever options["revision"] has changed.
        units: those in which the pictures are measured, where a threshold may be typed.
        sheet: name of the sheet, the same for all its rows.
    """
    revision = options[REVISION]
    start = {name: value for name, value in options.items() if name != REVISION}
    own = brain(run)
    truth = truth_of_patients(runs.opened(run), run, volumes.place_token(run))
    data = {
        "module": serving.module_url("slices.js"),
        "part": HEAD,
        "sheet": sheet,
        "options": start,
        REVISION: revision,
        "units": list(units),
        "colours": _colours(),
        "grid": {"shape": list(own.mask.shape), "affine": own.affine.tolist()},
        "underlay": asdict(_underlay(run)),
        "truth": None if truth is None else asdict(truth),
        "extents": {plane: list(extent(run, plane)) for plane in planes.PLANES},
        "paper": _paper(run),
    }
    result = _slices(data=data, key=f"{sheet}-slices", on_view_change=_nothing, on_refresh_change=_nothing)
    view = result.view
    # A view from before the last revision is not what the browser is about to show.
    known = isinstance(view, dict) and view.get(REVISION) == revision
    found = start | {name: view[name] for name in start if known and name in view}
    return found, bool(result.refresh)


def show_row(
    run: Run, pictures: Sequence[SlicesPicture], missing: Mapping[str, str], sheet: str, row: str
) -> None:  # fmt: skip
    """Show pictures of a sheet side by side; sign the addresses of their numbers for this reader.

    Args:
        missing: heading -> why there is no such picture.
        row: name of the row.
    Raises:
        NotInRunError: this reader may not see one of the averages.
    """
    token = volumes.place_token(run)
    data = {
        "module": serving.module_url("slices.js"),
        "part": ROW,
        "sheet": sheet,
        "row": row,
        "pictures": [_picture(token, one) for one in pictures],
        "missing": [list(pair) for pair in missing.items()],
    }
    _slices(data=data, key=f"{sheet}-slices-{row}", on_view_change=_nothing, on_refresh_change=_nothing)


def show_note(sheet: str) -> None:
    """Say which convention and interpolation hold for all pictures of a sheet, as they are seen."""
    data = {"module": serving.module_url("slices.js"), "part": NOTE, "sheet": sheet}
    _slices(data=data, key=f"{sheet}-slices-note", on_view_change=_nothing, on_refresh_change=_nothing)


def _picture(token: str, picture: SlicesPicture) -> dict[str, Any]:
    return {
        "heading": picture.heading,
        "caption": picture.caption,
        "method": picture.method,
        "unit": picture.unit,
        "scaleKey": picture.scale_key,
        "signed": picture.signed,
        "levels": base64.b64encode(picture.levels.astype("<f4").tobytes()).decode(),
        "parts": [
            {"url": _address(token, average), "factor": sign * float(factor)}
            for average, factor, sign in zip(picture.averages, picture.factors, (1, -1), strict=False)
        ],
        "opacity": None if picture.opacity is None else _address(token, picture.opacity),
    }


def _address(token: str, average: Average) -> str:
    if not public.may_see_average(average):
        raise NotInRunError(f"averages of chosen scans are {access.ONLY_FOR_ROLE}")
    name = group_volumes.remember(GroupVolume((average,), (1.0,)))
    return serving.volume_url(volumes.VolumeRequest(token, group_volumes.KIND, method=name))


def _underlay(run: Run) -> Volume:
    """Describe the template and its mask, one behind the other along x, cropped as pictures are."""
    found = anatomy(run)
    x, y, z = (edge.stop - edge.start for edge in found.box)
    affine = volumes.cropped_affine(found.affine, found.box)
    wanted = volumes.VolumeRequest(volumes.place_token(run), volumes.UNDERLAY)
    return Volume(serving.volume_url(wanted), (2 * x, y, z), "uint8", 1.0, affine.tolist())


def _paper(run: Run) -> list[float]:
    found = anatomy(run)
    return slices.paper_positions(found.brain.shape[1], found.affine)


@functools.cache
def _colours() -> dict[str, list[str]]:
    """Return name -> the table of signed and that of unsigned colours: red, green, blue, alpha by level, as bytes."""
    return {
        name: [
            base64.b64encode(np.rint(255 * palette.lookup(name, signed)).astype(np.uint8).tobytes()).decode()
            for signed in (True, False)
        ]
        for name in palette.SCALES
    }


def _nothing() -> None:
    """Do nothing: a state of the component needs a callback to be read."""
