"""Do the first two sets differ by more than chance: by voxel with family-wise error, by region with false discovery."""

from __future__ import annotations

import functools
import time
from dataclasses import replace

import numpy as np
import pandas as pd
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import comparison, runs
from dashboard.data.anatomy import brain
from dashboard.data.averages import Average, measured
from dashboard.data.comparison import ALPHA, CannotCompareError, Difference
from dashboard.data.selection import Selection
from dashboard.drawing import brain_maps, planes
from dashboard.drawing.pictures import ScreenPicture
from dashboard.drawing.planes import Range
from dashboard.shell import access, display, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.group_maps.columns import Columns
from dashboard.views.shared import average_pictures, map_grid, region_relevance
from dashboard.views.shared.map_controls import MapStyle
from store.export import interactive, nifti

SHARP, TEXT = 3.0, 23
SHOWN = 15  # regions on the page; the file has all
HOW = (
    "Every subject counts once. Where the line between the sets is drawn at random between the same subjects 1,000 "
    "times, the largest |t| anywhere in the brain is as large as here in a share p of them (family-wise error): below "
    "0.05 the sets differ there by more than chance. It says nothing about why: sets that differ in age or diagnosis, "
    "too, differ in their heatmaps for that reason."
)


def section(selection: Selection, look: MapStyle, columns: Columns) -> list[Download]:
    """Test the first column against the second on request, of the method chosen at the left; return the files."""
    if len(columns) < 2 or not access.may_see_patients():
        return []
    first, second = list(columns)[:2]
    method = formatting.method_name(selection.method)
    box = url_state.fold("g_test", f"Do {first} and {second} differ by more than chance? ({method})")
    if box is None:
        return []
    if selection.method not in look.methods:
        box.info(f"{method} is not shown above: choose it under Methods, or another one at the left.")
        return []
    averages = map_grid.averages_by_method(selection, replace(look, methods=(selection.method,)), columns)
    a, b = (averages[selection.method][name] for name in (first, second))
    box.markdown(HOW)
    try:
        found = _test(box, a, b)
        table = _regions(a, b)
    except CannotCompareError as error:
        box.info(f"There is no test: {formatting.plain(str(error))}.")
        return []
    box.markdown(f"**{_verdict(found, first, second)}**")
    if found.significant:
        _picture(box, found, a, look, first, second)
    box.caption(_small_print(found))
    _show_regions(box, table, first, second)
    sets = f"{nifti.file_name(first)}-against-{nifti.file_name(second)}"
    name = f"{selection.run.run_id}_{selection.model_set}_{selection.method}_{sets}"
    return _files(name, found, a, table, first, second)


def _test(box: DeltaGenerator, a: Average, b: Average) -> Difference:
    """Compute the test with a bar and the time left; at once where it is kept."""
    if comparison.is_known(a, b):
        return comparison.difference(a, b, lambda *_: None)
    bar = box.empty()
    begun: dict[str, float] = {}

    def progress(done: int, count: int, what: str) -> None:
        since = begun.setdefault(what, time.monotonic())
        left = (time.monotonic() - since) / done * (count - done)
        bar.progress(done / count, f"{what}: {done} of {count}, {formatting.duration(left)} left")

    try:
        return comparison.difference(a, b, progress)
    finally:
        bar.empty()


def _verdict(found: Difference, first: str, second: str) -> str:
    names = f"{formatting.plain(first)} and {formatting.plain(second)}"
    if not found.significant:
        return f"Nothing says that {names} differ: the smallest p of the whole brain is {found.smallest:.3f}."
    share = formatting.percent(found.significant / found.units)
    return f"{names} differ in {share} of the brain (p < {ALPHA:g}, whole brain; smallest p {found.smallest:.3f})."


def _small_print(found: Difference) -> str:
    parts = [f"n = {found.subjects[0]} and {found.subjects[1]} subjects"]
    if found.in_both:
        parts.append(f"{formatting.count(found.in_both, 'subject')} with scans in both sets left out")
    parts.append(f"{found.units:,} blocks of at most 4 mm, positions or regions tested")
    if found.adjusted:
        parts.append("the networks that explain the subjects are taken out as a confound")
    return f"{'; '.join(parts)}; {found.permutations:,} permutations. docs/definitions.md, Two sets of scans."


