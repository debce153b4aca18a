"""How long heatmaps take to be written, read again and averaged."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from engine.analysis.cells import accumulate
from engine.analysis.distances import mass
from engine.analysis.regions import RegionSums
from engine.atlas.aal import load_atlas
from engine.benchmark.measure import Result, Setting, agree
from engine.benchmark.scene import scan_like
from engine.config.schema import AtlasConfig
from engine.errors import UserError
from engine.images.grid import Grid
from engine.images.template import brain_mask
from store import RunReader, RunWriter
from store.keys import HeatmapKey
from store.reading.read_ahead import ahead
from store.writing.writer import HeatmapArray

SCANS, COHORT = 10, 200
GROUPS = ("AD", "NC")
KEY = HeatmapKey("holdout", "sensitivity", "AD")


def _write_run(folder: Path, grid_mm: int, volumes: list[np.ndarray]) -> RunReader:
    """Write a run with these heatmaps, not published, and return what reads it."""
    writer, scans = RunWriter(folder), [str(number) for number in range(len(volumes))]
    array = HeatmapArray(
        "voxels", "made up", Grid(grid_mm).affine, count=len(volumes), shape=volumes[0].shape, parameters={},
        antisymmetric=True,
    )  # fmt: skip
    writer.start_heatmaps(KEY, array)
    writer.put_heatmaps(
        KEY, rows=list(range(len(scans))), scans=scans, values=np.stack(volumes),
        absolute_sums=[float(np.abs(v).sum()) for v in volumes],
    )  # fmt: skip
    return RunReader.staging(folder, GROUPS)


def _refuse(setting: Setting) -> None:
    if setting.against is not None:
        raise UserError(f"--against {setting.against}: there is nothing to compare the store with")


def _volumes(grid_mm: int) -> list[np.ndarray]:
    return [scan_like(grid_mm, seed) for seed in range(SCANS)]


def _heatmap(reader: RunReader, scan: int) -> np.ndarray:
    model, method, target, scale = KEY
    return reader.heatmap(model, method, str(scan), target=target, scale=scale, full=False)


def store(setting: Setting) -> list[Result]:
    """Time one heatmap written, and read."""
    _refuse(setting)
    volumes = _volumes(setting.grid_mm)
    with tempfile.TemporaryDirectory() as name:
        number = 0

        def write() -> None:
            nonlocal number
            number += 1
            _write_run(Path(name) / str(number), setting.grid_mm, volumes)

        writing = setting.median(write) / SCANS
        reader = RunReader.staging(Path(name) / str(number), GROUPS)
        apart = max(float(np.abs(_heatmap(reader, i) - v).max() / np.abs(v).max()) for i, v in enumerate(volumes))
        agree("store", apart, 1 / 65534 + 1e-6)  # half a step of int16
        reading = setting.median(lambda: [_heatmap(reader, i) for i in range(SCANS)]) / SCANS
    size = "of the largest value"
    return [
        Result("store, a heatmap written", writing, max_difference=apart, unit=size),
        Result("store, a heatmap read", reading, max_difference=apart, unit=size),
    ]


def aggregate(setting: Setting) -> list[Result]:
    """Time reading, group cells and sums over regions of every scan of a cohort."""
    _refuse(setting)
    volumes, atlas = _volumes(setting.grid_mm), load_atlas(AtlasConfig(), setting.grid_mm)
    rows = [{"model": "holdout", "scan": str(i), "diagnosis": GROUPS[i % 2], "predicted": "AD"} for i in range(SCANS)]
    weights = {("holdout", row["scan"]): 1.0 for row in rows}
    inside = brain_mask(setting.grid_mm)
    with tempfile.TemporaryDirectory() as name:
        reader = _write_run(Path(name) / "run", setting.grid_mm, volumes)

        brain = np.flatnonzero(inside)
        adder = RegionSums(atlas.labels, len(atlas.regions))

        def cells() -> dict:
            return accumulate(
                ahead(lambda row: (row, _heatmap(reader, int(row["scan"])).reshape(-1)[brain]), rows), weights
            )

        def regions() -> None:
            for gathered in ahead(lambda row: adder.gather(_heatmap(reader, int(row["scan"]))), rows):
                adder.sums(gathered)
                adder.sums(mass(gathered, True))

        mean = cells()["AD", "AD"].sums[0] / len(rows[::2])
        wanted = np.mean([v.astype(np.float64) for v in volumes[::2]], axis=0)
        apart = agree("aggregate", float(np.abs(mean - wanted[inside]).max() / np.abs(wanted).max()), 1e-4)
        times = {"group averages": setting.median(cells), "sums over regions": setting.median(regions)}
    note = f"{SCANS} scans timed; {COHORT} take {COHORT // SCANS} times as long, for memory holds a few at a time"
    return [
        Result(f"aggregate, {words} of {COHORT} scans", seconds * COHORT / SCANS, max_difference=apart,
               unit="of the largest value", notes=(note,))
        for words, seconds in times.items()
    ]  # fmt: skip
