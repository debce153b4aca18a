"""The contract that all relevance methods meet, closed forms, and agreement with Captum on the real network."""

from __future__ import annotations

import copy
import dataclasses
import weakref

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from engine.errors import RunError
from engine.networks.architectures import build_network
from engine.networks.cnn3d import margins
from engine.relevance import (
    METHODS,
    AreaOcclusion,
    BatchSize,
    Brain,
    DeepLift,
    GradCam,
    GuidedBackprop,
    GuidedGradCam,
    InputXGradient,
    IntegratedGradients,
    Intensity,
    LayerwiseRelevance,
    LinearPattern,
    LinearWeights,
    Occlusion,
    SegmentOcclusion,
    Sensitivity,
    SmoothGrad,
    SmoothRandom,
    Sobel,
    TMap,
    integrated_gradients,
)
from engine.relevance.base import ShapeError
from engine.relevance.fills import fill_volume
from engine.relevance.gradients import input_gradient, summed_gradients
from engine.relevance.hooks import guided_relus
from engine.relevance.lrp import propagate
from engine.relevance.occlusion import changing_positions, cube_at, position_shape
from engine.training.trainer import probability
from store.files.geometry import nearest_positions
from store.keys import BASELINES, explains
from tests.conftest import SHAPE

LEVELS = (3, 12)
SETTINGS = {"occlusion": {"half_width": 3, "stride": 2}, "segment_occlusion": {"levels": LEVELS}}


@pytest.fixture(params=METHODS)
def method(request, brain, batch):
    return METHODS[request.param](brain=brain, batch=batch, **SETTINGS.get(request.param, {}))


class Parts(nn.Sequential):
    """A sequence that says which of its layers are convolutional."""

    @property
    def features(self) -> nn.Sequential:
        return nn.Sequential(*list(self)[: self.start])

    @property
    def classifier(self) -> nn.Sequential:
        return nn.Sequential(*list(self)[self.start :])

    @property
    def start(self) -> int:
        return next(i for i, layer in enumerate(self) if isinstance(layer, nn.Flatten))


@pytest.fixture(scope="module")
def small_network() -> nn.Module:
    """The network's layers on a tiny volume, with ReLUs between fully connected layers too."""
    torch.manual_seed(3)
    layers = [
        nn.Conv3d(1, 4, 3),
        nn.BatchNorm3d(4),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(4, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
    ]
    features = 6 * 4 * 4 * 3
    network = Parts(*layers, nn.Dropout(0.8), nn.Linear(features, 8), nn.ReLU(), nn.Linear(8, 2))
    for _ in range(5):  # batch norm gets statistics that are not the identity
        network(torch.randn(4, 1, *SHAPE))
    return network.eval()


@pytest.fixture(scope="module")
def real_network() -> nn.Module:
    network = build_network(4, seed=5)
    network.train()
    with torch.no_grad():
        network(torch.randn(4, 1, 49, 58, 49))
    return network.eval()


@pytest.fixture(scope="module")
def real_volume() -> torch.Tensor:
    return torch.randn((1, 1, 49, 58, 49), generator=torch.Generator().manual_seed(7))


# -- contract -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0, 1])
def test_native_shape_and_finite(method, small_network, volumes, brain, target):
    found = method.attribute(small_network, volumes, target)
    native = {
        "voxels": SHAPE,
        "positions": position_shape(SHAPE, 2),
        "regions": (brain.regions,),
    }[method.native_grid]
    for values in (found.margin, found.probability):
        if values is not None:
            assert values.shape == (3, *native)
            assert values.dtype == torch.float32
            assert torch.isfinite(values).all()
    assert (found.probability is None) == method.gradient


def test_huge_margins_have_finite_maps(method, small_network, volumes):
    """A margin of 1e5, as imported networks may have, is p = 1 and no NaN anywhere (FC-46)."""
    with torch.no_grad():
        before = float(margins(small_network(volumes))[0, 1].abs())
        network = copy.deepcopy(small_network)
        for value in network[-1].parameters():
            value.mul_(1e5 / before)
        margin = margins(network(volumes))[:, 1].double().numpy()
    assert abs(margin[0]) == pytest.approx(1e5, rel=1e-3)
    for target in (0, 1):
        found = method.attribute(network, volumes, target)
        for values in (found.margin, found.probability):
            if values is not None:
                assert torch.isfinite(values).all()
                sums = values.abs().sum()
                assert torch.isfinite(values / sums).all() if sums else True
        assert found.margin.abs().max() > 1 or not method.explanation
    p = probability(margin)
    assert np.isfinite(p).all()
    assert p[0] in (0, 1)
    assert probability(np.array([1e5, -1e5, 1e30])).tolist() == [1, 0, 1]


def test_batch_equals_one_by_one(method, small_network, volumes):
    together = method.attribute(small_network, volumes, 1).margin
    single = torch.cat([method.attribute(small_network, v[None], 1).margin for v in volumes])
    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-5)


