"""Margins of a network after parts of a volume are replaced: by whole forward passes, or only where something changes.

Valid convolutions and early pooling keep the effect of a patch local. The incremental way keeps the activations of the
intact scan at every block; for a patch it recomputes only the box that changes in each block (aligned with the pooling
windows, clamped at the borders; patches whose first boxes have the same size go together), pastes it, and runs the
fully connected part on the pasted map. The result is the dense one up to float32 rounding. Batch norm is folded into
the convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.model.cnn3d import margins
from engine.model.device import volumes_that_fit
from engine.relevance.base import BatchSize

PATCHES_AT_ONCE = {"cpu": 64, "cuda": 256}
PATCH_BYTES = {"cpu": 7.5e7, "cuda": 4e9}  # what the activations of a batch of patches may take


@dataclass(frozen=True)
class PatchGroup:
    """Patches of one size.

    Attributes:
        lows: (n, 3) int, the low corner of each patch in voxels.
        size: of every patch, inside the volume wherever it lies.
        fill: number of a patch -> (size) the voxels that replace those of the scan.
    """

    lows: np.ndarray
    size: tuple[int, int, int]
    fill: Callable[[int], Tensor]


@dataclass(frozen=True)
class Block:
    """Convolution with batch norm folded in, ReLU, max-pool."""

    weight: Tensor
    bias: Tensor
    pool: int

    def __call__(self, activations: Tensor) -> Tensor:
        """(n, c, x, y, z) -> (n, c', x', y', z')."""
        # The largest of a window is the same before and after the ReLU; after pooling there is less to do.
        return largest(functional.conv3d(activations, self.weight, self.bias), self.pool).relu_()

    def reached(self, low: np.ndarray, high: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """((n, 3), (n, 3)) the outputs [low, high) that change with inputs in [low, high), perhaps none.

        Args:
            shape: of the block's output.
        """
        first = np.maximum(low - (np.array(self.weight.shape[2:]) - 1), 0) // self.pool
        return np.minimum(first, shape), np.minimum(-(-high // self.pool), shape)


def largest(maps: Tensor, pool: int) -> Tensor:
    """max_pool3d without indices: on the CPU, slices compared one axis after the other are several times as fast."""
    if pool == 1:
        return maps
    if maps.is_cuda:
        return functional.max_pool3d(maps, pool)
    for axis in (2, 3, 4):
        whole = maps.shape[axis] // pool * pool
        first, *others = (maps[(slice(None),) * axis + (slice(i, whole, pool),)] for i in range(pool))
        for other in others:
            first = torch.maximum(first, other)
        maps = first
    return maps


def patch_margins(
    model: nn.Module, volume: Tensor, groups: Sequence[PatchGroup], target: int, batch: BatchSize, engine: str
) -> tuple[Tensor, Tensor]:
    """(margin of the intact volume, margins with each patch replaced), float64, on the volume's device.

    Args:
        model: in eval mode.
        volume: (x, y, z) float32.
        engine: incremental or dense; networks that are not a sequence of convolutions are always dense.
    """
    blocks = sequential_blocks(model) if engine == "incremental" else None
    with torch.no_grad():
        if blocks is None:
            return _dense(model, volume, groups, target, batch)
        return _incremental(blocks, model.classifier, volume, groups, target, batch)


def sequential_blocks(model: nn.Module) -> list[Block] | None:
    """The convolution blocks of a network `features` + `classifier`; None if it is built in another way."""
    features, head = getattr(model, "features", None), getattr(model, "classifier", None)
    if not isinstance(features, nn.Sequential) or not isinstance(head, nn.Module):
        return None
    blocks, layers = [], list(features)
    while layers:
        taken = _take_block(layers)
        if taken is None:
            return None
        blocks.append(taken)
    return blocks


def _take_block(layers: list[nn.Module]) -> Block | None:
    """Removes conv, perhaps batch norm, ReLU and perhaps a pool from the front of the list."""
    convolution = layers.pop(0)
    if not _is_plain_convolution(convolution):
        return None
    weight = convolution.weight.detach()
    bias = convolution.bias.detach() if convolution.bias is not None else weight.new_zeros(len(weight))
    if layers and isinstance(layers[0], nn.BatchNorm3d):
        norm = layers.pop(0)
        if norm.running_var is None:
            return None
        factor = (norm.running_var + norm.eps).rsqrt()
        shift = -norm.running_mean * factor
        if norm.affine:
            factor, shift = factor * norm.weight.detach(), shift * norm.weight.detach() + norm.bias.detach()
        weight, bias = weight * factor[:, None, None, None, None], bias * factor + shift
    if not (layers and isinstance(layers.pop(0), nn.ReLU)):
        return None
    pool = 1
    if layers and isinstance(layers[0], nn.MaxPool3d):
        pool = _pool_size(layers.pop(0))
    return Block(weight, bias, pool) if pool else None


def _is_plain_convolution(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv3d)
        and set(layer.stride) == {1}
        and layer.padding in {(0, 0, 0), "valid"}
        and set(layer.dilation) == {1}
        and layer.groups == 1
    )


def _pool_size(layer: nn.MaxPool3d) -> int:
    """Of a pool whose windows do not overlap; 0 for any other."""
    sizes = {*_three(layer.kernel_size), *_three(layer.stride)}
    plain = not layer.ceil_mode and set(_three(layer.padding)) == {0} and set(_three(layer.dilation)) == {1}
    return sizes.pop() if plain and len(sizes) == 1 else 0


def _three(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * 3


# -- dense --------------------------------------------------------------------------------------------------------


def _dense(
    model: nn.Module, volume: Tensor, groups: Sequence[PatchGroup], target: int, batch: BatchSize
) -> tuple[Tensor, Tensor]:
    intact = margins(model(volume[None, None]))[:, target].double()
    found = []
    for group in groups:

        def part(start: int, stop: int, group: PatchGroup = group) -> Tensor:
            volumes = volume.expand(stop - start, 1, *volume.shape).clone()
            for row, number in enumerate(range(start, stop)):
                volumes[row, 0][_box(group.lows[number], group.size)] = group.fill(number)
            return margins(model(volumes))[:, target].double()

        found.append(batch.run(len(group.lows), part, volumes_that_fit(volume.numel(), volume.device, batch.at_most)))
    return intact, torch.cat(found) if found else intact[:0]


def _box(low: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    (x, y, z), (a, b, c) = low, size
    return slice(x, x + a), slice(y, y + b), slice(z, z + c)


# -- incremental --------------------------------------------------------------------------------------------------


def _incremental(
    blocks: list[Block], head: nn.Module, volume: Tensor, groups: Sequence[PatchGroup], target: int, batch: BatchSize
) -> tuple[Tensor, Tensor]:
    activations = [volume[None, None]]
    for block in blocks:
        activations.append(block(activations[-1]))
    intact = margins(head(activations[-1]))[:, target].double()
    found = []
    for group in groups:
        result = intact.new_empty(len(group.lows))
        for numbers, lows, sizes in _alike(blocks, activations, group):

            def part(start: int, stop: int, group=group, numbers=numbers, lows=lows, sizes=sizes) -> Tensor:
                low = [corner[start:stop] for corner in lows]
                pasted = _recompute(blocks, activations, group, low, sizes, numbers[start:stop])
                return margins(head(pasted))[:, target].double()

            fits = _patches_at_once(blocks, sizes, volume.device)
            at = torch.from_numpy(numbers).to(volume.device)
            result[at] = batch.run(len(numbers), part, fits)
        found.append(result)
    return intact, torch.cat(found) if found else intact[:0]


def _alike(
    blocks: list[Block], activations: list[Tensor], group: PatchGroup
) -> Iterator[tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]]:
    """(numbers of patches, low corners (n, 3), sizes (3,)) of patches whose boxes fit one size at every block.

    Corners and sizes are those of the patch in the volume, then of what changes behind each block.
    """
    low, high = np.asarray(group.lows), np.asarray(group.lows) + np.array(group.size)
    spans = [(low, high, np.array(activations[0].shape[2:]))]
    for block, after in zip(blocks, activations[1:], strict=True):
        shape = np.array(after.shape[2:])
        low, high = block.reached(low, high, shape)
        spans.append((low, high, shape))
    # By the first box alone: finer groups save a little arithmetic and lose more in small batches.
    _, kind = np.unique(spans[1][1] - spans[1][0], axis=0, return_inverse=True)
    for number in range(kind.max() + 1):
        chosen = np.flatnonzero(kind.ravel() == number)
        lows, sizes = [], []
        for low, high, shape in spans:
            size = np.maximum((high - low)[chosen].max(axis=0), 1)
            sizes.append(size)
            lows.append(np.minimum(low[chosen], shape - size))
        yield chosen, lows, sizes


def _patches_at_once(blocks: list[Block], sizes: list[np.ndarray], device: torch.device) -> int:
    """As many patches as are quick and fit."""
    most_bytes = max(
        4 * 3 * len(block.weight) * math.prod(int(n) * block.pool + 2 for n in size)
        for block, size in zip(blocks, sizes[1:], strict=True)
    )
    return max(1, min(PATCHES_AT_ONCE[device.type], int(PATCH_BYTES[device.type] // most_bytes)))


def _recompute(
    blocks: list[Block],
    activations: list[Tensor],
    group: PatchGroup,
    lows: list[np.ndarray],
    sizes: list[np.ndarray],
    numbers: Sequence[int],
) -> Tensor:
    """(n, c, x, y, z) last maps of the scan with each patch replaced."""
    changed = torch.stack([group.fill(number) for number in numbers])[:, None]
    for index, block in enumerate(blocks):
        reach = np.array(block.weight.shape[2:]) - 1
        corner, size = lows[index + 1] * block.pool, sizes[index + 1] * block.pool + reach
        crops = _pasted(activations[index][0], corner, size, changed, lows[index])
        changed = block(crops)
    last = activations[-1][0]
    return _pasted(last, np.zeros_like(lows[-1]), np.array(last.shape[1:]), changed, lows[-1])


def _pasted(intact: Tensor, corners: np.ndarray, size: np.ndarray, changed: Tensor, lows: np.ndarray) -> Tensor:
    """(n, c, *size) crops of the intact map at `corners`, with `changed` (n, c, ...) written at `lows` where inside."""
    crops = intact.new_empty((len(corners), len(intact), *size.tolist()))
    first = np.maximum(lows, corners)
    overlap = np.minimum(lows + changed.shape[2:], corners + size) - first
    rows = zip(corners.tolist(), (first - corners).tolist(), (first - lows).tolist(), overlap.tolist(), strict=True)
    for row, (corner, into, out, extent) in enumerate(rows):
        crops[row] = intact[(slice(None), *_box(corner, size))]
        if min(extent) > 0:
            crops[(row, slice(None), *_box(into, extent))] = changed[(row, slice(None), *_box(out, extent))]
    return crops
