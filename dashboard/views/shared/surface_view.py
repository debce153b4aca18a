"""Maps on the cortical surface: chosen, shown with the region under the cursor, and offered as files."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from streamlit.delta_generator import DeltaGenerator

from dashboard import viewer
from dashboard.data.runs import Run
from dashboard.drawing import surface
from dashboard.drawing.colours import Range, Style, short
from dashboard.drawing.pictures import Picture, ScreenPicture
from dashboard.drawing.surface_mesh import SURFACES
from dashboard.shell import notices, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.shared import surface_maps

WHAT = (
    "The mean from the outer to the inner surface of the cortex of fsaverage5 (FreeSurfer), an average brain, brought "
    "to the template by FreeSurfer’s affine: places are right to a few mm, and what lies deeper, such as the "
    "hippocampus, is not seen here. Colours, threshold and range are those of the sections."
)


@dataclass(frozen=True)
class SurfaceMap:
    """A map on the cortex and how it is drawn.

    Attributes:
        key: what the values depend on.
        heading: what it is, short.
        caption: whose map, by which method, of which run.
        values: (vertices,) relevance, NaN where there is none.
        opacity: (vertices,) 0 to 1, or None.
    """

    key: Hashable
    heading: str
    caption: str
    values: np.ndarray
    style: Style
    scale: Range
    opacity: np.ndarray | None = None

    @property
    def shown(self) -> np.ndarray:
        """The values as they are coloured: sizes, where the style has no signs."""
        return self.values if self.style.signed else np.abs(self.values)


def choose_surface(prefix: str, box: DeltaGenerator) -> str:
    """Choose the shape on which maps are drawn."""
    return url_state.choose(
        f"{prefix}surface", "Surface", list(SURFACES), widget="segmented", words=str.capitalize, place=box,
        help="Inflated: the sulci are seen, too. Pial: the cortex as it is folded.",
    )  # fmt: skip


def show(box: DeltaGenerator, run: Run, maps: Sequence[SurfaceMap], shape: str, key: str) -> None:
    """Show maps side by side; the region and the values under the cursor are named above them."""
    names, regions = surface_maps.names(run), surface_maps.regions(run)
    shown = [
        viewer.SurfacePicture(
            one.heading, f"{one.caption}{empty(one)}", description(one, shape, regions, names), _on_screen(one, shape),
            one.shown, one.scale.unit,
        )
        for one in maps
    ]  # fmt: skip
    with box:
        viewer.show_surface(shown, shape, maps[0].style.convention, regions, names, key)
    box.caption(f"{WHAT} {notices.RESEARCH_ONLY}")


def files(name: str, maps: Sequence[SurfaceMap], shape: str, notes: Sequence[str]) -> list[Download]:
    """Return the pictures that are shown, as one file of each kind, drawn when it is asked for."""

    @functools.cache
    def draw() -> Picture:
        drawn = [surface.picture(one.values, shape, one.style, one.scale, one.opacity) for one in maps]
        # The letters of saved pictures have no minus sign.
        headings = [f"{one.heading}. {one.caption}".replace("−", "minus") for one in maps]
        return surface.to_take_away(drawn, headings, [*notes, f"Cortex of fsaverage5, {shape}.", notices.RESEARCH_ONLY])

    return [
        Download.png("Surface, PNG", f"{name}_surface_{shape}", lambda: draw().png()),
        Download.svg("Surface, SVG", f"{name}_surface_{shape}", lambda: draw().svg()),
        Download.pdf("Surface, PDF", f"{name}_surface_{shape}", lambda: draw().pdf()),
    ]


def empty(one: SurfaceMap) -> str:
    """Say why a picture shows nothing: no cortex, no relevance on it, or none above the threshold."""
    if not np.isfinite(one.values).any():
        return " Nothing of the cortex lies in the brain of this run."
    place = surface.strongest(one.values)
    if place is None:
        return " There is no relevance on the cortex."
    if abs(one.values[place]) <= one.scale.low:
        return f" Nothing on the cortex is above the threshold of {short(one.scale.low, one.scale.high)}."
    return ""


def description(one: SurfaceMap, shape: str, regions: np.ndarray, names: dict[int, str]) -> str:
    """Say what a picture shows, for those who do not see it."""
    said = f"{one.heading} on the {shape} cortex, left and right hemisphere, lateral and medial. {one.caption}"
    place = surface.strongest(one.values)
    if place is None:
        return f"{said}{empty(one)}"
    where = names.get(int(regions[place]), "outside the areas of the atlas")
    value = formatting.three(float(one.shown[place])).replace("-", "−")
    return f"{said}{empty(one)} Strongest: {value} {one.scale.unit}, {where}."


def _on_screen(one: SurfaceMap, shape: str) -> ScreenPicture:
    faded = one.opacity is not None
    key = (one.key, shape, one.style, one.scale, faded)
    return surface_maps.on_screen(
        key, lambda: ScreenPicture.of(surface.picture(one.values, shape, one.style, one.scale, one.opacity))
    )  # fmt: skip
