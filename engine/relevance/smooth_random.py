"""Smooth random map: what a heatmap without any information looks like, as a baseline that explains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from engine.images.grid import FWHM_TO_SIGMA
from engine.relevance.base import Relevance, check_volumes
from engine.relevance.baseline import Baseline
from engine.relevance.smoothgrad import seed_of


@dataclass(frozen=True)
class SmoothRandom(Baseline):
    """Gaussian noise in the brain, smoothed by 12 mm (FWHM), whatever the network does: a baseline, no explanation.

    The seed is made from the scan, so that the same scan has the same map in every run, batch and order.
    Unit:   standard deviations of the map in the brain.
    Cost:   one smoothing on the CPU a scan; no pass of the network.

    Attributes:
        fwhm_mm: full width at half maximum of the smoothing.
    """

    name: ClassVar[str] = "smooth_random"
    own_unit: ClassVar[str] = "SD of the map"

    fwhm_mm: float = 12.0

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z) smooth noise. See RelevanceMethod.attribute."""
        del model, explained_class  # the map is the same for any network and both classes
        check_volumes(volumes)
        found, mask = torch.zeros_like(volumes[:, 0]), self.brain.mask.cpu().numpy()
        sigma = self.fwhm_mm * FWHM_TO_SIGMA / self.brain.grid_mm
        for place, volume in enumerate(volumes[:, 0]):
            noise = np.random.default_rng(seed_of(volume)).standard_normal(mask.shape, dtype=np.float32)
            smooth = ndimage.gaussian_filter(noise, sigma, mode="wrap") * mask  # wrapped: as rough at the border
            found[place] = torch.from_numpy(smooth / smooth[mask].std()).to(found)
        return Relevance(found)
