"""The networks by name: layers and parameters as published, every grid, gradients, training, files, relevance."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from engine.cli.network_costs import FORWARD_S, method_passes, network_cost, training_step
from engine.cohort.splits import Job
from engine.config.loading import load_config
from engine.config.schema import NETWORK_NAMES, TrainingConfig
from engine.errors import RunError, UserError
from engine.images.grid import Grid
from engine.networks import voxresnet
from engine.networks.architectures import NETWORKS, architecture, build_network, convolution_work, footprint
from engine.networks.blocks import sequential_blocks
from engine.networks.cnn3d import parameter_count
from engine.networks.fused_step import fused_logits, fuses
from engine.pipeline.explain import takes_whole_passes
from engine.relevance import BatchSize, Brain, GuidedBackprop, Occlusion
from engine.training.checkpoints import load_model, model_card, pack_model
from engine.training.objective import Classification
from engine.training.trainer import Trainer, TrainingSetup, training_batches

OTHERS = ["korolev2017_plain", "korolev2017_residual"]
# By hand: of the plain network, convolutions and their batch norms 473,472 and 624 x 2; then FC 128 of the features,
# its batch norm, FC 64 and FC 2.
PARAMETERS = {
    "rieke2018": (737_026, 737_026, 737_026, 179_970),
    "korolev2017_plain": (2_542_858, 2_542_858, 1_002_762, 699_658),
    "korolev2017_residual": (3_205_026,) * 4,
}
LAST_MAP = {
    "rieke2018": ((64, 4, 5, 4), (64, 4, 5, 4), (64, 4, 5, 4), (64, 2, 3, 2)),
    "korolev2017_plain": ((64, 6, 7, 6), (64, 6, 7, 6), (64, 4, 4, 4), (64, 3, 3, 3)),
    "korolev2017_residual": ((128, 2, 2, 2),) * 4,
}


def test_the_configuration_knows_the_networks():
    assert tuple(NETWORKS) == NETWORK_NAMES
    assert load_config().training.network == "rieke2018"


@pytest.mark.parametrize("mm", [1, 2, 3, 4])
@pytest.mark.parametrize("name", NETWORK_NAMES)
def test_shapes_and_parameters_on_every_grid(name, mm):
    with torch.device("meta"):  # shapes alone
        network = build_network(mm, name=name).eval()
        volume = torch.empty(2, 1, *Grid(mm).shape)
        assert tuple(network.features(volume).shape) == (2, *LAST_MAP[name][mm - 1])
        assert tuple(network(volume).shape) == (2, 2)
    assert parameter_count(network) == PARAMETERS[name][mm - 1]


def _kinds(network: nn.Module, kind: type) -> list:
    return [layer for layer in network.modules() if isinstance(layer, kind)]


def test_layers_of_the_plain_network_are_as_published():
    network = build_network(2, 0.7, name="korolev2017_plain")
    convolutions = _kinds(network, nn.Conv3d)
    assert [c.out_channels for c in convolutions] == [8, 8, 16, 16, 32, 32, 32, 64, 64, 64, 64]
    assert {(c.kernel_size, c.padding, c.stride) for c in convolutions} == {((3, 3, 3), (1, 1, 1), (1, 1, 1))}
    kinds = "".join(type(layer).__name__[0] for layer in network.features)
    assert kinds == "CBRCBRM" * 2 + "CBRCBRCBRM" + "CBRCBRCBRCBRM"
    assert [m.out_features for m in _kinds(network, nn.Linear)] == [128, 64, 2]
    assert [m.p for m in _kinds(network, nn.Dropout)] == [0.7]
    assert len(_kinds(network, nn.BatchNorm1d)) == 1


def test_layers_of_the_residual_network_are_as_published():
    network = build_network(2, 0.7, name="korolev2017_residual")
    outside = [layer for layer in network.features if isinstance(layer, nn.Conv3d)]
    assert [(c.out_channels, c.stride[0]) for c in outside] == [(32, 1), (32, 1), (64, 2), (64, 2), (128, 2)]
    blocks = [layer for layer in network.features if type(layer).__name__ == "VoxRes"]
    assert [block.residual[2].out_channels for block in blocks] == [64, 64, 64, 64, 128, 128]
    maps = torch.randn(1, 64, 4, 4, 4)
    for parameter in blocks[0].parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(blocks[0](maps), maps)  # the identity, where the residual is nothing
    assert [m.out_features for m in _kinds(network, nn.Linear)] == [128, 2]
    assert [m.p for m in _kinds(network, nn.Dropout)] == [0.7]


def test_at_the_size_of_the_publication_the_pool_of_the_residual_network_is_seven():
    with torch.device("meta"):
        network = NETWORKS["korolev2017_residual"].network((110, 110, 110), (2, 2, 2))
        assert network.features[-1].kernel_size == (7, 7, 7)
        assert tuple(network(torch.empty(1, 1, 110, 110, 110)).shape) == (1, 2)


@pytest.fixture
def thin(monkeypatch):
    """The residual network with fewer channels: as it is, it takes 200 times the operations of the paper's."""
    monkeypatch.setattr(voxresnet, "STEM", 4)
    monkeypatch.setattr(voxresnet, "STAGES", (8, 8, 16))


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("name", OTHERS)
def test_gradients_reach_every_parameter_and_no_relu_works_in_place(name):
    network = build_network(4, 0.0, seed=1, name=name).train()
    assert not any(relu.inplace for relu in _kinds(network, nn.ReLU))
    logits = network(torch.randn(2, 1, *Grid(4).shape, generator=torch.Generator().manual_seed(0)))
    nn.functional.cross_entropy(logits, torch.tensor([0, 1])).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert sum(bool(p.grad.any()) for p in network.parameters()) > 0.9 * len(list(network.parameters()))


