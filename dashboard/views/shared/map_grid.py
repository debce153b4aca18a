"""The grid of group averages: a row a method, a column a group, and the difference of the first two groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from dashboard.data import averages as data_averages
from dashboard.data import reference_run, runs, trust
from dashboard.data.averages import Average
from dashboard.data.selection import ScanFilter, Selection
from dashboard.drawing import brain_maps, palette, pictures, planes, surface, surface_mesh
from dashboard.drawing.planes import Range
from dashboard.shell import notices
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.shared import average_pictures, surface_maps
from dashboard.views.shared.average_pictures import Drawing
from dashboard.views.shared.map_controls import MapStyle
from store.export import interactive, nifti

EVERYONE = ScanFilter()
TITLE_SIZE = 26  # pixels of a heading in a saved picture


@dataclass(frozen=True)
class Panel:
    """One picture: an average, or the first of two averages minus the second, each times its factor.

    Attributes:
        opacity: where networks agree, which the picture is as opaque as; None where it is opaque.
    """

    method: str
    heading: str
    averages: tuple[Average, ...]
    factors: tuple[float, ...]
    unit: str
    opacity: Average | None = None

    @property
    def is_difference(self) -> bool:
        """Say whether the picture is the difference of two averages."""
        return len(self.averages) == 2

    def levels(self) -> np.ndarray:
        """Return quantiles of the size of its values."""
        return data_averages.levels(self.averages, self.factors)

    def people(self) -> str:
        """Say how many subjects and scans are behind the picture."""
        if self.is_difference:
            return "own scale"
        found = data_averages.figures(self.averages[0])
        without = f" ({found.without_relevance} more without relevance)" if found.without_relevance else ""
        return f"n = {formatting.count(found.subjects, 'subject')}, {formatting.count(found.scans, 'scan')}{without}"


def columns_of(groups: Mapping[str, Sequence[str]], chosen: Sequence[str] | None) -> dict[str, tuple[str, ...]]:
    """Return heading -> diagnoses: those chosen, else the groups that have any scans."""
    if chosen:
        return {diagnosis: (diagnosis,) for diagnosis in chosen}
    return {group: tuple(diagnoses) for group, diagnoses in groups.items() if diagnoses}


def filters_of(
    columns: Mapping[str, tuple[str, ...]], scan_filter: ScanFilter = EVERYONE
) -> dict[str, ScanFilter]:  # fmt: skip
    """Return heading -> the filter of its scans: those of its diagnoses that pass a filter."""
    return {name: replace(scan_filter, diagnosis=diagnoses) for name, diagnoses in columns.items()}


def averages_by_method(
    selection: Selection, look: MapStyle, columns: Mapping[str, ScanFilter]
) -> dict[str, dict[str, Average]]:
    """Return method -> heading -> average, as the controls say."""
    return {
        method: {
            name: Average(
                selection.of(method=method, scan_filter=scan_filter),
                data_averages.AGREED if look.agreement else look.value,
                look.scale,
            )
            for name, scan_filter in columns.items()
        }
        for method in look.methods
    }


def read_first(averages: Iterable[Average]) -> list[Average]:
    """Return what must be read to draw some averages: these, and where networks agree on them."""
    found = list(averages)
    return [*found, *(opacity for average in found if (opacity := opacity_of(average)) is not None)]


def opacity_of(average: Average) -> Average | None:
    """Return where the networks agree whose mean an average is; None for an average of one network's maps."""
    return replace(average, value=data_averages.AGREEMENT) if average.value == data_averages.AGREED else None


def panels(method: str, averages: Mapping[str, Average], headings: Iterable[str], look: MapStyle) -> list[Panel]:
    """Return the pictures of a method: its averages by heading, and the difference of the first two headings."""
    factors = {name: data_averages.share_factor(a) if look.shared else 1.0 for name, a in averages.items()}
    units = {
        name: data_averages.SHARED_UNIT if look.shared else data_averages.measured(a)[2] for name, a in averages.items()
    }
    found = [Panel(method, name, (a,), (factors[name],), units[name], opacity_of(a)) for name, a in averages.items()]
    pair = tuple(headings)[:2]
    if look.difference and not look.agreement and len(pair) == 2 and all(name in averages for name in pair):
        both = tuple(averages[name] for name in pair)
        found.append(Panel(method, " − ".join(pair), both, tuple(factors[name] for name in pair), units[pair[0]]))
    return found


