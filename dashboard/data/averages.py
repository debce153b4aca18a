"""Cached group averages and what is known of them, bounded in bytes whatever the cohort and the grid."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from dashboard.data import byte_cache, runs, workers
from dashboard.data.anatomy import brain
from dashboard.data.runs import Run
from dashboard.data.selection import Selection
from dashboard.drawing import brain_maps
from dashboard.drawing.brain_maps import BrainMap
from dashboard.text import formatting
from store import GroupMap, NotInRunError
from store.export import nifti
from store.keys import GroupKey
from store.measures import percent_per_cm3
from store.reading.agreement import count_networks, group_agreement, knows_group_agreement

AGREED, AGREEMENT = "agreed", "agreement"
SHARED_UNIT = "% of the map / cm3"
MIB = 1 << 20
MAPS_LIMIT, FIGURES_LIMIT = 26 * MIB, 2 * MIB
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Average:
    """A question for one group average.

    Attributes:
        selection: method, target and scans.
        value: size (|relevance|, for occlusions its positive part), signed (the mean) or spread (SD over scans); agreed
            (the mean over networks that were trained again) or agreement (the share of them that agree).
        scale: margin, probability or relative; None: as in the run's own ranking of regions.
    """

    selection: Selection
    value: str = "size"
    scale: str | None = None


_maps = partial(byte_cache.shared, "group averages", MAPS_LIMIT)  # ByteCache[BrainMap]
_figures = partial(byte_cache.shared, "figures of averages", FIGURES_LIMIT)  # ByteCache[BrainMap]
_differences = partial(byte_cache.shared, "levels of differences", FIGURES_LIMIT)  # ByteCache[np.ndarray]


# Small answers that a pass asks for a hundred times: Streamlit's caches would take longer than the pictures.
@functools.lru_cache(256)
def _average_of(run: Run, method: str, scale: str | None) -> tuple[str, str, str]:
    return runs.average_of(runs.opened(run), method, scale)


def measured(average: Average) -> tuple[str, str, str]:
    """Return scale, statistic and unit of an average."""
    chosen = average.selection
    if average.value == AGREEMENT:
        return "networks", "mean", "share of networks"
    scale, statistic, unit = _average_of(
        chosen.run, chosen.method, "relative" if average.value == AGREED else average.scale
    )
    if average.value == AGREED:
        return scale, "mean", unit
    if average.value == "size":
        return scale, statistic, unit
    unit = unit.replace("|", "")
    if average.value == "signed":
        return scale, "mean", unit
    return scale, "sd", f"SD, {unit.replace(' of relevance', '')}"  # short, to stand beside the bar of a small picture


def header_words(average: Average) -> str:
    """Say what the numbers of `volume` are, short enough for the header of a NIfTI file."""
    scale, statistic, _ = measured(average)
    chosen = average.selection
    if average.value == AGREEMENT:
        return "share of the networks that agree, 0 to 1"
    return nifti.average_words(runs.opened(chosen.run), chosen.method, statistic, scale)


@functools.lru_cache(256)
def _scales(run: Run, model_set: str, method: str) -> frozenset[str]:
    cells = runs.table(run, "cells")
    return frozenset(cells.scale[(cells.model_set == model_set) & (cells.method == method)])


@functools.lru_cache(16)
def diagnoses_of_groups(run: Run, model_set: str) -> dict[str, tuple[str, ...]]:
    """Return group -> diagnoses whose scans form it."""
    reader = runs.opened(run)
    return {group: tuple(nifti.diagnoses_of(reader, model_set, group)) for group in reader.groups}


@functools.lru_cache(256)
def resolution(run: Run, model_set: str, method: str) -> str:
    """Return the true resolution of a method's heatmaps, in words."""
    reader, table = runs.opened(run), runs.table(run, "cells")
    cell = table[(table.model_set == model_set) & (table.method == method)].iloc[0]
    key = GroupKey(model_set, method, cell.target, cell.scale)
    attributes = reader.attributes(key.cell_path(cell.diagnosis, cell.predicted))
    step = abs(float(reader.affine()[0, 0]))
    if method in formatting.COARSE:
        return formatting.COARSE[method]
    return {
        "voxels": f"{step:g} mm voxels" if reader.is_gradient(method) else "segments of each scan",
        "positions": f"one value every {step * attributes.get('stride', 1):g} mm",
        "regions": "one value a region",
    }[cell.native_grid]