def test_what_can_be_fused_and_what_can_be_incremental():
    mask = torch.ones(Grid(4).shape, dtype=torch.bool)
    occlusion = Occlusion(Brain(mask, mask.to(torch.int16), 1, 4), BatchSize(2))
    for name, kind in NETWORKS.items():
        network = build_network(4, name=name).eval()
        plain = name != "korolev2017_residual"  # a plain sequence of blocks
        assert (sequential_blocks(network) is not None) == plain
        assert takes_whole_passes(occlusion, network) != plain
        assert fuses(network) == plain
        assert footprint(network) == kind.footprint


def test_the_work_is_that_of_the_convolutions():
    shape, expected = Grid(1).shape, []
    for source, target, pool in ((1, 8, 2), (8, 16, 3), (16, 32, 2), (32, 64, 3)):
        shape = tuple(n - 2 for n in shape)
        expected.append(27 * np.sqrt(source * target) * np.prod(shape))
        shape = tuple(n // pool for n in shape)
    with torch.device("meta"):
        assert convolution_work(build_network(1).eval(), 1) == pytest.approx(expected)
        plain, residual = (convolution_work(build_network(4, name=name).eval(), 4) for name in OTHERS)
    assert len(plain) == 11
    assert sum(plain) < sum(residual)


@pytest.mark.usefixtures("thin")
def test_guided_backprop_of_the_residual_network():
    shape = Grid(4).shape
    network = build_network(4, seed=3, name="korolev2017_residual").eval()
    mask = torch.ones(shape, dtype=torch.bool)
    method = GuidedBackprop(Brain(mask, mask.to(torch.int16), 1, 4), BatchSize(1))
    volume = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(0))
    assert method.attribute(network, volume, 1).margin.any()


# -- training -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cohort():
    """Scan id -> a small 'brain', the positive ones brighter in one corner; the job; the mask."""
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(7)]
    mask = np.zeros(Grid(4).shape, bool)
    mask[10:40, 10:45, 10:40] = True
    data = {s: rng.normal(1, 0.1, mask.shape).astype(np.float32) for s in ids}
    for scan in ids[::2]:
        data[scan][12:25, 12:25, 12:25] += 0.5
    return data, Job("fold-1", "folds", 3, tuple(ids[:5]), tuple(ids[5:]), tuple(ids[5:])), mask


