"""Margins after parts of a volume are replaced, computed only where something changes.

Valid convolutions and early pooling keep the effect of a patch local. The activations of the intact scan are kept at
every block; for a patch only the box that changes is computed anew in each block (aligned with the pooling windows,
clamped at the borders; boxes of equal size go together, whatever their place), and the fully connected part sees the
last map with the box pasted in. What lies deep inside a patch of one value is one value too and is filled in. The
result is that of whole forward passes up to float32 rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from engine.model.cnn3d import margins
from engine.relevance.base import BatchSize, Patch, in_threads
from engine.relevance.blocks import Block, memory_format

# What the changed maps of patches that go through the blocks together may take, and the maps of one convolution: on
# the CPU the latter should stay in its caches.
TOGETHER_BYTES = {"cpu": 1e8, "cuda": 8e9}
BATCH_BYTES = {"cpu": 1.2e7, "cuda": 1e9}
PIECEMEAL = 0.5  # share of a box that must be one value for the rest to be computed in pieces


def incremental_margins(
    blocks: Sequence[Block], head: nn.Module, volume: Tensor, patches: Sequence[Patch], target: int, batch: BatchSize
) -> tuple[Tensor, Tensor]:
    """See patch_margins. Patches are shared among the CPU's threads."""
    intact = [volume[None, None]]
    for block in blocks:
        intact.append(block(intact[-1]))
    margin = margins(head(intact[-1]))[:, target].double()

    def of(share: Sequence[Patch]) -> Tensor:
        def part(start: int, stop: int) -> Tensor:
            return margins(head(_last_maps(blocks, intact, share[start:stop])))[:, target].double()

        return batch.run(len(share), part, _together(blocks, share, volume.device)) if share else margin[:0]

    threads = 1 if volume.is_cuda else torch.get_num_threads()
    shares = [patches[i * len(patches) // threads : (i + 1) * len(patches) // threads] for i in range(threads)]
    return margin, torch.cat(in_threads(of, shares))


def _together(blocks: Sequence[Block], patches: Sequence[Patch], device: torch.device) -> int:
    """How many patches go through the blocks at once: what changes behind the first block is the most to be kept."""
    widest = max(math.prod((s.stop - s.start) / blocks[0].pool + 2 for s in patch.box) for patch in patches)
    return max(1, int(TOGETHER_BYTES[device.type] // (4 * len(blocks[0].weight) * widest)))


def _last_maps(blocks: Sequence[Block], intact: Sequence[Tensor], patches: Sequence[Patch]) -> Tensor:
    """(n, c, x, y, z) last maps of the scan with each patch replaced."""
    low, high = (np.array([[getattr(s, end) for s in p.box] for p in patches]) for end in ("start", "stop"))
    changed = [patch.values()[None] for patch in patches]
    for number, (block, before, after) in enumerate(zip(blocks, intact, intact[1:], strict=False)):
        first, last = block.reached(low, high, after.shape[2:])
        inside = _constant_inside(block, patches, low, high, first, last) if number == 0 else None
        if inside is None:
            changed = _changed(block, before[0], low, changed, first, last)
        else:
            changed = _changed_around(block, before[0], low, changed, first, last, *inside)
        low, high = first, last
    end = intact[-1][0]
    return _pasted(end, np.zeros_like(low), np.array(end.shape[1:]), changed, low)


def _changed(
    block: Block, intact: Tensor, lows: np.ndarray, changed: Sequence[Tensor], first: np.ndarray, last: np.ndarray
) -> list[Tensor]:
    """Outputs [first, last) of a block, (c', a, b, c) each, where `changed` replaces its inputs from `lows` on."""
    found: list[Tensor] = [intact] * len(first)
    for rows, size in _alike(block, last - first, intact.device):
        inputs = _pasted(
            intact,
            first[rows] * block.pool,
            size * block.pool + block.reach,
            [changed[row] for row in rows],
            lows[rows],
        )
        for row, output in zip(rows, block(inputs), strict=True):
            found[row] = output
    return found


def _alike(block: Block, sizes: np.ndarray, device: torch.device) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows, their size) of boxes (n, 3) that have one size, as many as are quick and fit."""
    kinds, kind = np.unique(sizes, axis=0, return_inverse=True)
    for number, size in enumerate(kinds):
        rows = np.flatnonzero(kind.ravel() == number)
        each = 4 * len(block.weight) * math.prod(int(n) * block.pool for n in size)
        step = max(1, int(BATCH_BYTES[device.type] // each))
        for start in range(0, len(rows), step):
            yield rows[start : start + step], size


def _pasted(
    intact: Tensor, corners: np.ndarray, size: np.ndarray, changed: Sequence[Tensor], lows: np.ndarray
) -> Tensor:
    """(n, c, *size) crops of the intact map at `corners`, with `changed` (c, ...) written at `lows` where inside."""
    shape = (len(corners), len(intact), *size.tolist())
    crops = torch.empty(shape, dtype=intact.dtype, device=intact.device).contiguous(memory_format=memory_format(intact))
    extents = np.array([part.shape[1:] for part in changed])
    first = np.maximum(lows, corners)
    overlap = np.minimum(lows + extents, corners + size) - first
    rows = zip(corners.tolist(), (first - corners).tolist(), (first - lows).tolist(), overlap.tolist(), strict=True)
    for row, (corner, into, out, extent) in enumerate(rows):
        crop = crops[row]
        crop.copy_(intact[_box(corner, size)])
        if min(extent) > 0:
            crop[_box(into, extent)] = changed[row][_box(out, extent)]
    return crops


def _box(low: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    (x, y, z), (a, b, c) = low, size
    return slice(None), slice(x, x + a), slice(y, y + b), slice(z, z + c)


# -- patches of one value -------------------------------------------------------------------------------------------


def _constant_inside(
    block: Block,
    patches: Sequence[Patch],
    low: np.ndarray,
    high: np.ndarray,
    first: np.ndarray,
    last: np.ndarray,
) -> tuple[list[float], np.ndarray, np.ndarray] | None:
    """(values, first, last) of the outputs that see nothing but a patch of one value; None if they are few."""
    if any(patch.constant is None for patch in patches):
        return None
    inner_first, inner_last = block.fed(low, high)
    inner_first, inner_last = np.maximum(inner_first, first), np.minimum(inner_last, last)
    share = np.prod(np.maximum(inner_last - inner_first, 0), axis=1) / np.prod(last - first, axis=1)
    few = share < PIECEMEAL
    if few.all():
        return None
    inner_first[few] = inner_last[few] = last[few]
    return [patch.constant for patch in patches], inner_first, inner_last


def _changed_around(
    block: Block,
    intact: Tensor,
    lows: np.ndarray,
    changed: Sequence[Tensor],
    first: np.ndarray,
    last: np.ndarray,
    constants: Sequence[float],
    inner_first: np.ndarray,
    inner_last: np.ndarray,
) -> list[Tensor]:
    """As `_changed`, where the outputs [inner_first, inner_last) are those of a constant."""
    found = []
    fills = {value: block.of_constant(value)[:, None, None, None] for value in set(constants)}
    for value, size in zip(constants, (last - first).tolist(), strict=True):
        filled = fills[value].expand(-1, *size)[None]
        found.append(filled.contiguous(memory_format=memory_format(intact))[0])
    owners, starts, stops = _around(first, last, inner_first, inner_last)
    pieces = _changed(block, intact, lows[owners], [changed[owner] for owner in owners], starts, stops)
    at = (starts - first[owners]).tolist()
    for owner, piece, start in zip(owners.tolist(), pieces, at, strict=True):
        found[owner][_box(start, piece.shape[1:])] = piece
    return found


def _around(
    first: np.ndarray, last: np.ndarray, inner_first: np.ndarray, inner_last: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(owner, first, last) of the boxes that make up [first, last) without [inner_first, inner_last), (n, 3) each."""
    owners, starts, stops = [], [], []
    low, high = first.copy(), last.copy()
    for axis in range(3):
        for a, b in ((low[:, axis], inner_first[:, axis]), (inner_last[:, axis], high[:, axis])):
            start, stop = low.copy(), high.copy()
            start[:, axis], stop[:, axis] = a, b
            some = np.flatnonzero((stop > start).all(axis=1))
            owners.append(some)
            starts.append(start[some])
            stops.append(stop[some])
        low[:, axis], high[:, axis] = inner_first[:, axis], inner_last[:, axis]
    return np.concatenate(owners), np.concatenate(starts), np.concatenate(stops)
