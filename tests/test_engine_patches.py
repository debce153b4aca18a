"""Incremental occlusion equals whole forward passes: any shape, pool, stride, place, reference, number of classes."""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layers import pools_and_least
from torch import nn

from engine.networks.architectures import build_network
from engine.networks.blocks import sequential_blocks
from engine.networks.cnn3d import CNN3D
from engine.networks.device import make_deterministic
from engine.pipeline.explain import takes_whole_passes
from engine.relevance import AreaOcclusion, BatchSize, Brain, Occlusion, SegmentOcclusion, Sensitivity, incremental
from engine.relevance.base import Patch
from engine.relevance.patches import patch_margins


class Padded(nn.Module):
    """Convolutions of any padding, also along one axis alone or as wide as the kernel."""

    def __init__(self, shape, pools, paddings, channels, classes) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for source, target, pool, padding in zip((1, *channels), channels, pools, paddings, strict=False):
            layers += [nn.Conv3d(source, target, 3, padding=padding), nn.BatchNorm3d(target), nn.ReLU()]
            if pool > 1:
                layers.append(nn.MaxPool3d(pool))
        self.features = nn.Sequential(*layers)
        with torch.no_grad():
            features = self.features.eval()(torch.zeros(1, 1, *shape)).numel()
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(features, classes))

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.features(volumes))


def _network(shape, pools, channels, classes, seed, paddings=None) -> nn.Module:
    torch.manual_seed(seed)
    if paddings is None:
        network = CNN3D(shape, pools, 0.5, classes, channels)
    else:
        network = Padded(shape, pools, paddings, channels, classes)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm3d):  # statistics that are not the identity
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.3, 2)
                module.weight.normal_(1, 0.3)
                module.bias.normal_(0, 0.3)
    return network.eval()


