"""Maps on the cortical surface: chosen, shown with the region under the cursor, and offered as files."""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from streamlit.delta_generator import DeltaGenerator

from dashboard import viewer
from dashboard.data import runs
from dashboard.data.anatomy import brain
from dashboard.data.runs import Run
from dashboard.drawing import projection, surface
from dashboard.drawing.colours import Range, Style, short
from dashboard.drawing.pictures import Picture, ScreenPicture
from dashboard.drawing.surface_mesh import SURFACES
from dashboard.shell import notices, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.viewer.surface import NOTHING, Place
from dashboard.views.shared import region_values, surface_maps

GLASS = "glass brain"
THROUGH = (
    "The strongest value on every line of sight through the brain, from four sides: what lies deep is seen, too, but "
    "not how deep. Colours, threshold and range are as above."
)
WHAT = (
    "The mean from the outer to the inner surface of the cortex of fsaverage5 (FreeSurfer), an average brain, brought "
    "to the template by FreeSurfer’s affine: places are right to a few mm, and what lies deeper, such as the "
    "hippocampus, is not seen here. Colours, threshold and range are as above."
)


@dataclass(frozen=True)
class SurfaceMap:
    """A map on the cortex and how it is drawn.

    Attributes:
        key: what the values depend on.
        heading: what it is, short.
        caption: whose map, by which method, of which run.
        values: (vertices,) relevance, NaN where there is none.
        voxels: returns the (voxels,) of the brain behind the values, and their opacity or None.
        opacity: (vertices,) 0 to 1, or None.
    """

    key: Hashable
    heading: str
    caption: str
    values: np.ndarray
    style: Style
    scale: Range
    voxels: Callable[[], tuple[np.ndarray, np.ndarray | None]]
    opacity: np.ndarray | None = None

    @property
    def shown(self) -> np.ndarray:
        """The values as they are coloured: sizes, where the style has no signs."""
        return self.values if self.style.signed else np.abs(self.values)


def choose_surface(prefix: str, box: DeltaGenerator) -> str:
    """Choose the shape on which maps are drawn."""
    return url_state.choose(
        f"{prefix}surface", "Surface", [*SURFACES, GLASS], widget="segmented", words=str.capitalize, place=box,
        link_words=lambda shape: shape.split()[0],
        help="Inflated: the sulci are seen, too. Pial: the cortex as it is folded. Glass brain: the strongest value on "
        "every line through the brain.",
    )  # fmt: skip


def show(
    box: DeltaGenerator, run: Run, maps: Sequence[SurfaceMap], shape: str, key: str, lead: Callable[[Place], None]
) -> None:
    """Show maps side by side; the region and the values under the cursor are named above them.

    Args:
        lead: called before the next pass with the place in mm that the reader has clicked.
    """
    if shape == GLASS:
        _show_glass(box, run, maps, key, lead)
        return
    names, regions = surface_maps.names(run), surface_maps.regions(run)
    shown = [
        viewer.SurfacePicture(
            one.heading, f"{one.caption}{empty(one)}", description(one, shape, regions, names),
            _on_screen(one, run, shape), one.shown, one.scale.unit,
        )
        for one in maps
    ]  # fmt: skip
    with box:
        viewer.show_surface(shown, shape, maps[0].style.convention, (regions, names), key, lead)
    box.caption(f"{WHAT} {notices.RESEARCH_ONLY}")


def _show_glass(
    box: DeltaGenerator, run: Run, maps: Sequence[SurfaceMap], key: str, lead: Callable[[Place], None]
) -> None:
    """Show projections through the brain side by side; what lies behind the cursor is named above them."""
    with box:
        viewer.show_glass([_through(one, run) for one in maps], surface_maps.names(run), f"{key}-glass", lead)
    box.caption(f"{THROUGH} {notices.RESEARCH_ONLY}")


def _through(one: SurfaceMap, run: Run) -> viewer.GlassPicture:
    """Return a map through the brain, with the region, the place and the value behind each cell of its picture."""
    values, own, reader = one.voxels()[0], brain(run), runs.opened(run)
    shown = values if one.style.signed else np.abs(values)
    behind = projection.voxels_behind(shown, own, one.style.convention)
    places = np.argwhere(own.mask)[behind]  # -1 is the last voxel, which is marked as none below
    labels = reader.atlas[own.box][own.mask][behind]
    areas = list(surface_maps.names(run))
    regions = np.where(behind < 0, NOTHING, np.where(np.isin(labels, areas), labels, 0))
    words = f"{one.heading} through a glass brain: left half, right half, front to back, top to bottom."
    caption = f"{one.caption}{_peak(one, run)}"
    seen = viewer.SurfacePicture(
        one.heading, caption, f"{words} {caption}", _on_screen(one, run, GLASS), shown[behind].ravel(), one.scale.unit
    )
    return viewer.GlassPicture(seen, places @ own.affine[:3, :3].T + own.affine[:3, 3], regions)


def _peak(one: SurfaceMap, run: Run) -> str:
    """Say where the strongest value of the brain lies, or that there is none above the threshold."""
    values, own, reader = one.voxels()[0], brain(run), runs.opened(run)
    place = int(np.abs(values).argmax())
    value = float(values[place] if one.style.signed else abs(values[place]))
    if abs(value) <= one.scale.low:
        return f" Nothing in the brain is above the threshold of {short(one.scale.low, one.scale.high)}."
    mm = own.mm(place)
    where = region_values.region_at(reader.atlas, reader.affine(), runs.table(run, "regions"), mm)
    number, coordinates = (
        words.replace("-", "−") for words in (formatting.three(value), ", ".join(f"{v:.0f}" for v in mm))
    )  # fmt: skip
    return f" Strongest: {number} {one.scale.unit} at ({coordinates}) mm{f', {where}' if where else ''}."


def _draw(one: SurfaceMap, run: Run, shape: str) -> Picture:
    """Draw a map on a surface or through the brain."""
    if shape == GLASS:
        values, opacity = one.voxels()
        return projection.picture(values, brain(run), one.style, one.scale, opacity)
    return surface.picture(one.values, shape, one.style, one.scale, one.opacity)


def files(name: str, run: Run, maps: Sequence[SurfaceMap], shape: str, notes: Sequence[str]) -> list[Download]:
    """Return the pictures that are shown, as one file of each kind, drawn when it is asked for."""

    @functools.cache
    def draw() -> Picture:
        drawn = [_draw(one, run, shape) for one in maps]
        # The letters of saved pictures have no minus sign.
        headings = [f"{one.heading}. {one.caption}".replace("−", "minus") for one in maps]
        said = "Strongest value on every line of sight." if shape == GLASS else f"Cortex of fsaverage5, {shape}."
        return surface.to_take_away(drawn, headings, [*notes, said, notices.RESEARCH_ONLY])

    label, ending = ("Glass brain", "glass-brain") if shape == GLASS else ("Surface", f"surface_{shape}")

    return [
        Download.png(f"{label}, PNG", f"{name}_{ending}", lambda: draw().png()),
        Download.svg(f"{label}, SVG", f"{name}_{ending}", lambda: draw().svg()),
        Download.pdf(f"{label}, PDF", f"{name}_{ending}", lambda: draw().pdf()),
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
    value = formatting.three(float(one.shown[place]))
    return f"{said}{empty(one)} Strongest: {value} {one.scale.unit}, {where}."


def _on_screen(one: SurfaceMap, run: Run, shape: str) -> ScreenPicture:
    key = (one.key, shape, one.style, one.scale, one.opacity is not None)
    return surface_maps.on_screen(key, lambda: ScreenPicture.of(_draw(one, run, shape)))
