"""A complete, valid run of real size for measuring the dashboard. All its numbers are made up; it is labelled so.

    python tests/helpers/big_store.py FOLDER [--scans 200] [--grid 1] [--seed 0]

The tables are computed from the heatmaps by the engine's own functions, the scores against the truth on every fourth
millimetre. Two processes write the heatmaps.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from big_cohort import COHORT, EPOCHS, SHARES, TENTH, cohort_of, learning_of, quality_of
from big_numbers import Numbers, Space
from big_view import Coarse, Flat, View, Writer
from store_factory import GROUPS, METHODS, make_manifest

from engine.cohort.scans import Cohort
from engine.cohort.splits import Job, jobs, split
from engine.config.loading import load_config
from engine.config.schema import RunConfig
from engine.images.grid import Grid
from engine.images.template import brain_mask, template_brain
from engine.pipeline.aggregate import write_cells, write_group_regions, write_region_relevance
from engine.pipeline.compare import write_comparisons, write_truth_scores
from engine.pipeline.evaluate import evaluation_tables, prediction_rows
from engine.pipeline.explain import DROP_UNITS, GRADIENT_UNITS
from engine.pipeline.run import NOTICES, Run
from engine.preprocessing.pictures import contact_sheets, overlay
from engine.progress import Progress
from engine.simulation.imposed import ChangedPlaces, imposed_regions
from store import RunWriter
from store.keys import HeatmapKey
from store.reading.truth import binary_of
from store.words import duration
from store.writing.writer import HeatmapArray

HELD_OUT = 0.3  # of all scans, MCI included
RETRAINED = "holdout-seed-2"
SHEET_SCANS = 12
SCORE_MM = 4
CUBE_MM = 20
BATCH_MB = 100  # of heatmaps written together


def big_store(folder: str | Path, scans: int = 200, grid_mm: int = 1, seed: int = 0, processes: int = 2) -> Path:
    """Write and publish one run; returns its folder <folder>/<run>. An older one of the same settings is replaced.

    Args:
        folder: of the store.
        scans: of AD, NC and MCI together; at least 40, so that there are five folds and a fixed test set.
        grid_mm: 1 for real size.
        processes: that write heatmaps.
    """
    started, progress = time.monotonic(), Progress()
    name = f"big-{grid_mm}mm-{scans}"
    run_id = f"{name}-{hashlib.sha256(f'{name}{seed}'.encode()).hexdigest()[:8]}"
    staging = Path(folder) / ".work" / run_id / "run"
    shutil.rmtree(staging.parent, ignore_errors=True)
    run = _prepare(RunWriter(staging), _config(name, scans, grid_mm, seed), scans, progress)
    scales = _write_volumes(run, processes)
    run.real_writer.compact()
    _write_space(run)
    _write_tables(run, scales)
    _analyse(run)
    manifest = make_manifest(name) | {
        "cohort": COHORT, "config": run.config.stored(), "device": "none: made up", "grid_mm": grid_mm,
        "notices": [f"{COHORT}: not results.", *NOTICES], "seeds": {job.model: job.seed for job in run.jobs},
        "seconds": {"all": round(time.monotonic() - started, 1)},
    }  # fmt: skip
    progress.say("  checking and publishing")
    folder = run.real_writer.publish(folder, run_id, manifest, replace=True)
    progress.say(f"  {folder} in {duration(time.monotonic() - started)}")
    return folder


def _config(name: str, scans: int, grid_mm: int, seed: int) -> RunConfig:
    scans_a_subject = 1 + 1.5 / TENTH  # about
    per_group = (HELD_OUT - SHARES["MCI"]) / 2 * scans / scans_a_subject
    changes = {
        "name": name, "seed": seed, "grid_mm": grid_mm, "split.holdout_per_group": max(2, round(per_group)),
        "training.epochs": EPOCHS, "analysis.untrained_networks": 0, "analysis.bootstrap": 200,
    }  # fmt: skip
    return load_config(preset="demo", overrides=changes)


@dataclass
class BigRun:
    """What the stages share; the engine's functions take it for an engine.pipeline.run.Run."""

    config: RunConfig
    cohort: Cohort
    jobs: list[Job]
    numbers: Numbers
    predictions: pd.DataFrame
    real_writer: RunWriter
    writer: Writer
    progress: Progress

    def seen_by_the_engine(self, points: Flat | Coarse, models: list[str]) -> SimpleNamespace:
        """Configuration, mask, atlas, reader and writer at chosen points and of chosen models."""
        atlas = self.numbers.space.atlas

        def reader() -> View:
            return View.staging(self.real_writer.staging, GROUPS).see(self.numbers, points, models)

        return SimpleNamespace(
            config=self.config.model_copy(update={"grid_mm": points.mm}), groups=GROUPS, cohort=self.cohort,
            mask=points.mask, atlas=SimpleNamespace(labels=points.labels, regions=atlas.regions, count=atlas.count),
            cache=SimpleNamespace(read=self.numbers.scans), reader=reader, writer=self.writer, progress=self.progress,
            has_groups=Run.has_groups, jobs=[],
        )  # fmt: skip


