"""SmoothGrad: the mean of a gradient map over noisy copies of the scan."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from engine.relevance.base import Relevance, RelevanceMethod, check_volumes
from engine.relevance.gradients import summed_gradients
from engine.relevance.guided_backprop import GuidedBackprop
from engine.relevance.input_x_gradient import InputXGradient
from engine.relevance.sensitivity import Sensitivity

WRAPPED: dict[str, type[RelevanceMethod]] = {one.name: one for one in (Sensitivity, GuidedBackprop, InputXGradient)}


@dataclass(frozen=True)
class SmoothGrad(RelevanceMethod):
    """What of a gradient stays when the scan is shaken.

    Source: Smilkov et al. 2017 (arXiv 1706.03825), section 3. Noise is drawn in the brain only, by a seed that is made
    from the scan, so that the same scan has the same map in every run, batch and order.
    Unit:   that of the wrapped method; margin per z-score for sensitivity.
    Cost:   `copies` forward and backward passes a scan.

    Attributes:
        copies: noisy copies of a scan.
        noise: standard deviation of the noise, of the z-scored input.
        method: the gradient method that is averaged: sensitivity, guided_backprop or input_x_gradient.
    """

    name: ClassVar[str] = "smoothgrad"

    copies: int = 25
    noise: float = 0.5
    method: str = "sensitivity"

    @property
    def antisymmetric(self) -> bool:  # type: ignore[override]
        """Return whether the wrapped method is: the noise is the same for both classes."""
        return WRAPPED[self.method].antisymmetric

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return (n, x, y, z) mean map over noisy copies. See RelevanceMethod.attribute.

        Raises:
            ValueError: `method` is none that can be wrapped.
        """
        check_volumes(volumes)
        if self.method not in WRAPPED:
            raise ValueError(f"smoothgrad.method: {self.method}; one of {', '.join(WRAPPED)}")
        wrapped = WRAPPED[self.method](self.brain, self.batch)
        maps = []
        for volume in volumes[:, 0]:
            generator = torch.Generator().manual_seed(seed_of(volume))
            total, at_once = torch.zeros_like(volume), max(1, self.batch.volumes)
            for start in range(0, self.copies, at_once):
                count = min(at_once, self.copies - start)
                shaken = torch.randn((count, *volume.shape), generator=generator).to(volume) * self.noise
                copies = volume + torch.where(self.brain.mask, shaken, torch.zeros_like(shaken))
                if isinstance(wrapped, Sensitivity):
                    once = copies.new_ones(count)
                    total += summed_gradients(model, copies[:, None], once, explained_class, self.batch, self.brain)
                else:
                    total += wrapped.attribute(model, copies[:, None], explained_class).margin.sum(0)
            maps.append(total / self.copies)
        return Relevance(torch.stack(maps) if maps else volumes[:, 0].clone())


def seed_of(volume: Tensor) -> int:
    """Return a seed that is made from the intensities of one scan alone."""
    return zlib.crc32(np.ascontiguousarray(volume.detach().cpu().numpy(), dtype="<f4").tobytes())
