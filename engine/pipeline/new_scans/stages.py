"""The stages of explaining new scans; those that are not here are those of the main job."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pandas as pd

from engine.pipeline import stages
from engine.pipeline.fingerprints import data_fingerprint
from engine.pipeline.inputs import needs_training_scans
from engine.pipeline.new_scans.bounds import reference_flags
from engine.pipeline.new_scans.files import inspected, read_files
from engine.pipeline.new_scans.run import NewScansRun
from engine.pipeline.remote import take_steps
from engine.preprocessing.duplicates import find_known_images
from store.spec import WORK_FOLDER


def ingest(run: NewScansRun) -> None:
    """Read files into the cohort: scans of no group, fingerprints, and which networks may explain them."""
    config = run.config.cohort
    cohort = read_files(run.files, run.table, config, run.reference.reader.groups)
    cohort = replace(cohort, target=run.reference.target)
    registration = run.config.preprocessing.registration
    run.cohort = inspected(cohort, config, registration, run.progress, run.store / WORK_FOLDER / "files.json")
    run.data_fingerprint = data_fingerprint(run.cohort)
    jobs, known = run.jobs, run.known_subjects
    run.progress.say(
        f"  {len(run.cohort.scans)} new scans, {len(jobs)} networks of {run.reference.run_id} "
        f"({', '.join(job.model for job in jobs)})"
    )
    for scan, subject in known.items():
        models = ", ".join(job.model for job in jobs if scan in job.explain)
        run.progress.say(f"  {scan} is of {subject}, who is in {run.reference.run_id}: explained only by {models}")
    for warning in run.cohort.warnings:
        run.progress.say(f"  WARNING: {warning}")
    for job in jobs if needs_training_scans(run.config) else ():
        run.training_scans(job)  # better refused now than after the registration


def preprocess(run: NewScansRun) -> None:
    """Prepare volumes as the networks know them, with quality figures beside those of the networks' own cohort."""
    stages.preprocess(run)
    left_out = run.cohort.exclusions
    for row in left_out[left_out["stage"] == "preprocess"].itertuples():
        run.progress.say(f"  WARNING: {row.scan} is left out: {row.reason}")
    _recognise(run)
    flags, run.unjudged = reference_flags(run.quality, run.reference.reader.table("quality"), run.reference.run_id)
    reader = run.reader()
    if reader.has_table("flags"):
        earlier = reader.table("flags")
        flags = pd.concat([earlier[earlier["source"] != "reference"], flags], ignore_index=True)
    run.writer.put_table("flags", flags)


def _recognise(run: NewScansRun) -> None:
    """Find new scans that are images of the networks' own cohort, in other files; needs the volumes it published."""
    reader = run.reference.reader
    if reader.simulated or not reader.has_array("scans"):
        return
    found = find_known_images(
        run.quality, lambda scan: run.cache.read([scan])[0], reader.table("quality"), reader.volume
    )
    subject = run.reference.scans.set_index("scan")["subject"]
    before = run.known_subjects
    run.recognised = {scan: subject[other] for scan, other in found.items()}
    for scan in run.recognised.keys() - before.keys():
        models = ", ".join(job.model for job in run.jobs if scan in job.explain)
        run.progress.say(
            f"  {scan} is the same image as one of {run.recognised[scan]}, who is in {run.reference.run_id}: "
            f"explained only by {models}"
        )


def predict(run: NewScansRun) -> None:
    """Apply the networks of the reference run, as they are, to the new volumes."""
    from engine.pipeline.new_scans.predict import write_predictions  # noqa: PLC0415

    stages.do_once(run, "predict", partial(take_steps, label="predict", steps={"predictions": write_predictions}))


STAGES = {
    "ingest": ingest,  # files -> scans of no group
    "preprocess": preprocess,  # scans -> volumes as the networks know them, warnings
    "predict": predict,  # networks of the reference x volumes -> predictions
    "explain": stages.explain,
    "aggregate": stages.aggregate,
    "compare": stages.compare,
    "publish": stages.publish,
}