# -- the stages -----------------------------------------------------------------------------------------------------


def _prepare(writer: RunWriter, config: RunConfig, count: int, progress: Progress) -> BigRun:
    """Scans, networks and what they say, in memory."""
    found, seed = cohort_of(count, config.seed), config.seed
    cohort = Cohort(
        found.name, split(found.scans, GROUPS, config.split, seed), found.exclusions, GROUPS, found.defining
    )
    networks = jobs(cohort.scans, config.training.models, range(1, config.split.folds + 1), seed)
    networks.insert(1, _retrained(networks[0]))
    scans = cohort.scans.set_index("scan", drop=False)
    space = Space(config.grid_mm)
    numbers = Numbers(space, seed, scans["severity"].to_dict())
    said = [
        prediction_rows(job, numbers.draw_margins(job.model, scans.loc[list(job.explain)]), scans, GROUPS)
        for job in networks
    ]
    progress.say(f"  {count} scans of {scans['subject'].nunique()} subjects, {len(networks[0].explain)} held out")
    return BigRun(
        config, cohort, networks, numbers, pd.concat(said, ignore_index=True), writer, Writer(writer, space), progress
    )


def _retrained(job: Job) -> Job:
    """The held-out network trained again; it explains a third of the scans."""
    some = job.explain[::3]
    return Job(RETRAINED, "holdout", job.seed + 1000, job.train, tuple(s for s in some if s in job.test), some)


def _series(run: BigRun) -> Iterator[tuple[Job, str, str]]:
    """(network, method, target) of all heatmaps; the retrained network explains by sensitivity alone."""
    for job in run.jobs:
        for name, method in METHODS.items():
            if job.model != RETRAINED or name == "sensitivity":
                for target in GROUPS[:1] if method.antisymmetric else GROUPS:
                    yield job, name, target


def _write_volumes(run: BigRun, processes: int) -> list[float]:
    """Scans and heatmaps; returns volume_scale of every scan."""
    work = [(_write_heatmaps, *series) for series in _series(run)]
    scales: list[float] = []
    with run.progress.task("scans and heatmaps, files", 1 + len(work)) as task:
        if processes == 1:
            scales = _write_scans(run)
            for function, *series in work:
                function(run, *series)
                task.advance()
            return scales
        # Forked before this process opens an array, so that the fields are shared and no thread is lost.
        pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _take_over, (run,))
        with pool:
            first = pool.submit(_in_worker, _write_scans)
            for result in [pool.submit(_in_worker, *series) for series in work]:
                result.result()
                task.advance()
            return first.result()


_RUN: list[BigRun] = []  # of a worker process


def _take_over(run: BigRun) -> None:
    _RUN[:] = [run]


def _in_worker(function: Any, *arguments: Any) -> Any:
    return function(_RUN[0], *arguments)


def _write_scans(run: BigRun) -> list[float]:
    space, names = run.numbers.space, run.cohort.scans["scan"].tolist()
    run.real_writer.start_scans(len(names), space.grid.shape, space.grid.affine)
    volumes = (space.volume(run.numbers.scan(name)) for name in names)
    return [run.real_writer.put_scan(row, volume) for row, volume in enumerate(volumes)]


def _write_heatmaps(run: BigRun, job: Job, name: str, target: str) -> None:
    method, space = METHODS[name], run.numbers.space
    stride = space.stride if method.native_grid == "positions" else None
    cube = {"half_width": space.grid.voxels(CUBE_MM), "stride": stride, "reference": "mean"} if stride else {}
    for scale in method.scales:
        array = HeatmapArray(
            method.native_grid, GRADIENT_UNITS["voxelwise"] if method.native_grid == "voxels" else DROP_UNITS[scale],
            space.grid.affine, stride, count=len(job.explain), shape=space.shape_of(method.native_grid),
            parameters={**cube, "made_up": True}, antisymmetric=method.antisymmetric,
        )  # fmt: skip
        run.real_writer.start_heatmaps(HeatmapKey(job.model, name, target, scale), array)
        values = (run.numbers.heatmap(job.model, name, target, scale, scan) for scan in job.explain)
        rows = range(len(job.explain))
        each = max(1, int(BATCH_MB * 1e6 / (4 * space.mask.size)))
        for start in range(0, len(rows), each):
            _put_batch(run, (job, name, target, scale), rows[start : start + each], values)


def _put_batch(run: BigRun, series: tuple, rows: range, values: Iterator[np.ndarray]) -> None:
    (job, name, target, scale), space, native_grid = series, run.numbers.space, METHODS[series[1]].native_grid
    batch = [next(values) for _ in rows]
    sums = [float(np.abs(space.spread(value, native_grid)).sum(dtype=np.float64)) for value in batch]
    run.real_writer.put_heatmaps(
        HeatmapKey(job.model, name, target, scale), rows=rows, scans=[job.explain[row] for row in rows],
        values=[space.volume(value) if native_grid == "voxels" else value for value in batch], absolute_sums=sums,
    )  # fmt: skip


