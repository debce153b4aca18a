"""Gradients through the convolutions of a network, with less to compute than autograd has.

Exact to rounding (where two places of a pooling window are equal up to it, either may pass the gradient on):
- Batch norm is folded into the convolutions (engine/networks/blocks.py); its backward pass costs as much as they do.
- The largest of a window is the same before and after the ReLU, which therefore comes last, where there is less to do.
- The backward pass of a convolution is one with mirrored weights; of a single channel, autograd takes several times as
  long for it.
- Scans are 0 outside the brain. What sees nothing of it in the first block is one value a channel, and is not computed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import EllipsisType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.networks.blocks import Block
from engine.networks.kernels import first_block, takes_first
from engine.relevance.base import Box


def gradient_through_blocks(
    blocks: Sequence[Block],
    volumes: Tensor,
    behind: Callable[[Tensor], Tensor],
    box: Box | None = None,
    guided: bool = False,
) -> Tensor:
    """Return the (n, 1, x, y, z) gradient of what stands behind some blocks with respect to volumes.

    Args:
        volumes: (n, 1, x, y, z).
        behind: the last maps (n, c, a, b, c) -> the gradient with respect to them.
        box: of the voxels whose gradient is asked for; that of others is then 0. None: all are.
        guided: every ReLU passes back positive gradients only.
    """
    if box is not None and torch.count_nonzero(volumes) != torch.count_nonzero(volumes[_of(box)]):
        box = None
    passed, maps = [], volumes
    for number, block in enumerate(blocks):
        passed.append(_Passed(block, maps, box if number == 0 else None))
        maps = passed[-1].outputs
    gradient = behind(maps)
    for one in reversed(passed):
        gradient = one.back(gradient.clamp(min=0) if guided else gradient)
    return gradient


class _Passed:
    """A block that maps have gone through, kept for the way back.

    Args:
        maps: (n, c, x, y, z) without a border.
        box: outside of it they are 0; None: nothing is known.

    Attributes:
        outputs: (n, c', x', y', z').
    """

    def __init__(self, block: Block, maps: Tensor, box: Box | None) -> None:
        self._block, self._shape = block, maps.shape
        bordered, pool = block.bordered(maps), block.pool
        shape = (np.array(bordered.shape[2:]) - block.reach) // pool
        low, high = np.zeros(3, int), shape
        if box is not None:
            first, last = (np.array([[getattr(one, end) for one in box]]) + block.border for end in ("start", "stop"))
            (low,), (high,) = block.reached(first, last, shape)
        self._window = _box(low, high)
        self._seen = _box(low * pool, high * pool + block.reach)
        with torch.no_grad():
            found = _convolved(bordered[_of(self._seen)], block.weight, block.bias)
        self._convolved = found.requires_grad_()
        with torch.enable_grad():
            pooled = functional.max_pool3d(self._convolved, pool) if pool > 1 else self._convolved
            self._inside = pooled.relu()
        self.outputs = self._inside.detach()
        if tuple(self.outputs.shape[2:]) != tuple(shape):
            whole = block.bias.relu()[:, None, None, None].expand(len(maps), -1, *shape)
            self.outputs = whole.contiguous(memory_format=_layout(whole))
            self.outputs[_of(self._window)] = self._inside.detach()

    def back(self, gradient: Tensor) -> Tensor:
        """Return the (n, c, x, y, z) gradient with respect to the maps, from that with respect to the outputs."""
        (behind,) = torch.autograd.grad(self._inside, self._convolved, gradient[_of(self._window)])
        weight = self._block.weight
        mirrored = weight.flip(2, 3, 4).transpose(0, 1).contiguous(memory_format=_layout(weight))
        found = _convolved(behind, mirrored, None, [k - 1 for k in weight.shape[2:]])
        border = self._block.border
        if not any(border) and found.shape == self._shape:
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
