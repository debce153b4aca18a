"""From heatmaps of scans to group cells, relevance of regions and their ranking. Heatmaps are read one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd

from engine.analysis.cells import Cell, accumulate, scan_weights
from engine.analysis.distances import mass
from engine.analysis.regions import Bootstrap, RegionSums, group_frame, region_frame
from engine.images.grid import Grid
from engine.pipeline.explain import scales_of
from engine.pipeline.run import Run
from engine.relevance import METHODS
from store import RunReader
from store.errors import NoRelevanceError
from store.keys import GroupKey, HeatmapKey, are_retrained
from store.reading.read_ahead import ahead
from store.reading.region_values import RegionValues, joined
from store.reading.weights import without_relevance
from store.writing.writer import MapArray

TARGETS = ("true", "predicted")  # besides the two groups
SCANS_OF_PART = 256  # whose regions are written together


def stored_series(reader: RunReader) -> pd.DataFrame:
    """Return a row for each model set, method and stored target that has heatmaps, in the order of METHODS."""
    columns = ["model_set", "method", "target", "native_grid"]
    series = reader.table("heatmaps", columns).drop_duplicates()
    place = {name: number for number, name in enumerate(METHODS)}
    return series.sort_values("method", key=lambda m: m.map(place), kind="stable", ignore_index=True)


def scale_for(run: Run, method: str) -> str:
    """Return the scale that enters averages, as configured."""
    analysis = run.config.analysis
    return analysis.gradient_scale if METHODS[method].gradient else analysis.occlusion_scale


def explained(reader: RunReader, model_set: str) -> pd.DataFrame:
    """Return the rows of the predictions table of a model set, without those of networks that were trained again."""
    rows = reader.table("predictions", model_set=model_set)
    return rows[~are_retrained(rows["model"])].reset_index(drop=True)


# -- cells --------------------------------------------------------------------------------------------------------


def write_cells(run: Run) -> None:
    """Write the group cells of every series, and the cells table."""
    reader, records = run.reader(), []
    plan = [
        (series, scale)
        for series in stored_series(reader).itertuples()
        for scale in _scales_of_cells(run, series.method)
    ]
    brain = np.flatnonzero(run.mask)
    with run.progress.task("group averages", len(plan)) as task:
        for series, scale in plan:
            predictions = explained(reader, series.model_set)
            empty = without_relevance(reader, series.method, predictions, series.target)
            has_share = ~empty if scale == "relative" else None
            weights = scan_weights(predictions, run.config.analysis.weights, has_share)
            inside = brain if series.native_grid == "voxels" else None
            cells = accumulate(_native_maps(reader, predictions, series, scale, inside), weights)
            for (diagnosis, predicted), cell in cells.items():
                own = (predictions["diagnosis"] == diagnosis) & (predictions["predicted"] == predicted)
                row = _put_cell(run, reader, series, scale, predictions[own], cell)
                records.append({**row, "without_relevance": predictions["scan"][own & empty].nunique()})
            task.advance()
    run.writer.put_table("cells", pd.DataFrame(records))


def _scales_of_cells(run: Run, method: str) -> list[str]:
    return [scale_for(run, method)] if METHODS[method].gradient else sorted(scales_of(run, gradient=False))


def _native_maps(
    reader: RunReader, predictions: pd.DataFrame, series, scale: str, inside: np.ndarray | None
) -> Iterator[tuple[dict, np.ndarray]]:
    """Read (prediction row, heatmap in its native grid); of volumes only the voxels `inside`, (n,)."""
    sums = reader.table(
        "heatmaps", ["model", "scan", "absolute_sum"], method=series.method, target=series.target, scale="margin"
    )
    total = dict(zip(zip(sums["model"], sums["scan"], strict=True), sums["absolute_sum"], strict=True))
    stored = "margin" if scale == "relative" else scale

    def read(row: dict) -> tuple[dict, np.ndarray]:
        heatmap = reader.heatmap(
            row["model"], series.method, row["scan"], target=series.target, scale=stored, full=False
        )
        heatmap = heatmap.reshape(-1)[inside] if inside is not None else heatmap
        size = total[row["model"], row["scan"]] if scale == "relative" else 0
        return row, heatmap / np.float32(size) if size > 0 else heatmap

    return ahead(read, predictions.to_dict("records"))


def _put_cell(run: Run, reader: RunReader, series: Any, scale: str, rows: pd.DataFrame, cell: Cell) -> dict:
    """Write a group cell and return its row of the cells table.

    Args:
        rows: of the predictions table, of the scans in the cell: one diagnosis, predicted alike.
    """
    model, diagnosis, predicted = rows[["model", "diagnosis", "predicted"]].iloc[0]
    attributes = reader.attributes(HeatmapKey(model, series.method, series.target).path)
    sums = cell.sums.astype(np.float32)
    if series.native_grid == "voxels":
        sums = np.zeros((3, *run.mask.shape), np.float32)
        sums[:, run.mask] = cell.sums
    unit = "share of the relevance in the brain" if scale == "relative" else attributes["unit"]
    array = MapArray(series.native_grid, unit, Grid(run.config.grid_mm).affine, attributes.get("stride"))
    key = GroupKey(series.model_set, series.method, series.target, scale)
    run.writer.put_cell(key, diagnosis, predicted, sums, array)
    return {
        "model_set": series.model_set,
        "method": series.method,
        "target": series.target,
        "scale": scale,
        "diagnosis": diagnosis,
        "predicted": predicted,
        "native_grid": series.native_grid,
        "weight": cell.weight,
        "scans": rows["scan"].nunique(),
        "subjects": rows["subject"].nunique(),
    }


# -- regions ------------------------------------------------------------------------------------------------------


def write_region_relevance(run: Run) -> None:
    """Write the relevance of every region in every scan, for both groups as target, some scans at a time."""
    reader = run.reader()
    methods = stored_series(reader).drop_duplicates(["model_set", "method"])
    total = sum(len(reader.table("predictions", ["model"], model_set=row.model_set)) for row in methods.itertuples())
    with run.progress.task("regions of scans", total) as task:

        def parts() -> Iterator[pd.DataFrame]:
            for series in methods.itertuples():
                rows = reader.table("predictions", model_set=series.model_set)  # also trained again
                for frames in _parts_of_series(run, reader, series, rows.to_dict("records")):
                    yield from frames
                    task.advance(len(frames[0]) // len(run.atlas.regions))

        run.writer.put_table_parts("region_relevance", parts())


def _parts_of_series(run: Run, reader: RunReader, series: Any, rows: list[dict]) -> Iterator[list[pd.DataFrame]]:
    """Yield the rows of region_relevance of some scans by one method, a frame a target."""
    adder = region_sums_of(run, reader, series, rows[0])
    sums = ahead(lambda row: _scan_sums(run, reader, series, adder, row), rows)
    for start in range(0, len(rows), SCANS_OF_PART):
        some = rows[start : start + SCANS_OF_PART]
        yield _regions_of_scans(run, series, some, np.array(list(islice(sums, len(some)))))


def region_sums_of(run: Run, reader: RunReader, series, row: dict) -> RegionSums:
    """Return what adds up the maps of a method in their native grid.

    Args:
        row: of the predictions table; any scan that has such a map.
    """
    labels, count = run.atlas.labels, len(run.atlas.regions)
    if series.native_grid == "voxels":
        return RegionSums(labels, count)
    one = reader.heatmap(row["model"], series.method, row["scan"], target=run.groups[0], full=False)
    places = np.arange(1, one.size + 1, dtype=np.float32).reshape(one.shape)
    path = f"heatmaps/{row['model']}/{series.method}/{run.groups[0]}/margin"
    return RegionSums(labels, count, reader.full(places, reader.attributes(path)))


def _scan_sums(run: Run, reader: RunReader, series, adder: RegionSums, row: dict) -> np.ndarray:
    """Return the sums of h and of m for each group as target, (2, 2, regions)."""
    gradient = METHODS[series.method].gradient
    scale = "margin" if gradient else run.config.analysis.occlusion_scale

    def gathered(target: str) -> np.ndarray:
        return adder.gather(
            reader.heatmap(row["model"], series.method, row["scan"], target=target, scale=scale, full=False)
        )

    positive = gathered(run.groups[0])
    antisymmetric = reader.is_antisymmetric(row["model"], series.method)
    both = positive, 0 - positive if antisymmetric else gathered(run.groups[1])
    return np.array([[adder.sums(one), adder.sums(mass(one, gradient))] for one in both])


def _regions_of_scans(run: Run, series, rows: list[dict], sums: np.ndarray) -> list[pd.DataFrame]:
    """Return rows of the region_relevance table, a frame for each group as target.

    Args:
        sums: (scans, 2, 2, regions), see _scan_sums.
    """
    regions, frames = run.atlas.regions, []
    for number, target in enumerate(run.groups):
        frame = region_frame(sums[:, number, 0], sums[:, number, 1], regions)
        for column in ("model", "model_set", "scan"):
            frame[column] = np.repeat([row[column] for row in rows], len(regions))
        frames.append(frame.assign(method=series.method, target=target))
    return frames


def write_group_regions(run: Run) -> None:
    """Rank regions for every model set, method, target and diagnosis, split and merged (the paper's table 1)."""
    reader, frames = run.reader(), []
    methods = stored_series(reader).drop_duplicates(["model_set", "method"]).to_dict("records")
    adder = RegionSums(run.atlas.labels, len(run.atlas.regions))
    with run.progress.task("regions of groups", len(methods)) as task:
        for series in methods:
            predictions = explained(reader, series["model_set"])
            relevance = {target: _shares_of(reader, series, target) for target in run.groups}
            for target in (*run.groups, *TARGETS):
                chosen = _for_target(relevance, predictions, target)

                def average_sums(diagnosis: str, series: dict = series, target: str = target) -> np.ndarray:
                    return adder.sums(adder.gather(group_mass(run, reader, series, target, diagnosis)))

                frames.append(_groups_of(run, average_sums, series, target, chosen, predictions))
            task.advance()
    run.writer.put_table("group_regions", pd.concat(frames, ignore_index=True))


def _shares_of(reader: RunReader, series: dict, target: str) -> RegionValues:
    """Read the shares of regions in every scan, without those of networks that were trained again."""
    found = reader.region_values(series["model_set"], series["method"], target, ("share", "share_atlas"))
    return found.where(~are_retrained(pd.Series(found.models)).to_numpy(bool))


def _for_target(relevance: dict[str, RegionValues], predictions: pd.DataFrame, target: str) -> RegionValues:
    """Select the values for a group as target, or for each scan's true or predicted group."""
    if target not in TARGETS:
        return relevance[target]
    own = predictions.set_index(["model", "scan"])["group" if target == "true" else "predicted"]
    return joined(
        [found.where((own.reindex(found.pairs()) == group).fillna(False).to_numpy(bool))
         for group, found in relevance.items()]
    )  # fmt: skip


def _groups_of(
    run: Run, average_sums: Callable[[str], np.ndarray], series: dict, target: str, relevance: RegionValues,
    predictions: pd.DataFrame,
) -> pd.DataFrame:  # fmt: skip
    """Rank the regions of every diagnosis, split and merged.

    Args:
        average_sums: diagnosis -> (regions,) sum of the group average of m over each region.
    """
    frames = []
    for diagnosis, rows in predictions.groupby("diagnosis", sort=False):
        chosen = relevance.where(np.isin(relevance.scans, rows["scan"].to_numpy(object)))
        if not len(chosen.scans):
            continue
        sums = average_sums(diagnosis)
        subjects = rows.drop_duplicates("scan").set_index("scan")["subject"]  # several models may explain a scan
        for merged in (False, True):
            frame = group_frame(
                chosen, sums, run.atlas.regions, subjects, merged,
                Bootstrap(run.config.analysis.bootstrap, run.config.seed),
            )  # fmt: skip
            frames.append(frame.assign(diagnosis=diagnosis))
    if not frames:  # scans of no group have no true group
        return pd.DataFrame()
    whole = pd.concat(frames, ignore_index=True)
    whole = whole.assign(model_set=series["model_set"], method=series["method"], target=target)
    return _with_gain(whole, run.groups)


def _with_gain(frame: pd.DataFrame, groups: tuple[str, str]) -> pd.DataFrame:
    """Add gain = mean share in the positive group / mean share in the negative group."""
    key = ["merged", "region"]
    share = {g: frame[frame["diagnosis"] == g].set_index(key)["share"] for g in groups}
    gain = (share[groups[0]] / share[groups[1]].where(share[groups[1]] > 0)).rename("gain")
    return frame.join(gain, on=key)


def group_mass(run: Run, reader: RunReader, series: dict, target: str, diagnosis: str) -> np.ndarray:
    """Return the group average of m, (x, y, z): mean |h|, for occlusions mean positive part; 0 where none has any."""
    statistic = "mean_abs" if METHODS[series["method"]].gradient else "mean_positive"
    scale = scale_for(run, series["method"])
    try:
        key = GroupKey(series["model_set"], series["method"], target, scale)
        group = reader.group_map(key, diagnosis=[diagnosis], statistics=[statistic])
    except NoRelevanceError:
        return np.zeros(run.mask.shape, np.float32)
    return getattr(group, statistic)
