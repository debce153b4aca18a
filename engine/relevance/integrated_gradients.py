"""Integrated gradients: the gradient averaged on the way from a baseline to the scan, times that way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from engine.networks.cnn3d import margins
from engine.relevance.base import Relevance, RelevanceMethod, check_volumes
from engine.relevance.block_gradients import Way
from engine.relevance.fills import fill_volume
from engine.relevance.gradients import summed_gradients

TOLERANCE = 0.01  # of the margin's change, by which the sum may miss it
MOST_STEPS = 256


@dataclass(frozen=True)
class IntegratedGradients(RelevanceMethod):
    """Contribution of each voxel on the straight way from a baseline to the scan; they add up to the margin's change.

    Source: Sundararajan et al. 2017 (arXiv 1703.01365), equation 1, by Gauss-Legendre quadrature. Where the sum misses
    the change of the margin by more than 1 % of it, the number of steps is doubled for that scan, up to 256.
    Unit:   margin. Sign kept.
    Cost:   `steps` forward and backward passes a scan, more where the margin bends much.

    Attributes:
        steps: gradients on the way, at first.
        reference: where the way begins: mean (0, the training mean), nc_mean, blurred, other_subject or a number.
        most_steps: up to which the number is doubled.
    """

    name: ClassVar[str] = "integrated_gradients"
    antisymmetric: ClassVar[bool] = True
    contribution: ClassVar[bool] = True

    steps: int = 32
    reference: str | float = "mean"
    most_steps: int = MOST_STEPS

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z) integrated gradients of the margin. See RelevanceMethod.attribute."""
        check_volumes(volumes)
        maps, missed = [], []
        for volume in volumes[:, 0]:
            baseline = fill_volume(self.reference, volume, self.brain)
            steps, found = self.steps, self._integral(model, volume, baseline, explained_class, self.steps)
            error = completeness_error(model, volume, baseline, explained_class, found)
            while error > TOLERANCE and steps < self.most_steps:
                steps *= 2
                found = self._integral(model, volume, baseline, explained_class, steps)
                error = completeness_error(model, volume, baseline, explained_class, found)
            maps.append(found)
            missed.append(error)
        found = torch.stack(maps) if maps else volumes[:, 0].clone()
        return Relevance(found, completeness_error=torch.tensor(missed, dtype=torch.float64))

    def _integral(self, model: nn.Module, volume: Tensor, baseline: Tensor, explained_class: int, steps: int) -> Tensor:
        """Return (x, y, z) the way times the mean gradient on it, by Gauss-Legendre quadrature."""
        places, weights = np.polynomial.legendre.leggauss(steps)
        at, by = (torch.as_tensor(one / 2).to(volume) for one in (places + 1, weights))  # from [-1, 1] to [0, 1]
        way = Way(baseline[None, None], (volume - baseline)[None, None], at)
        return way.way[0, 0] * summed_gradients(model, way, by, explained_class, self.batch, self.brain)


def completeness_error(
    model: nn.Module, volume: Tensor, baseline: Tensor, explained_class: int, found: Tensor
) -> float:
    """Return by how much of the margin's change from baseline to scan the sum of a map misses it.

    Changes below 1e-3 of a margin count as 1e-3, so that scans that look like the baseline have no huge error.
    """
    with torch.no_grad():
        both = margins(model(torch.stack([volume, baseline])[:, None]))[:, explained_class].double()
    change = float(both[0] - both[1])
    return abs(float(found.double().sum()) - change) / max(abs(change), 1e-3)
