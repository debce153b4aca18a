"""About how long a run takes, how much memory and disk: from the operations of its networks; nothing is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from engine.cohort.splits import Job
from engine.config.schema import RunConfig
from engine.images.grid import Grid
from engine.networks.architectures import build_network, convolution_work, footprint
from engine.networks.blocks import Block, sequential_blocks
from engine.networks.device import BACKWARD_COPIES, volumes_that_fit
from engine.networks.fused_step import fuses
from engine.pipeline.run import Run
from engine.pipeline.truth_references import HELD_OUT, OCCLUDED_NETWORKS, OCCLUSIONS_FROM_MM
from engine.progress import duration
from engine.training.imported import skeleton
from engine.training.parallel import processes_for

# Orders of magnitude measured on two CPU cores; a GPU is taken to be 100 times faster.
FORWARD_S = {1: 0.99, 2: 0.096, 3: 0.017, 4: 0.0064}  # a forward pass of the network of Rieke et al. 2018
GPU_FACTOR = 100
SIMULATE_S = {1: 6.0, 2: 0.9, 3: 0.3, 4: 0.1}
PREPARE_S = {"syn_quick": 20.0, "affine": 10.0, "none": 2.0}
# Forward and backward, in plain forward passes; on the CPU, fused steps through pooled convolutions take less than one.
TRAIN_FACTOR = 3
FUSED_FACTOR = {1: 0.5, 2: 0.5, 3: 0.8, 4: 0.8}
GRADIENT_FACTOR = 1.7
TOUCHING = 0.5  # share of cube positions that touch brain
# Shares of a forward pass that incremental steps cost, in the network of Rieke et al. 2018.
CUBE_SHARE = {1: 0.0026, 2: 0.007, 3: 0.015, 4: 0.023}
REGION_SHARE = {1: 0.009, 2: 0.04, 3: 0.07, 4: 0.12}
SPREAD_MM = 40  # side of the cube by which networks are compared
SEGMENTING_S = {1: 4.0, 2: 0.8, 3: 0.5, 4: 0.4}  # to cut a scan into segments, on the CPU
# Forward and backward passes a map of a method without patches; Captum's DeepLIFT and LRP in passes of that size.
BACKWARD_PASSES = {
    "sensitivity": 1, "guided_backprop": 1, "input_x_gradient": 1, "deeplift": 4, "lrp": 4, "grad_cam": 0.5,
    "guided_grad_cam": 1.5, "sobel": 0, "intensity": 0, "smooth_random": 0, "t_map": 0, "linear_weights": 0,
    "linear_pattern": 0,
}  # fmt: skip
PATCHED = ("occlusion", "area_occlusion", "segment_occlusion")
TWO_MAPS = (  # for both groups, in both scales
    "guided_backprop", "segment_occlusion", "grad_cam", "guided_grad_cam", "sobel", "intensity", "smooth_random",
)  # fmt: skip
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


@dataclass(frozen=True)
class NetworkCost:
    """What the networks of a run cost.

    Attributes:
        forward: time of a forward pass, in those of the network of Rieke et al. 2018.
        footprint: memory of the activations, in those of the network of Rieke et al. 2018.
        fused: share of a pass through convolutions that are pooled at once, which fused training steps make cheap; 0
            where steps are not fused.
        wider: how much larger the share of a pass is that changes with a part of the volume than in the network of
            Rieke et al. 2018; None: occlusions are by whole passes.
    """

    forward: float
    footprint: float
    fused: float
    wider: float | None


def network_cost(config: RunConfig) -> NetworkCost:
    """Estimate the cost of the networks that a run trains, or of the imported one."""
    grid_mm = config.grid_mm
    with torch.device("meta"):
        if config.imported:
            network = skeleton(config.imported.card)
        else:
            network = build_network(grid_mm, name=config.training.network).eval()
    blocks = sequential_blocks(network)
    wider = None if blocks is None else _changing_share(blocks, grid_mm) / _usual_share(grid_mm)
    work = convolution_work(network, grid_mm)
    fused = blocks if blocks and fuses(network) else []
    pooled = sum(x for x, block in zip(work, fused, strict=False) if block.pool > 1)
    return NetworkCost(sum(work) / _usual_work(grid_mm), footprint(network), pooled / sum(work), wider)


@cache
def _usual_work(grid_mm: int) -> float:
    with torch.device("meta"):
        return sum(convolution_work(build_network(grid_mm).eval(), grid_mm))


@cache
def _usual_share(grid_mm: int) -> float:
    with torch.device("meta"):
        return _changing_share(sequential_blocks(build_network(grid_mm).eval()) or [], grid_mm)


def _changing_share(blocks: Sequence[Block], grid_mm: int) -> float:
    """Return the share of a pass through the blocks that changes with a cube in the middle of the volume."""
    grid = Grid(grid_mm)
    middle, half = [n // 2 for n in grid.shape], grid.voxels(SPREAD_MM / 2)
    low, high = [n - half for n in middle], [n + half + 1 for n in middle]
    changing = _operations(blocks, grid.shape, low, high)
    return changing / _operations(blocks, grid.shape, [0, 0, 0], grid.shape)


def _operations(blocks: Sequence[Block], shape: Sequence[int], low: Sequence[int], high: Sequence[int]) -> float:
    """Count the operations, block after block, on what the inputs in [low, high) reach."""
    low, high, shape = np.array([low]), np.array([high]), np.array(shape)
    total = 0.0
    for block in blocks:
        outputs = (shape + 2 * np.array(block.border) - block.reach) // block.pool
        low, high = block.reached(low + block.border, high + block.border, outputs)
        total += math.prod(block.weight.shape) * float(((high - low) * block.pool).prod())
        shape = outputs
    return total


def estimate_costs(run: Run) -> Estimate:
    """Estimate time, memory and disk of a run whose cohort is read; the orders of magnitude are right."""
    config, cost, jobs, scans = run.config, network_cost(run.config), run.jobs, len(run.cohort.scans)
    forward = cost.forward * FORWARD_S[config.grid_mm] / (GPU_FACTOR if run.device == "cuda" else 1)
    trains = run.networks_from == "train"
    passes = sum(len(job.explain) * sum(_passes(config, cost, m) for m in _methods(config, job)) for job in jobs)
    segmented = sum(len(job.explain) * ("segment_occlusion" in _methods(config, job)) for job in jobs)
    maps = sum(len(job.explain) * sum(1 + (m in TWO_MAPS) for m in _methods(config, job)) for job in jobs)
    again = 0.0  # passes for relevance outside the brain, which is not stored: engine/pipeline/whole_volume.py
    if config.analysis.distance_volume == "whole":
        gradients = sum(len(job.explain) * sum(m not in PATCHED for m in _methods(config, job)) for job in jobs)
        again = 2 * GRADIENT_FACTOR * gradients
    voxels = math.prod(Grid(config.grid_mm).shape)
    volume_mib = voxels * BRAIN_SHARE * 2 * 2 * PACKED_BYTES / 2**20
    resident = min(voxels * 4 * scans / 2**20 * 2, 3000) if trains else 0
    explaining = volumes_that_fit(voxels * cost.footprint, torch.device("cpu"), 4, backward=True)
    training = config.training.batch_size * processes_for(jobs, config.training, voxels, run.device) if trains else 0
    copies = max(training, explaining) * cost.footprint * BACKWARD_COPIES + WORKING_COPIES
    return Estimate(
        {
            "preprocess": _a_scan(config) * scans / config.preprocessing.processes + 30,
            run.networks_from: forward * (_training(run, cost) if trains else sum(len(j.explain) for j in jobs)),
            "explain": passes * forward + segmented * SEGMENTING_S[config.grid_mm],
            "aggregate and compare": maps * voxels * 1e-7 + (again + _of_references(run, cost)) * forward + 10,
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


def _a_scan(config: RunConfig) -> float:
    """Return the seconds that the preparation of one scan takes."""
    if config.cohort.reader == "simulated":
        return SIMULATE_S[config.grid_mm]
    return PREPARE_S[config.preprocessing.registration]


def _training(run: Run, cost: NetworkCost) -> float:
    """Return the cost of the training in forward passes."""
    step = _step(cost, run.config.grid_mm, run.device)
    return sum((len(job.train) * step + len(job.test)) * run.config.training.epochs for job in run.jobs)


def _of_references(run: Run, cost: NetworkCost) -> float:
    """Return the forward passes of networks that know nothing of the disease: engine/pipeline/truth_references.py."""
    config = run.config
    job = next((job for job in run.jobs if job.model == HELD_OUT), None)
    if job is None or not run.cohort.simulated or run.networks_from != "train":
        return 0.0
    kinds = (config.analysis.untrained_networks, config.analysis.null_networks)
    scans = run.cohort.scans.set_index("scan")["group"].reindex(job.explain)
    patients = int((scans == run.groups[0]).sum())
    occluded = (
        config.grid_mm >= OCCLUSIONS_FROM_MM and config.explain.engine == "incremental" and cost.wider is not None
    )
    passes = 0.0
    for method in _methods(config, job):
        networks = sum(min(n, OCCLUDED_NETWORKS) * occluded if method in PATCHED else n for n in kinds)
        passes += networks * _passes(config, cost, method) * patients
    step = _step(cost, config.grid_mm, run.device)
    return passes + kinds[1] * (len(job.train) * step + len(job.test)) * config.training.epochs


def _step(cost: NetworkCost, grid_mm: int, device: str) -> float:
    """Return the forward passes that a training step costs for each of its scans."""
    fused = cost.fused if device == "cpu" else 0
    return fused * FUSED_FACTOR[grid_mm] + (1 - fused) * TRAIN_FACTOR


def _methods(config: RunConfig, job: Job) -> list[str]:
    return list(getattr(config.explain, job.model_set))


def _passes(config: RunConfig, cost: NetworkCost, method: str) -> float:
    """Return the forward passes that a method costs for each scan."""
    grid, dense = Grid(config.grid_mm), config.explain.engine == "dense" or cost.wider is None
    if method == "occlusion":
        stride = grid.voxels(config.explain.occlusion.stride_mm)
        positions = math.prod(-(-n // stride) for n in grid.shape) * TOUCHING
        return positions * (1 if dense else _share(cost, CUBE_SHARE[grid.mm]))
    if method in ("area_occlusion", "segment_occlusion"):
        places = 120 if method == "area_occlusion" else sum(config.explain.segment_occlusion.levels)
        return places * (1 if dense else _share(cost, REGION_SHARE[grid.mm]))
    times = {
        "integrated_gradients": config.explain.integrated_gradients.steps,
        "smoothgrad": config.explain.smoothgrad.copies,
        **BACKWARD_PASSES,
    }  # fmt: skip
    return GRADIENT_FACTOR * times[method] * (2 if method in TWO_MAPS else 1)


def _share(cost: NetworkCost, usual: float) -> float:
    """Scale the share of a pass that an occlusion recomputes from the usual network to this one; at most 1."""
    return min(usual * (cost.wider or math.inf), 1)
