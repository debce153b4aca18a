"""What occlusions put in the place of tissue."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.relevance.base import Brain

FILLS = ("mean", "nc_mean", "blurred", "other_subject")
BLUR_MM = 6.0


def fill_volume(fill: str | float, volume: Tensor, brain: Brain) -> Tensor:
    """Return the (x, y, z) volume that replaces the tissue of one z-scored volume; 0 outside the brain.

    mean: 0, of z-scores the training mean. nc_mean: mean of the negative group. blurred: the scan itself, smoothed by
    6 mm. other_subject: a training scan of the negative group. A number: that value after normalisation.
    """
    if fill == "mean":
        return torch.zeros_like(volume)
    if fill == "blurred":
        filled = _blur(volume, BLUR_MM / brain.grid_mm / 2.3548)
    elif fill in FILLS:
        tissue = brain.negative_mean if fill == "nc_mean" else brain.other_subject
        if tissue is None:
            raise ValueError(f"the reference {fill} needs training scans of the negative group")
        filled = tissue.to(volume)
    else:
        filled = torch.full_like(volume, float(fill))
    return torch.where(brain.mask, filled, torch.zeros_like(filled))


def _blur(volume: Tensor, sigma: float) -> Tensor:
    """Smooth a volume (x, y, z) by a Gaussian; sigma in voxels."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, dtype=volume.dtype, device=volume.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    blurred = volume[None, None]
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0, 0, 0]
        shape[2 + axis], padding[axis] = len(offsets), radius
        blurred = nn.functional.conv3d(blurred, kernel.reshape(shape), padding=padding)
    return blurred[0, 0]
