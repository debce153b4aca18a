"""What the benchmarks explain: the paper's network on a grid, the template brain as a scan, and the atlas."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from engine.atlas.aal import load_atlas
from engine.config.schema import AtlasConfig
from engine.images.grid import Grid
from engine.images.template import brain_mask, template_brain
from engine.networks.architectures import build_network
from engine.relevance import BatchSize, Brain

NOISE_SD = 0.5  # in z-scores; every scan differs from the others by it
BATCH = 16


@dataclass(frozen=True)
class Scene:
    """A network in eval mode, a z-scored scan (1, 1, x, y, z), and the brain; all on one device."""

    network: nn.Module
    scan: Tensor
    brain: Brain

    @property
    def batch(self) -> BatchSize:
        return BatchSize(BATCH)


def scan_like(grid_mm: int, seed: int) -> np.ndarray:
    """Return the (x, y, z) float32 template brain, z-scored, with noise; 0 outside the brain."""
    mask, brain = brain_mask(grid_mm), template_brain(grid_mm)
    inside = (brain[mask] - brain[mask].mean()) / brain[mask].std()
    volume = np.zeros(mask.shape, np.float32)
    volume[mask] = inside + NOISE_SD * np.random.default_rng(seed).standard_normal(len(inside))
    return volume


@functools.lru_cache(1)
def scene(grid_mm: int, device: torch.device) -> Scene:
    """Return a scene whose network has seen two scans, so that batch norm is not the identity; untrained weights."""
    network = build_network(grid_mm, seed=0).to(device).train()
    scans = torch.from_numpy(np.stack([scan_like(grid_mm, seed) for seed in range(2)]))[:, None].to(device)
    with torch.no_grad():
        network(scans)
    atlas = load_atlas(AtlasConfig(), grid_mm)
    mask, labels = (torch.from_numpy(a.copy()).to(device) for a in (brain_mask(grid_mm), atlas.labels))
    return Scene(network.eval(), scans[:1], Brain(mask, labels, atlas.count, grid_mm))


def cubes(grid_mm: int) -> tuple[int, int]:
    """Return half width and stride of the paper's cubes (40 mm, every 12 mm) in voxels."""
    grid = Grid(grid_mm)
    return grid.voxels(20), grid.voxels(12)