def _train(cohort, folder, name, epochs=2, **options):
    data, job, mask = cohort
    config = TrainingConfig(network=name, epochs=epochs, learning_rate=1e-3, batch_size=2, **options)
    objective = Classification({scan: int(scan[1:]) % 2 == 0 for scan in data})
    setup = TrainingSetup(
        objective, lambda s: np.stack([data[one] for one in s]), mask, 4, config, torch.device("cpu"), folder
    )
    return Trainer(setup, job).train()


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize("name", OTHERS)
def test_training_goes_on_from_its_checkpoint_and_the_card_rebuilds_it(cohort, tmp_path, name):
    """Five scans in batches of two: a last batch of one must not stop batch norm."""
    whole = _train(cohort, tmp_path / "whole", name)
    assert [row["epoch"] for row in whole.curve] == [1, 2]
    assert all(np.isfinite(row["loss"]) for row in whole.curve)
    _train(cohort, tmp_path / "parts", name, epochs=1)
    torch.manual_seed(99)
    resumed = _train(cohort, tmp_path / "parts", name)
    for one, other in zip(whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    (tmp_path / "m.safetensors").write_bytes(pack_model(whole.network, whole.normalisation))
    card = model_card(4, TrainingConfig(network=name), ("AD", "NC"))
    (tmp_path / "m.json").write_text(json.dumps(card))
    network, _, read = load_model(tmp_path, "m", cohort[2])
    assert (read["network"], read["dropout"]) == (name, 0.7)
    assert type(network) is architecture(name).network
    volume = torch.randn(1, 1, *Grid(4).shape)
    with torch.no_grad():
        assert torch.equal(network(volume), whole.network(volume))
    (tmp_path / "m.json").write_text(json.dumps(card | {"network": "unheard"}))
    with pytest.raises(RunError, match="the network 'unheard' is not known"):
        load_model(tmp_path, "m", cohort[2])


def test_a_fused_step_of_the_plain_network_is_its_own():
    """In double precision: batch norm of two single numbers makes much of rounding."""
    own, fused = (build_network(4, 0.0, seed=1, name="korolev2017_plain").double().train() for _ in range(2))
    volumes = torch.zeros(2, 1, *Grid(4).shape, dtype=torch.float64)
    box = (slice(9, 40), slice(5, 50), slice(0, 41))
    volumes[(..., *box)] = torch.randn(
        2, 1, 31, 45, 41, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    logits = own(volumes), fused_logits(fused, volumes, box)
    torch.testing.assert_close(*logits, rtol=1e-8, atol=1e-8)
    for out in logits:
        nn.functional.cross_entropy(out, torch.tensor([0, 1])).backward()
    for (name, one), other in zip(own.named_parameters(), fused.parameters(), strict=True):
        if other.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-5, atol=1e-8, msg=name)


def test_cards_of_earlier_runs_are_read():
    assert architecture("CNN3D") is NETWORKS["rieke2018"]


def test_a_last_scan_alone_joins_the_batch_before_it_only_where_it_must():
    plain, paper = (build_network(4, name=name) for name in ("korolev2017_plain", "rieke2018"))
    assert training_batches("abcde", 2, plain) == [["a", "b"], ["c", "d", "e"]]
    assert training_batches("abcd", 2, plain) == [["a", "b"], ["c", "d"]]
    assert training_batches("abcde", 2, paper) == [["a", "b"], ["c", "d"], ["e"]]


@pytest.mark.usefixtures("thin")
@pytest.mark.parametrize(("train", "validation"), [(5, 0), (3, 2)])
def test_every_scan_is_trained_on_once_an_epoch(cohort, tmp_path, monkeypatch, train, validation):
    """One more scan than whole batches hold: it is not dropped, with and without validation scans (FC-32)."""
    data, job, mask = cohort
    ids = job.train
    split = replace(job, train=ids[:train], validation=ids[train : train + validation])
    seen, truth = [], Classification.truth

    def recorded(self, scans, device):
        seen.append(list(scans))
        return truth(self, scans, device)

    monkeypatch.setattr(Classification, "truth", recorded)
    whole = _train((data, split, mask), tmp_path / "m", "korolev2017_plain", epochs=2)
    assert np.isfinite(whole.curve[-1]["loss"])
    assert sorted(s for batch in seen for s in batch) == sorted([*split.train, *split.train])
    assert min(map(len, seen)) > 1


def test_settings_of_the_networks():
    for name, dropout in (("rieke2018", 0.8), ("korolev2017_plain", 0.7), ("korolev2017_residual", 0.7)):
        assert load_config(preset="smoke", overrides={"training.network": name}).training.dropout == dropout
    assert TrainingConfig(network="korolev2017_plain", dropout=0.5).dropout == 0.5
    assert load_config(overrides={"training.network": OTHERS[0]}).fingerprint() != load_config().fingerprint()
    with pytest.raises(UserError, match=r"training: batch_size must be at least 2 for korolev2017_plain"):
        load_config(overrides={"training.network": "korolev2017_plain", "training.batch_size": 1})
    with pytest.raises(UserError, match=r"training\.network: 'vgg' is not allowed; input should be 'rieke2018'"):
        load_config(overrides={"training.network": "vgg"})


@pytest.mark.parametrize(
    ("name", "grid_mm", "forward_s", "step_s"),
    [
        ("rieke2018", 4, 0.0058, 0.0064),
        ("rieke2018", 3, 0.013, 0.0162),
        ("rieke2018", 2, 0.050, 0.0609),
        ("korolev2017_plain", 4, 0.022, 0.0423),
        ("korolev2017_plain", 3, 0.055, 0.0791),
        ("korolev2017_plain", 2, 0.127, 0.2766),
        ("korolev2017_residual", 4, 0.114, 0.404),
        ("korolev2017_residual", 3, 0.237, 0.788),
    ],
)
def test_a_plan_is_near_what_was_measured(name, grid_mm, forward_s, step_s):
    """Seconds for a scan, alone on two cores: a forward pass, and a training step of five scans."""
    cost = network_cost(load_config(overrides={"training.network": name, "grid_mm": grid_mm}))
    forward = cost.forward * FORWARD_S[grid_mm]
    assert forward_s / 3 < forward < forward_s * 3
    step = forward * training_step(cost, grid_mm, "cpu")
    assert step_s / 2 < step < step_s * 2
    assert forward * training_step(cost, grid_mm, "cuda") == forward * 3


def test_the_plan_counts_whole_passes_where_there_are_no_others():
    passes = {}
    for name in NETWORK_NAMES:
        config = load_config(overrides={"training.network": name})
        passes[name] = method_passes(config, network_cost(config), "area_occlusion")
    assert passes["rieke2018"] < passes["korolev2017_plain"] < passes["korolev2017_residual"] == 120
