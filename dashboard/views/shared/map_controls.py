"""The controls above pictures of group averages: where they are cut, what they show, how they are coloured."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from streamlit.delta_generator import DeltaGenerator

from dashboard.data import runs
from dashboard.data.anatomy import anatomy, extent
from dashboard.data.runs import Run
from dashboard.drawing import brain_maps, palette, planes, slices
from dashboard.shell import access, url_state
from dashboard.text import formatting

PAPER = "paper"
SLICES = ("1", "3", "5", "7")
THREE = "3"
VALUES = {"size": "Magnitude |h|", "signed": "Signed mean", "spread": "Spread, SD"}
SCALES = {"run": "run default", "margin": "margin", "probability": "probability", "relative": "share"}
THRESHOLDS = {"percentile": "percentile", "value": "value"}
RANGES = {"method": "per method", "shared": "shared"}
# Between a phone and a full screen two pictures stand in a row, and a third is not drawn larger than they are.
ROWS = """<style>@media (min-width: 641px) and (max-width: 1250px) {
[class*="st-key-maps-row"] [data-testid="stColumn"] {max-width: calc(50% - 0.5rem);}}</style>"""
ANY = 1e9  # no relevance is as large


@dataclass(frozen=True)
class MapStyle:
    """How group maps are drawn, as the controls say.

    Attributes:
        positions: mm of the sections.
        value, scale: as in `averages.Average`.
        shared: one colour scale for all methods, as a share of each map.
        percentile: of the brain, where colour starts; None: at a value.
        methods: those shown.
        truth: what was imposed on simulated patients is outlined.
        agreement: the mean over networks that were trained again, as opaque as they agree.
    """

    style: planes.Style
    positions: tuple[float, ...]
    value: str
    scale: str | None
    shared: bool
    percentile: float | None
    difference: bool
    methods: tuple[str, ...]
    agreement: bool = False
    truth: bool = False


def choose_sections(prefix: str, run: Run, columns: Sequence[DeltaGenerator]) -> tuple[str, tuple[float, ...]]:
    """Choose plane and positions in mm, by three controls."""
    plane = url_state.choose(
        f"{prefix}plane", "Plane", list(planes.PLANES), words=str.capitalize, place=columns[0]
    )  # fmt: skip
    counts = [PAPER, *SLICES] if plane == "coronal" else list(SLICES)
    count = url_state.choose(
        f"{prefix}n", "Slices", counts, PAPER if plane == "coronal" else THREE,
        words=lambda c: "The paper’s" if c == PAPER else c, place=columns[1],
        help="The paper’s are its three coronal slices; others are spread evenly over the brain around the centre.",
    )  # fmt: skip
    if count == PAPER:
        positions = paper_positions(run)
        columns[2].caption(f"at y {', '.join(f'{mm:.0f}' for mm in positions)} mm".replace("-", "−"))
        return plane, positions
    low, high = extent(run, plane)
    axis = "xyz"[planes.PLANES[plane][2]]
    centre = url_state.slide(
        f"{prefix}{axis}", "Centre, mm", int(low), int(high), round((low + high) / 2), 1, place=columns[2],
        format=f"{axis} %d",
    )  # fmt: skip
    return plane, brain_maps.spread((low, high), int(count), float(centre))


def as_in_the_paper(run: Run, methods: tuple[str, ...]) -> MapStyle:
    """Return the style of figure 1.

    Its coronal slices, the size of the relevance, colour from the median of each method's maps.
    """
    return MapStyle(planes.Style(), paper_positions(run), "size", None, False, 50.0, False, methods)


def paper_positions(run: Run) -> tuple[float, ...]:
    """Return the positions of the three coronal slices of figure 1 in mm."""
    found = anatomy(run)
    return tuple(slices.paper_positions(found.brain.shape[1], found.affine))


def choose_percentile(prefix: str, place: DeltaGenerator) -> float:
    """Choose the percentile of the values in the brain where colour starts."""
    return url_state.slide(
        f"{prefix}from", "Threshold", 0.0, 99.0, 50.0, 1.0, place=place, format="%d %%",
        help="Colour starts at this percentile of the values in the brain.",
    )  # fmt: skip


def choose_shared(prefix: str, place: DeltaGenerator) -> bool:
    """Choose whether all methods share one scale of colours, as a share of each map."""
    return url_state.choose(
        f"{prefix}range", "Colour scale", list(RANGES), words=RANGES.__getitem__, place=place,
        help="Per method: its groups share one scale, in the unit of the method. Shared: every map in "
        "percent of its own sum per cm3, all methods on one scale.",
    ) == "shared"  # fmt: skip


def small_print(look: MapStyle) -> str:
    """Say which convention and interpolation hold for all pictures."""
    shown_at = {"neurological": "left", "radiological": "right"}[look.style.convention]
    side = f"{look.style.convention.capitalize()} convention: L, the left of the subject, is shown at the {shown_at}"
    if look.style.plane == "sagittal":
        side = "P is posterior, A anterior"
    return f"{side}. {'Interpolated between voxels' if look.style.smooth else 'True voxels'}, over the 1 mm template."


def choose_what(prefix: str, run: Run, methods: Sequence[str]) -> tuple[str, str | None, bool, tuple[str, ...]]:
    """Choose value, scale, difference and methods."""
    value = url_state.choose(
        f"{prefix}value", "What is averaged", list(VALUES), widget="segmented", words=VALUES.__getitem__,
        help="Magnitude: |relevance|, for occlusions its positive part, as in the paper. Signed: evidence for minus "
        "evidence against. Spread: standard deviation over scans.",
    )  # fmt: skip
    answer = runs.answer(run)
    scales = [scale for scale in SCALES if not (answer.is_value and scale == "probability")]
    if not access.may_see_patients():
        scales = ["run"]  # as published
    scale = url_state.choose(
        f"{prefix}scale", "Measured as", scales, widget="segmented", words=lambda s: answer.unit_of(SCALES[s]),
        help="Run default: as in the run’s own group averages and rankings. Share: each scan divided by its sum of "
        "|relevance|.",
    )  # fmt: skip
    difference = url_state.toggle(f"{prefix}difference", "Difference of the first two groups", True)
    shown = url_state.choose_many(
        f"{prefix}methods", "Methods", methods, words=formatting.method_name, placeholder="all"
    )  # fmt: skip
    return value, None if scale == "run" else scale, difference, shown or tuple(methods)


def choose_drawing(prefix: str) -> tuple[bool, str, str]:
    """Choose smoothing, colours and convention."""
    smooth = url_state.toggle(
        f"{prefix}smooth", "Interpolate between voxels", True, help="Off: every voxel of the heatmap as it is."
    )  # fmt: skip
    colours = url_state.choose(
        f"{prefix}colours", "Colours", list(palette.SCALES), widget="segmented", words=str.capitalize
    )  # fmt: skip
    convention = url_state.choose(
        f"{prefix}side", "Convention", ["neurological", "radiological"], widget="segmented", words=str.capitalize,
        help="Neurological: the left of the subject is at the left.",
    )  # fmt: skip
    return smooth, colours, convention


def slug(unit: str) -> str:
    """Write a unit in letters, digits and underscores, for a key of the link."""
    return re.sub(r"[^a-z0-9]+", "_", unit.lower()).strip("_")