def _picture(box: DeltaGenerator, found: Difference, average: Average, look: MapStyle, first: str, second: str) -> None:
    """Draw t where p < 0.05, at the sections of the page."""
    run, style = average.selection.run, look.style
    own = brain(run)
    place = brain_maps.places(own, style.plane, look.positions)
    heat = place.cut(found.t.values(), smooth=False)
    top = max(abs(found.t.peak), found.critical * 1.01)
    layout = planes.Layout(pixels_per_mm=SHARP, text=TEXT, small_print=False)
    drawn = planes.arrange(
        average_pictures.sections(run, style.plane, look.positions), heat, own.affine,
        replace(style, smooth=False, signed=True), Range(found.critical, top, "t"), layout,
    )  # fmt: skip
    left, _ = box.columns([2, 1])
    words = f"t, warm: {first} has more; cool: {second} has more; coloured where p < {ALPHA:g}"
    display.brain_picture(left, ScreenPicture.of(drawn), words, f"Sections of the brain, {style.plane}.")


def _regions(a: Average, b: Average) -> pd.DataFrame:
    """Test every region, by the share of relevance that it has."""
    chosen = a.selection
    relevance = region_relevance.relevance(chosen.run, chosen.model_set)
    sums = relevance.entering_average(chosen.method, relevance.of_target(chosen.method, chosen.target))
    return comparison.regions(a, b, sums, relevance.rows, relevance.regions)


def _show_regions(box: DeltaGenerator, table: pd.DataFrame, first: str, second: str) -> None:
    count = int((table["q"] < ALPHA).sum())
    told = f"{formatting.count(count, 'region')} of {len(table)}" if count else f"None of {len(table)} regions"
    box.markdown(f"**By region**: {told} with a false discovery rate below {ALPHA:g}, by share of relevance.")
    shown = table.head(SHOWN)
    percent = formatting.percent
    display.table(box, pd.DataFrame({
        "Region": [formatting.region_name(region) for region in shown["region"]],
        first: shown["first"].map(percent), second: shown["second"].map(percent),
        "Difference (95 % CI), percentage points": [
            formatting.with_interval(100 * r.difference, 100 * r.low, 100 * r.high).replace("-", "−")
            for r in shown.itertuples()
        ],
        "p": shown["p"].map(formatting.three), "q": shown["q"].map(formatting.three),
    }))  # fmt: skip
    box.caption(f"The {len(shown)} regions with the smallest p; Welch’s t over subjects, q after Benjamini-Hochberg.")


def _files(
    name: str, found: Difference, average: Average, table: pd.DataFrame, first: str, second: str
) -> list[Download]:  # fmt: skip
    """Return the maps of t and p, the clusters and the regions, to take away."""
    run = average.selection.run
    reader, own = runs.opened(run), brain(run)

    def volume(packed: brain_maps.BrainMap, around: float) -> np.ndarray:
        whole = np.zeros(reader.mask.shape, np.float32)
        whole[own.box] = own.spread_out(packed.values()[:-1] - np.float32(around))
        return whole + np.float32(around)

    def clusters() -> pd.DataFrame:
        title = f"t, {first} against {second}, {measured(average)[2]}"
        shown = interactive.ShownMap(volume(found.t, 0.0), found.critical, title, two_sided=True)
        return interactive.clusters(reader, shown).assign(critical_t=found.critical)

    def image(packed: brain_maps.BrainMap, around: float, words: str) -> bytes:
        return nifti.nifti_bytes(volume(packed, around), reader.affine(), simulated=reader.simulated, unit=words)

    return [
        Download.nifti("A against B, t, NIfTI", f"{name}_t", functools.partial(image, found.t, 0.0, "t")),
        Download.nifti(
            "A against B, p of the whole brain, NIfTI", f"{name}_p", functools.partial(image, found.p, 1.0, "p, FWE")
        ),
        Download.csv("A against B, clusters, CSV", f"{name}_clusters", clusters),
        Download.csv("A against B, regions, CSV", f"{name}_regions", lambda: table),
    ]
