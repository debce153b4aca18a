"""Kernels of our own compute what torch does: on a GPU, or step by step on the CPU where Triton is installed."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch
from torch.nn import functional

from engine.networks import blocks, card_check, kernels
from engine.networks.blocks import logits_through_blocks
from engine.networks.cnn3d import CNN3D
from engine.networks.device import make_deterministic
from engine.relevance import AreaOcclusion, BatchSize, Brain, GuidedBackprop, Occlusion, Sensitivity

GPU = torch.cuda.is_available()
STEP_BY_STEP = os.environ.get("TRITON_INTERPRET") == "1" and importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(
    not (GPU or STEP_BY_STEP), reason="needs a CUDA GPU, or Triton with TRITON_INTERPRET=1"
)  # fmt: skip
needs_gpu = pytest.mark.skipif(not GPU, reason="needs a CUDA GPU")
DEVICE = torch.device("cuda" if GPU else "cpu")


@pytest.fixture(autouse=True)
def _by_float32():
    if GPU:
        make_deterministic(DEVICE)


@needs_triton
def test_kernels_are_right():
    assert kernels.largest_difference(DEVICE) <= kernels.ATOL


@needs_triton
def test_crops_that_are_wrong_are_found(monkeypatch):
    right = kernels.gather_crops
    assert kernels._crops_apart(DEVICE) == 0
    monkeypatch.setattr(kernels, "gather_crops", lambda cells, rows, *others: right(cells, rows.roll(1, 0), *others))
    assert kernels._crops_apart(DEVICE) > 0
    assert kernels.largest_difference(DEVICE) > kernels.ATOL


@needs_triton
@pytest.mark.parametrize("pool", [1, 2, 3])
def test_the_first_block_of_a_part_of_a_volume(pool):
    volumes = torch.randn(3, 1, 20, 17, 15, device=DEVICE)[..., 2:18, 1:, 3:]
    weight, bias = torch.randn(5, 1, 3, 3, 3, device=DEVICE), torch.randn(5, device=DEVICE)
    wanted = functional.max_pool3d(functional.conv3d(volumes.double(), weight.double(), bias.double()), pool)
    torch.testing.assert_close(kernels.first_block(volumes, weight, bias, pool).double(), wanted, rtol=1e-5, atol=1e-5)


@needs_triton
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize(("channels", "out"), [(1, 8), (5, 33), (16, 32)])
def test_gradients_of_weights(layout, channels, out):
    maps = torch.randn(2, channels, 9, 10, 8, device=DEVICE).contiguous(memory_format=layout)
    behind = torch.randn(2, out, 7, 8, 6, device=DEVICE).contiguous(memory_format=layout)
    wanted = torch.nn.grad.conv3d_weight(maps.double(), (out, channels, 3, 3, 3), behind.double())
    found = kernels._weight_gradient(maps, behind, 3)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-4)


@needs_gpu
def test_gradients_of_weights_by_bfloat16():
    maps, behind = (torch.randn(2, c, n, n, n, device=DEVICE).bfloat16() for c, n in ((8, 12), (16, 10)))
    wanted = torch.nn.grad.conv3d_weight(maps.double(), (16, 8, 3, 3, 3), behind.double())
    found = kernels._weight_gradient(maps, behind, 3).double()
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-5, "products are summed in float32"


@needs_gpu
def test_networks_and_methods_on_a_gpu_are_those_of_the_cpu():
    torch.manual_seed(0)
    network = CNN3D((22, 23, 21), (2, 2), 0.0, 2, (3, 4)).eval()
    volumes = torch.randn(3, 1, 22, 23, 21)
    volumes[:, :, :3] = 0
    labels = torch.randint(0, 4, (22, 23, 21)).short()
    found = []
    for device in (torch.device("cpu"), DEVICE):
        brain = Brain((volumes[0, 0] != 0).to(device), labels.to(device), 3, 4)
        own, at = network.to(device), volumes.to(device)
        batch = BatchSize(4)
        methods = [Sensitivity(brain, batch), GuidedBackprop(brain, batch), AreaOcclusion(brain, batch),
                   Occlusion(brain, batch, half_width=3, stride=4)]  # fmt: skip
        with torch.no_grad():
            maps = [logits_through_blocks(own, at).cpu()]
        found.append(maps + [method.attribute(own, at, 1).margin.cpu() for method in methods])
    for wanted, one in zip(*found, strict=True):
        torch.testing.assert_close(one, wanted, rtol=1e-3, atol=1e-5)


def test_convolutions_that_the_kernel_is_not_made_for_are_left_to_torch(monkeypatch):
    """Of several channels, by a kernel that is no cube, a large one, or with very many channels."""
    monkeypatch.setattr(kernels, "by_kernels", lambda _maps: True)
    maps = torch.zeros(1, 1, 9, 9, 9)
    assert kernels.takes_first(maps, torch.zeros(8, 1, 3, 3, 3))
    assert kernels.takes_first(maps, torch.zeros(64, 1, 5, 5, 5))
    for shape in ((8, 2, 3, 3, 3), (8, 1, 3, 3, 5), (8, 1, 7, 7, 7), (128, 1, 3, 3, 3)):
        assert not kernels.takes_first(maps, torch.zeros(shape)), shape


def test_without_a_gpu_torch_computes(monkeypatch):
    assert not kernels.by_kernels(torch.zeros(1, 1, 4, 4, 4))
    monkeypatch.setattr(blocks, "first_block", pytest.fail)
    network = CNN3D((12, 12, 12), (2,), 0.0, 2, (3,)).eval()
    with torch.no_grad():
        torch.testing.assert_close(logits_through_blocks(network, torch.ones(1, 1, 12, 12, 12)),
                                   network(torch.ones(1, 1, 12, 12, 12)), rtol=0, atol=0)  # fmt: skip
    maps, behind = torch.randn(2, 3, 8, 7, 6), torch.randn(2, 4, 6, 5, 4)
    weight = torch.zeros(4, 3, 3, 3, 3)
    wanted = torch.nn.grad.conv3d_weight(maps, weight.shape, behind)
    torch.testing.assert_close(kernels.weight_gradient(maps, behind, weight), wanted)


@pytest.mark.parametrize(
    ("fault", "said"),
    [("missing", "Triton is not installed"), ("wrong", "they differ from float64 by 0.001"),
     ("broken", "RuntimeError: no C compiler"), ("silent", "RuntimeError: no reason"), ("none", "")],
)  # fmt: skip
def test_kernels_that_cannot_be_used_are_not_and_why_is_said(monkeypatch, fault, said):
    def difference(device):
        if fault in ("broken", "silent"):
            raise RuntimeError("no C compiler\nat all" if fault == "broken" else "")
        return 1e-3 if fault == "wrong" else 0.0

    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None if fault == "missing" else name)
    monkeypatch.setattr(kernels, "largest_difference", difference)
    kernels.why_not.cache_clear()
    try:
        assert kernels.why_not(torch.device("cpu")).startswith(said)
        assert kernels.usable(torch.device("cpu")) == (fault == "none")
        lines = card_check.kernels_left_aside(torch.device("cpu"))
    finally:
        kernels.why_not.cache_clear()
    assert len(lines) == (fault != "none")
    assert all(said in line for line in lines)
