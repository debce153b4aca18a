"""Margins of a network after parts of a volume are replaced: by whole passes, or only where something changes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from engine.networks.architectures import footprint
from engine.networks.blocks import sequential_blocks
from engine.networks.cnn3d import margins
from engine.networks.device import volumes_that_fit
from engine.relevance.base import Patch, Relevance, RelevanceMethod, check_volumes, drops
from engine.relevance.batching import BatchSize, each_volume
from engine.relevance.fills import fill_volume
from engine.relevance.incremental import incremental_margins


@dataclass(frozen=True)
class PatchOcclusion(RelevanceMethod):
    """A method that replaces parts of a scan, one after the other, and takes the drop of the evidence.

    Attributes:
        reference: what replaces the tissue, see fill_volume.
        engine: incremental, or dense: whole forward passes.
    """

    antisymmetric: ClassVar[bool] = True
    gradient: ClassVar[bool] = False

    reference: str | float = "mean"
    engine: str = "incremental"

    @abstractmethod
    def parts(self, volume: Tensor, fill: Tensor) -> tuple[list[Patch], Callable[[Tensor], Tensor]]:
        """Return the n parts of a scan that are replaced, and what brings their (n,) drops into the native grid.

        Args:
            volume, fill: (x, y, z), the scan and what replaces it.
        """

    def attribute(self, model: nn.Module, volumes: Tensor, explained_class: int) -> Relevance:
        """Return the (n, *native) drops of margin and of probability, 0 where nothing is replaced."""
        check_volumes(volumes)

        def of_one(volume: Tensor) -> tuple[Tensor, Tensor]:
            patches, bring = self.parts(volume, fill_volume(self.reference, volume, self.brain))
            if not patches:
                return bring(volume.new_zeros(0)), bring(volume.new_zeros(0))
            margin, probability = drops(
                *patch_margins(model, volume, patches, explained_class, self.batch, self.engine)
            )
            return bring(margin), bring(probability)

        return Relevance(*(torch.stack(part) for part in zip(*each_volume(volumes, of_one), strict=True)))


def patch_margins(
    model: nn.Module, volume: Tensor, patches: Sequence[Patch], explained_class: int, batch: BatchSize, engine: str
) -> tuple[Tensor, Tensor]:
    """Return ((1,) margin of the intact volume, (n,) margins with each patch replaced), float64, on its device.

    Args:
        model: in eval mode.
        volume: (x, y, z) float32.
        engine: incremental or dense; networks that are not a sequence of convolutions are always dense.
    """
    is_sequence = engine == "incremental" and sequential_blocks(model) is not None
    with torch.no_grad():
        return (incremental_margins if is_sequence else _dense)(model, volume, patches, explained_class, batch)


def _dense(
    model: nn.Module, volume: Tensor, patches: Sequence[Patch], explained_class: int, batch: BatchSize
) -> tuple[Tensor, Tensor]:
    intact = margins(model(volume[None, None]))[:, explained_class].double()

    def part(start: int, stop: int) -> Tensor:
        volumes = volume.expand(stop - start, 1, *volume.shape).clone()
        for row, patch in enumerate(patches[start:stop]):
            volumes[row, 0][patch.box] = patch.values()
        return margins(model(volumes))[:, explained_class].double()

    fits = volumes_that_fit(volume.numel() * footprint(model), volume.device, batch.at_most)
    return intact, batch.run(len(patches), part, fits) if len(patches) else intact[:0]
