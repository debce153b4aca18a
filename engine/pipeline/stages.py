"""The stages of the batch job, one short function each. Every stage can be repeated and goes on where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from engine.cohort.decisions import accepted
from engine.errors import UserError
from engine.pipeline.fingerprints import data_fingerprint
from engine.pipeline.inputs import limits_for, preparer_for, read_cohort
from engine.pipeline.remote import take_steps
from engine.pipeline.run import Run
from engine.pipeline.write_inputs import write_inputs
from engine.preprocessing.cohort import Preparation, prepare_cohort
from engine.preprocessing.quality import SOURCE

AnyRun = TypeVar("AnyRun", bound=Run)
ORDER = ("ingest", "preprocess", "train", "explain", "aggregate", "compare", "trust", "publish")


def ingest(run: Run) -> None:
    """Read scans or simulated brains into the cohort: groups, exclusions, fingerprints."""
    run.cohort = read_cohort(run.config, run.store, run.progress)
    counts = run.cohort.scans["diagnosis"].value_counts(sort=False)
    people = run.cohort.scans["subject"].nunique()
    found = ", ".join(f"{count} {name}" for name, count in counts.items())
    run.progress.say(
        f"  {run.cohort.name}: {len(run.cohort.scans)} scans of {people} subjects ({found}); "
        f"{len(run.cohort.exclusions)} excluded"
    )
    for remark in run.cohort.remarks:
        run.progress.say(f"  {remark}")
    for warning in run.cohort.warnings:
        run.progress.say(f"  WARNING: {warning}")
    run.data_fingerprint = data_fingerprint(run.cohort, accepted(run.config.cohort))


def preprocess(run: Run) -> None:
    """Prepare volumes on one grid, with quality figures, folds and the fixed test set."""
    preparer, processes = preparer_for(run.config, run.store)
    where = (run.volumes_folder, run.preprocessing_fingerprint, run.progress)
    prepared = prepare_cohort(
        run.cohort, Preparation(preparer, *where, processes, limits_for(run.config), engine=run.engine)
    )
    run.cache, run.quality, run.flags = prepared.cache, prepared.quality, prepared.flags
    say_flags(run, prepared.sheet)
    for warning in prepared.cohort.warnings[len(run.cohort.warnings) :]:
        run.progress.say(f"  WARNING: {warning}")
    run.cohort = run.with_parts(prepared.cohort)
    do_once(run, "preprocess", write_inputs)


def train(run: Run) -> None:
    """Train one network a fold and the held-out one; predictions, metrics, baselines."""
    # This module is loaded for --help: what needs torch, which is slow to load, is imported where it is used.
    from engine.pipeline.train import write_networks  # noqa: PLC0415

    do_once(run, "train", write_networks)


def explain(run: Run) -> None:
    """Compute heatmaps: networks x volumes x methods."""
    from engine.pipeline.explain_blocks import write_heatmaps  # noqa: PLC0415

    do_once(run, "explain", write_heatmaps, after=run.networks_from)


def aggregate(run: Run) -> None:
    """Average the heatmaps of groups, add up the relevance of AAL regions, rank them."""
    from engine.pipeline.aggregate import write_cells, write_group_regions, write_region_relevance  # noqa: PLC0415

    do_once(run, "aggregate", write_cells, write_region_relevance, write_group_regions, after="explain")


def compare(run: Run) -> None:
    """Measure distances between methods, variability between patients, agreement with known truth."""
    from engine.pipeline.compare import write_comparisons, write_truth_scores  # noqa: PLC0415

    steps = {"comparisons": write_comparisons, "truth scores": write_truth_scores}
    do_once(run, "compare", partial(take_steps, label="compare", steps=steps), after="aggregate")


def trust(run: Run) -> None:
    """Measure how far heatmaps can be trusted: randomisation, stability, deletion, anatomy."""
    from engine.pipeline.trust.measures import write_trust  # noqa: PLC0415

    do_once(run, "trust", write_trust, after="compare")


def publish(run: Run) -> None:
    """Validate against the specification, write the manifest, make the run visible."""
    _require(run, run.last_stage, "publish")
    run.published = run.writer.publish(run.store, run.run_id, run.manifest(), replace=True)
    shutil.rmtree(run.work, ignore_errors=True)


def say_flags(run: Run, sheet: Path | None) -> None:
    """Say in one line how many scans are beyond the limits, where to look at them, and how to decide."""
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


def do_once(run: AnyRun, stage: str, *steps: Callable[[AnyRun], None], after: str = "") -> None:
    """Take the steps of a stage, unless an earlier attempt has completed it.

    Args:
        after: the stage whose results it needs.
    Raises:
        UserError: that stage has not been completed.
    """
    if after:
        _require(run, after, stage)
    if run.is_done(stage):
        return
    for step in steps:
        step(run)
    run.mark_done(stage)


def _require(run: Run, before: str, stage: str) -> None:
    if not run.is_done(before):
        raise UserError(f"--only {stage}: {before} has not been completed for this run; run without --only first")
