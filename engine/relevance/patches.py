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
            return self._drops(model, volume[None], explained_class)[0]

        together = volumes.is_cuda and self.engine == "incremental" and sequential_blocks(model) is not None
        found = self._drops(model, volumes[:, 0], explained_class) if together else each_volume(volumes, of_one)
        return Relevance(*(torch.stack(part) for part in zip(*found, strict=True)))

    def _drops(self, model: nn.Module, volumes: Tensor, explained_class: int) -> list[tuple[Tensor, Tensor]]:
        """Return the ((*native), (*native)) drops of margin and of probability of each of (v, x, y, z) volumes.

        A GPU waits for the next kernel where regions are small: the patches of several volumes go through it together.
        """
        parts = [self.parts(volume, fill_volume(self.reference, volume, self.brain)) for volume in volumes]
        patches = [own for own, _ in parts]
        intact, changed = patch_margins(model, volumes, patches, explained_class, self.batch, self.engine)
        each = changed.split([len(own) for own in patches])
        return [
            tuple(bring(part) for part in drops(one[None], of_volume))  # type: ignore[misc]  # two of them
            for one, of_volume, (_, bring) in zip(intact, each, parts, strict=True)
        ]


def patch_margins(
    model: nn.Module,
    volumes: Tensor,
    patches: Sequence[Sequence[Patch]],
    explained_class: int,
    batch: BatchSize,
    engine: str,
) -> tuple[Tensor, Tensor]:
    """Return ((v,) margins of the intact volumes, (n,) margins with each patch replaced), float64, on their device.

    Args:
        model: in eval mode.
        volumes: (v, x, y, z) float32.
        patches: of each volume; n in all, one volume after the other.
        engine: incremental or dense; networks that are not a sequence of convolutions are always dense.
    """
    is_sequence = engine == "incremental" and sequential_blocks(model) is not None
    with torch.no_grad():
        return (incremental_margins if is_sequence else _dense)(model, volumes, patches, explained_class, batch)


def _dense(
    model: nn.Module, volumes: Tensor, patches: Sequence[Sequence[Patch]], explained_class: int, batch: BatchSize
) -> tuple[Tensor, Tensor]:
    intact = [margins(model(volume[None, None]))[:, explained_class].double() for volume in volumes]
    fits = volumes_that_fit(volumes[0].numel() * footprint(model), volumes.device, batch.at_most)

    def of_one(volume: Tensor, own: Sequence[Patch]) -> Tensor:
        def part(start: int, stop: int) -> Tensor:
            copies = volume.expand(stop - start, 1, *volume.shape).clone()
            for row, patch in enumerate(own[start:stop]):
                copies[row, 0][patch.box] = patch.values()
            return margins(model(copies))[:, explained_class].double()

        return batch.run(len(own), part, fits) if len(own) else intact[0][:0]

    return torch.cat(intact), torch.cat([of_one(volume, own) for volume, own in zip(volumes, patches, strict=True)])
