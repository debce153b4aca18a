"""What networks and methods cost, in forward passes of the network of Rieke et al. 2018; nothing is computed."""

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
from engine.networks.fused_step import fuses
from engine.training.imported import skeleton

# Orders of magnitude measured on two CPU cores; a GPU is taken to be 100 times faster.
FORWARD_S = {1: 0.99, 2: 0.096, 3: 0.017, 4: 0.0064}  # a forward pass of the network of Rieke et al. 2018
GPU_FACTOR = 100
# Forward and backward, in plain forward passes; on the CPU, fused steps through pooled convolutions take less than one.
TRAIN_FACTOR = 3
FUSED_FACTOR = {1: 0.5, 2: 0.5, 3: 0.8, 4: 0.8}
GRADIENT_FACTOR = 1.7
SEGMENTING_S = {1: 4.0, 2: 0.8, 3: 0.5, 4: 0.4}  # to cut a scan into segments, on the CPU
TOUCHING = 0.5  # share of cube positions that touch brain
# Shares of a forward pass that incremental steps cost, in the network of Rieke et al. 2018.
CUBE_SHARE = {1: 0.0026, 2: 0.007, 3: 0.015, 4: 0.023}
REGION_SHARE = {1: 0.009, 2: 0.04, 3: 0.07, 4: 0.12}
SPREAD_MM = 40  # side of the cube by which networks are compared
# Of a gradient, where gradients are summed, and where those of a straight way are (relevance/block_gradients.py).
SUMMED, ON_WAY = 0.75, 0.45
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


def training_step(cost: NetworkCost, grid_mm: int, device: str) -> float:
    """Return the forward passes that a training step costs for each of its scans."""
    fused = cost.fused if device == "cpu" else 0
    return fused * FUSED_FACTOR[grid_mm] + (1 - fused) * TRAIN_FACTOR


def methods_of(config: RunConfig, job: Job) -> list[str]:
    return list(getattr(config.explain, job.model_set))


def method_passes(config: RunConfig, cost: NetworkCost, method: str) -> float:
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
        "integrated_gradients": config.explain.integrated_gradients.steps * (1 if dense else ON_WAY),
        "smoothgrad": config.explain.smoothgrad.copies * (1 if dense else SUMMED),
        **BACKWARD_PASSES,
    }  # fmt: skip
    return GRADIENT_FACTOR * times[method] * (2 if method in TWO_MAPS else 1)


def _share(cost: NetworkCost, usual: float) -> float:
    """Scale the share of a pass that an occlusion recomputes from the usual network to this one; at most 1."""
    return min(usual * (cost.wider or math.inf), 1)