def test_antisymmetric_as_declared(method, small_network, volumes):
    positive, negative = (method.attribute(small_network, volumes, target).margin for target in (1, 0))
    assert torch.allclose(positive, -negative, atol=1e-5) == method.antisymmetric


def test_maps_depend_on_the_network_as_declared(method, small_network, volumes):
    """Explanations do; baselines are the same for any network and are marked in the engine as in the store."""
    other = copy.deepcopy(small_network)
    for value in other[-1].parameters():
        value.data = value.data.flip(0) * 3
    one, another = (method.attribute(network, volumes, 1).margin for network in (small_network, other))
    assert torch.equal(one, another) != method.explanation
    assert one.any()
    assert explains(method.name) == method.explanation
    assert bool(method.own_unit) != method.explanation


def test_model_and_volumes_are_left_alone(method, small_network, volumes):
    state, before = copy.deepcopy(small_network.state_dict()), volumes.clone()
    method.attribute(small_network, volumes, 1)
    assert torch.equal(volumes, before)
    assert not volumes.requires_grad
    assert all(torch.equal(state[key], value) for key, value in small_network.state_dict().items())
    assert all(p.grad is None for p in small_network.parameters())
    assert not _hooks(small_network)


def test_wrong_shape_is_refused(method, small_network, volumes):
    with pytest.raises(ShapeError, match="volumes must be"):
        method.attribute(small_network, volumes[:, 0], 1)
    assert not _hooks(small_network)


def test_parameters_are_provenance(method):
    assert dataclasses.is_dataclass(method)
    with pytest.raises(dataclasses.FrozenInstanceError):
        method.reference = "other"
    assert set(method.parameters()) == {f.name for f in dataclasses.fields(method)} - {"brain", "batch"}


def _hooks(model: nn.Module) -> list:
    return [h for m in model.modules() for h in (*m._backward_hooks.values(), *m._forward_hooks.values())]


def test_hooks_are_taken_away_after_an_error(small_network):
    def fail_inside() -> None:
        with guided_relus(small_network):
            assert _hooks(small_network)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_inside()
    assert not _hooks(small_network)


def test_guided_backprop_refuses_a_network_it_would_misread(linear_model, volumes, brain, batch):
    with pytest.raises(ValueError, match=r"nn\.ReLU"):
        GuidedBackprop(brain, batch).attribute(linear_model, volumes, 1)


# -- closed forms on a linear model -------------------------------------------------------------------------------


def test_sensitivity_is_the_weight(linear_model, volumes, brain, batch):
    found = Sensitivity(brain, batch).attribute(linear_model, volumes, 1).margin
    torch.testing.assert_close(found, linear_model.weight.detach().expand_as(found))


