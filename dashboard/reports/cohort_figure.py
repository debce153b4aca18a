"""Figure 1 of the paper from a run: group averages of every method on three coronal slices."""

from __future__ import annotations

import numpy as np

from dashboard.data import map_images
from dashboard.data.anatomy import template
from dashboard.drawing import pictures, planes, slices
from dashboard.reports import layout
from dashboard.reports.cohort_data import END, CohortReportData, begin
from dashboard.reports.layout import INNER, MARGIN, QUIET, Page
from dashboard.text import formatting
from dashboard.text.formatting import count, method_name
from store import NotInRunError
from store.reading.trust import trust_lines

PERCENTILE = 50  # of the brain, from which colour starts: the median, as on the pages
TEXT, GAP = 26.0, 14  # pixels
TRUST_SIZE, TRUST_STEP = 6.2, 3.1  # points and mm of the lines of trust


Found = dict[str, tuple[map_images.MapImage, int, int]]  # group -> average, scans, subjects


def figure(data: CohortReportData) -> list[Page]:
    """Draw group averages of each method on the paper's three coronal slices, both groups on one range of colours."""
    run, trust = data.run, trust_lines(data.run, fewest=data.fewest)
    anatomy = template(run)
    positions = slices.paper_positions(anatomy.brain.shape[1], anatomy.affine)
    cuts = planes.sections(anatomy, "coronal", positions).cropped()
    pages: list[Page] = []
    people: dict[str, str] = {}
    y = END
    for method in data.methods:
        found = {g: m for g in data.groups if (m := _group_map(data, method, g)) is not None}
        if not found:
            continue
        parts = _row(cuts, found, run.mask)
        picture = pictures.beside(parts)
        line = trust.get(method)
        said = layout.wrapped(line.text(data.model_set), INNER, TRUST_SIZE) if line else []
        drawn = 4.5 + INNER * picture.height / picture.width
        height = drawn + 2 + TRUST_STEP * len(said)
        if y + height > END or _people(found) != people:
            page, y = _page(data)
            pages.append(page)
            people = _people(found)
            for number, (group, behind) in enumerate(people.items()):
                x = MARGIN + INNER * number * (parts[0].width + GAP) / picture.width
                page.text(x, y + 2, group, 10, weight="bold")
                page.text(x + layout.text_mm(group, 10, "bold") + 2, y + 2, behind, 7.5, color=QUIET)
            y += 5
        name = method_name(method)
        page.text(MARGIN, y + 3, name, 8, weight="bold")
        start = MARGIN + layout.text_mm(name, 8, "bold") + 3
        page.text(start, y + 3, formatting.HOW_TO_READ.get(method, ""), 6.5, color=QUIET)
        page.picture(picture, MARGIN, y + 4.5, INNER)
        for number, words in enumerate(said):
            page.text(MARGIN, y + drawn + TRUST_STEP * (number + 0.8), words, TRUST_SIZE, color=QUIET)
        y += height
    return pages


def _people(found: Found) -> dict[str, str]:
    """Say who is behind the averages, above the columns."""
    people = {}
    for group, (drawn, scans, subjects) in found.items():
        without = f" ({drawn.without_relevance} more without relevance)" if drawn.without_relevance else ""
        people[group] = f"{count(subjects, 'subject')}, {count(scans, 'scan')}{without}"
    return people


def _page(data: CohortReportData) -> tuple[Page, float]:
    return begin(
        "Where the networks look",
        f"Mean over the subjects of each group, evidence for {data.evidence}. "
        f"{formatting.SET_SENTENCES[data.model_set]} "
        "The paper's three coronal slices of the 1 mm template, neurological convention: L is the left of the subject. "
        f"Heatmaps of a {data.run.manifest['grid_mm']:g} mm grid. Colour starts at the marked value, the median of "
        "the brain; both groups of a method share one range.",
    )


def _group_map(data: CohortReportData, method: str, group: str) -> tuple[map_images.MapImage, int, int] | None:
    try:
        return map_images.group_map(data.run, data.model_set, method, data.target, group)
    except NotInRunError:
        return None


def _row(cuts: planes.Sections, found: Found, mask: np.ndarray) -> list[planes.Picture]:
    """Draw the groups with a gap between them, then the colour bar."""
    scale = map_images.colour_range([drawn for drawn, _, _ in found.values()], mask, PERCENTILE)
    parts = []
    for drawn, _, _ in found.values():
        style = planes.Style(smooth=drawn.smooth)
        heat = planes.cut_all(drawn.volume, drawn.affine, "coronal", cuts.positions_mm, smooth=drawn.smooth)
        bare = planes.Layout(text=TEXT, bar=False, small_print=False)
        parts.append(planes.arrange(cuts, heat, drawn.affine, style, scale, bare))
        parts.append(planes.Picture(np.full((parts[-1].height, GAP, 3), 255, np.uint8)))
    return [*parts[:-1], planes.colour_bar(parts[0].height, style, scale, TEXT)]
