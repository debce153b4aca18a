"""What the stage preprocess writes into a run: template, atlas, scans, tables, native spaces, known truth."""

from __future__ import annotations

import numpy as np

from engine.images.grid import Grid
from engine.images.template import brain_mask, template_brain
from engine.pipeline.imposed_truth import write_truth
from engine.pipeline.phenotype_truth import write_phenotype_truth
from engine.pipeline.run import Run
from engine.preprocessing.native_space import native_spaces


def write_inputs(run: Run) -> None:
    """Write what networks are given, and what is known of it."""
    _write_space(run)
    _write_scans(run)
    if run.cohort.simulated:
        write_truth(run)
    elif run.config.preprocessing.keep_transforms:
        write_native_spaces(run)
    if run.config.phenotype:
        write_phenotype_truth(run)


def _write_space(run: Run) -> None:
    """Write template, mask and atlas at 1 mm and on the working grid, and the table of regions."""
    grid = Grid(run.config.grid_mm)
    for path, mm, mask, labels in (
        ("", 1, brain_mask(1), run.atlas.labels_1mm),
        ("grid/", grid.mm, run.mask, run.atlas.labels),
    ):
        affine = Grid(mm).affine
        brain = np.clip(template_brain(mm) * 200, 0, 255) * mask
        run.writer.put_array(
            f"{path}template", brain.round().astype(np.uint8), affine=affine, unit="1/200 of white matter"
        )
        run.writer.put_array(f"{path}mask", mask.astype(np.uint8), affine=affine, unit="1 inside the brain")
        run.writer.put_array(f"{path}atlas", labels.astype(np.int16), affine=affine, unit="region index")
    run.writer.put_table("regions", run.atlas.regions)
    for note in run.atlas.notes:
        run.progress.say(f"  {note}")


def _write_scans(run: Run) -> None:
    """Write the scans themselves (unless left out), their tables, and the quality pictures."""
    scans = run.cohort.scans.drop(columns="path").reset_index(drop=True)
    scales = np.full(len(scans), np.nan)
    if run.config.store.scans:
        run.writer.start_scans(len(scans), run.mask.shape, Grid(run.config.grid_mm).affine)
        with run.progress.task("storing scans", len(scans)) as task:
            for row, scan in enumerate(scans["scan"]):
                scales[row] = run.writer.put_scan(row, run.cache.read([scan])[0])
                task.advance()
    run.writer.put_table("scans", scans.assign(volume_scale=scales))
    run.writer.put_table("exclusions", run.cohort.exclusions)
    run.writer.put_table("quality", run.quality)
    if not run.cohort.simulated:
        run.writer.put_table("flags", run.flags)
    if run.config.store.scans:  # the sheet shows people's brains, as the scans do
        for picture in sorted(run.volumes_folder.glob("contact-sheet*.png")):
            run.writer.put_figure(picture.stem, picture.read_bytes())


def write_native_spaces(run: Run) -> None:
    """Write the native space of every scan, so that heatmaps can be taken back to it."""
    scans, lacking = run.cohort.scans, {}
    with run.progress.task("storing native spaces", len(scans)) as task:
        for scan, space, reason in native_spaces(scans, run.volumes_folder, run.config.preprocessing.registration):
            if space is None:
                lacking[scan] = reason
            else:
                run.writer.put_native_space(scan, space)
            task.advance()
    if lacking:
        first, reason = next(iter(lacking.items()))
        run.progress.say(
            f"  heatmaps of {len(lacking)} scans cannot be taken back to their native space ({first}: {reason}); "
            "--from preprocess registers all scans again"
        )
