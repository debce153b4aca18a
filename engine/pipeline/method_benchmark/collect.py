"""From the runs of a benchmark to its tables: what each run has found, with the cell before it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage, stats

from engine.analysis.distances import mass
from engine.pipeline.aggregate import stored_series
from engine.pipeline.method_benchmark.cells import Cell
from engine.relevance import METHODS
from store import RunReader, open_run
from store.benchmark import IMPOSED, OF_RUNS, PHENOTYPE
from store.reading.truth import has_truth, voxel_truth

HELD_OUT = "holdout"
NEAR_MM = 10.0


def collect(runs: Mapping[Cell, Path]) -> dict[str, pd.DataFrame]:
    """Return name -> rows of every table of the benchmark.

    Args:
        runs: cell -> folder of its published run.
    """
    frames: dict[str, list[pd.DataFrame]] = {name: [] for name in OF_RUNS}
    cells, peaks = [], []
    for cell, folder in runs.items():
        run = open_run(folder.parent, folder.name)
        cells.append(_cell_row(cell, run))
        peaks += [{"cell": cell.name, **row} for row in peak_rows(run)]
        for name in OF_RUNS:
            if run.has_table(name):
                table = run.table(name)
                table = table[table["model_set"] == HELD_OUT]
                frames[name].append(table.assign(cell=cell.name))
    found = {name: pd.concat(parts, ignore_index=True) for name, parts in frames.items() if parts}
    return {"cells": pd.DataFrame(cells), "peaks": pd.DataFrame(peaks, columns=PEAK_COLUMNS), **found}


PEAK_COLUMNS = ["cell", "method", "within", "within_low", "within_high", "patients", "complete"]


def _cell_row(cell: Cell, run: RunReader) -> dict:
    predictions, metrics = run.table("predictions", model_set=HELD_OUT), run.table("metrics", classifier="cnn")
    name, networks = "r2" if cell.regions else "auc", predictions["model"].unique()
    metric = metrics[(metrics["metric"] == name) & (metrics["level"] == "subject")].set_index("model")
    of_held_out = metric.loc[HELD_OUT]
    return {
        "cell": cell.name, "truth": PHENOTYPE if cell.regions else IMPOSED,
        "scenario": cell.scenario, "effect": cell.effect, "extent": cell.extent,
        "subjects": run.table("scans")["subject"].nunique(),
        "tested": predictions.loc[predictions["group"] == run.groups[0], "subject"].nunique(),
        "networks": len(networks), name: float(metric.loc[list(networks), "value"].mean()),
        f"{name}_low": of_held_out["low"], f"{name}_high": of_held_out["high"], "run": run.run_id,
        "seed": run.manifest["seeds"]["run"], "seconds": float(sum(run.manifest["seconds"].values())),
    }  # fmt: skip


def peak_rows(run: RunReader) -> list[dict]:
    """Return for each method how often the most relevant voxel lies within 10 mm of the scan's visible change.

    Of the patients whom a network classifies correctly, over all networks of the fixed test set. Empty without a truth.
    """
    if not has_truth(run):
        return []
    predictions = run.table("predictions", model_set=HELD_OUT)
    patients = predictions[(predictions["group"] == run.groups[0]) & predictions["correct"].fillna(False).astype(bool)]
    near = {scan: _within(voxel_truth(run, scan).binary, run.manifest["grid_mm"]) for scan in patients["scan"].unique()}
    series = stored_series(run)
    rows = []
    for method in series.loc[series["model_set"] == HELD_OUT, "method"].drop_duplicates():
        hits = []
        for row in patients.itertuples():
            relevance = mass(run.heatmap(row.model, method, row.scan, target=run.groups[0]), METHODS[method].gradient)
            if relevance.max() > 0:
                hits.append(bool(near[row.scan][np.unravel_index(relevance.argmax(), relevance.shape)]))
        rows.append({"method": method, **_share(hits), "complete": len(hits) == len(patients)})
    return rows


def _within(truth: np.ndarray, grid_mm: float) -> np.ndarray:
    """Mark the voxels within 10 mm of a truth (x, y, z) bool; none for an empty truth."""
    if not truth.any():
        return np.zeros(truth.shape, bool)
    return ndimage.distance_transform_edt(~truth) * grid_mm <= NEAR_MM


def _share(hits: list[bool]) -> dict[str, float]:
    """Return the share of hits with the 95 % interval of Wilson."""
    if not hits:
        return {"within": np.nan, "within_low": np.nan, "within_high": np.nan, "patients": 0}
    ends = stats.binomtest(sum(hits), len(hits)).proportion_ci(method="wilson")
    return {"within": float(np.mean(hits)), "within_low": ends.low, "within_high": ends.high, "patients": len(hits)}