def _write_space(run: BigRun) -> None:
    """Template, mask, atlas and truth."""
    space, put = run.numbers.space, run.real_writer.put_array
    fine, labels = Grid(1), {"": space.atlas.labels_1mm, "grid/": space.atlas.labels}
    for prefix, grid in (("", fine), ("grid/", space.grid)):
        mask = brain_mask(grid.mm)
        brain = (np.clip(template_brain(grid.mm) * 200, 0, 255) * mask).round().astype(np.uint8)
        put(f"{prefix}template", brain, affine=grid.affine, unit="1/200 of white matter")
        put(f"{prefix}mask", mask.astype(np.uint8), affine=grid.affine, unit="1 inside the brain")
        put(f"{prefix}atlas", labels[prefix], affine=grid.affine, unit="region index")
    change = space.volume(-0.3 * run.numbers.effect[GROUPS[0]]).astype(np.float32)
    binary = binary_of(np.abs(change), space.mask).astype(np.uint8)
    put("truth/visible_change", np.abs(change), affine=space.grid.affine, unit="white matter intensity")
    put("truth/visible_binary", binary, affine=space.grid.affine, unit="1 where the change is visible")
    put("truth/log_jacobian", change, affine=space.grid.affine, unit="log volume ratio")
    regions = imposed_regions(space.atlas, change, ChangedPlaces(np.abs(change) > 0.05))
    run.real_writer.put_table("truth_regions", regions)


def _write_tables(run: BigRun, scales: list[float]) -> None:
    """What a run says of its scans and networks."""
    scans = run.cohort.scans.drop(columns="path").assign(volume_scale=scales)
    models = [job.model for job in run.jobs]
    every = run.seen_by_the_engine(Flat(run.numbers.space), models)
    quality = quality_of(run.cohort.scans, run.config.seed)
    tables = {
        "scans": scans, "exclusions": run.cohort.exclusions, "quality": quality, "predictions": run.predictions,
        "regions": run.numbers.space.atlas.regions, "training": pd.DataFrame(learning_of(models, run.config.seed)),
        "models": pd.DataFrame([_model(run, job) for job in run.jobs]),
        **evaluation_tables(every, run.jobs, run.predictions),
    }  # fmt: skip
    for name, table in tables.items():
        run.writer.put_table(name, table)
    with tempfile.TemporaryDirectory() as folder:
        for scan in quality["scan"][:SHEET_SCANS]:
            volume = run.numbers.space.volume(run.numbers.scan(scan))
            overlay(volume, run.config.grid_mm, scan).save(Path(folder) / f"{scan}.png")
        (sheet,) = contact_sheets(quality[:SHEET_SCANS], Path(folder))
        sheet.save(Path(folder) / "sheet.png")
        run.real_writer.put_figure("contact-sheet", (Path(folder) / "sheet.png").read_bytes())


def _model(run: BigRun, job: Job) -> dict[str, Any]:
    """Row of the models table; writes the model's files, which hold no weights."""
    weights = f"no weights: {COHORT}, {job.model}".encode()
    run.real_writer.put_model(job.model, weights, {"model": job.model, "groups": list(GROUPS), "made_up": True})
    subjects = run.cohort.scans.set_index("scan").loc[list(job.train), "subject"].nunique()
    return {
        "model": job.model, "model_set": job.model_set, "seed": job.seed, "training_scans": len(job.train),
        "training_subjects": subjects, "test_scans": len(job.test), "parameters": 737_026, "epochs": EPOCHS,
        "seconds": 600.0, "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }  # fmt: skip


def _analyse(run: BigRun) -> None:
    """Cells, regions, distances, variability and truth scores."""
    flat, models = Flat(run.numbers.space), [job.model for job in run.jobs if job.model != RETRAINED]
    first = run.seen_by_the_engine(flat, models)
    write_cells(first)
    write_region_relevance(first)
    write_region_relevance(run.seen_by_the_engine(flat, [RETRAINED]))
    write_group_regions(first)
    write_comparisons(first)
    coarse = Coarse(run.numbers.space, max(1, SCORE_MM // run.config.grid_mm))
    write_truth_scores(run.seen_by_the_engine(coarse, models))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write a run of made-up numbers of real size, for measuring.")
    parser.add_argument("folder", type=Path, help="the store")
    parser.add_argument("--scans", type=int, default=200, help="default: %(default)s, at least 40")
    parser.add_argument("--grid", type=int, default=1, choices=(1, 2, 3, 4), help="mm; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    if chosen.scans < 40:
        parser.error("--scans: at least 40")
    print(big_store(chosen.folder, chosen.scans, chosen.grid, chosen.seed))


if __name__ == "__main__":
    main()
