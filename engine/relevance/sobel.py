"""Sobel: the edges of the scan, as a baseline that explains nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from scipy import ndimage
from torch import Tensor, nn

from engine.relevance.base import Relevance, check_volumes
from engine.relevance.baseline import Baseline

WEIGHTS = 32.0  # of a Sobel filter in 3D: 4 x 4 by smoothing along two axes, 2 voxels apart along the third


@dataclass(frozen=True)
class Sobel(Baseline):
    """Where the scan has edges, whatever the network does: a baseline, no explanation.

    Heatmaps that look like anatomy may be no more than this: Adebayo et al. 2018 (arXiv 1810.03292), section 5.
    Unit:   intensity per mm, 0 or more; of the scan before its z-scores, as far as they can be undone.
    Cost:   three filters on the CPU a scan; no pass of the network.
    """

    name: ClassVar[str] = "sobel"
    own_unit: ClassVar[str] = "intensity per mm"

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return the (n, x, y, z) gradient magnitude of the scans. See RelevanceMethod.attribute."""
        del model, explained_class  # the map is the same for any network and both classes
        check_volumes(volumes)
        found = torch.zeros_like(volumes[:, 0])
        for place, volume in enumerate(volumes[:, 0]):
            intensities = self.brain.intensities(volume).cpu().numpy()
            edges = ndimage.generic_gradient_magnitude(intensities, ndimage.sobel, mode="nearest")
            found[place] = torch.from_numpy(edges).to(found) / (WEIGHTS * self.brain.grid_mm)
        return Relevance(torch.where(self.brain.mask, found, torch.zeros_like(found)))
