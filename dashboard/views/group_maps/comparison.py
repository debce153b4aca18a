"""Do the first two sets differ by more than chance: by voxel with family-wise error, by region with false discovery."""

from __future__ import annotations

import functools
import time
from dataclasses import replace

import pandas as pd
from streamlit.delta_generator import DeltaGenerator

from dashboard.data import comparison, runs
from dashboard.data.averages import Average
from dashboard.data.comparison import ALPHA, CannotCompareError, Difference
from dashboard.data.selection import Selection
from dashboard.drawing import brain_maps
from dashboard.shell import access, url_state
from dashboard.shell.page import Download
from dashboard.text import formatting
from dashboard.views.group_maps import peaks
from dashboard.views.group_maps.peaks import Compared
from dashboard.views.shared import map_grid, region_comparison
from dashboard.views.shared.map_controls import MapStyle
from dashboard.views.shared.two_sets import Columns
from store.export import nifti

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
        table = region_comparison.test(a, b)
    except CannotCompareError as error:
        box.info(f"There is no test: {formatting.plain(str(error))}.")
        return []
    compared = peaks.Compared(found, a, b, (first, second))
    box.markdown(f"**{_verdict(found, first, second)}** {peaks.in_words(compared)}")
    if found.significant:
        peaks.show(box, compared, look)
    box.caption(_small_print(found))
    region_comparison.show_smallest_p(box, table, first, second)
    sets = f"{nifti.file_name(first)}-against-{nifti.file_name(second)}"
    name = f"{selection.run.run_id}_{selection.model_set}_{selection.method}_{sets}"
    return _files(name, compared, table)


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
    share = f"{found.significant:,} of {formatting.count(found.units, 'unit')}"
    return f"{names} differ in {share} of the brain (p < {ALPHA:g}, whole brain; smallest p {found.smallest:.3f})."


def _small_print(found: Difference) -> str:
    parts = [f"n = {found.subjects[0]} and {found.subjects[1]} subjects"]
    if found.in_both:
        parts.append(f"{formatting.count(found.in_both, 'subject')} with scans in both sets left out")
    parts.append(f"{found.units:,} blocks of at most 4 mm, positions or regions tested")
    if found.adjusted:
        parts.append("the networks that explain the subjects are taken out as a confound")
    return f"{'; '.join(parts)}; {found.permutations:,} permutations. docs/definitions.md, Two sets of scans."


def _files(name: str, compared: Compared, table: pd.DataFrame) -> list[Download]:
    """Return the maps of t and p, the clusters and the regions, to take away."""
    run, found = compared.run, compared.found
    reader = runs.opened(run)

    def image(packed: brain_maps.BrainMap, around: float, words: str) -> bytes:
        values = peaks.volume(run, packed, around)
        return nifti.nifti_bytes(values, reader.affine(), simulated=reader.simulated, unit=words)

    return [
        Download.nifti("A against B, t, NIfTI", f"{name}_t", functools.partial(image, found.t, 0.0, "t")),
        Download.nifti(
            "A against B, p of the whole brain, NIfTI", f"{name}_p", functools.partial(image, found.p, 1.0, "p, FWE")
        ),
        Download.csv("A against B, clusters, CSV", f"{name}_clusters", lambda: peaks.clusters(compared)),
        Download.csv("A against B, regions, CSV", f"{name}_regions", lambda: table),
    ]
