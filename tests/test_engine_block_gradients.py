"""Gradients through blocks on the CPU, against autograd through the network as it is."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from engine.networks.architectures import build_network
from engine.relevance import BatchSize, Brain, GuidedBackprop, Sensitivity, gradients
from engine.relevance.base import bounding_box
from engine.relevance.block_gradients import Way
from engine.relevance.gradients import input_gradient, summed_gradients
from engine.relevance.hooks import guided_relus

SHAPE, SEED = (23, 26, 21), 7


class Plain(nn.Module):
    """Blocks with pools of several sizes, some with a border, and falling batch norms."""

    def __init__(self, padding: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(1, 4, 3, padding=padding), nn.BatchNorm3d(4), nn.ReLU(), nn.MaxPool3d(2),
            nn.Conv3d(4, 6, 3, padding=padding), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d(3),
            nn.Conv3d(6, 5, 1), nn.ReLU(),
        )  # fmt: skip
        self.classifier = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(volumes))


def network_of(padding: int) -> nn.Module:
    torch.manual_seed(SEED)
    network = Plain(padding)
    with torch.no_grad():
        network(torch.randn(4, 1, *SHAPE))
        for norm in (one for one in network.modules() if isinstance(one, nn.BatchNorm3d)):
            norm.weight.copy_(torch.linspace(-1.5, 1, len(norm.weight)))
            norm.bias.uniform_(0.5, 1.5)
    return network.eval()


def brain_of(shape: tuple[int, ...]) -> Brain:
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[5:-7, 8:-4, 3:-6] = True
    mask[5, 8, 3] = False
    return Brain(mask, mask.to(torch.int16), 1, 4)


def scans(brain: Brain) -> torch.Tensor:
    return torch.randn(2, 1, *brain.mask.shape, generator=torch.Generator().manual_seed(1)) * brain.mask


def by_autograd(network: nn.Module, volumes: torch.Tensor, target: int) -> torch.Tensor:
    leaf = volumes.clone().requires_grad_()
    logits = network(leaf)
    (found,) = torch.autograd.grad((logits[:, target] - logits[:, 1 - target]).sum(), leaf)
    assert found.abs().max() > 0  # no unit that matters is dead
    return found[:, 0]


@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("target", [0, 1])
def test_the_gradient_is_that_of_autograd(padding, target):
    network, brain = network_of(padding), brain_of(SHAPE)
    volumes = scans(brain)
    wanted = by_autograd(network, volumes, target)
    limits = {"rtol": 1e-4, "atol": 1e-5 * float(wanted.abs().max())}
    whole = input_gradient(network, volumes, target)
    torch.testing.assert_close(whole[:, brain.mask], wanted[:, brain.mask], **limits)
    box = bounding_box(brain.mask)
    boxed = input_gradient(network, volumes, target, box)
    torch.testing.assert_close(boxed[:, brain.mask], wanted[:, brain.mask], **limits)
    # All else is left out, or right.
    outside = boxed != 0
    outside[(slice(None), *box)] = False
    assert outside.sum() < wanted.numel() / 2


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_of_the_real_network_in_the_brain(seed):
    network = build_network(4, seed=seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        network(torch.randn(4, 1, 49, 58, 49))
    brain = brain_of((49, 58, 49))
    found = Sensitivity(brain, BatchSize(2)).attribute(network.eval(), scans(brain), 1).margin[:, brain.mask]
    wanted = by_autograd(network.double(), scans(brain).double(), 1)[:, brain.mask]
    off = (found - wanted).abs() / wanted.abs().max()
    # Two places of a pooling window may be equal up to rounding: then either passes the gradient on, to a few hundred
    # voxels of a hundred thousand.
    assert (off > 1e-6).float().mean() < 0.01
    assert off.median() < 1e-7


@pytest.mark.parametrize("padding", [0, 1])
def test_guided_backprop_is_that_of_hooks_on_every_relu(padding):
    network, brain = network_of(padding), brain_of(SHAPE)
    volumes = scans(brain)
    found = GuidedBackprop(brain, BatchSize(2)).attribute(network, volumes, 1).margin
    with guided_relus(network):
        wanted = by_autograd(network, volumes, 1)
    limits = {"rtol": 1e-4, "atol": 1e-5 * float(wanted.abs().max())}
    torch.testing.assert_close(found[:, brain.mask], wanted[:, brain.mask], **limits)
    assert not torch.allclose(wanted, by_autograd(network, volumes, 1))


def test_scans_with_something_outside_the_brain_are_computed_whole():
    network, brain = network_of(0), brain_of(SHAPE)
    volumes = scans(brain)
    volumes[0, 0, 1, 1, 1] = 3.0
    wanted = by_autograd(network, volumes, 1)
    found = input_gradient(network, volumes, 1, bounding_box(brain.mask))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_relevance_outside_the_mask_is_right_where_it_is_asked_for():
    network, mask = network_of(1), torch.zeros(SHAPE, dtype=torch.bool)
    mask[11:14, 12:15, 10:12] = True
    brain = Brain(mask, mask.to(torch.int16), 1, 4)
    volumes = scans(brain)
    wanted = by_autograd(network, volumes, 1)
    limit = 1e-5 * float(wanted.abs().max())
    found, kept = (
        Sensitivity(dataclasses.replace(brain, whole=whole), BatchSize(1)).attribute(network, volumes, 1).margin
        for whole in (True, False)
    )
    # Where windows hold equal values, either passes the gradient on; most places outside have none.
    assert ((found - wanted).abs() > limit).float().mean() < 0.02
    far = (wanted.abs() > limit) & ~brain.mask
    assert far.sum() > 100
    assert ((found - wanted).abs()[far] <= limit).float().mean() > 0.8
    assert (kept != found).any()  # the switch does something


def test_the_box_of_a_mask():
    mask = torch.zeros(4, 5, 6, dtype=torch.bool)
    assert bounding_box(mask) == (slice(0, 4), slice(0, 5), slice(0, 6))
    mask[1, 2, 3] = mask[2, 2, 5] = True
    assert bounding_box(mask) == (slice(1, 3), slice(2, 3), slice(3, 6))


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("kind", ["blocks", "whole brain", "another network"])
@pytest.mark.parametrize("on_way", [False, True])
def test_sums_of_gradients_are_those_of_gradients_one_by_one(padding, kind, on_way):
    """In batches of three and one; volumes on a straight way, too."""
    network, brain = network_of(padding), brain_of(SHAPE)
    if kind == "whole brain":
        brain = dataclasses.replace(brain, whole=True)
    if kind == "another network":
        network.features.insert(2, nn.Identity())
    first, second = scans(brain)
    places, weights = torch.tensor([0.1, 0.5, 1.2, 0.8]), torch.tensor([2.0, -0.5, 1.0, 0.7])
    way = Way(first[None], (second - first)[None], places)
    found = summed_gradients(network, way if on_way else way.volumes, weights, 1, BatchSize(3), brain)
    wanted = torch.tensordot(weights, by_autograd(network, way.volumes, 1), dims=1)
    inside = brain.mask if kind == "blocks" else torch.ones_like(brain.mask)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found[inside], wanted[inside], rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_sums_of_gradients_go_on_in_smaller_batches_when_memory_runs_out(monkeypatch):
    network, brain = network_of(0), brain_of(SHAPE)
    volumes, weights = scans(brain), torch.tensor([1.0, 2.0])
    wanted = summed_gradients(network, volumes, weights, 1, BatchSize(1), brain)
    right, said = gradients.gradient_through_blocks, []

    def tight(blocks, some, *others, **options):
        if len(some) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return right(blocks, some, *others, **options)

    monkeypatch.setattr(gradients, "gradient_through_blocks", tight)
    found = summed_gradients(network, volumes, weights, 1, BatchSize(2, said.append), brain)
    torch.testing.assert_close(found, wanted)
    assert len(said) == 1
