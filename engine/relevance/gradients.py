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
from engine.relevance.block_gradients import Way, gradient_through_blocks


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


def summed_gradients(
    model: nn.Module, volumes: Tensor | Way, weights: Tensor, explained_class: int, batch: BatchSize, brain: Brain
) -> Tensor:
    """Return the (x, y, z) sum of the gradients of the margin for volumes times their weights, in batches that fit.

    It costs less than the gradients one by one; the more where the volumes lie on a straight way.

    Args:
        volumes: (n, 1, x, y, z).
        weights: (n,).
        brain: as of `input_gradients`.
    """
    voxels = math.prod(volumes.shape[1:]) * footprint(model)
    fits = volumes_that_fit(voxels, weights.device, batch.at_most, backward=True)
    box, blocks = None if brain.whole else brain.box, sequential_blocks(model)

    def part(start: int, stop: int) -> Tensor:
        some, by = volumes[start:stop], weights[start:stop]
        # Both ends of a way are convolved in every batch: that is more work than for one or two volumes themselves.
        if isinstance(some, Way) and (not blocks or len(some) <= 2):
            some = some.volumes
        if not blocks:
            assert isinstance(some, Tensor)
            each = _gradient(model, some, explained_class)
            return torch.tensordot(by, each, dims=1)[0]
        classifier = model.get_submodule("classifier")
        found = gradient_through_blocks(
            blocks, some, lambda maps: _gradient(classifier, maps, explained_class), box, weights=by
        )
        return found[0, 0]

    return batch.total(len(volumes), part, fits)


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
