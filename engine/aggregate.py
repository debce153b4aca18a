"""From heatmaps of scans to group cells, relevance of regions and their ranking. Heatmaps are read one at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from engine.analysis.cells import accumulate, scan_weights
from engine.analysis.maps import mass
from engine.analysis.regions import group_frame, region_frame, region_sums
from engine.preprocessing.grid import Grid
from engine.relevance import METHODS
from engine.run import Run
from store import RunReader

TARGETS = ("true", "predicted")  # besides the two groups


def stored_series(reader: RunReader) -> pd.DataFrame:
    """One row for each model set, method and stored target that has heatmaps, methods in the order of METHODS."""
    columns = ["model_set", "method", "target", "native_grid"]
    series = reader.table("heatmaps", columns).drop_duplicates()
    place = {name: number for number, name in enumerate(METHODS)}
    return series.sort_values("method", key=lambda m: m.map(place), kind="stable", ignore_index=True)


def scale_for(run: Run, native_grid: str) -> str:
    """The scale that enters averages, as configured."""
    analysis = run.config.analysis
    return analysis.gradient_scale if native_grid == "voxels" else analysis.occlusion_scale


def explained(reader: RunReader, model_set: str) -> pd.DataFrame:
    """Rows of the predictions table of a model set."""
    return reader.table("predictions", model_set=model_set)


# -- cells --------------------------------------------------------------------------------------------------------


def write_cells(run: Run) -> None:
    """Group cells of every series, and the cells table."""
    reader, records = run.reader(), []
    plan = [
        (series, scale)
        for series in stored_series(reader).itertuples()
        for scale in ([scale_for(run, "voxels")] if series.native_grid == "voxels" else ["margin", "probability"])
    ]
    with run.progress.task("group averages", len(plan)) as task:
        for series, scale in plan:
            predictions = explained(reader, series.model_set)
            weights = scan_weights(predictions, run.config.analysis.weights)
            cells = accumulate(_native_maps(reader, predictions, series, scale), weights)
            for (diagnosis, predicted), cell in cells.items():
                records.append(_put_cell(run, reader, series, scale, diagnosis, predicted, cell, predictions))
            task.advance()
    run.writer.put_table("cells", pd.DataFrame(records))


def _native_maps(reader: RunReader, predictions: pd.DataFrame, series, scale: str) -> Iterator[tuple[dict, np.ndarray]]:
    sums = reader.table(
        "heatmaps", ["model", "scan", "absolute_sum"], method=series.method, target=series.target, scale="margin"
    )
    total = dict(zip(zip(sums["model"], sums["scan"], strict=True), sums["absolute_sum"], strict=True))
    for row in predictions.to_dict("records"):
        stored = "margin" if scale == "relative" else scale
        heatmap = reader.heatmap(
            row["model"], series.method, row["scan"], target=series.target, scale=stored, full=False
        )
        if scale == "relative":
            size = total[row["model"], row["scan"]]
            heatmap = heatmap / np.float32(size) if size > 0 else heatmap
        yield row, heatmap


def _put_cell(run: Run, reader: RunReader, series, scale, diagnosis, predicted, cell, predictions) -> dict:
    path = f"heatmaps/{predictions['model'].iloc[0]}/{series.method}/{series.target}/margin"
    attributes = reader.attributes(path)
    run.writer.put_cell(
        series.model_set,
        series.method,
        series.target,
        scale,
        diagnosis,
        predicted,
        cell.sums.astype(np.float32),
        native_grid=series.native_grid,
        unit="share of the relevance in the brain" if scale == "relative" else attributes["unit"],
        affine=Grid(run.config.grid_mm).affine,
        stride=attributes.get("stride"),
    )
    inside = predictions[(predictions["diagnosis"] == diagnosis) & (predictions["predicted"] == predicted)]
    return {
        "model_set": series.model_set,
        "method": series.method,
        "target": series.target,
        "scale": scale,
        "diagnosis": diagnosis,
        "predicted": predicted,
        "native_grid": series.native_grid,
        "weight": cell.weight,
        "scans": cell.scans,
        "subjects": inside["subject"].nunique(),
    }


# -- regions ------------------------------------------------------------------------------------------------------


def write_region_relevance(run: Run) -> None:
    """Relevance of every region in every scan, for both groups as target."""
    reader, parts = run.reader(), []
    methods = stored_series(reader).drop_duplicates(["model_set", "method"])
    total = sum(len(explained(reader, row.model_set)) for row in methods.itertuples())
    with run.progress.task("regions of scans", total) as task:
        for series in methods.itertuples():
            for row in explained(reader, series.model_set).to_dict("records"):
                parts += _scan_regions(run, reader, series, row)
                task.advance()
    run.writer.put_table("region_relevance", pd.concat(parts, ignore_index=True))


def _scan_regions(run: Run, reader: RunReader, series, row: dict) -> list[pd.DataFrame]:
    scale = "margin" if series.native_grid == "voxels" else run.config.analysis.occlusion_scale
    labels, regions = run.atlas.labels, run.atlas.regions
    positive, negative = run.groups
    heatmaps = {positive: reader.heatmap(row["model"], series.method, row["scan"], target=positive, scale=scale)}
    if reader.is_antisymmetric(row["model"], series.method):
        heatmaps[negative] = -heatmaps[positive]
    else:
        heatmaps[negative] = reader.heatmap(row["model"], series.method, row["scan"], target=negative, scale=scale)
    frames = []
    for target, heatmap in heatmaps.items():
        signed = region_sums(heatmap, labels, len(regions))
        summed = region_sums(mass(heatmap, series.native_grid), labels, len(regions))
        frame = region_frame(signed, summed, regions)
        for column in ("model", "model_set", "scan"):
            frame[column] = row[column]
        frames.append(frame.assign(method=series.method, target=target))
    return frames


def write_group_regions(run: Run) -> None:
    """Ranking of regions for every model set, method, target and diagnosis, split and merged (the paper's table 1)."""
    reader, frames = run.reader(), []
    methods = stored_series(reader).drop_duplicates(["model_set", "method"]).to_dict("records")
    with run.progress.task("regions of groups", len(methods)) as task:
        for series in methods:
            predictions = explained(reader, series["model_set"])
            relevance = reader.table("region_relevance", model_set=series["model_set"], method=series["method"])
            for target in (*run.groups, *TARGETS):
                chosen = _for_target(relevance, predictions, target)
                frames.append(_groups_of(run, reader, series, target, chosen, predictions))
            task.advance()
    run.writer.put_table("group_regions", pd.concat(frames, ignore_index=True))


def _for_target(relevance: pd.DataFrame, predictions: pd.DataFrame, target: str) -> pd.DataFrame:
    """Rows for a group as target, or for each scan's true or predicted group."""
    if target not in TARGETS:
        return relevance[relevance["target"] == target]
    own = predictions[["model", "scan", "group" if target == "true" else "predicted"]].set_axis(
        ["model", "scan", "target"], axis=1
    )
    return relevance.merge(own, on=["model", "scan", "target"])


def _groups_of(run: Run, reader: RunReader, series: dict, target: str, relevance, predictions) -> pd.DataFrame:
    frames = []
    for diagnosis, rows in predictions.groupby("diagnosis", sort=False):
        chosen = relevance[relevance["scan"].isin(rows["scan"])]
        if chosen.empty:
            continue
        average = group_mass(run, reader, series, target, diagnosis)
        subjects = rows.set_index("scan")["subject"]
        for merged in (False, True):
            frame = group_frame(
                chosen, average, run.atlas.labels, run.atlas.regions, subjects, merged,
                run.config.analysis.bootstrap, run.config.seed,
            )  # fmt: skip
            frames.append(frame.assign(diagnosis=diagnosis))
    whole = pd.concat(frames, ignore_index=True)
    whole = whole.assign(model_set=series["model_set"], method=series["method"], target=target)
    return _with_gain(whole, run.groups)


def _with_gain(frame: pd.DataFrame, groups: tuple[str, str]) -> pd.DataFrame:
    """gain = mean share in the positive group / mean share in the negative group."""
    key = ["merged", "region"]
    share = {g: frame[frame["diagnosis"] == g].set_index(key)["share"] for g in groups}
    gain = (share[groups[0]] / share[groups[1]].where(share[groups[1]] > 0)).rename("gain")
    return frame.join(gain, on=key)


def group_mass(run: Run, reader: RunReader, series: dict, target: str, diagnosis: str) -> np.ndarray:
    """(x, y, z) group average of m: mean |h|, or the mean positive part for occlusions."""
    voxels = series["native_grid"] == "voxels"
    statistic = "mean_abs" if voxels else "mean_positive"
    scale = scale_for(run, series["native_grid"])
    group = reader.group_map(
        series["model_set"], series["method"], target=target, scale=scale, diagnosis=[diagnosis], statistics=[statistic]
    )
    return getattr(group, statistic)
