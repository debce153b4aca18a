"""Gradients of the margin with respect to the voxels of a scan."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engine.networks.architectures import footprint
from engine.networks.blocks import sequential_blocks
from engine.networks.cnn3d import margins
from engine.networks.device import volumes_that_fit
from engine.relevance.batching import BatchSize


def input_gradients(model: nn.Module, volumes: Tensor, explained_class: int, batch: BatchSize) -> Tensor:
    """Return the (n, x, y, z) gradient of the margin for each volume, in batches that fit."""
    voxels = math.prod(volumes.shape[1:]) * footprint(model)
    fits = volumes_that_fit(voxels, volumes.device, batch.at_most, backward=True) if len(volumes) else 1
    return batch.run(len(volumes), lambda a, b: input_gradient(model, volumes[a:b], explained_class), fits)


def input_gradient(model: nn.Module, volumes: Tensor, explained_class: int) -> Tensor:
    """Return the (n, x, y, z) gradient of the margin of a class with respect to each volume.

    Backward rules that were put into the network (hooks.py) apply.
    """
    if volumes.is_cuda or sequential_blocks(model) is None:
        return _gradient(model, volumes, explained_class)[:, 0]
    # The backward pass of a convolution of one channel is a convolution with mirrored weights, and on the CPU several
    # times as slow as that.
    features, classifier = model.get_submodule("features"), model.get_submodule("classifier")
    assert isinstance(features, nn.Sequential)
    first, *others = features
    assert isinstance(first, nn.Conv3d)
    with torch.no_grad():
        maps = first(volumes).contiguous(memory_format=torch.channels_last_3d)
    behind = _gradient(nn.Sequential(*others, classifier), maps, explained_class)
    mirrored = first.weight.detach().flip(2, 3, 4).transpose(0, 1)
    found = nn.functional.conv3d(behind, mirrored, padding=[k - 1 for k in first.kernel_size])
    border = [(a - b) // 2 for a, b in zip(found.shape[2:], volumes.shape[2:], strict=True)]  # of a padded convolution
    x, y, z = (slice(m, m + n) for m, n in zip(border, volumes.shape[2:], strict=True))
    return found[:, 0, x, y, z]


def _gradient(model: nn.Module, inputs: Tensor, explained_class: int) -> Tensor:
    leaf = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        evidence = margins(model(leaf))[:, explained_class].sum()
        (gradient,) = torch.autograd.grad(evidence, leaf)
    return gradient
