"""Margins of a network after parts of a volume are replaced: by whole passes, or only where something changes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine.networks.architectures import footprint
from engine.networks.blocks import sequential_blocks
from engine.networks.cnn3d import margins
from engine.networks.device import volumes_that_fit
from engine.relevance.base import Patch
from engine.relevance.batching import BatchSize
from engine.relevance.incremental import incremental_margins


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
