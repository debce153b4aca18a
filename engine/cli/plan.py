"""What a run would do, on how many scans, and about how long, how large and how much memory; nothing is computed.

One function for each job that makes a run.
"""

from __future__ import annotations

from dataclasses import asdict, replace

import pandas as pd

from engine.cli.cluster_costs import cluster_lines, cluster_plan
from engine.cli.costs import Estimate, cost_lines, estimate_costs
from engine.cohort.scans import Cohort
from engine.cohort.splits import split
from engine.errors import UserError
from engine.images.grid import Grid
from engine.json_line import json_line
from engine.networks.blocks import sequential_blocks
from engine.networks.cnn3d import parameter_count
from engine.pipeline.imported_network import ImportedRun
from engine.pipeline.inputs import read_cohort
from engine.pipeline.new_scans.files import read_files
from engine.pipeline.new_scans.run import NewScansRun
from engine.pipeline.run import Run
from engine.training.imported import read_network
from store.words import duration

REASONS, SCANS_A_REASON = 20, 3  # that are printed
SENT_MIB_S = 10  # into a bucket, of a line of 100 Mbit/s


def print_plan(run: Run, as_json: bool = False) -> None:
    """Print what a job would do, and about how long it takes, with `as_json` also as one line of JSON.

    Raises:
        UserError: a file, table, card or setting with which the job could not begin.
    """
    if isinstance(run, NewScansRun):
        _print_new_scans(run, as_json)
    elif isinstance(run, ImportedRun):
        _print_import(run, as_json)
    else:
        _print_main(run, as_json)


def _print_main(run: Run, as_json: bool) -> None:
    run.cohort = read_cohort(run.config, run.store, run.progress, inspect=False)
    # Before the split, which may find too few subjects: why there are few stands here.
    _say(run, [_title(run), *_cohort_lines(run.cohort)])
    scans = split(run.cohort.scans, run.cohort.groups, run.config.split, run.config.seed)
    run.cohort = replace(run.cohort, scans=scans)
    _say(run, _network_lines(run))
    if as_json:
        print(json_line(_as_json(run)), flush=True)


def _print_new_scans(run: NewScansRun, as_json: bool) -> None:
    """Print the plan of `explain`; no image is opened."""
    missing = next((file for file in run.files if not file.is_file()), None)
    if missing:
        raise UserError(f"{missing}: file not found")
    run.cohort = read_files(run.files, run.table, run.config.cohort, run.reference.reader.groups)
    jobs, estimate, preprocessing = run.jobs, estimate_costs(run), run.config.preprocessing
    lines = [
        _title(run),
        f"  scans: {', '.join(run.cohort.scans['scan'])}",
        f"  networks of {run.reference.run_id}, {run.config.grid_mm} mm; device: {run.device}",
        *(f"    {job.model}: {', '.join(getattr(run.config.explain, job.model_set)) or 'no methods'}" for job in jobs),
        f"  preprocessing: registration {preprocessing.registration}, brain extraction "
        f"{preprocessing.brain_extraction}, bias correction {'N4' if preprocessing.n4 else 'none'}",
        *(f"  {line}" for line in run.warnings),
        *cost_lines(estimate),
        *cluster_lines(run, estimate),
        *_bucket_lines(run, estimate),
    ]
    _say(run, lines)
    if as_json:
        models = {job.model: list(job.explain) for job in jobs}
        plan = {"reference_run": run.reference.run_id, "models": models, "warnings": run.warnings}
        print(json_line(plan | asdict(estimate)), flush=True)


def _print_import(run: ImportedRun, as_json: bool) -> None:
    """Print the plan of `import-model`, whose network is read to see whether it fits its card and the grid."""
    network, _ = read_network(run.card, run.file)
    run.cohort = run.with_parts(read_cohort(run.config, run.store, run.progress, inspect=False))
    estimate = estimate_costs(run)
    way = "incremental" if sequential_blocks(network) is not None else "by whole forward passes, which is slow"
    lines = [
        _title(run),
        *_cohort_lines(run.cohort),
        f"  {run.file.name}: {len(run.card.layers)} layers, {parameter_count(network)} parameters",
        f"  grid: {run.card.grid_mm} mm, {' x '.join(map(str, run.mask.shape))} voxels; device: {run.device}",
        f"  explains all scans: {', '.join(run.config.explain.holdout)}; occlusions {way}",
        *cost_lines(estimate),
        *cluster_lines(run, estimate),
        *_bucket_lines(run, estimate),
    ]
    _say(run, lines)
    if as_json:
        scans = run.cohort.scans["scan"].tolist()
        plan = {"file": run.file.name, "parameters": parameter_count(network), "scans": scans}
        print(json_line(plan | asdict(estimate)), flush=True)


