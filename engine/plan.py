"""What a run would do, on how many scans, and about how long, how large and how much memory; nothing is computed."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace

import pandas as pd

from engine.config import RunConfig
from engine.data.folds import Job, split
from engine.data.readers import read_cohort
from engine.data.scan import Cohort
from engine.model.architectures import architecture, forward_macs
from engine.preprocessing.grid import Grid
from engine.progress import duration
from engine.run import Run

# Orders of magnitude measured on two CPU cores; a GPU is taken to be 100 times faster.
MACS_A_SECOND = {1: 5.7e9, 2: 8e9, 3: 12e9, 4: 12e9}
GPU_FACTOR = 100
PREPARE_S = {"simulated": {1: 6.0, 2: 0.9, 3: 0.3, 4: 0.1}, "syn_quick": 20.0, "affine": 10.0, "none": 2.0}
# Forward and backward, in plain forward passes; fused steps on the CPU take less than one.
TRAIN_FACTOR = 3
FUSED_FACTOR = {1: 0.5, 2: 0.5, 3: 0.8, 4: 0.8}
GRADIENT_FACTOR = 1.7
TOUCHING = 0.5  # share of cube positions that touch brain
CUBE_SHARE = {1: 0.0026, 2: 0.007, 3: 0.015, 4: 0.023}  # of a forward pass that an incremental cube costs
REGION_SHARE = {1: 0.009, 2: 0.04, 3: 0.07, 4: 0.12}
SEGMENTING_S = {1: 4.0, 2: 0.8, 3: 0.5, 4: 0.4}  # to cut a scan into segments, on the CPU
TWO_MAPS = ("guided_backprop", "segment_occlusion")  # full volumes: for both groups, in both scales
WIDER = {"korolev2017_plain": 2.0}  # each share, where what changes spreads further from layer to layer
BRAIN_SHARE = 0.22
PACKED_BYTES = 0.5  # of a stored int16 volume after compression, of its brain voxels' two bytes
BASE_MIB = 1500
REASONS, SCANS_A_REASON = 20, 3  # that are printed


@dataclass(frozen=True)
class Estimate:
    """Seconds per stage, peak memory in MiB, disk in MiB."""

    seconds: dict[str, float]
    memory_mib: float
    disk_mib: float


def print_plan(run: Run, as_json: bool = False) -> None:
    """Say what was found, then what would be done with it; with `as_json` also in one line on standard output."""
    run.cohort = read_cohort(run.config, run.store, run.progress, inspect=False)
    # Before the split, which may find too few subjects: why there are few stands here.
    _say(run, [f"plan of {run.config.name}, nothing is computed", *found(run.cohort)])
    scans = split(run.cohort.scans, run.cohort.groups, run.config.split, run.config.seed)
    run.cohort = replace(run.cohort, scans=scans)
    _say(run, _costs(run))
    if as_json:
        print(json.dumps(_as_json(run)), flush=True)


def _as_json(run: Run) -> dict:
    """The plan for other programs: the fixed test set, what each network would see, what is left out."""
    scans, planned = run.cohort.scans, run.jobs
    return {
        "cohort": run.cohort.name,
        "simulated": run.cohort.simulated,
        "scans": {str(name): int(count) for name, count in scans["diagnosis"].value_counts(sort=False).items()},
        "subjects": int(scans["subject"].nunique()),
        "exclusions": run.cohort.exclusions[["scan", "reason"]].to_dict("records"),
        "test_set": _test_set(scans)["subject"].drop_duplicates().tolist(),
        "models": {j.model: {"training_scans": len(j.train), "test_scans": len(j.test)} for j in planned},
        **asdict(estimate_costs(run.config, scans, planned, run.device)),
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
    estimate = estimate_costs(config, run.cohort.scans, planned, run.device)
    tested = _test_set(run.cohort.scans)
    return [
        f"  fixed test set: {tested['subject'].nunique()} subjects, {len(tested)} scans (--json names the subjects)",
        f"  grid: {config.grid_mm} mm, {' x '.join(map(str, Grid(config.grid_mm).shape))} voxels; device: {run.device}",
        *(f"  {job.model}: {len(job.train)} training scans{_validation(job)}, explains {len(job.explain)} "
          f"({', '.join(getattr(config.explain, job.model_set)) or 'no methods'})" for job in planned),
        f"  {config.training.network}: {'' if config.training.patience is None else 'at most '}"
        f"{config.training.epochs} epochs of batches of {config.training.batch_size}",
        *(f"  {stage}: about {duration(seconds)}" for stage, seconds in estimate.seconds.items()),
        f"  in all about {duration(sum(estimate.seconds.values()))}, peak memory about "
        f"{estimate.memory_mib / 1024:.1f} GiB, disk about {estimate.disk_mib:.0f} MiB",
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


def estimate_costs(config: RunConfig, scans: pd.DataFrame, planned: list[Job], device: str) -> Estimate:
    """From the number of operations; orders of magnitude."""
    pace = MACS_A_SECOND[config.grid_mm] * (GPU_FACTOR if device == "cuda" else 1)
    forward = forward_macs(config.grid_mm, config.training.network) / pace
    fused = device != "cuda" and architecture(config.training.network).incremental  # both need a plain sequence
    factor = FUSED_FACTOR[config.grid_mm] if fused else TRAIN_FACTOR
    training = sum((len(job.train) * factor + len(job.test)) * config.training.epochs for job in planned)
    passes = sum(len(job.explain) * sum(_passes(config, m) for m in _methods(config, job)) for job in planned)
    segmented = sum(len(job.explain) * ("segment_occlusion" in _methods(config, job)) for job in planned)
    kind = config.cohort.reader if config.cohort.reader == "simulated" else config.preprocessing.registration
    a_scan = PREPARE_S[kind][config.grid_mm] if kind == "simulated" else PREPARE_S[kind]
    prepare = a_scan * len(scans) / config.preprocessing.processes
    maps = sum(len(job.explain) * sum(1 + (m in TWO_MAPS) for m in _methods(config, job)) for job in planned)
    voxels = math.prod(Grid(config.grid_mm).shape)
    volume_mib = voxels * BRAIN_SHARE * 2 * 2 * PACKED_BYTES / 2**20
    resident = min(voxels * 4 * len(scans) / 2**20 * 2, 3000)
    footprint = architecture(config.training.network).footprint
    activations = voxels * 8 * 4 * 4 * max(config.training.batch_size, 4) * footprint / 2**20
    return Estimate(
        {
            "preprocess": prepare + 30,
            "train": training * forward,
            "explain": passes * forward + segmented * SEGMENTING_S[config.grid_mm],
            "aggregate and compare": maps * voxels * 1e-7 + 10,
        },
        BASE_MIB + resident + activations,
        (maps + 2 * len(scans)) * volume_mib + 100,
    )


def _validation(job: Job) -> str:
    return f", {len(job.validation)} for validation" if job.validation else ""


def _methods(config: RunConfig, job: Job) -> list[str]:
    return list(getattr(config.explain, job.model_set))


def _passes(config: RunConfig, method: str) -> float:
    """Forward passes a scan."""
    network = config.training.network
    wider = WIDER.get(network, 1.0)
    grid, dense = Grid(config.grid_mm), config.explain.engine == "dense" or not architecture(network).incremental
    if method == "occlusion":
        stride = grid.voxels(config.explain.occlusion.stride_mm)
        positions = math.prod(-(-n // stride) for n in grid.shape) * TOUCHING
        return positions * (1 if dense else wider * CUBE_SHARE[grid.mm])
    if method in ("area_occlusion", "segment_occlusion"):
        places = 120 if method == "area_occlusion" else sum(config.explain.segment_occlusion.levels)
        return places * (1 if dense else wider * REGION_SHARE[grid.mm])
    return GRADIENT_FACTOR * (2 if method == "guided_backprop" else 1)
