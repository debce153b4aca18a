"""Margins after parts of volumes are replaced, computed only where something changes.

Small convolutions and early pooling keep the effect of a patch local. The activations of the intact scan are kept at
every block; for a patch only the box that changes is computed anew in each block (aligned with the pooling windows,
clamped at the borders; boxes of equal size go together, whatever their place), and the fully connected part sees the
last map with the box pasted in. A map before a padded convolution is kept with its border of zeros, and its places
count the border. What lies deep inside a patch of one value is one value too and is filled in. The result is that of
whole forward passes up to float32 rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from engine.networks.blocks import Block, sequential_blocks
from engine.networks.cnn3d import margins
from engine.networks.kernels import by_kernels, gather_crops
from engine.relevance.base import Patch
from engine.relevance.batching import BatchSize, in_threads

# What the changed maps of patches that go through the blocks together may take, and the maps of one convolution: on
# the CPU the latter should stay in its caches.
TOGETHER_BYTES = {"cpu": 1e8, "cuda": 8e9}
BATCH_BYTES = {"cpu": 1.2e7, "cuda": 1e9}
GATHERED_CELLS = 4000  # crops up to this size are gathered together; copying larger ones one by one is quicker
PIECEMEAL = 0.5  # share of a box that must be one value for the rest to be computed in pieces


@dataclass(frozen=True)
class Part:
    """A patch of the volume of a number."""

    volume: int
    patch: Patch


@dataclass(frozen=True)
class Boxes:
    """n boxes of places, [low, high), (n, 3) each."""

    low: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class Changes:
    """n maps that differ from the intact map of a volume in one box each.

    Attributes:
        volume: (n,) its number.
        low, high: (n, 3) the boxes, [low, high).
        cells: (m, c) those of the intact maps, then those of the boxes.
        start: (n,) the first cell of each box.
        strides: (n, 3) cells from one place of a box to the next along each axis.
    """

    volume: np.ndarray
    low: np.ndarray
    high: np.ndarray
    cells: Tensor
    start: np.ndarray
    strides: np.ndarray

    @classmethod
    def allocate(cls, intact: Tensor, volume: np.ndarray, boxes: Boxes, order: np.ndarray | None = None) -> Changes:
        """Return boxes whose cells are still to be written: one box after the other, in this order.

        Args:
            intact: (volumes, x, y, z, c).
        """
        size = boxes.high - boxes.low
        order = np.arange(len(size)) if order is None else order
        ends = math.prod(intact.shape[:4]) + size.prod(axis=1)[order].cumsum()
        start = np.empty(len(size), int)
        start[order] = ends - size.prod(axis=1)[order]
        cells = intact.new_empty((int(ends[-1]), intact.shape[-1]))
        cells[: math.prod(intact.shape[:4])] = intact.reshape(-1, intact.shape[-1])
        strides = np.stack([size[:, 1] * size[:, 2], size[:, 2], np.ones(len(size), int)], axis=1)
        return cls(volume, boxes.low, boxes.high, cells, start, strides)

    def select(self, rows: np.ndarray) -> Changes:
        """Return some of the maps."""
        names = ("volume", "low", "high", "start", "strides")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def shift(self, by: Sequence[int]) -> Changes:
        """Return the same changes with all places counted from elsewhere."""
        return replace(self, low=self.low + np.array(by), high=self.high + np.array(by))

    def box(self, row: int) -> Tensor:
        """Return the (a, b, c', c) view of one box."""
        channels, first = self.cells.shape[1], int(self.start[row])
        shape = (*(self.high[row] - self.low[row]).tolist(), channels)
        return self.cells.as_strided(shape, (*(channels * self.strides[row]).tolist(), 1), first * channels)


def incremental_margins(
    model: nn.Module, volumes: Tensor, patches: Sequence[Sequence[Patch]], explained_class: int, batch: BatchSize
) -> tuple[Tensor, Tensor]:
    """Return ((v,) margins of the intact volumes, (n,) margins with each patch replaced), float64, on their device.

    The patches of a volume are shared among the CPU's threads.

    Args:
        model: of blocks, in eval mode.
        volumes: (v, x, y, z) float32.
        patches: of each volume; n in all, one volume after the other.
    """
    blocks, head = sequential_blocks(model), model.get_submodule("classifier")
    if blocks is None:
        raise ValueError("the network is not a sequence of convolutions")
    intact = [blocks[0].bordered(volumes[:, None])]
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        outputs = block(intact[-1])
        intact.append(following.bordered(outputs) if following else outputs)
    margin = margins(head(intact[-1]))[:, explained_class].double()
    maps = [one.movedim(1, -1).contiguous() for one in intact]
    everything = [Part(number, patch) for number, own in enumerate(patches) for patch in own]

    def changed_margins(share: Sequence[Part]) -> Tensor:
        def part(start: int, stop: int) -> Tensor:
            return margins(head(_last_maps(blocks, maps, share[start:stop])))[:, explained_class].double()

        return batch.run(len(share), part, _parts_at_once(blocks, share, volumes.device)) if share else margin[:0]

    threads, count = 1 if volumes.is_cuda else torch.get_num_threads(), len(everything)
    shares = [everything[i * count // threads : (i + 1) * count // threads] for i in range(threads)]
    return margin, torch.cat(in_threads(changed_margins, shares))


def _parts_at_once(blocks: Sequence[Block], parts: Sequence[Part], device: torch.device) -> int:
    """Return how many patches go through the blocks at once: most is kept of what changes behind the first block."""
    widest = max(math.prod((s.stop - s.start) / blocks[0].pool + 2 for s in part.patch.box) for part in parts)
    return max(1, int(TOGETHER_BYTES[device.type] // (4 * len(blocks[0].weight) * widest)))


def _last_maps(blocks: Sequence[Block], maps: Sequence[Tensor], parts: Sequence[Part]) -> Tensor:
    """Return the (n, c, x, y, z) last maps of the scans with each patch replaced.

    Args:
        maps: of the intact scans before, between and behind the blocks, (volumes, x, y, z, c) each, with borders.
    """
    patches = [part.patch for part in parts]
    changes = _start_changes(parts, maps[0], blocks[0].border)
    borders = [*(block.border for block in blocks[1:]), (0, 0, 0)]
    for number, (block, before, after, border) in enumerate(zip(blocks, maps, maps[1:], borders, strict=False)):
        outputs = Boxes(*block.reached(changes.low, changes.high, np.array(after.shape[1:4]) - 2 * np.array(border)))
        piecemeal = number == 0 and not before.is_cuda  # a GPU is done with the whole sooner than with the pieces
        inside = _find_constant(block, patches, changes, outputs) if piecemeal else None
        if inside is None:
            changes = _propagate(block, before, after, changes, outputs)
        else:
            changes = _propagate_around(block, before, after, changes, outputs, inside)
        changes = changes.shift(border)
    whole = np.zeros((len(patches), 3), int)
    return _paste_crops(maps[-1], whole, np.array(maps[-1].shape[1:4]), changes).movedim(-1, 1)


def _start_changes(parts: Sequence[Part], volumes: Tensor, border: Sequence[int]) -> Changes:
    """Return the patches as changes of their volumes; one of a single value takes one cell.

    Args:
        volumes: (volumes, x, y, z, 1), with their border.
    """
    patches, number = [part.patch for part in parts], np.array([part.volume for part in parts])
    low, high = (
        np.array([[getattr(s, end) for s in p.box] for p in patches]) + np.array(border) for end in ("start", "stop")
    )
    if all(patch.constant is not None for patch in patches):
        values = volumes.new_tensor([[patch.constant] for patch in patches])
        start = volumes.numel() + np.arange(len(patches))
        return Changes(number, low, high, torch.cat([volumes.reshape(-1, 1), values]), start, np.zeros_like(low))
    changes = Changes.allocate(volumes, number, Boxes(low, high))
    torch.cat([patch.values().reshape(-1, 1) for patch in patches], out=changes.cells[volumes.numel() :])
    return changes


def _propagate(block: Block, before: Tensor, after: Tensor, changes: Changes, outputs: Boxes) -> Changes:
    """Compute the outputs of a block whose input is an intact map with the changes.

    Args:
        before, after: intact maps with their borders, (volumes, x, y, z, c); the outputs are counted without.
    """
    sizes = outputs.high - outputs.low
    batches = _batch_by_size(block, sizes, before.device)
    found = Changes.allocate(after, changes.volume, outputs, np.concatenate(batches))
    done = math.prod(after.shape[:4])
    for rows in batches:
        corners, extent = outputs.low[rows] * block.pool, sizes[rows[0]] * block.pool + block.reach
        inputs = _paste_crops(before, corners, extent, changes.select(rows)).movedim(-1, 1)
        if inputs.is_cuda:
            inputs = inputs.contiguous()
        crops = block(inputs).movedim(1, -1)
        count = math.prod(crops.shape[:4])
        found.cells[done : done + count].view(crops.shape).copy_(crops)
        done += count
    return found


def _batch_by_size(block: Block, sizes: np.ndarray, device: torch.device) -> list[np.ndarray]:
    """Divide the rows of boxes (n, 3) into batches: each of one size, and as large as is quick and fits."""
    kinds, kind = np.unique(sizes, axis=0, return_inverse=True)
    batches = []
    for number, size in enumerate(kinds):
        rows = np.flatnonzero(kind.ravel() == number)
        each = 4 * len(block.weight) * math.prod(int(n) * block.pool for n in size)
        step = max(1, int(BATCH_BYTES[device.type] // each))
        batches += [rows[start : start + step] for start in range(0, len(rows), step)]
    return batches


# -- crops of maps with their changes ---------------------------------------------------------------------------------


def _paste_crops(intact: Tensor, corners: np.ndarray, size: np.ndarray, changes: Changes) -> Tensor:
    """Return the (n, *size, c) crops at `corners` of the intact maps (volumes, x, y, z, c) with each of the changes."""
    gathered = intact.is_cuda or math.prod(size.tolist()) <= GATHERED_CELLS
    return (_gather_crops if gathered else _copy_crops)(intact, corners, size, changes)


def _copy_crops(intact: Tensor, corners: np.ndarray, size: np.ndarray, changes: Changes) -> Tensor:
    crops = intact.new_empty((len(corners), *size.tolist(), intact.shape[-1]))
    first = np.maximum(changes.low, corners)
    overlap = np.minimum(changes.high, corners + size) - first
    rows = zip(
        corners.tolist(), (first - corners).tolist(), (first - changes.low).tolist(), overlap.tolist(), strict=True
    )
    for row, (corner, into, out, extent) in enumerate(rows):
        crop = crops[row]
        crop.copy_(intact[int(changes.volume[row])][_box(corner, size)])
        if min(extent) > 0:
            crop[_box(into, extent)] = changes.box(row)[_box(out, extent)]
    return crops


def _box(low: Sequence[int], size: Sequence[int] | np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))


def _gather_crops(intact: Tensor, corners: np.ndarray, size: np.ndarray, changes: Changes) -> Tensor:
    """Make the crops by the number of each cell in the table of all cells."""
    first = changes.volume * math.prod(intact.shape[1:4])  # cell of the intact map
    if by_kernels(intact):
        columns = [corners, changes.low, changes.high, changes.start[:, None], changes.strides, first[:, None]]
        rows = torch.from_numpy(np.concatenate(columns, axis=1).astype(np.int32)).to(intact.device)
        return gather_crops(changes.cells, rows, size.tolist(), intact.shape[1:4]).movedim(1, -1)
    y, z = intact.shape[2:4]
    place = [corners[:, axis, None] + np.arange(size[axis]) for axis in range(3)]
    within = [place[axis] - changes.low[:, axis, None] for axis in range(3)]
    of_intact = [stride * place[axis] for axis, stride in enumerate((y * z, z, 1))]
    of_intact[0] += first[:, None]
    of_changes = [changes.strides[:, axis, None] * within[axis] for axis in range(3)]
    of_changes[0] += changes.start[:, None]
    inside = [(within[axis] >= 0) & (place[axis] < changes.high[:, axis, None]) for axis in range(3)]
    own = _over_axes(torch.add, of_intact, np.int32, intact.device)
    theirs = _over_axes(torch.add, of_changes, np.int32, intact.device)
    at = torch.where(_over_axes(torch.logical_and, inside, bool, intact.device), theirs, own)
    return changes.cells.index_select(0, at.reshape(-1)).reshape(*at.shape, intact.shape[-1])


def _over_axes(
    join: Callable[[Tensor, Tensor], Tensor], parts: Sequence[np.ndarray], dtype: type, device: torch.device
) -> Tensor:
    """Join what (n, a), (n, b) and (n, c) say of each axis into (n, a, b, c)."""
    x, y, z = (torch.from_numpy(part.astype(dtype)).to(device) for part in parts)
    return join(x[:, :, None, None], join(y[:, None, :, None], z[:, None, None, :]))


# -- patches of one value -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Constant:
    """Outputs that see nothing but a patch of one value.

    Attributes:
        values: of the patches.
        outputs: a box of each, perhaps an empty one.
    """

    values: list[float]
    outputs: Boxes


def _find_constant(block: Block, patches: Sequence[Patch], changes: Changes, outputs: Boxes) -> Constant | None:
    """Find the outputs that see nothing but a patch of one value; None if they are few."""
    values = [patch.constant for patch in patches if patch.constant is not None]
    if len(values) < len(patches):
        return None
    low, high = block.fed(changes.low, changes.high)
    low, high = np.maximum(low, outputs.low), np.minimum(high, outputs.high)
    share = np.prod(np.maximum(high - low, 0), axis=1) / np.prod(outputs.high - outputs.low, axis=1)
    few = share < PIECEMEAL
    if few.all():
        return None
    low[few] = high[few] = outputs.high[few]
    return Constant(values, Boxes(low, high))


def _propagate_around(
    block: Block, before: Tensor, after: Tensor, changes: Changes, outputs: Boxes, inside: Constant
) -> Changes:
    """Compute what `_propagate` does where some outputs are those of a constant, and are filled in."""
    found = Changes.allocate(after, changes.volume, outputs)
    boxes = [found.box(row) for row in range(len(outputs.low))]
    fills = {value: block.of_constant(value) for value in set(inside.values)}
    for value, box in zip(inside.values, boxes, strict=True):
        box[:] = fills[value]
    owners, around = _divide_around(outputs, inside.outputs)
    if not len(owners):
        return found
    pieces = _propagate(block, before, after, changes.select(owners), around)
    corners = (around.low - outputs.low[owners]).tolist()
    for number, (owner, corner) in enumerate(zip(owners.tolist(), corners, strict=True)):
        piece = pieces.box(number)
        boxes[owner][_box(corner, piece.shape[:3])] = piece
    return found


def _divide_around(whole: Boxes, inner: Boxes) -> tuple[np.ndarray, Boxes]:
    """Divide each box without its inner one into up to six boxes: (the number of the box of each, they themselves)."""
    owners, lows, highs = [], [], []
    low, high = whole.low.copy(), whole.high.copy()
    for axis in range(3):
        for a, b in ((low[:, axis], inner.low[:, axis]), (inner.high[:, axis], high[:, axis])):
            start, stop = low.copy(), high.copy()
            start[:, axis], stop[:, axis] = a, b
            some = np.flatnonzero((stop > start).all(axis=1))
            owners.append(some)
            lows.append(start[some])
            highs.append(stop[some])
        low[:, axis], high[:, axis] = inner.low[:, axis], inner.high[:, axis]
    return np.concatenate(owners), Boxes(np.concatenate(lows), np.concatenate(highs))