def medians(grid: Sequence[Panel]) -> dict[str, float]:
    """Return unit -> median size of the averages in that unit."""
    units = dict.fromkeys(panel.unit for panel in grid)
    return {
        unit: float(np.median(np.concatenate([p.levels() for p in grid if p.unit == unit and not p.is_difference])))
        for unit in units
    }


def drawings(grid: Sequence[Panel], look: MapStyle, typed: Mapping[str, float]) -> dict[Panel, Drawing]:
    """Return how each picture is drawn.

    The averages of a method, or of all methods, share one scale; differences have a scale of their own.
    """
    scales: dict[str, Range] = {}
    found = {}
    for panel in grid:
        key = scale_key(panel, look)
        if key not in scales:
            same_scale = [p for p in grid if scale_key(p, look) == key]
            percentile = 0.0 if look.percentile is None else look.percentile
            scales[key] = brain_maps.colour_range(
                [p.levels() for p in same_scale], panel.unit, percentile, typed.get(panel.unit)
            )  # fmt: skip
        style = replace(look.style, signed=is_signed(panel, look))
        found[panel] = Drawing(
            panel.averages, panel.factors, look.positions, style, scales[key], panel.opacity, look.truth
        )
    return found


def scale_key(panel: Panel, look: MapStyle) -> str:
    """Return a name that is the same for pictures that share a scale."""
    return f"{'every method' if look.shared else panel.method}, {'difference' if panel.is_difference else 'averages'}"


def is_signed(panel: Panel, look: MapStyle) -> bool:
    """Say whether negative values of a picture have colours of their own."""
    return look.value == "signed" or panel.is_difference or panel.opacity is not None


def draw_available(
    averages: Mapping[str, Mapping[str, Average]], headings: Iterable[str], look: MapStyle
) -> dict[Panel, pictures.ScreenPicture]:
    """Draw the pictures for the page; averages of no scan are left out.

    Args:
        averages: method -> heading -> average.
        headings: the difference is that of the first two.
    """
    asked = read_first(average for own in averages.values() for average in own.values())
    missing = average_pictures.make_ready(asked, look.style, look.positions)
    grid = [
        panel
        for method, own in averages.items()
        for panel in panels(method, {name: a for name, a in own.items() if a not in missing}, headings, look)
    ]
    drawn = drawings(grid, look, {})
    return dict(zip(drawn, average_pictures.on_screen(list(drawn.values())), strict=True))


def description(panel: Panel, look: MapStyle) -> str:
    """Say what a picture of the grid shows, for those who do not see it."""
    axis = "xyz"[planes.PLANES[look.style.plane][2]]
    where = ", ".join(f"{mm:.0f}" for mm in look.positions)
    return f"{method_words(panel)} on {look.style.plane} sections of the brain at {axis} {where} mm."


def method_words(panel: Panel) -> str:
    """Name the method of a picture."""
    return formatting.method_name(panel.method)


def sheet(drawn: Mapping[Panel, Drawing], title: str, note: str) -> pictures.Picture:
    """Draw the whole grid as one picture, with headings, numbers, a title and a note."""
    rows: dict[str, list[pictures.Picture]] = {}
    for panel, drawing in drawn.items():
        own = rows.setdefault(panel.method, [])
        # The letters of saved pictures have no minus sign.
        words_of = f"{formatting.method_name(panel.method)}, {panel.heading}: {panel.people()}".replace("−", "minus")
        own.append(pictures.titled(average_pictures.picture(drawing), words_of, 0.8 * TITLE_SIZE))
    return pictures.titled(pictures.below([pictures.beside(own) for own in rows.values()]), title, TITLE_SIZE, note)


