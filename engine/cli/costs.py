"""About how long a run takes, how much memory and disk: from the operations of its networks; nothing is computed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from engine.cli.network_costs import (
    FORWARD_S,
    GPU_FACTOR,
    GRADIENT_FACTOR,
    PATCHED,
    SEGMENTING_S,
    TWO_MAPS,
    NetworkCost,
    method_passes,
    methods_of,
    network_cost,
    training_step,
)
from engine.cli.trust_costs import trust_seconds
from engine.config.schema import RunConfig
from engine.images.grid import Grid
from engine.networks.device import BACKWARD_COPIES, volumes_that_fit
from engine.pipeline.run import Run
from engine.pipeline.truth_references import HELD_OUT, OCCLUDED_NETWORKS, OCCLUSIONS_FROM_MM
from engine.training.parallel import processes_for
from store.words import duration

# Orders of magnitude measured on two CPU cores.
SIMULATE_S = {1: 6.0, 2: 0.9, 3: 0.3, 4: 0.1}
PREPARE_S = {"syn_quick": 20.0, "affine": 10.0, "none": 2.0}
HEAD_S = 3.5  # to change a real head and measure it, at solve_mm 4; half of them are patients
BRAIN_SHARE = 0.22
PACKED_BYTES = 0.5  # of a stored int16 volume after compression, of its brain voxels' two bytes
BASE_MIB = 1500
WORKING_COPIES = 40  # volumes at hand while a scan is explained: it, its maps and their sums


@dataclass(frozen=True)
class Estimate:
    """Seconds per stage, peak memory in MiB, disk in MiB."""

    seconds: dict[str, float]
    memory_mib: float
    disk_mib: float


def estimate_costs(run: Run) -> Estimate:
    """Estimate time, memory and disk of a run whose cohort is read; the orders of magnitude are right."""
    config, cost, jobs, scans = run.config, network_cost(run.config), run.jobs, len(run.cohort.scans)
    forward = cost.forward * FORWARD_S[config.grid_mm] / (GPU_FACTOR if run.device == "cuda" else 1)
    trains = run.networks_from == "train"
    passes = sum(
        len(job.explain) * sum(method_passes(config, cost, m) for m in methods_of(config, job)) for job in jobs
    )
    segmented = sum(len(job.explain) * ("segment_occlusion" in methods_of(config, job)) for job in jobs)
    maps = sum(len(job.explain) * sum(1 + (m in TWO_MAPS) for m in methods_of(config, job)) for job in jobs)
    again = 0.0  # passes for relevance outside the brain, which is not stored: engine/pipeline/whole_volume.py
    if config.analysis.distance_volume == "whole":
        gradients = sum(len(job.explain) * sum(m not in PATCHED for m in methods_of(config, job)) for job in jobs)
        again = 2 * GRADIENT_FACTOR * gradients
    voxels = math.prod(Grid(config.grid_mm).shape)
    volume_mib = voxels * BRAIN_SHARE * 2 * 2 * PACKED_BYTES / 2**20
    resident = min(voxels * 4 * scans / 2**20 * 2, 3000) if trains else 0
    explaining = volumes_that_fit(voxels * cost.footprint, torch.device("cpu"), 4, backward=True)
    training = config.training.batch_size * processes_for(jobs, config.training, voxels, run.device) if trains else 0
    copies = max(training, explaining) * cost.footprint * BACKWARD_COPIES + WORKING_COPIES
    return Estimate(
        {
            "preprocess": seconds_of_a_scan(config) * scans / config.preprocessing.processes + 30,
            run.networks_from: forward * (_training(run, cost) if trains else sum(len(j.explain) for j in jobs)),
            "explain": passes * forward + segmented * SEGMENTING_S[config.grid_mm],
            "aggregate and compare": maps * voxels * 1e-7 + (again + _of_references(run, cost)) * forward + 10,
            **({"trust": trust_seconds(run, cost, forward)} if run.last_stage == "trust" else {}),
        },
        BASE_MIB + resident + copies * voxels * 4 / 2**20,
        (maps + 2 * scans) * volume_mib + 100,
    )


def cost_lines(estimate: Estimate) -> list[str]:
    """Put an estimate into words, a line a stage and one for all."""
    return [
        *(f"  {stage}: about {duration(seconds)}" for stage, seconds in estimate.seconds.items()),
        f"  in all about {duration(sum(estimate.seconds.values()))}, peak memory about "
        f"{estimate.memory_mib / 1024:.1f} GiB, disk about {estimate.disk_mib:.0f} MiB",
    ]


def seconds_of_a_scan(config: RunConfig) -> float:
    """Return the seconds that the preparation of one scan takes."""
    if config.cohort.reader == "simulated":
        heads = config.cohort.simulation.heads
        of_heads = PREPARE_S[heads.registration] + HEAD_S if heads else 0
        return SIMULATE_S[config.grid_mm] + of_heads
    return PREPARE_S[config.preprocessing.registration]


def _training(run: Run, cost: NetworkCost) -> float:
    """Return the cost of the training in forward passes."""
    step = training_step(cost, run.config.grid_mm, run.device)
    return sum((len(job.train) * step + len(job.test)) * run.config.training.epochs for job in run.jobs)


def _of_references(run: Run, cost: NetworkCost) -> float:
    """Return the forward passes of networks that know nothing of the disease: engine/pipeline/truth_references.py."""
    config = run.config
    job = next((job for job in run.jobs if job.model == HELD_OUT), None)
    known = run.cohort.simulated or config.phenotype is not None
    if job is None or not known or run.networks_from != "train":
        return 0.0
    kinds = (config.analysis.untrained_networks, config.analysis.null_networks if run.cohort.simulated else 0)
    scans = run.cohort.scans.set_index("scan")["group"].reindex(job.explain)
    patients = int((scans == run.groups[0]).sum())
    occluded = (
        config.grid_mm >= OCCLUSIONS_FROM_MM and config.explain.engine == "incremental" and cost.wider is not None
    )
    passes = 0.0
    for method in methods_of(config, job):
        networks = sum(min(n, OCCLUDED_NETWORKS) * occluded if method in PATCHED else n for n in kinds)
        passes += networks * method_passes(config, cost, method) * patients
    step = training_step(cost, config.grid_mm, run.device)
    return passes + kinds[1] * (len(job.train) * step + len(job.test)) * config.training.epochs
