"""Training steps of the network with less to compute and to move: convolution, batch norm, ReLU and max-pool at once.

Exact to rounding, with the modules' own parameters and running statistics:
- The batch norm of a channel is a rising line (a falling one becomes rising by the sign of the convolution's weights),
  so pooling comes first, and norm and ReLU touch the pooled maps alone.
- The gradient behind the norm is the pooled one, put back into place, plus a line in the convolution's output.
- The bias of a convolution before a batch norm has no effect, and its gradient is exactly 0.
- Scans are 0 outside the brain mask, so in the first block only what the mask's bounding box reaches is computed; all
  else is one value a channel, and is counted as such in the statistics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.networks.kernels import first_block, takes_first, weight_gradient

Window = tuple[slice, ...]
Settings = tuple[int, Window | None, bool]  # pool, the part that is computed, whether by bfloat16


def fused_logits(network: nn.Module, volumes: Tensor, box: Sequence[slice] | None = None, half: bool = False) -> Tensor:
    """Return what network(volumes) does, (n, classes) logits, of a network that `fuses`; running statistics too.

    Args:
        volumes: (n, 1, x, y, z).
        box: outside it every volume is 0; None: nothing is known.
        half: convolutions take bfloat16; all else, sums and statistics among them, stays as it is.
    """
    features, maps = network.get_submodule("features"), volumes
    assert isinstance(features, nn.Sequential)
    for number, (convolution, norm, pool) in enumerate(_blocks(features)):
        border = convolution.padding
        assert not isinstance(border, str)
        maps = bordered(maps, border)
        window = None
        if number == 0 and box is not None:
            inside = [slice(one.start + n, one.stop + n) for one, n in zip(box, border, strict=True)]
            window = _reached(maps.shape[2:], convolution, pool, inside)
        maps = _block(maps, convolution, norm, (pool, window, half))
    return network.get_submodule("classifier")(maps)


def bordered(maps: Tensor, border: Sequence[int]) -> Tensor:
    """Add zeros on either side of (n, c, x, y, z) along each axis; a padded convolution is a valid one of these."""
    return functional.pad(maps, [n for n in reversed(border) for _ in range(2)]) if any(border) else maps


def fuses(network: nn.Module) -> bool:
    """Return whether the features are convolutions with batch norm, ReLU, perhaps a max-pool, and nothing else."""
    layers = [layer for layer in getattr(network, "features", ()) if not isinstance(layer, nn.MaxPool3d)]
    kinds = (nn.Conv3d, nn.BatchNorm3d, nn.ReLU)
    return (
        len(layers) >= len(kinds)
        and len(layers) % len(kinds) == 0
        and all(isinstance(layer, kinds[number % len(kinds)]) for number, layer in enumerate(layers))
        and all(set(layer.stride) == {1} for layer in layers[:: len(kinds)])
    )


def _blocks(features: nn.Sequential) -> Iterator[tuple[nn.Conv3d, nn.BatchNorm3d, int]]:
    """Return (convolution, batch norm, pool) of every block."""
    layers: list[Any] = list(features)
    while layers:
        convolution, norm, _ = layers.pop(0), layers.pop(0), layers.pop(0)
        pool = layers.pop(0).kernel_size if layers and isinstance(layers[0], nn.MaxPool3d) else 1
        yield convolution, norm, pool


def _reached(shape: Sequence[int], convolution: nn.Conv3d, pool: int, box: Sequence[slice]) -> Window:
    """Return the outputs of a valid convolution that see the box, in whole pooling windows."""
    reached = []
    for n, kernel, inside in zip(shape, convolution.kernel_size, box, strict=True):
        outputs = n - kernel + 1
        start = min(max(0, inside.start - kernel + 1), outputs - pool) // pool * pool
        reached.append(slice(start, min(outputs, -(-inside.stop // pool) * pool)))
    return tuple(reached)


def _block(maps: Tensor, convolution: nn.Conv3d, norm: nn.BatchNorm3d, settings: Settings) -> Tensor:
    outputs, mean, variance, count = _Block.apply(
        maps, convolution.weight, norm.weight, norm.bias, (norm.eps, *settings)
    )
    with torch.no_grad():
        shift = 0 if convolution.bias is None else convolution.bias
        assert norm.running_mean is not None
        assert norm.running_var is not None
        assert norm.num_batches_tracked is not None
        assert norm.momentum is not None
        norm.running_mean.lerp_(mean + shift, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked += 1
    return outputs


class _Block(torch.autograd.Function):
    """(outputs, mean and variance of the convolution's outputs without bias, how many they are a channel)."""

    @staticmethod
    def forward(ctx, maps, weight, gain, offset, settings):
        eps, pool, window, half = settings
        shape = [n - k + 1 for n, k in zip(maps.shape[2:], weight.shape[2:], strict=True)]
        window = window or tuple(slice(0, n) for n in shape)
        inputs = maps[(..., *(slice(w.start, w.stop + k - 1) for w, k in zip(window, weight.shape[2:], strict=True)))]
        sign = torch.where(gain < 0, -1.0, 1.0).to(gain)
        signed = weight * _along(sign, 0)
        kind = torch.bfloat16 if half else maps.dtype
        if takes_first(maps, weight):
            found, inputs = first_block(inputs, signed), inputs.to(kind)
        else:
            inputs = inputs.to(kind)
            found = functional.conv3d(inputs, signed.to(kind)).to(maps.dtype)
        count, channels = len(maps) * math.prod(shape), len(weight)
        rows = found.movedim(1, -1).reshape(-1, channels)  # a view where channels lie last
        mean = rows.sum(0) / count
        rows -= mean
        variance = ((rows * rows).sum(0) + (count - len(rows)) * mean * mean) / count
        centred = rows.view(len(maps), *found.shape[2:], channels).movedim(-1, 1)
        scale = gain.abs() * (variance + eps).rsqrt()
        largest, index = functional.max_pool3d(centred, pool, return_indices=True) if pool > 1 else (centred, None)
        pooled = tuple(
            slice(w.start // pool, w.start // pool + n) for w, n in zip(window, largest.shape[2:], strict=True)
        )
        outputs = maps.new_empty((len(maps), channels, *(n // pool for n in shape)))
        outputs = outputs.contiguous(memory_format=torch.channels_last_3d)
        outputs[:] = _along(torch.addcmul(offset, mean, scale, value=-1))
        outputs[(..., *pooled)] = torch.addcmul(_along(offset), largest, _along(scale))
        outputs.relu_()
        ctx.save_for_backward(inputs, signed, sign, scale, centred, largest, index, outputs, mean, variance)
        ctx.settings = eps, pool, pooled, count
        ctx.mark_non_differentiable(mean, variance)
        return outputs, mean * sign, variance, count

    @staticmethod
    def backward(ctx, gradient, *_):
        inputs, signed, sign, scale, centred, largest, index, outputs, mean, variance = ctx.saved_tensors
        eps, pool, pooled, count = ctx.settings
        gradient = gradient * (outputs > 0)
        spread = (variance + eps).rsqrt()
        of_offset = gradient.sum((0, 2, 3, 4))
        inside = gradient[(..., *pooled)]
        elsewhere = of_offset - inside.sum((0, 2, 3, 4))  # where all is 0, and so the mean below the mean
        of_gain = ((inside * largest).sum((0, 2, 3, 4)) - elsewhere * mean) * spread
        behind = torch.addcmul(_along(-scale * of_offset / count), centred, _along(-scale * spread * of_gain / count))
        arriving = inside * _along(scale)
        if index is not None:
            three = [pool] * 3
            arriving = torch.ops.aten.max_pool3d_with_indices_backward(
                arriving, centred, three, three, [0] * 3, [1] * 3, False, index
            )
        behind += arriving
        of_maps, of_weight = _convolution_gradients(inputs, behind.to(inputs.dtype), signed, ctx.needs_input_grad[0])
        if of_maps is not None:
            of_maps = of_maps.to(gradient.dtype)
        return of_maps, of_weight * _along(sign, 0), of_gain * sign, of_offset, None


def _convolution_gradients(
    inputs: Tensor, behind: Tensor, weight: Tensor, of_inputs: bool
) -> tuple[Tensor | None, Tensor]:
    """Return the gradients of the inputs of a valid convolution, where asked for, and of its weights."""
    if not behind.is_cuda:
        of_maps, of_weight, _ = torch.ops.aten.convolution_backward(
            behind, inputs, weight.to(inputs.dtype), None, [1] * 3, [0] * 3, [1] * 3, False, [0] * 3, 1,
            [of_inputs, True, False],
        )  # fmt: skip
        return of_maps, of_weight.to(weight.dtype)
    of_maps = None
    if of_inputs:  # cuDNN is quicker forwards than backwards
        mirrored = weight.flip(2, 3, 4).transpose(0, 1).to(behind.dtype)
        of_maps = functional.conv3d(behind, mirrored, padding=[k - 1 for k in weight.shape[2:]])
    return of_maps, weight_gradient(inputs, behind, weight)


def _along(values: Tensor, axis: int = 1) -> Tensor:
    """Reshape (c,) so that it goes along one axis of five."""
    shape = [1] * 5
    shape[axis] = -1
    return values.reshape(shape)
