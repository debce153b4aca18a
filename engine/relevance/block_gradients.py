"""Gradients through the convolutions of a network, with less to compute than autograd has.

Exact to rounding (where two places of a pooling window are equal up to it, either may pass the gradient on):
- Batch norm is folded into the convolutions (engine/networks/blocks.py); its backward pass costs as much as they do.
- The largest of a window is the same before and after the ReLU, which therefore comes last, where there is less to do.
- The backward pass of a convolution is one with mirrored weights; of a single channel, autograd takes several times as
  long for it.
- Where gradients are summed, the backward pass of the first convolution, a third of all work, comes after the sum; and
  what it gives for volumes on a straight way lies on a straight way, too: it is computed for two of them.
- Scans are 0 outside the brain. What sees nothing of it in the first block is one value a channel, and is not computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import EllipsisType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.networks.blocks import Block
from engine.networks.kernels import first_block, takes_first
from engine.relevance.base import Box


@dataclass(frozen=True)
class Way:
    """Volumes on a straight way: start + place * way.

    Attributes:
        start, way: (1, 1, x, y, z).
        places: (n,).
    """

    start: Tensor
    way: Tensor
    places: Tensor

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, part: slice) -> Way:
        return replace(self, places=self.places[part])

    @property
    def shape(self) -> torch.Size:
        """Return the shape of all volumes, (n, 1, x, y, z)."""
        return torch.Size((len(self), *self.start.shape[1:]))

    @property
    def volumes(self) -> Tensor:
        """Return the volumes, (n, 1, x, y, z)."""
        return self.start + self.way * self.places[:, None, None, None, None]


def gradient_through_blocks(
    blocks: Sequence[Block],
    volumes: Tensor | Way,
    behind: Callable[[Tensor], Tensor],
    box: Box | None = None,
    guided: bool = False,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the (n, 1, x, y, z) gradient of what stands behind some blocks with respect to volumes.

    Args:
        volumes: (n, 1, x, y, z).
        behind: the last maps (n, c, a, b, c) -> the gradient with respect to them.
        box: of the voxels whose gradient is asked for; that of others is then 0. None: all are.
        guided: every ReLU passes back positive gradients only.
        weights: (n,); given, the sum of the gradients times these is returned, (1, 1, x, y, z).
    """
    ends = (volumes.start, volumes.way) if isinstance(volumes, Way) else (volumes,)
    if box is not None and any(torch.count_nonzero(one) != torch.count_nonzero(one[_of(box)]) for one in ends):
        box = None
    passed = [_Passed(blocks[0], volumes, box)]
    for block in blocks[1:]:
        passed.append(_Passed(block, passed[-1].outputs, None))
    gradient = behind(passed[-1].outputs)
    for number in reversed(range(len(passed))):
        gradient = gradient.clamp(min=0) if guided else gradient
        gradient = passed[number].back(gradient, weights if number == 0 else None)
    return gradient


class _Passed:
    """A block that maps have gone through, kept for the way back.

    Args:
        maps: (n, c, x, y, z) without a border; of the first block also on a way.
        box: outside of it they are 0; None: nothing is known.

    Attributes:
        outputs: (n, c', x', y', z').
    """

    def __init__(self, block: Block, maps: Tensor | Way, box: Box | None) -> None:
        self._block, self._shape, pool = block, maps.shape, block.pool
        shape = (np.array(maps.shape[2:]) + 2 * np.array(block.border) - block.reach) // pool
        low, high = np.zeros(3, int), shape
        if box is not None:
            first, last = (np.array([[getattr(one, end) for one in box]]) + block.border for end in ("start", "stop"))
            (low,), (high,) = block.reached(first, last, shape)
        self._window = _box(low, high)
        self._seen = _box(low * pool, high * pool + block.reach)
        with torch.no_grad():
            if isinstance(maps, Way):
                start, way = (self._convolve(*one) for one in ((maps.start, block.bias), (maps.way, None)))
                found = torch.addcmul(start, way, maps.places[:, None, None, None, None])
            else:
                found = self._convolve(maps, block.bias)
        self._convolved = found.requires_grad_()
        with torch.enable_grad():
            pooled = functional.max_pool3d(self._convolved, pool) if pool > 1 else self._convolved
            self._inside = pooled.relu()
        self.outputs = self._inside.detach()
        if tuple(self.outputs.shape[2:]) != tuple(shape):
            whole = block.bias.relu()[:, None, None, None].expand(len(found), -1, *shape)
            self.outputs = whole.contiguous(memory_format=_layout(whole))
            self.outputs[_of(self._window)] = self._inside.detach()

    def _convolve(self, maps: Tensor, bias: Tensor | None) -> Tensor:
        """Return what the convolution gives for what is seen of maps."""
        return _convolved(self._block.bordered(maps)[_of(self._seen)], self._block.weight, bias)

    def back(self, gradient: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the (n, c, x, y, z) gradient with respect to the maps, from that with respect to the outputs.

        Args:
            weights: (n,); given, the sum of the gradients times these, (1, c, x, y, z).
        """
        (behind,) = torch.autograd.grad(self._inside, self._convolved, gradient[_of(self._window)])
        if weights is not None:
            behind = torch.tensordot(weights, behind, dims=1)[None].contiguous(memory_format=_layout(behind))
        weight = self._block.weight
        mirrored = weight.flip(2, 3, 4).transpose(0, 1).contiguous(memory_format=_layout(weight))
        found = _convolved(behind, mirrored, None, [k - 1 for k in weight.shape[2:]])
        border = self._block.border
        if not any(border) and found.shape[2:] == self._shape[2:]:
            return found
        # The windows of the pool, and the border, do not end where the maps do.
        whole = found.new_zeros(*found.shape[:2], *(n + 2 * m for n, m in zip(self._shape[2:], border, strict=True)))
        whole[_of(self._seen)] = found
        return whole[_of(tuple(slice(m, m + n) for m, n in zip(border, self._shape[2:], strict=True)))]


def _layout(maps: Tensor) -> torch.memory_format:
    """Return how channels lie where convolutions are quickest: on the CPU last."""
    return torch.contiguous_format if maps.is_cuda else torch.channels_last_3d


def _convolved(maps: Tensor, weight: Tensor, bias: Tensor | None, padding: Sequence[int] = (0, 0, 0)) -> Tensor:
    """Return conv3d; on the CPU by oneDNN for single scans, too, which torch leaves aside for some and then is slow."""
    if maps.is_cuda:
        if not any(padding) and takes_first(maps, weight):
            return first_block(maps, weight, bias)
    elif torch.backends.mkldnn.is_available() and maps.dtype == torch.float32:
        return torch.mkldnn_convolution(maps, weight, bias, padding, (1, 1, 1), (1, 1, 1), 1)
    return functional.conv3d(maps, weight, bias, padding=tuple(padding))


def _box(low: Sequence[int] | np.ndarray, high: Sequence[int] | np.ndarray) -> Box:
    return tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def _of(box: Box) -> tuple[EllipsisType | slice, ...]:
    return (..., *box)
