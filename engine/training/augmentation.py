"""Training volumes flipped and shifted from left to right, by chance."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

FLIPPED = 0.5  # share of the volumes


def left_right(volumes: Tensor, scans: Sequence[str], mask: Tensor, shift: int, seed: int, epoch: int) -> Tensor:
    """Flip each volume (n, 1, x, y, z) along x by chance, then shift it by up to `shift` voxels along x.

    The grids are symmetric about x = 0 mm, so a flip is a reflection of the brain. What leaves the brain mask is cut
    off, so that volumes stay 0 outside it. The result depends on seed, epoch and scan alone: an interrupted training
    goes on the same, whatever the batches. Source: Boehle et al. 2019 and its public code (flips of half of the
    volumes, shifts by a few voxels at 1 mm).

    Args:
        mask: (x, y, z) bool brain mask.
    """
    found = torch.zeros_like(volumes)
    for row, scan in enumerate(scans):
        random = np.random.default_rng([seed, 9, epoch, zlib.crc32(scan.encode())])
        volume = volumes[row, 0].flip(0) if random.random() < FLIPPED else volumes[row, 0]
        by = int(random.integers(-shift, shift, endpoint=True))
        into, out = slice(max(by, 0), len(volume) + min(by, 0)), slice(max(-by, 0), len(volume) + min(-by, 0))
        found[row, 0, into] = volume[out]
    return found * mask
