"""The stages of the batch job, one short function each. Every stage can be repeated and goes on where it stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from engine.errors import UserError
from engine.pipeline.run import Run, data_fingerprint

if TYPE_CHECKING:
    from engine.training.parallel import PackedNetwork

ORDER = ("ingest", "preprocess", "train", "explain", "aggregate", "compare", "publish")


def ingest(run: Run) -> None:
    """Scans or simulated brains -> the cohort: groups, exclusions, fingerprints."""
    from engine.cohort.decisions import accepted
    from engine.pipeline.inputs import read_cohort

    run.cohort = read_cohort(run.config, run.store, run.progress)
    counts = run.cohort.scans["diagnosis"].value_counts(sort=False)
    people = run.cohort.scans["subject"].nunique()
    found = ", ".join(f"{count} {name}" for name, count in counts.items())
    run.progress.say(
        f"  {run.cohort.name}: {len(run.cohort.scans)} scans of {people} subjects ({found}); "
        f"{len(run.cohort.exclusions)} excluded"
    )
    for warning in run.cohort.warnings:
        run.progress.say(f"  WARNING: {warning}")
    run.data_fingerprint = data_fingerprint(run.cohort, accepted(run.config.cohort))


def preprocess(run: Run) -> None:
    """Records -> volumes on one grid, with quality figures, folds and the fixed test set."""
    from engine.pipeline.inputs import limits_for, preparer_for
    from engine.preprocessing.cohort import Preparation, prepare_cohort

    preparer, processes = preparer_for(run.config)
    settings = (run.volumes_folder, run.preprocessing_fingerprint, run.progress, processes, limits_for(run.config))
    prepared = prepare_cohort(run.cohort, Preparation(preparer, *settings))
    run.cache, run.quality, run.flags = prepared.cache, prepared.quality, prepared.flags
    _say_flags(run, prepared.sheet)
    for warning in prepared.cohort.warnings[len(run.cohort.warnings) :]:
        run.progress.say(f"  WARNING: {warning}")
    run.cohort = run.with_parts(prepared.cohort)
    if not run.is_done("preprocess"):
        from engine.pipeline.imposed_truth import write_truth

        _write_space(run)
        _write_scans(run)
        if run.cohort.simulated:
            write_truth(run)
        elif run.config.preprocessing.keep_transforms:
            _write_native(run)
        run.mark_done("preprocess")


def train(run: Run) -> None:
    """Volumes -> one network a fold and the held-out one; predictions, metrics, baselines."""
    from engine.networks.device import choose_device, make_deterministic
    from engine.pipeline.evaluate import answer_rows, evaluation_tables
    from engine.training.checkpoints import model_card
    from engine.training.objective import Classification, Regression
    from engine.training.parallel import train_all
    from engine.training.trainer import TrainingSetup

    if run.is_done("train"):
        return
    device = choose_device(run.device)
    make_deterministic(device)
    config, scans = run.config, run.cohort.scans.set_index("scan")
    if target := run.cohort.target:
        objective = Regression(target.column, scans[target.column].to_dict())
    else:
        objective = Classification((scans["group"] == run.groups[0]).to_dict())
    setup = TrainingSetup(
        objective, run.cache.read, run.mask, config.grid_mm, config.training, device, run.networks_folder
    )
    with run.progress.task("training, epochs", len(run.jobs) * config.training.epochs) as task:
        trained = train_all(run.jobs, setup, on_epoch=task.advance, say=run.progress.say)
    card = model_card(config.grid_mm, config.training, run.groups)
    for one in trained:
        run.writer.put_model(one.job.model, one.weights, card | one.objective.card())
    predictions = pd.concat([answer_rows(one.job, one.margin, scans, run.cohort, one.objective) for one in trained])
    tables = {
        "models": pd.DataFrame([_model_row(one, scans, config) for one in trained]),
        "training": pd.DataFrame([{"model": one.job.model, **row} for one in trained for row in one.curve]),
        "predictions": predictions,
    }
    tables |= evaluation_tables(run, run.jobs, predictions)
    for name, table in tables.items():
        run.writer.put_table(name, table)
    run.mark_done("train")


def explain(run: Run) -> None:
    """Networks x volumes x methods -> heatmaps."""
    import torch

    from engine.networks.device import choose_device, make_deterministic
    from engine.pipeline.explain import build_brain, explain, series_of
    from engine.relevance import BatchSize
    from engine.training.checkpoints import load_model
    from store.spec import MODELS_FOLDER

    _needs(run, run.networks_from, "explain")
    if run.is_done("explain"):
        return
    device = choose_device(run.device)
    make_deterministic(device)
    batch = BatchSize(run.config.explain.batch_size, run.progress.say)
    for job in run.jobs:
        network, normalisation, _ = load_model(run.staging / MODELS_FOLDER, job.model, run.mask)
        network = network.to(torch.device(device))
        for series in series_of(run, job, build_brain(run, job, normalisation, device), batch):
            explain(run, series, network, normalisation)
    run.writer.compact()  # what follows reads one table instead of a part for each handful of heatmaps
    run.mark_done("explain")


def aggregate(run: Run) -> None:
    """Heatmaps -> group averages, relevance of AAL regions, ranking."""
    from engine.pipeline.aggregate import write_cells, write_group_regions, write_region_relevance

    _needs(run, "explain", "aggregate")
    if not run.is_done("aggregate"):
        write_cells(run)
        write_region_relevance(run)
        write_group_regions(run)
        run.mark_done("aggregate")


def compare(run: Run) -> None:
    """Heatmaps -> distances between methods, variability between patients, agreement with known truth."""
    from engine.pipeline.compare import write_comparisons, write_truth_scores

    _needs(run, "aggregate", "compare")
    if not run.is_done("compare"):
        write_comparisons(run)
        write_truth_scores(run)
        run.mark_done("compare")


def publish(run: Run) -> None:
    """Validate against the specification, write the manifest, make the run visible."""
    import shutil

    _needs(run, "compare", "publish")
    run.published = run.writer.publish(run.store, run.run_id, run.manifest(), replace=True)
    shutil.rmtree(run.work, ignore_errors=True)


def _say_flags(run: Run, sheet) -> None:
    """One line about the scans that are beyond the limits, where to look at them, and how to decide."""
    from engine.preprocessing.quality import SOURCE

    undecided = run.flags[(run.flags["decision"] == "") & (run.flags["source"] == SOURCE)]
    if undecided.empty:
        return
    scans = undecided["scan"].nunique()
    order = run.quality.set_index("scan")["template_correlation"].loc[undecided["scan"].unique()]
    worst = order.sort_values(na_position="first").index[0]
    text = undecided.loc[undecided["scan"] == worst, "text"].iloc[0]
    look = f"; look at {sheet}" if sheet else ""
    run.progress.say(
        f"  {scans} of {len(run.quality)} scans flagged by the limits of preprocessing.quality, the worst {worst}: "
        f"{text}{look}, and write accept or reject into decisions.csv"
    )


# -- what the preprocessing stage writes into the run -------------------------------------------------------------


def _write_space(run: Run) -> None:
    """Template, mask and atlas at 1 mm and on the working grid, and the table of regions."""
    from engine.images.grid import Grid
    from engine.images.template import brain_mask, template_brain

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
    """The scans themselves (unless left out), their tables, and the quality pictures."""
    from engine.images.grid import Grid

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


def _write_native(run: Run) -> None:
    """The native space of every scan, so that heatmaps can be taken back to it."""
    from engine.preprocessing.native_space import native_spaces

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


def _model_row(trained: PackedNetwork, scans: pd.DataFrame, config) -> dict:
    import hashlib

    from engine.training.stopping import chosen_epoch

    job = trained.job
    return {
        "model": job.model,
        "model_set": job.model_set,
        "seed": job.seed,
        "training_scans": len(job.train),
        "training_subjects": scans.loc[list(job.train), "subject"].nunique(),
        "test_scans": len(job.test),
        "parameters": trained.parameters,
        "epochs": len(trained.curve),
        "network": config.training.network,
        "validation_scans": len(job.validation),
        "chosen_epoch": chosen_epoch(trained.curve, config.training),
        "seconds": sum(row["seconds"] for row in trained.curve),
        "weights_sha256": hashlib.sha256(trained.weights).hexdigest(),
    }


def _needs(run: Run, before: str, stage: str) -> None:
    if not run.is_done(before):
        raise UserError(f"--only {stage}: {before} has not been completed for this run; run without --only first")