def picture_files(label: str, name: str, draw: Callable[[], pictures.Picture]) -> list[Download]:
    """Return a picture to take away as PNG and as SVG, drawn when it is asked for."""
    return [
        Download.png(f"{label}, PNG", name, lambda: draw().png()),
        Download.svg(f"{label}, SVG", name, lambda: draw().svg()),
    ]


def nifti_of(panel: Panel) -> bytes:
    """Return the exact map of a picture on the working grid as NIfTI, in the unit of the store."""
    volumes = [data_averages.volume(average) for average in panel.averages]
    values = volumes[0] - volumes[1] if panel.is_difference else volumes[0]
    reader = runs.opened(panel.averages[0].selection.run)
    unit = ("difference, " if panel.is_difference else "") + data_averages.header_words(panel.averages[0])
    return nifti.nifti_bytes(values, reader.affine(), simulated=reader.simulated, unit=unit)


def agreement_nifti(panel: Panel) -> bytes:
    """Return the share of networks that agree on a picture on the working grid as NIfTI."""
    assert panel.opacity is not None
    reader = runs.opened(panel.opacity.selection.run)
    return nifti.nifti_bytes(
        data_averages.volume(panel.opacity), reader.affine(), simulated=reader.simulated,
        unit=data_averages.header_words(panel.opacity),
    )  # fmt: skip


def map_of(panel: Panel, drawing: Drawing) -> interactive.ShownMap:
    """Return the map of a picture in its own unit, from the same threshold as drawn, for a page or a table."""
    values = panel.factors[0] * data_averages.volume_as_shown(panel.averages[0])
    if panel.is_difference:
        values = values - panel.factors[1] * data_averages.volume_as_shown(panel.averages[1])
    warning = reference_run.warning(panel.averages[0].selection.run)
    title = f"{warning}{formatting.method_name(panel.method)}, {panel.heading}, {panel.unit}"
    scale, two_sided = drawing.scale, bool(values.min() < 0)
    steps = np.linspace(-scale.high if two_sided else 0, scale.high, 2 * palette.LEVELS + 1, dtype=np.float32)
    colours = planes.coloured(steps, drawing.style, scale)[:, :3]
    return interactive.ShownMap(values, scale.low, title, two_sided, top=scale.high, colours=colours)


def page_of(panel: Panel, drawing: Drawing, fewest: int) -> str:
    """Return a picture as a web page that opens without this dashboard, with the cortex and the line of trust.

    Args:
        fewest: subjects, of whom figures are given.
    """
    selection = panel.averages[0].selection
    line = trust.lines(selection.run, fewest).get(panel.method)
    shown = replace(map_of(panel, drawing), trust=line.text(selection.model_set) if line else "")
    values = surface_maps.of_averages(panel.averages, panel.factors)
    if np.isfinite(values).any():
        opacity = None if panel.opacity is None else surface_maps.of_averages((panel.opacity,), (1.0,))
        drawn = surface.picture(values, surface_mesh.SURFACES[0], drawing.style, drawing.scale, opacity)
        words = f"{shown.title}, on the inflated cortex of fsaverage5, left and right, lateral and medial."
        shown = replace(shown, picture=drawn.svg().decode(), picture_words=words)
    return interactive.map_page(runs.opened(selection.run), shown)


def clusters_of(drawn: dict[Panel, Drawing]) -> pd.DataFrame:
    """Return the clusters and peaks of all pictures above the thresholds that they are drawn with."""
    parts = []
    for panel, drawing in drawn.items():
        found = interactive.clusters(runs.opened(panel.averages[0].selection.run), map_of(panel, drawing))
        parts.append(found.assign(method=panel.method, map=panel.heading, unit=panel.unit, threshold=drawing.scale.low))
    return pd.concat(parts, ignore_index=True)


def note_of_pictures(selection: Selection, more: str = "") -> str:
    """Say what must stand on saved pictures of group maps: simulated, by which models, for research only."""
    kind = "SIMULATED. " if runs.opened(selection.run).simulated else ""
    said = f"{formatting.SET_SENTENCES[selection.model_set]} {more}".strip()
    return f"{kind}{reference_run.warning(selection.run)}{said} {notices.RESEARCH_ONLY}"