@pytest.mark.parametrize("padding", [0, 1, 3])
def test_the_gradient_through_the_first_convolution_is_that_of_autograd(padding):
    torch.manual_seed(0)
    layers = nn.Conv3d(1, 3, 3, padding=padding), nn.BatchNorm3d(3), nn.ReLU(), nn.MaxPool3d(2)
    network = nn.Module()
    network.features, network.classifier = nn.Sequential(*layers), nn.Sequential(nn.Flatten(), nn.LazyLinear(2))
    network.forward = lambda volumes: network.classifier(network.features(volumes))
    volumes = torch.randn(2, 1, 9, 8, 11, requires_grad=True)
    network.eval()
    logits = network(volumes)
    (wanted,) = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), volumes)
    torch.testing.assert_close(input_gradient(network, volumes, 1), wanted[:, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("target", [0, 1])
def test_occlusion_is_the_sum_of_what_was_taken(linear_model, volumes, brain, batch, target):
    occlusion = Occlusion(brain, batch, half_width=3, stride=2)
    found = occlusion.attribute(linear_model, volumes, target)
    sign = 1 if target == 1 else -1
    product = sign * (volumes[:, 0] * linear_model.weight.detach())
    intact = sign * (product.sum((1, 2, 3)) * sign + linear_model.bias.detach())
    for position in np.ndindex(*position_shape(SHAPE, 2)):
        taken = product[(slice(None), *cube_at(position, 3, 2, SHAPE))].sum((1, 2, 3))
        torch.testing.assert_close(found.margin[(slice(None), *position)], taken, rtol=1e-4, atol=1e-5)
        drop = torch.sigmoid(intact.double()) - torch.sigmoid((intact - taken).double())
        torch.testing.assert_close(found.probability[(slice(None), *position)], drop.float(), rtol=1e-3, atol=1e-6)


def test_area_occlusion_is_the_sum_over_the_region(linear_model, volumes, brain, batch):
    found = AreaOcclusion(brain, batch).attribute(linear_model, volumes, 1).margin
    product = volumes[:, 0] * linear_model.weight.detach()
    for region in range(1, brain.regions + 1):
        torch.testing.assert_close(
            found[:, region - 1], product[:, brain.labels == region].sum(1), rtol=1e-4, atol=1e-5
        )


def test_segment_occlusion_is_the_mean_over_the_levels(linear_model, volumes, brain, batch):
    method = SegmentOcclusion(brain, batch, levels=LEVELS)
    found = method.attribute(linear_model, volumes, 1)
    product = volumes[:, 0] * linear_model.weight.detach()
    intact = product.sum((1, 2, 3)) + linear_model.bias.detach()
    for scan, volume in enumerate(volumes[:, 0]):
        margin, probability = torch.zeros((2, *SHAPE), dtype=torch.float64)
        for labels in method.segmentations(volume):
            for segment in range(1, int(labels.max()) + 1):
                inside = labels == segment
                taken = product[scan][inside].sum()
                margin[inside] += taken
                probability[inside] += torch.sigmoid(intact[scan]) - torch.sigmoid(intact[scan] - taken)
        torch.testing.assert_close(found.margin[scan], (margin / len(LEVELS)).float(), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.probability[scan], (probability / len(LEVELS)).float(), rtol=1e-3, atol=1e-4)
        assert found.margin[scan][brain.mask].abs().min() > 0


def test_a_number_replaces_tissue_inside_the_brain_only(linear_model, volumes, brain, batch):
    found = Occlusion(brain, batch, half_width=99, stride=99, reference=2.0).attribute(linear_model, volumes, 1).margin
    inside = ((volumes[:, 0] - 2.0) * linear_model.weight.detach())[:, brain.mask].sum(1)
    torch.testing.assert_close(found[:, 0, 0, 0], inside, rtol=1e-4, atol=1e-5)


# -- geometry, against a slow twin of design section 6 --------------------------------------------------------------


@pytest.mark.parametrize(("size", "stride", "half"), [(193, 12, 20), (229, 12, 20), (49, 3, 5), (65, 4, 7), (10, 7, 2)])
def test_centres_and_clipping(size, stride, half):
    centres = list(range(0, size, stride))
    assert position_shape((size,), stride) == (len(centres),)
    for k, centre in enumerate(centres):
        voxels = [v for v in range(size) if centre - half <= v < centre + half]
        assert list(range(size))[cube_at((k,), half, stride, (size,))[0]] == voxels


@pytest.mark.parametrize(("size", "stride"), [(193, 12), (229, 12), (97, 6), (65, 4), (49, 3), (9, 5)])
def test_blocks_are_centred_on_their_position(size, stride):
    positions = len(range(0, size, stride))
    expected = [min(range(positions), key=lambda k: (abs(v - stride * k), -k)) for v in range(size)]
    assert nearest_positions(size, stride, positions).tolist() == expected
    if stride == 12:
        assert all(12 * k - 6 <= v < 12 * k + 6 or k == positions - 1 for v, k in enumerate(expected))


def test_positions_at_the_papers_geometry():
    assert position_shape((193, 229, 193), 12) == (17, 20, 17)


def test_only_positions_that_change_nothing_are_skipped():
    changed = torch.rand((20, 9, 14), generator=torch.Generator().manual_seed(0)) > 0.995
    found = {tuple(p) for p in changing_positions(changed, 2, 3).tolist()}
    for position in np.ndindex(*position_shape((20, 9, 14), 3)):
        assert (position in found) == bool(changed[cube_at(position, 2, 3, (20, 9, 14))].any())


# -- agreement with Captum on the real network --------------------------------------------------------------------


def _wrapped(network: nn.Module):
    return lambda v: margins(network(v))


def test_sensitivity_agrees_with_captum(real_network, real_volume, brain, batch):
    ours = Sensitivity(brain, batch).attribute(real_network, real_volume, 1).margin
    theirs = captum.attr.Saliency(_wrapped(real_network)).attribute(
        real_volume.clone().requires_grad_(), target=1, abs=False
    )
    torch.testing.assert_close(ours, theirs[:, 0], rtol=1e-4, atol=1e-8)


class _Margins(nn.Module):
    """Captum's GuidedBackprop wants a module. The difference of two logits has the same gradient as their margin."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        return margins(self.network(volumes))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("target", [0, 1])
def test_guided_backprop_agrees_with_captum(real_network, real_volume, brain, batch, target):
    ours = GuidedBackprop(brain, batch).attribute(real_network, real_volume, target).margin
    theirs = captum.attr.GuidedBackprop(_Margins(real_network)).attribute(
        real_volume.clone().requires_grad_(), target=target
    )
    torch.testing.assert_close(ours, theirs[:, 0], rtol=1e-4, atol=1e-8)
    assert ours.abs().sum() > 0


def test_area_occlusion_agrees_with_captum(real_network, real_volume, batch):
    labels = torch.arange(49 * 58 * 49).reshape(49, 58, 49) * 5 // (49 * 58 * 49)
    brain = Brain(torch.ones(49, 58, 49, dtype=torch.bool), (labels + 1).to(torch.int16), 5, 4)
    ours = AreaOcclusion(brain, batch).attribute(real_network, real_volume, 1).margin[0]
    theirs = captum.attr.FeatureAblation(_wrapped(real_network)).attribute(
        real_volume, target=1, feature_mask=labels[None, None]
    )[0, 0]
    for region in range(5):
        value = theirs[labels == region]
        assert torch.allclose(value, value[0])
        torch.testing.assert_close(ours[region], value[0], rtol=1e-3, atol=1e-5)


def test_segment_occlusion_agrees_with_captum(real_network, real_volume, batch):
    mask = torch.zeros(49, 58, 49, dtype=torch.bool)
    mask[8:40, 10:48, 9:41] = True
    volume = torch.where(mask, real_volume, torch.zeros(()))
    ours = SegmentOcclusion(Brain(mask, mask.to(torch.int16), 1, 4), batch, levels=(4, 9))
    levels = ours.segmentations(volume[0, 0])
    theirs = sum(
        captum.attr.FeatureAblation(_wrapped(real_network)).attribute(
            volume, target=1, feature_mask=labels.long()[None, None]
        )[0, 0]
        for labels in levels
    )
    found = ours.attribute(real_network, volume, 1).margin[0]
    torch.testing.assert_close(found[mask], theirs[mask] / 2, rtol=1e-3, atol=1e-5)


def test_occlusion_agrees_with_captum_window_by_window(real_network, real_volume, batch):
    """Captum's windows start at 0 and are averaged where they overlap: pad, and make windows that do not overlap."""
    half, stride = 7, 14
    brain = Brain(torch.ones(49, 58, 49, dtype=torch.bool), torch.ones(49, 58, 49, dtype=torch.int16), 1, 4)
    ours = Occlusion(brain, batch, half_width=half, stride=stride).attribute(real_network, real_volume, 1).margin[0]
    padded = nn.functional.pad(real_volume, (half, half) * 3)

    def forward(volumes: torch.Tensor) -> torch.Tensor:
        return margins(real_network(volumes[:, :, half:-half, half:-half, half:-half]))

    theirs = captum.attr.Occlusion(forward).attribute(padded, (1, 14, 14, 14), (1, 14, 14, 14), target=1)[0, 0]
    for position in np.ndindex(*ours.shape):
        corner = tuple(14 * p for p in position)
        if all(c + 14 <= n for c, n in zip(corner, theirs.shape, strict=True)):
            torch.testing.assert_close(ours[position], theirs[corner], rtol=1e-3, atol=1e-5)


# -- references and memory ----------------------------------------------------------------------------------------


def test_references(volumes, brain):
    rich = dataclasses.replace(brain, negative_mean=volumes[1, 0], other_subject=volumes[2, 0])
    scan = volumes[0, 0]
    assert not fill_volume("mean", scan, rich).any()
    assert torch.equal(fill_volume("nc_mean", scan, rich), volumes[1, 0])
    assert torch.equal(fill_volume("other_subject", scan, rich), volumes[2, 0])
    blurred = fill_volume("blurred", scan, rich)
    assert 0 < blurred.std() < scan.std()
    for name in ("nc_mean", "blurred", -1.5):
        assert not fill_volume(name, scan, rich)[~brain.mask].any()
    with pytest.raises(ValueError, match="nc_mean"):
        fill_volume("nc_mean", scan, brain)


def test_occluding_with_itself_changes_nothing(small_network, volumes, brain, batch):
    rich = dataclasses.replace(brain, other_subject=volumes[0, 0])
    found = Occlusion(rich, batch, half_width=3, stride=4, reference="other_subject").attribute(
        small_network, volumes[:1], 1
    )
    assert not found.margin.any()


def test_out_of_memory_halves_the_batch_and_says_so_once(linear_model, volumes, brain):
    said = []

    class Tight(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            if len(batch) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return linear_model(batch)

    size = BatchSize(16, said.append)
    tight = Occlusion(brain, size, half_width=3, stride=4).attribute(Tight(), volumes, 1)
    roomy = Occlusion(brain, BatchSize(16), half_width=3, stride=4).attribute(linear_model, volumes, 1)
    torch.testing.assert_close(tight.margin, roomy.margin)
    assert size.volumes == 2
    assert len(said) == 1


def test_out_of_memory_with_one_volume_is_a_clear_failure(volumes, brain):
    class Full(nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(RunError, match="out of memory with a single volume"):
        Sensitivity(brain, BatchSize(4)).attribute(Full(), volumes, 1)


def test_results_of_batches_are_not_kept_one_by_one():
    """Small blocks between large ones would let the kept memory of the C library grow without end."""
    alive, most = [], 0

    def part(start: int, stop: int) -> torch.Tensor:
        nonlocal most
        most = max(most, sum(one() is not None for one in alive))
        result = torch.arange(start, stop).double()
        alive.append(weakref.ref(result))
        return result

    assert BatchSize(8).run(50, part, 8).tolist() == list(range(50))
    assert most <= 1


# -- methods by contributions and feature maps ------------------------------------------------------------------------

SMALL = (8, 9, 7)


@pytest.fixture(scope="module")
def tiny_network() -> Parts:
    """Two blocks, one with a padded convolution, and two fully connected layers, with batch norm in all places."""
    torch.manual_seed(11)
    network = Parts(
        nn.Conv3d(1, 3, 3), nn.BatchNorm3d(3), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(3, 4, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(4 * 3 * 3 * 2, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 2),
    )  # fmt: skip
    for _ in range(5):
        network(torch.randn(6, 1, *SMALL))
    return network.eval()


@pytest.fixture
def tiny_volumes() -> torch.Tensor:
    return torch.randn(2, 1, *SMALL, generator=torch.Generator().manual_seed(2))


def dense(layer: nn.Module, shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """(outputs, inputs) matrix and (outputs,) bias of a layer without ReLU, by passing every unit vector through it."""
    size = int(np.prod(shape))
    bias = layer(torch.zeros(1, *shape)).flatten()
    return (layer(torch.eye(size).reshape(size, *shape)).reshape(size, -1) - bias).T.double(), bias.double()


def lrp_by_matrices(network: Parts, volume: torch.Tensor, target: int, rule: str) -> torch.Tensor:
    """(x, y, z) LRP as it is defined, unit by unit: every layer is a matrix (slow)."""
    with torch.no_grad():
        layers, steps, maps = list(network), [], volume[None]
        while layers:
            taken = [layers.pop(0)]
            if isinstance(taken[0], nn.Conv3d | nn.Linear):
                while layers and isinstance(layers[0], nn.BatchNorm3d):
                    taken.append(layers.pop(0))
            if isinstance(taken[0], nn.BatchNorm1d):  # belongs to the layer after it
                taken.append(layers.pop(0))
            steps.append((nn.Sequential(*taken), maps))
            maps = nn.Sequential(*taken)(maps)
        logits = maps[0].double()
        relevance = None
        for layer, given in reversed(steps):
            kind, shape = layer[-1], given.shape[1:]
            if isinstance(kind, nn.ReLU | nn.Flatten):
                continue
            if isinstance(kind, nn.MaxPool3d):
                passed = torch.zeros(shape, dtype=torch.float64)
                pooled, winners = nn.functional.max_pool3d(given, kind.kernel_size, return_indices=True)
                channels = np.repeat(range(shape[0]), pooled[0, 0].numel())
                for value, channel, place in zip(relevance, channels, winners.flatten(), strict=True):
                    passed[channel].view(-1)[place] += value
                relevance = passed.flatten()
                continue
            matrix, bias = dense(layer, shape)
            activations = given.double().flatten()
            if relevance is None:  # the margin is one output
                sign = 1 if target == 1 else -1
                matrix, bias = sign * (matrix[1] - matrix[0])[None], sign * (bias[1] - bias[0])[None]
                relevance = sign * (logits[1] - logits[0])[None]
            products = matrix * activations
            handed = torch.zeros_like(activations)
            for unit in range(len(matrix)):
                above, below = products[unit].clamp(min=0), products[unit].clamp(max=0)
                if isinstance(layer[0], nn.Conv3d):
                    high, low = above.sum() + bias[unit].clamp(min=0), below.sum() + bias[unit].clamp(max=0)
                    alpha, beta = (2, 1) if rule == "alpha2_beta1" and low < 0 else (1, 0)
                    if high > 0:
                        handed += alpha * above / high * relevance[unit]
                    if beta:
                        handed -= beta * below / low * relevance[unit]
                else:
                    handed += products[unit] / (products[unit].sum() + bias[unit]) * relevance[unit]
            relevance = handed
        return relevance.reshape(SMALL)


@pytest.mark.parametrize("rule", ["z_plus", "alpha2_beta1"])
@pytest.mark.parametrize("target", [0, 1])
def test_lrp_is_what_its_definition_says(tiny_network, tiny_volumes, brain, batch, rule, target):
    found = LayerwiseRelevance(brain, batch, rule).attribute(tiny_network, tiny_volumes, target).margin
    for volume, ours in zip(tiny_volumes, found, strict=True):
        wanted = lrp_by_matrices(tiny_network, volume, target, rule)
        torch.testing.assert_close(ours.double(), wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("rule", ["z_plus", "alpha2_beta1"])
def test_lrp_conserves_the_margin(real_network, real_volume, rule):
    """Without biases nothing is kept on the way: the voxels have all of the margin, to 1e-4."""
    network = copy.deepcopy(real_network)
    for layer in network.modules():
        if isinstance(layer, nn.Conv3d | nn.Linear):
            layer.bias.data.zero_()
        if isinstance(layer, nn.BatchNorm3d):
            layer.running_mean.zero_()
            layer.bias.data.zero_()
    with torch.no_grad():
        margin = float(margins(network(real_volume))[0, 1])
    found, kept = propagate(network, real_volume, 1, rule)
    assert float(found.double().sum()) == pytest.approx(margin, rel=1e-4)
    assert abs(kept) < 1e-4 * abs(margin)
    assert float(found.abs().sum()) > 0


def test_lrp_refuses_a_network_that_it_would_misread(linear_model, volumes, brain, batch):
    with pytest.raises(ValueError, match="convolution, batch norm, ReLU"):
        LayerwiseRelevance(brain, batch).attribute(linear_model, volumes, 1)


def test_contributions_of_a_linear_model_are_its_products(linear_model, volumes, brain, batch):
    """Input x gradient and integrated gradients are exact where the network is linear."""
    wanted = volumes[:, 0] * linear_model.weight.detach()
    for method in (InputXGradient(brain, batch), IntegratedGradients(brain, batch, steps=2)):
        torch.testing.assert_close(method.attribute(linear_model, volumes, 1).margin, wanted, rtol=1e-4, atol=1e-6)


def test_integrated_gradients_agree_with_captum_and_add_up(real_network, real_volume, brain, batch):
    found = IntegratedGradients(brain, batch, steps=128).attribute(real_network, real_volume, 1)
    theirs = captum.attr.IntegratedGradients(_wrapped(real_network)).attribute(
        real_volume, target=1, n_steps=128, internal_batch_size=16
    )
    scale = float(theirs.abs().max())
    torch.testing.assert_close(found.margin, theirs[:, 0].float(), rtol=0.05, atol=0.03 * scale)
    with torch.no_grad():
        both = margins(real_network(torch.cat([real_volume, torch.zeros_like(real_volume)])))[:, 1]
    change = float(both[0] - both[1])
    missed = abs(float(found.margin.double().sum()) - change) / abs(change)
    assert missed < 0.03  # of a margin of 0.008, in single precision
    assert float(found.completeness_error[0]) == pytest.approx(missed, abs=1e-3)


def _integrated(method, network, volumes):
    """Return the relevance and the places of its gradients on the way, in the order in which they were taken."""
    places = []

    def seen(model, way, weights, *rest):
        places.append(way.places.numpy())
        return summed_gradients(model, way, weights, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(integrated_gradients, "summed_gradients", seen)
        return method.attribute(network, volumes, 1), np.concatenate(places)


@pytest.mark.parametrize("steps", [2, 11])
def test_integrated_gradients_take_more_where_the_sum_misses(tiny_network, tiny_volumes, brain, batch, steps):
    """Few steps are too few for a network with ReLUs; more are taken until the sum fits, or at most so many."""
    tiny = dataclasses.replace(brain, mask=torch.ones(SMALL, dtype=torch.bool))
    method, volumes = IntegratedGradients(tiny, batch, steps=steps), 3 * tiny_volumes[:1]
    few, places = _integrated(dataclasses.replace(method, most_steps=steps), tiny_network, volumes)
    assert len(places) == steps
    assert float(few.completeness_error) > 0.01
    found, places = _integrated(method, tiny_network, volumes)
    assert steps < len(places) <= 256
    assert float(found.completeness_error) <= 0.01
    many, _ = _integrated(dataclasses.replace(method, steps=1024, most_steps=1024), tiny_network, volumes)
    far = [float(torch.linalg.vector_norm(one.margin - many.margin)) for one in (few, found)]
    assert far[1] < far[0]  # not the sum alone is nearer: the map is
    _, places = _integrated(dataclasses.replace(method, most_steps=steps + 3), tiny_network, volumes)
    assert steps <= len(places) <= steps + 3


def test_integrated_gradients_are_refined_on_the_piece_that_bends(brain, batch):
    """The margin of one voxel bends at 0.73 of the way, in the sixth of eight pieces; nothing is missed elsewhere."""
    tiny = dataclasses.replace(brain, mask=torch.ones((1, 1, 1), dtype=torch.bool))
    method, volume = IntegratedGradients(tiny, batch, steps=8), torch.ones(1, 1, 1, 1, 1, dtype=torch.float64)
    found, places = _integrated(method, BendsOnce(0.73), volume)
    assert float(found.margin) == pytest.approx(0.27, abs=0.003)
    assert float(found.completeness_error) <= 0.01
    further = places[8:]
    assert 0 < len(further) < 40
    assert further.min() > 0.68  # the borders of the Gauss-Legendre weights are 0.6813 and 0.8382
    assert further.max() < 0.84


class BendsOnce(torch.nn.Module):
    """A margin that is 0 up to a value of the only voxel, and grows by 1 a unit above it."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        above = torch.relu(volumes.flatten(1)[:, 0] - self.value)
        return torch.stack([torch.zeros_like(above), above], 1)


def test_smoothgrad_is_the_mean_over_the_same_noise(tiny_network, tiny_volumes, batch):
    mask = torch.ones(SMALL, dtype=torch.bool)
    mask[:2] = False
    brain = Brain(mask, mask.to(torch.int16), 1, 4)
    found = SmoothGrad(brain, batch, copies=7).attribute(tiny_network, tiny_volumes, 1).margin
    alone = SmoothGrad(brain, batch, copies=7).attribute(tiny_network, tiny_volumes[1:], 1).margin
    torch.testing.assert_close(found[1:], alone)  # the noise is of the scan, not of its place in a batch
    assert not torch.allclose(found[0], found[1])
    plain = Sensitivity(brain, batch).attribute(tiny_network, tiny_volumes, 1).margin
    quiet = SmoothGrad(brain, batch, copies=2, noise=1e-9).attribute(tiny_network, tiny_volumes, 1).margin
    torch.testing.assert_close(quiet, plain, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(found, plain, rtol=1e-2)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_deeplift_adds_up_to_the_change_of_the_margin(real_network, real_volume, brain, batch):
    found = DeepLift(brain, batch).attribute(real_network, real_volume, 0).margin
    with torch.no_grad():
        both = margins(real_network(torch.cat([real_volume, torch.zeros_like(real_volume)])))[:, 0]
    assert float(found.sum()) == pytest.approx(float(both[0] - both[1]), rel=1e-3)


def test_grad_cam_lies_where_its_units_look(brain, batch):
    """A network that answers to one voxel has its map there: the centre of the units that see it."""
    network = Parts(
        nn.Conv3d(1, 1, 3), nn.ReLU(), nn.MaxPool3d(2), nn.Conv3d(1, 1, 3), nn.ReLU(), nn.MaxPool3d(2),
        nn.Flatten(), nn.Linear(4 * 4 * 4, 2),
    ).eval()  # fmt: skip
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, nn.Conv3d):
                layer.weight.fill_(1 / 27)
                layer.bias.zero_()
        network[-1].weight.copy_(torch.stack([torch.zeros(64), torch.ones(64)]))
    volume = torch.zeros(1, 1, 22, 22, 22)
    volume[0, 0, 6, 12, 16] = 10
    found = GradCam(brain, batch).attribute(network, volume, 1).margin[0]
    peak = np.array(np.unravel_index(int(found.argmax()), found.shape))
    assert np.abs(peak - [6, 12, 16]).max() <= 3
    assert found.min() >= 0
    captums = captum.attr.LayerGradCam(_wrapped(network), network[4]).attribute(volume, target=1)
    assert captums.shape[2:] == (8, 8, 8)
    at_units = found[3:18:2, 3:18:2, 3:18:2]  # the first unit's centre is voxel 3.5, the next two voxels on
    assert np.corrcoef(at_units.numpy().ravel(), captums[0, 0].detach().relu().numpy().ravel())[0, 1] > 0.9


def test_guided_grad_cam_is_the_product(tiny_network, tiny_volumes, brain, batch):
    found = GuidedGradCam(brain, batch).attribute(tiny_network, tiny_volumes, 1).margin
    where = GradCam(brain, batch).attribute(tiny_network, tiny_volumes, 1).margin
    guided = GuidedBackprop(brain, batch).attribute(tiny_network, tiny_volumes, 1).margin
    torch.testing.assert_close(found, where * guided)
    assert where.shape == (2, *SMALL)


# -- baselines ----------------------------------------------------------------------------------------------------


def test_baselines_are_those_that_the_store_names():
    assert tuple(name for name, method in METHODS.items() if not method.explanation) == BASELINES


def test_sobel_has_the_slope_of_a_ramp_in_intensity_per_mm(small_network, brain, batch):
    """A ramp of 3 along x and 4 along y a voxel rises by 5 a voxel of 4 mm."""
    x, y, _ = np.indices(SHAPE)
    ramp = torch.from_numpy((3 * x + 4 * y).astype(np.float32))
    inner = brain.mask.clone()
    for axis in range(3):
        inner &= brain.mask.roll(1, axis) & brain.mask.roll(-1, axis)
    scored = dataclasses.replace(brain, mean=torch.ones(SHAPE), spread=torch.full(SHAPE, 2.0))
    for one, volume in ((brain, ramp), (scored, (ramp - 1) / 2)):  # of z-scores: of what they were made of
        found = Sobel(one, batch).attribute(small_network, volume[None, None], 1).margin[0]
        torch.testing.assert_close(found[inner], torch.full_like(found[inner], 5 / 4))
        assert not found[~brain.mask].any()


def test_intensity_is_the_size_of_z(small_network, brain, batch, volumes):
    assert torch.equal(Intensity(brain, batch).attribute(small_network, volumes, 0).margin, volumes[:, 0].abs())


def test_the_random_map_is_the_scans_own_and_as_smooth_as_said(small_network, batch):
    """Half the maximum of the autocorrelation of smoothed noise is sqrt(2) times as wide as the filter."""
    shape, mm = (49, 58, 49), 4
    mask = torch.ones(shape, dtype=torch.bool)
    method = SmoothRandom(Brain(mask, mask.to(torch.int16), 1, mm), batch)
    scans = torch.randn((2, 1, *shape), generator=torch.Generator().manual_seed(1))
    one, other = method.attribute(small_network, scans, 1).margin.numpy()
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.1
    assert one.std() == pytest.approx(1, abs=1e-4)
    centred = one - one.mean()
    power = np.abs(np.fft.fftn(centred)) ** 2
    correlation = np.fft.ifftn(power).real / power.mean()
    lag = np.interp(0.5, correlation[:8, 0, 0][::-1], np.arange(8)[::-1]) * mm
    assert lag == pytest.approx(method.fwhm_mm / 2 * np.sqrt(2), rel=0.12)


@pytest.mark.parametrize("method", [TMap, LinearWeights, LinearPattern])
def test_maps_of_the_training_groups_turn_with_the_class_and_need_them(method, small_network, brain, batch, volumes):
    positive, negative = (method(brain, batch).attribute(small_network, volumes, k).margin for k in (1, 0))
    assert all(torch.equal(one, brain.training_maps[method.name]) for one in positive)
    assert torch.equal(positive, -negative)
    with pytest.raises(ValueError, match="needs training scans of both groups"):
        method(dataclasses.replace(brain, training_maps={}), batch).attribute(small_network, volumes, 1)
