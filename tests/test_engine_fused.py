"""Fused training steps are the modules' own: logits, every gradient, running statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import pools_and_least
from torch import nn
from torch.nn import functional

from engine.networks.cnn3d import CNN3D
from engine.networks.device import make_deterministic
from engine.networks.fused_step import fused_logits


@st.composite
def cases(draw):
    pools, least = pools_and_least(draw)
    shape = tuple(draw(st.integers(least + 1, least + 7)) for _ in range(3))
    box = []
    for n in shape:
        start = draw(st.integers(0, n - 2))
        box.append(slice(start, draw(st.integers(start + 1, n))))
    return pools, shape, box if draw(st.booleans()) else None, draw(st.integers(0, 2**16))


def _pair(shape, pools, seed, padded=False) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(seed)
    network = CNN3D(shape, pools, 0.0, 2, (3, 4, 5)[: len(pools)])
    if padded:
        for module in network.features:
            if isinstance(module, nn.Conv3d):
                module.padding = (1, 1, 1)
        features = network.features(torch.zeros(2, 1, *shape))[0].numel()
        network.classifier[2] = nn.Linear(features, network.classifier[2].out_features)
    network = network.double().train()
    with torch.no_grad():
        for module in network.features:
            if isinstance(module, nn.BatchNorm3d):
                module.weight.normal_()  # falling lines too
                module.bias.normal_()
    return network, copy.deepcopy(network)


@settings(max_examples=40, deadline=None)
@given(cases(), st.booleans(), st.booleans())
def test_a_step_is_that_of_the_modules(case, channels_last, padded):
    pools, shape, box, seed = case
    plain, fused = _pair(shape, pools, seed, padded)
    volumes = torch.zeros(3, 1, *shape, dtype=torch.float64)
    inside = (..., *(box or [slice(None)] * 3))
    volumes[inside] = torch.randn(volumes[inside].shape, dtype=torch.float64)
    if channels_last:
        fused = fused.to(memory_format=torch.channels_last_3d)
    labels = torch.tensor([0, 1, 1])
    logits = plain(volumes), fused_logits(fused, volumes, box)
    torch.testing.assert_close(*logits, rtol=1e-8, atol=1e-8)
    for out in logits:
        functional.cross_entropy(out, labels).backward()
    for (name, wanted), found in zip(plain.named_parameters(), fused.parameters(), strict=True):
        if name.startswith("features") and name.endswith("bias") and found.grad is None:
            assert wanted.grad.abs().max() < 1e-10, f"{name}: a bias before a batch norm has no effect"
        else:
            torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-6, atol=1e-8)
    for wanted, found in zip(plain.buffers(), fused.buffers(), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_step_is_that_of_the_modules_on_a_gpu():
    plain, fused = (network.cuda() for network in _pair((21, 22, 20), (2, 3), 0))
    volumes = torch.randn(3, 1, 21, 22, 20, dtype=torch.float64, device="cuda")
    torch.testing.assert_close(plain(volumes), fused_logits(fused, volumes), rtol=1e-8, atol=1e-8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(("half", "least"), [(False, 0.999), (True, 0.9)])
def test_a_step_by_our_kernels_is_that_of_the_modules(half, least):
    """Of bfloat16, which may take another place of a pooling window, gradients point the same way."""
    make_deterministic(torch.device("cuda"))
    plain, fused = (network.float() for network in _pair((21, 22, 20), (2, 3), 0))
    volumes, labels = torch.randn(3, 1, 21, 22, 20), torch.tensor([0, 1, 1])
    functional.cross_entropy(plain(volumes), labels).backward()
    fused = fused.cuda().to(memory_format=torch.channels_last_3d)
    logits = fused_logits(fused, volumes.cuda(), None, half)
    functional.cross_entropy(logits, labels.cuda()).backward()
    for (name, wanted), found in zip(plain.named_parameters(), fused.parameters(), strict=True):
        if found.grad is not None:
            alike = functional.cosine_similarity(found.grad.cpu().flatten(), wanted.grad.flatten(), 0)
            assert float(alike) > least, name


@pytest.mark.parametrize("padded", [False, True])
def test_a_step_by_bfloat16_is_near_that_of_the_modules(padded):
    plain, fused = (network.float() for network in _pair((12, 13, 11), (2,), 0, padded))
    volumes, labels = torch.randn(3, 1, 12, 13, 11), torch.tensor([0, 1, 1])
    functional.cross_entropy(plain(volumes), labels).backward()
    functional.cross_entropy(fused_logits(fused, volumes, None, True), labels).backward()
    for (name, wanted), found in zip(plain.named_parameters(), fused.parameters(), strict=True):
        if found.grad is not None:
            assert found.grad.dtype == torch.float32
            apart = float((found.grad - wanted.grad).norm() / wanted.grad.norm())
            assert apart < 0.1, name
    assert apart > 0, "nothing was rounded"
