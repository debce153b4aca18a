"""The networks whose occlusions can be incremental: sequences of convolution, batch norm, ReLU and max-pool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.networks.fused_step import bordered
from engine.networks.kernels import by_kernels, first_block, takes_first


@dataclass(frozen=True)
class Block:
    """Convolution with batch norm folded in, ReLU, max-pool.

    A padded convolution is a valid one of a padded map: all places of a block's input count its border.

    Attributes:
        border: (3,) zeros on either side of the input along each axis.
    """

    weight: Tensor
    bias: Tensor
    pool: int
    border: tuple[int, int, int] = (0, 0, 0)

    def __call__(self, activations: Tensor) -> Tensor:
        """Return the (n, c', x', y', z') outputs of maps (n, c, x, y, z) with their border."""
        if takes_first(activations, self.weight):
            return first_block(activations, self.weight, self.bias, self.pool, relu=True)
        # The largest of a window is the same before and after the ReLU; after pooling there is less to do.
        return largest(functional.conv3d(activations, self.weight, self.bias), self.pool).relu_()

    def bordered(self, activations: Tensor) -> Tensor:
        """Add the border that the convolution needs to maps (n, c, x, y, z)."""
        return bordered(activations, self.border)

    @property
    def reach(self) -> np.ndarray:
        """Return how many inputs beyond its own place an output of the convolution needs, (3,)."""
        return np.array(self.weight.shape[2:]) - 1

    def reached(self, low: np.ndarray, high: np.ndarray, shape: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ((n, 3), (n, 3)) outputs [first, last) that change with inputs in [low, high); at least one.

        Args:
            shape: of the block's output, without a border.
        """
        last = np.clip(-(-high // self.pool), 1, shape)
        return np.minimum(np.maximum(low - self.reach, 0) // self.pool, last - 1), last

    def fed(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the ((n, 3), (n, 3)) outputs [first, last) that see only inputs in [low, high), perhaps none."""
        return -(-low // self.pool), (high - self.reach) // self.pool

    def of_constant(self, value: float) -> Tensor:
        """Return every output, (c',), of a volume that is `value` everywhere."""
        return (self.bias + value * self.weight.sum(dim=(1, 2, 3, 4))).relu()


def logits_through_blocks(network: nn.Module, volumes: Tensor) -> Tensor:
    """Return network(volumes), (n, classes), in eval mode; by folded blocks where a GPU has kernels for them.

    Args:
        volumes: (n, 1, x, y, z).
    """
    blocks = sequential_blocks(network) if by_kernels(volumes) else None
    if not blocks:
        return network(volumes)
    maps = volumes
    for block in blocks:
        maps = block(block.bordered(maps))
    return network.get_submodule("classifier")(maps)


def largest(maps: Tensor, pool: int) -> Tensor:
    """Return max_pool3d without indices: on the CPU, slices compared axis by axis are several times as fast."""
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


def sequential_blocks(model: nn.Module) -> list[Block] | None:
    """Return the convolution blocks of a network `features` + `classifier`; None if it is built in another way."""
    features, head = getattr(model, "features", None), getattr(model, "classifier", None)
    if not isinstance(features, nn.Sequential) or not isinstance(head, nn.Module):
        return None
    blocks: list[Block] = []
    layers = list(features)
    while layers:
        taken = _take_block(layers)
        if taken is None:
            return None
        blocks.append(taken)
    return blocks


def _take_block(layers: list[Any]) -> Block | None:
    """Remove conv, perhaps batch norm, ReLU and perhaps a pool from the front of the list."""
    convolution = layers.pop(0)
    if not _is_plain_convolution(convolution):
        return None
    weight = convolution.weight.detach()
    bias = convolution.bias.detach() if convolution.bias is not None else weight.new_zeros(len(weight))
    if layers and isinstance(layers[0], nn.BatchNorm3d):
        norm = layers.pop(0)
        if norm.running_var is None:
            return None
        factor, shift = scale_and_shift(norm)
        weight, bias = weight * factor[:, None, None, None, None], bias * factor + shift
    if not (layers and isinstance(layers.pop(0), nn.ReLU)):
        return None
    pool = 1
    if layers and isinstance(layers[0], nn.MaxPool3d):
        pool = _pool_size(layers.pop(0))
    # On the CPU, channels last is quicker for every block.
    layout = torch.contiguous_format if weight.is_cuda else torch.channels_last_3d
    weight = weight.contiguous(memory_format=layout)
    return Block(weight, bias, pool, border_of(convolution)) if pool else None


def scale_and_shift(norm: nn.BatchNorm3d | nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Return ((c,), (c,)) what batch norm with known statistics multiplies each channel by, and then adds."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = (norm.running_var + norm.eps).rsqrt()
    shift = -norm.running_mean * factor
    if not norm.affine:
        return factor, shift
    return factor * norm.weight.detach(), shift * norm.weight.detach() + norm.bias.detach()


def _is_plain_convolution(layer: nn.Module) -> bool:
    return (
        isinstance(layer, nn.Conv3d)
        and set(layer.stride) == {1}
        and (layer.padding_mode == "zeros" or layer.padding == (0, 0, 0))
        and (layer.padding != "same" or all(k % 2 for k in layer.kernel_size))
        and set(layer.dilation) == {1}
        and layer.groups == 1
    )


def border_of(layer: nn.Conv3d) -> tuple[int, int, int]:
    """Return the zeros that a convolution without dilation adds on either side; "same" means an odd kernel."""
    if isinstance(layer.padding, str):
        x, y, z = (k // 2 if layer.padding == "same" else 0 for k in layer.kernel_size)
    else:
        x, y, z = layer.padding
    return x, y, z


def _pool_size(layer: nn.MaxPool3d) -> int:
    """Return the size of a pool whose windows do not overlap; 0 for any other."""
    sizes = {*_three(layer.kernel_size), *_three(layer.stride)}
    plain = not layer.ceil_mode and set(_three(layer.padding)) == {0} and set(_three(layer.dilation)) == {1}
    return sizes.pop() if plain and len(sizes) == 1 else 0


def _three(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,) * 3