def is_stored(average: Average) -> bool:
    """Return whether group cells answer: no filter but diagnosis and decision, and a scale in which the run has cells.

    Nor where such a filter takes some of the scans of a subject: in the cells they have the weights of all of them.
    """
    chosen = average.selection
    if average.value in (AGREED, AGREEMENT):
        return True
    if chosen.needs_streaming:
        return False
    scale = measured(average)[0]
    if scale not in _scales(chosen.run, chosen.model_set, chosen.method):
        return False
    key = GroupKey(chosen.model_set, chosen.method, chosen.target, scale)
    return _cells_answer(chosen.run, key, chosen.scan_filter.diagnosis, chosen.scan_filter.correct)


@functools.lru_cache(256)
def _cells_answer(run: Run, key: GroupKey, diagnosis: tuple[str, ...] | None, correct: bool | None) -> bool:
    return runs.opened(run).cells_answer(key, diagnosis=diagnosis, correct=correct)


def _question(average: Average) -> Callable[[Progress | None], GroupMap]:
    """Return what asks the store for an average; it asks nothing of the caches, so that it may run in any thread."""
    chosen = average.selection
    if average.value in (AGREED, AGREEMENT):
        return lambda _: _agreement(average)
    scale, statistic, _ = measured(average)
    key = GroupKey(chosen.model_set, chosen.method, chosen.target, scale)
    reader, group, wanted = runs.opened(chosen.run), chosen.scan_filter, [statistic]
    if is_stored(average):
        return lambda _: reader.group_map(key, diagnosis=group.diagnosis, correct=group.correct, statistics=wanted)
    rows = chosen.rows()
    pairs = list(zip(rows.model, rows.scan, strict=True))
    return lambda progress: reader.subset_map(key, pairs, statistics=wanted, progress=progress)


def _agreement_question(average: Average) -> tuple[str, str]:
    """Return target and diagnosis of an agreement; NotInRunError says why there is none."""
    chosen, diagnoses = average.selection, average.selection.scan_filter.diagnosis or ()
    reader = runs.opened(chosen.run)
    if len(diagnoses) != 1:
        raise NotInRunError(
            f"agreement is of one diagnosis, and this is {', '.join(diagnoses)}: choose one at the left"
        )
    target = reader.group_of(chosen.model_set, diagnoses[0]) if chosen.target == "true" else chosen.target
    if target not in reader.groups:
        raise NotInRunError("agreement is of the evidence for one group: choose it as the evidence at the left")
    return target, diagnoses[0]


def networks_that_agree(average: Average) -> int:
    """Return how many networks an agreement is of; 0 where the run has none of this average. Reads nothing."""
    reader = runs.opened(average.selection.run)
    try:
        target, diagnosis = _agreement_question(average)
    except NotInRunError:
        return 0
    known = knows_group_agreement(reader, average.selection.method, target, diagnosis)
    return count_networks(reader) if known else 0


def _agreement(average: Average) -> GroupMap:
    """Read where the networks agree on a group, as the mean of a group map; NotInRunError says why it cannot be."""
    chosen = average.selection
    found = group_agreement(runs.opened(chosen.run), chosen.method, *_agreement_question(average))
    rows = chosen.rows()
    rows = rows[rows.group.notna()]
    values = found.mean if average.value == AGREED else found.share
    return GroupMap(values, None, None, None, len(rows), rows.subject.nunique(), float(rows.subject.nunique()))