def _bucket_lines(run: Run, estimate: Estimate) -> list[str]:
    """Say how a run goes into a bucket; nothing where its store is a folder."""
    if not run.bucket:
        return []
    return [
        f"  store: {run.bucket}; works in {run.store}, sends about {estimate.disk_mib:.0f} MiB while it goes on (at "
        f"{SENT_MIB_S} MiB/s {duration(estimate.disk_mib / SENT_MIB_S)}), the manifest last"
    ]


def _title(run: Run) -> str:
    return f"plan of {run.config.name}, nothing is computed"


def _as_json(run: Run) -> dict:
    """Return the plan for other programs: the fixed test set, the scans of each network, what is left out."""
    scans, planned, estimate = run.cohort.scans, run.jobs, estimate_costs(run)
    return {
        "cohort": run.cohort.name,
        "simulated": run.cohort.simulated,
        "scans": {str(name): int(count) for name, count in scans["diagnosis"].value_counts(sort=False).items()},
        "subjects": int(scans["subject"].nunique()),
        "exclusions": run.cohort.exclusions[["scan", "reason"]].to_dict("records"),
        "remarks": list(run.cohort.remarks),
        "warnings": list(run.cohort.warnings),
        "test_set": _test_set(scans)["subject"].drop_duplicates().tolist(),
        "models": {j.model: {"training_scans": len(j.train), "test_scans": len(j.test)} for j in planned},
        **asdict(estimate),
        "cluster": cluster_plan(run, estimate),
        **({"bucket": run.bucket, "work": str(run.store)} if run.bucket else {}),
    }


def _test_set(scans: pd.DataFrame) -> pd.DataFrame:
    return scans[scans["holdout"] & (scans["role"] == "cohort")]


def _say(run: Run, lines: list[str]) -> None:
    for line in lines:
        run.progress.say(line)


def _cohort_lines(cohort: Cohort) -> list[str]:
    """Say in lines what a reader found: scans, subjects, groups, warnings and exclusions."""
    scans = cohort.scans
    return [
        f"  cohort: {cohort.name}{' (SIMULATED)' if cohort.simulated else ''}, {len(scans)} scans of "
        f"{scans['subject'].nunique()} subjects, {len(cohort.exclusions)} excluded",
        *_target_line(cohort),
        *(f"    found: {note}" for note in cohort.notes),
        *(f"    {remark}" for remark in cohort.remarks),
        *(f"    WARNING: {warning}" for warning in cohort.warnings),
        *(
            f"    {name}: {count} scan{'s' * (count > 1)}"
            for name, count in scans["diagnosis"].value_counts(sort=False).items()
        ),
        *_left_out(cohort.exclusions),
    ]


def _target_line(cohort: Cohort) -> list[str]:
    """Say what a regression predicts and how its values are spread; nothing for a classification."""
    if cohort.target is None:
        return []
    values, unit = cohort.scans[cohort.target.column], f" {cohort.target.unit}" if cohort.target.unit else ""
    return [
        f"    predicts {cohort.target.label}: {values.min():g} to {values.max():g}{unit}, mean {values.mean():.4g}, "
        f"SD {values.std():.3g}; shown as two groups, parted at {cohort.target.threshold:g}{unit}"
    ]


def _network_lines(run: Run) -> list[str]:
    """Say which networks would be trained on how many scans, and what that costs."""
    config, planned, estimate = run.config, run.jobs, estimate_costs(run)
    tested = _test_set(run.cohort.scans)
    return [
        f"  fixed test set: {tested['subject'].nunique()} subjects, {len(tested)} scans (--json names the subjects)",
        f"  grid: {config.grid_mm} mm, {' x '.join(map(str, Grid(config.grid_mm).shape))} voxels; device: {run.device}",
        *(f"  {job.model}: {len(job.train)} training scans"
          f"{f', {len(job.validation)} for validation' if job.validation else ''}, explains {len(job.explain)} "
          f"({', '.join(getattr(config.explain, job.model_set)) or 'no methods'})" for job in planned),
        f"  {config.training.network}: {'' if config.training.patience is None else 'at most '}"
        f"{config.training.epochs} epochs of batches of {config.training.batch_size}",
        *cost_lines(estimate),
        *cluster_lines(run, estimate),
        *_bucket_lines(run, estimate),
    ]  # fmt: skip


def _left_out(exclusions: pd.DataFrame) -> list[str]:
    """Say why scans are excluded, the most frequent reason first, with the first scans of each."""
    scans: dict[str, list[str]] = {}
    for row in exclusions.itertuples():
        scans.setdefault(row.reason, []).append(row.scan)
    frequent = sorted(scans.items(), key=lambda item: -len(item[1]))
    lines = []
    for reason, left_out in frequent[:REASONS]:
        more = f" and {len(left_out) - SCANS_A_REASON} more" if len(left_out) > SCANS_A_REASON else ""
        lines.append(f"    excluded: {', '.join(left_out[:SCANS_A_REASON])}{more}: {reason}")
    others = [len(left_out) for _, left_out in frequent[REASONS:]]
    if others:
        lines.append(f"    excluded: {sum(others)} more for {len(others)} other reasons")
    return lines