@st.composite
def cases(draw):
    pools, least = pools_and_least(draw)
    shape = tuple(draw(st.integers(least, least + 7)) for _ in range(3))
    closest = -(-max(shape) // 6)  # a few hundred cubes at most: each of them is a whole forward pass here
    padding = st.one_of(st.just("same"), st.integers(0, 3), st.tuples(*[st.integers(0, 2)] * 3))
    return {
        "shape": shape,
        "pools": pools,
        "paddings": draw(st.none() | st.lists(padding, min_size=len(pools), max_size=len(pools))),
        "half": draw(st.integers(1, 6)),
        "stride": draw(st.integers(closest, closest + 6)),
        "reference": draw(st.sampled_from(["mean", "blurred", 1.5])),
        "classes": (classes := draw(st.integers(2, 3))),
        "target": draw(st.integers(0, classes - 1)),
        "seed": draw(st.integers(0, 2**16)),
    }


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
@settings(max_examples=40, deadline=None)
@given(
    case=cases(),
    threads=st.sampled_from([1, 2]),
    together=st.sampled_from([2e4, 1e8]),
    at_once=st.sampled_from([3e3, 1e8]),
    gathered=st.sampled_from([0, 50, 10**9]),
    piecemeal=st.sampled_from([0.01, 0.5]),
)
def test_incremental_occlusion_equals_dense(device, case, threads, together, at_once, gathered, piecemeal):
    """However many patches go together, however crops are made, in one piece or around a constant inside."""
    if device == "cuda":
        make_deterministic(torch.device(device))
    channels = (3, 4, 5)[: len(case["pools"])]
    network = _network(case["shape"], case["pools"], channels, case["classes"], case["seed"], case["paddings"])
    generator = torch.Generator().manual_seed(case["seed"])
    mask = torch.rand(case["shape"], generator=generator) > 0.4
    volume = torch.where(mask, torch.randn(case["shape"], generator=generator), torch.zeros(()))[None, None]
    labels = (mask * torch.randint(1, 4, case["shape"], generator=generator)).to(torch.int16)
    brain = Brain(mask.to(device), labels.to(device), 3, 4)
    options = {"half_width": case["half"], "stride": case["stride"], "reference": case["reference"]}
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        reference = {"reference": case["reference"]}
        segments = reference | {"levels": (2, 5)}
        for method, extra in ((Occlusion, options), (AreaOcclusion, reference), (SegmentOcclusion, segments)):
            with (
                patch.dict(incremental.TOGETHER_BYTES, {device: together}),
                patch.dict(incremental.BATCH_BYTES, {device: at_once}),
                patch.object(incremental, "GATHERED_CELLS", gathered),
                patch.object(incremental, "PIECEMEAL", piecemeal),
            ):
                fast, slow = (
                    method(brain, BatchSize(32), engine=engine, **extra).attribute(
                        network.to(device), volume.to(device), case["target"]
                    )
                    for engine in ("incremental", "dense")
                )
            assert (fast.probability - slow.probability).abs().max() < 1e-6
            spread = float(slow.margin.std()) if slow.margin.numel() > 1 else 0.0
            assert (fast.margin - slow.margin).abs().max() < 1e-4 * max(spread, 1)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("gathered", [0, 10**9])
def test_the_inside_of_a_constant_cube_is_filled_in(monkeypatch, gathered):
    """At the paper's proportions most of the first block's box is one value, also where the border clips the cube."""
    network = _network((46, 44, 45), (2, 2), (3, 4), 2, 1)
    volume = torch.randn((1, 1, 46, 44, 45), generator=torch.Generator().manual_seed(0))
    brain = Brain(torch.ones(46, 44, 45, dtype=torch.bool), torch.ones(46, 44, 45, dtype=torch.int16), 1, 1)
    seen, around = [], incremental._propagate_around
    monkeypatch.setattr(incremental, "_propagate_around", lambda *a: seen.append(1) or around(*a))
    monkeypatch.setattr(incremental, "GATHERED_CELLS", gathered)
    fast, slow = (
        Occlusion(brain, BatchSize(8), half_width=16, stride=11, engine=engine).attribute(network, volume, 1).margin
        for engine in ("incremental", "dense")
    )
    assert seen
    assert (fast - slow).abs().max() < 1e-4 * slow.std()


def test_a_map_that_sees_nothing_but_a_constant():
    network = _network((3, 3, 3), (1,), (3,), 2, 0)
    volume = torch.randn((1, 1, 3, 3, 3), generator=torch.Generator().manual_seed(0))
    brain = Brain(torch.ones(3, 3, 3, dtype=torch.bool), torch.ones(3, 3, 3, dtype=torch.int16), 1, 4)
    fast, slow = (
        AreaOcclusion(brain, BatchSize(4), engine=engine).attribute(network, volume, 1).margin
        for engine in ("incremental", "dense")
    )
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["rieke2018", "korolev2017_plain"])
def test_the_real_network_agrees_and_ranks_the_same_regions(name):
    network = build_network(4, seed=2, name=name)
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d | nn.BatchNorm1d):
            module.momentum = None  # the statistics of what was seen, so that margins differ by more than rounding
    with torch.no_grad():
        network(torch.randn(4, 1, 49, 58, 49))
    network.eval()
    volume = torch.randn((1, 1, 49, 58, 49), generator=torch.Generator().manual_seed(0))
    labels = (torch.arange(49 * 58 * 49).reshape(49, 58, 49) * 40 // (49 * 58 * 49) + 1).to(torch.int16)
    brain = Brain(torch.ones(49, 58, 49, dtype=torch.bool), labels, 40, 4)
    fast, slow = (
        AreaOcclusion(brain, BatchSize(8), engine=engine).attribute(network, volume, 1).margin[0]
        for engine in ("incremental", "dense")
    )
    assert (fast - slow).abs().max() < 1e-4 * slow.std()
    assert set(fast.topk(20).indices.tolist()) == set(slow.topk(20).indices.tolist())


def test_a_patch_that_is_the_scan_itself_changes_nothing():
    network = _network((20, 21, 19), (2, 2), (3, 4), 2, 0)
    volume = torch.randn(20, 21, 19)
    boxes = [tuple(slice(a, a + 8) for a in low) for low in ((0, 0, 0), (12, 13, 11), (5, 6, 7))]
    patches = [Patch(box, volume[box].clone) for box in boxes]
    intact, changed = patch_margins(network, volume[None], [patches], 1, BatchSize(4), "incremental")
    torch.testing.assert_close(changed, intact.expand(3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("gathered", [0, 10**9])
@pytest.mark.parametrize("engine", ["incremental", "dense"])
def test_patches_of_several_volumes_go_together(engine, gathered):
    """Of one value, of others, and a volume without any."""
    network = _network((20, 21, 19), (2, 2), (3, 4), 2, 0)
    volumes = torch.randn(4, 20, 21, 19)
    boxes = [tuple(slice(a, a + n) for a in low) for low, n in (((0, 0, 0), 8), ((12, 13, 11), 6), ((5, 6, 7), 8))]
    own = [[Patch(box, volume.flip(0)[box].clone) for box in boxes] for volume in volumes[:2]]
    own += [[], [Patch(boxes[0], partial(torch.full, (8, 8, 8), 0.5), 0.5)]]
    with patch.object(incremental, "GATHERED_CELLS", gathered):
        intact, changed = patch_margins(network, volumes, own, 1, BatchSize(4), engine)
        alone = [
            patch_margins(network, volume[None], [patches], 1, BatchSize(4), "dense")
            for volume, patches in zip(volumes, own, strict=True)
        ]
    torch.testing.assert_close(intact, torch.cat([one for one, _ in alone]), rtol=0, atol=1e-6)
    torch.testing.assert_close(changed, torch.cat([part for _, part in alone]), rtol=0, atol=1e-6)


class _Other(nn.Module):
    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier = features, nn.Sequential(nn.Flatten(), nn.LazyLinear(2))


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv3d(1, 2, 3, padding=1, padding_mode="replicate"), nn.ReLU()],
        [nn.Conv3d(1, 2, 2, padding="same"), nn.ReLU()],
        [nn.Conv3d(1, 2, 3, stride=2), nn.ReLU()],
        [nn.Conv3d(1, 2, 3), nn.Sigmoid()],
        [nn.Conv3d(1, 2, 3), nn.ReLU(), nn.MaxPool3d(3, stride=2)],
        [nn.Conv3d(1, 2, 3), nn.ReLU(), nn.AvgPool3d(2)],
        [nn.Linear(3, 3)],
    ],
)
def test_networks_of_another_family_are_not_taken(layers):
    assert sequential_blocks(_Other(nn.Sequential(*layers))) is None