def _maker(average: Average) -> Callable[[Progress | None], BrainMap]:
    """Return what makes the kept map of an average, in any thread."""
    run, ask = average.selection.run, _question(average)
    scale, statistic, _ = measured(average)
    own, factor = brain(run), _to_unit(run, scale)

    def make(progress: Progress | None) -> BrainMap:
        found = ask(progress)
        packed = brain_maps.pack(getattr(found, statistic), own, found.scans, found.subjects, factor)
        return replace(packed, without_relevance=found.without_relevance)

    return make


def _to_unit(run: Run, scale: str) -> float:
    """Return the factor from the numbers of the store to the unit in which averages are shown."""
    return percent_per_cm3(runs.opened(run).affine()) if scale == "relative" else 1.0


def volume_as_shown(average: Average) -> np.ndarray:
    """Compute the average anew on the working grid, (x, y, z) float32 in the unit that `measured` names."""
    return volume(average) * np.float32(_to_unit(average.selection.run, measured(average)[0]))


def volume(average: Average) -> np.ndarray:
    """Compute the average anew on the working grid, (x, y, z) float32 in the unit of the store."""
    return getattr(_question(average)(None), measured(average)[1])


def figures(average: Average) -> BrainMap:
    """Return what is known of an average beside its voxels: scans, subjects, quantiles and peak; without `data`."""
    return _figures().get(average, lambda: replace(brain_map(average), data=b""))


def brain_map(average: Average, progress: Progress | None = None) -> BrainMap:
    return _maps().get(average, lambda: _maker(average)(progress))


def share_factor(average: Average) -> float:
    """Return the factor that takes an average to SHARED_UNIT: percent of its own sum of sizes, per cm3."""
    total = figures(average).total
    return 100 / (total * brain(average.selection.run).voxel_cm3) if total > 0 else 1.0


def combined(averages: Sequence[Average], factors: Sequence[float]) -> np.ndarray:
    """Return (voxels,) float32 of an average, or of the first of two minus the second, each times its factor."""
    found = brain_map(averages[0]).values()[:-1] * np.float32(factors[0])
    if len(averages) == 2:
        found -= brain_map(averages[1]).values()[:-1] * np.float32(factors[1])
    return found


def levels(averages: Sequence[Average], factors: Sequence[float]) -> np.ndarray:
    """Return quantiles of the size of an average, or of the difference of two, times their factors."""
    if len(averages) == 1:
        return figures(averages[0]).levels * np.float32(factors[0])
    key = (tuple(averages), tuple(factors))

    def make() -> np.ndarray:
        return brain_maps.difference_levels(brain_map(averages[0]), brain_map(averages[1]), (factors[0], factors[1]))

    return _differences().get(key, make)


def _begin_reading(average: Average) -> Future[BrainMap] | None:
    """Read an average in the threads of its run, where group cells answer it; None where not, or where it is kept."""
    if not is_stored(average) or average in _maps():
        return None
    pool = workers.readers(average.selection.run.store, average.selection.run.run_id)
    return pool.submit(_maps().get, average, partial(_maker(average), None))


def read_all(
    averages: Sequence[Average], progress: Progress | None = None, also: Callable[[Average], object] = lambda _: None
) -> dict[Average, str]:
    """Read averages and their figures; those that group cells answer, several at once.

    Args:
        also: what else is made of each while it is at hand.
    Returns:
        Average -> why it cannot be read: no scan remains.
    """
    answers = {average: future for average in averages if (future := _begin_reading(average)) is not None}
    impossible = {}
    for average in averages:
        try:
            if average in answers:
                answers[average].result()
            brain_map(average, progress)
            figures(average)
            also(average)
        except NotInRunError as error:
            impossible[average] = str(error)
    return impossible


def is_known(average: Average) -> bool:
    """Return whether the numbers of an average are kept, so that `figures` reads nothing."""
    return average in _figures()
