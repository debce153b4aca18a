"""What a run would do, on how many scans, and about how long, how large and how much memory; nothing is computed."""

from __future__ import annotations

from dataclasses import asdict, replace

import pandas as pd

from engine.cli.costs import cost_lines, estimate_costs
from engine.cohort.scans import Cohort
from engine.cohort.splits import Job, split
from engine.images.grid import Grid
from engine.json_line import json_line
from engine.pipeline.inputs import read_cohort
from engine.pipeline.run import Run

REASONS, SCANS_A_REASON = 20, 3  # that are printed


def print_plan(run: Run, as_json: bool = False) -> None:
    """Say what was found, then what would be done with it; with `as_json` also in one line on standard output."""
    run.cohort = read_cohort(run.config, run.store, run.progress, inspect=False)
    # Before the split, which may find too few subjects: why there are few stands here.
    _say(run, [f"plan of {run.config.name}, nothing is computed", *found(run.cohort)])
    scans = split(run.cohort.scans, run.cohort.groups, run.config.split, run.config.seed)
    run.cohort = replace(run.cohort, scans=scans)
    _say(run, _costs(run))
    if as_json:
        print(json_line(_as_json(run)), flush=True)


def _as_json(run: Run) -> dict:
    """The plan for other programs: the fixed test set, what each network would see, what is left out."""
    scans, planned = run.cohort.scans, run.jobs
    return {
        "cohort": run.cohort.name,
        "simulated": run.cohort.simulated,
        "scans": {str(name): int(count) for name, count in scans["diagnosis"].value_counts(sort=False).items()},
        "subjects": int(scans["subject"].nunique()),
        "exclusions": run.cohort.exclusions[["scan", "reason"]].to_dict("records"),
        "warnings": list(run.cohort.warnings),
        "test_set": _test_set(scans)["subject"].drop_duplicates().tolist(),
        "models": {j.model: {"training_scans": len(j.train), "test_scans": len(j.test)} for j in planned},
        **asdict(estimate_costs(run)),
    }


def _test_set(scans: pd.DataFrame) -> pd.DataFrame:
    return scans[scans["holdout"] & (scans["role"] == "cohort")]


def _say(run: Run, lines: list[str]) -> None:
    for line in lines:
        run.progress.console.print(line, highlight=False, markup=False)


def found(cohort: Cohort) -> list[str]:
    """What a reader found, a line each."""
    scans = cohort.scans
    return [
        f"  cohort: {cohort.name}{' (SIMULATED)' if cohort.simulated else ''}, {len(scans)} scans of "
        f"{scans['subject'].nunique()} subjects, {len(cohort.exclusions)} excluded",
        *_target(cohort),
        *(f"    found: {note}" for note in cohort.notes),
        *(f"    WARNING: {warning}" for warning in cohort.warnings),
        *(
            f"    {name}: {count} scan{'s' * (count > 1)}"
            for name, count in scans["diagnosis"].value_counts(sort=False).items()
        ),
        *_left_out(cohort.exclusions),
    ]


def _target(cohort: Cohort) -> list[str]:
    """What a regression predicts."""
    if cohort.target is None:
        return []
    values, unit = cohort.scans[cohort.target.column], f" {cohort.target.unit}" if cohort.target.unit else ""
    return [
        f"    predicts {cohort.target.label}: {values.min():g} to {values.max():g}{unit}, mean {values.mean():.4g}, "
        f"SD {values.std():.3g}; shown as two groups, parted at {cohort.target.threshold:g}{unit}"
    ]


def _costs(run: Run) -> list[str]:
    config, planned = run.config, run.jobs
    tested = _test_set(run.cohort.scans)
    return [
        f"  fixed test set: {tested['subject'].nunique()} subjects, {len(tested)} scans (--json names the subjects)",
        f"  grid: {config.grid_mm} mm, {' x '.join(map(str, Grid(config.grid_mm).shape))} voxels; device: {run.device}",
        *(f"  {job.model}: {len(job.train)} training scans{_validation(job)}, explains {len(job.explain)} "
          f"({', '.join(getattr(config.explain, job.model_set)) or 'no methods'})" for job in planned),
        f"  {config.training.network}: {'' if config.training.patience is None else 'at most '}"
        f"{config.training.epochs} epochs of batches of {config.training.batch_size}",
        *cost_lines(estimate_costs(run)),
    ]  # fmt: skip


def _left_out(exclusions: pd.DataFrame) -> list[str]:
    """The reasons for exclusions, the most frequent first, with the first scans of each."""
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


def _validation(job: Job) -> str:
    return f", {len(job.validation)} for validation" if job.validation else ""
