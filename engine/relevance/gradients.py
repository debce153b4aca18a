"""Gradients of the margin with respect to the voxels of a scan."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engine.networks.architectures import footprint
from engine.networks.blocks import sequential_blocks
from engine.networks.cnn3d import margins
from engine.networks.device import volumes_that_fit
from engine.relevance.base import Box, Brain
from engine.relevance.batching import BatchSize
from engine.relevance.block_gradients import gradient_through_blocks


def input_gradients(
    model: nn.Module, volumes: Tensor, explained_class: int, batch: BatchSize, brain: Brain, guided: bool = False
) -> Tensor:
    """Return the (n, x, y, z) gradient of the margin for each volume, in batches that fit.

    Args:
        brain: outside of its mask gradients are 0 or right; right everywhere where brain.whole says so.
        guided: inside guided_relus.
    """
    voxels = math.prod(volumes.shape[1:]) * footprint(model)
    fits = volumes_that_fit(voxels, volumes.device, batch.at_most, backward=True) if len(volumes) else 1
    box = None if brain.whole else brain.box
    return batch.run(len(volumes), lambda a, b: input_gradient(model, volumes[a:b], explained_class, box, guided), fits)


def input_gradient(
    model: nn.Module, volumes: Tensor, explained_class: int, box: Box | None = None, guided: bool = False
) -> Tensor:
    """Return the (n, x, y, z) gradient of the margin of a class with respect to each volume.

    Backward rules that were put into the network (hooks.py) apply.

    Args:
        box: of the voxels whose gradient is asked for; that of others may be 0.
        guided: inside guided_relus. Convolutions are computed without their modules, hooks and all.
    """
    blocks = sequential_blocks(model)
    if not blocks:
        return _gradient(model, volumes, explained_class)[:, 0]
    classifier = model.get_submodule("classifier")
    return gradient_through_blocks(
        blocks, volumes, lambda maps: _gradient(classifier, maps, explained_class), box, guided
    )[:, 0]


def _gradient(model: nn.Module, inputs: Tensor, explained_class: int) -> Tensor:
    leaf = inputs.detach().clone().requires_grad_()
    with torch.enable_grad():
        evidence = margins(model(leaf))[:, explained_class].sum()
        (gradient,) = torch.autograd.grad(evidence, leaf)
    return gradient