def test_networks_of_another_family_fall_back_to_dense(linear_model, volumes, brain, batch):
    assert sequential_blocks(linear_model) is None
    found = Occlusion(brain, batch, half_width=3, stride=4).attribute(linear_model, volumes, 1)
    dense = Occlusion(brain, batch, half_width=3, stride=4, engine="dense").attribute(linear_model, volumes, 1)
    assert torch.equal(found.margin, dense.margin)


def test_the_fall_back_is_known_before_it_is_waited_for(linear_model, brain, batch):
    assert takes_whole_passes(Occlusion(brain, batch), linear_model)
    assert not takes_whole_passes(Occlusion(brain, batch, engine="dense"), linear_model)
    assert not takes_whole_passes(Sensitivity(brain, batch), linear_model)
    assert not takes_whole_passes(Occlusion(brain, batch), build_network(4))


def test_out_of_memory_with_patches_is_said_once_and_remembered():
    network, said = _network((20, 21, 19), (2, 2), (3, 4), 2, 0), []
    mask = torch.ones(20, 21, 19, dtype=torch.bool)
    brain = Brain(mask, torch.ones(20, 21, 19, dtype=torch.int16), 1, 4)
    volume = torch.randn((1, 1, 20, 21, 19), generator=torch.Generator().manual_seed(0))
    roomy = Occlusion(brain, BatchSize(8), half_width=3, stride=4).attribute(network, volume, 1)

    class Tight(nn.Module):
        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            if len(maps) > 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return whole(maps)

    whole, network.classifier = network.classifier, Tight()
    batch = BatchSize(8, said.append)
    for _ in range(2):
        tight = Occlusion(brain, batch, half_width=3, stride=4).attribute(network, volume, 1)
        torch.testing.assert_close(tight.margin, roomy.margin, rtol=1e-4, atol=1e-6)
    assert len(said) == 1
    assert batch.share < 1
