"""Margins of a network while a volume is replaced part after part: the steps of deletion and insertion.

See docs/definitions.md, Trust, Faithfulness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn

from engine.networks.architectures import footprint
from engine.networks.blocks import Block, sequential_blocks
from engine.networks.cnn3d import margins
from engine.networks.device import volumes_that_fit
from engine.relevance.batching import BatchSize


@dataclass(frozen=True)
class Replacement:
    """A volume that becomes another one in steps; what is replaced stays replaced.

    Attributes:
        start, end: (x, y, z) float32, the volume before the first and after the last step.
        step: (x, y, z) integer, at which step, from 1, a voxel takes its value of `end`; 0: never.
        steps: how many there are; one may replace nothing.
    """

    start: Tensor
    end: Tensor
    step: Tensor
    steps: int

    def volume(self, number: int) -> Tensor:
        """Return the volume (x, y, z) after a step; number 0 is the start."""
        return torch.where((self.step > 0) & (self.step <= number), self.end, self.start)


def replacement_margins(
    model: nn.Module, replacement: Replacement, explained_class: int, batch: BatchSize, local: bool
) -> Tensor:
    """Return the (steps + 1,) float64 margins of the start and after each step, on the device of the volumes.

    Args:
        model: in eval mode.
        local: compute again only what a step changes, for steps that replace small parts; networks that are not a
            sequence of convolutions always take whole forward passes. Both agree up to float32 rounding.
    """
    blocks = sequential_blocks(model) if local else None
    with torch.no_grad():
        if blocks is None:
            return _whole_passes(model, replacement, explained_class, batch)
        last = _last_maps(blocks, replacement)
        return margins(model.get_submodule("classifier")(last))[:, explained_class].double()


def _whole_passes(model: nn.Module, replacement: Replacement, explained_class: int, batch: BatchSize) -> Tensor:
    start = replacement.start

    def part(first: int, stop: int) -> Tensor:
        volumes = torch.stack([replacement.volume(number) for number in range(first, stop)])
        return margins(model(volumes[:, None]))[:, explained_class].double()

    fits = volumes_that_fit(start.numel() * footprint(model), start.device, batch.at_most)
    return batch.run(replacement.steps + 1, part, fits)


def _last_maps(blocks: Sequence[Block], replacement: Replacement) -> Tensor:
    """Return the (steps + 1, c, x, y, z) last feature maps of the start and after each step.

    The maps between the blocks are kept and corrected: a step computes, block after block, the box that it reaches.
    """
    borders = [*(np.array(block.border) for block in blocks), np.zeros(3, int)]
    maps = [blocks[0].bordered(replacement.start[None, None]).clone()]
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        outputs = block(maps[-1])
        maps.append(following.bordered(outputs) if following else outputs)
    boxes = ndimage.find_objects(replacement.step.cpu().numpy().astype(np.int32), max_label=replacement.steps)
    last = [maps[-1].clone()]
    for number, box in enumerate(boxes, start=1):
        if box is not None:
            low, high = (np.array([getattr(s, end) for s in box]) for end in ("start", "stop"))
            place = _box(low + borders[0], high + borders[0])
            maps[0][place] = torch.where(replacement.step[box] == number, replacement.end[box], maps[0][place])
            _correct(blocks, borders, maps, low + borders[0], high + borders[0])
        last.append(maps[-1].clone())
    return torch.cat(last)


def _correct(
    blocks: Sequence[Block], borders: Sequence[np.ndarray], maps: Sequence[Tensor], low: np.ndarray, high: np.ndarray
) -> None:
    """Compute again, in place, what follows from inputs in [low, high) of the first map, places with their border."""
    for block, border, before, after in zip(blocks, borders[1:], maps[:-1], maps[1:], strict=True):
        low, high = block.reached(low, high, np.array(after.shape[2:]) - 2 * border)
        outputs = block(before[_box(low * block.pool, high * block.pool + block.reach)])
        low, high = low + border, high + border
        after[_box(low, high)] = outputs


def _box(low: np.ndarray, high: np.ndarray) -> tuple[slice, ...]:
    """Return the slices of maps (n, c, x, y, z) for places [low, high)."""
    return (slice(None), slice(None), *(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)))
