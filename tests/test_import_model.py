"""`run_pipeline.py import-model`: a network of one's own, from safetensors and a card, explained as it is."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from brains import AS_THEY_ARE, brain, cohort, job, settings
from safetensors.torch import save_file
from torch import nn

from engine.cli import main
from engine.cli.network_costs import NetworkCost, network_cost
from engine.config.loading import load_config
from engine.config.model_card import Card, Imported, read_card
from engine.config.schema import USUAL_METHODS
from engine.errors import UserError
from engine.images.grid import Grid
from engine.networks.blocks import sequential_blocks
from engine.relevance import METHODS
from engine.training.imported import normalisation_of, read_network, skeleton
from engine.training.normalisation import ScanScores
from store import open_run
from store.keys import TRAINING_MAPS
from store.writing.validate import validate

CARD = {
    "grid_mm": 4,
    "classes": ["NC", "AD"],
    "normalisation": "scan",
    "layers": [
        {"type": "Conv3d", "name": "one", "out_channels": 4, "kernel_size": 3, "padding": 1},
        {"type": "BatchNorm3d", "name": "norm"},
        {"type": "ReLU"},
        {"type": "MaxPool3d", "kernel_size": 4},
        {"type": "Conv3d", "name": "two", "out_channels": 6, "kernel_size": 3, "bias": False},
        {"type": "ReLU"},
        {"type": "AdaptiveAvgPool3d", "output_size": 2},
        {"type": "Flatten"},
        {"type": "Dropout", "p": 0.3},
        {"type": "Linear", "name": "last", "out_features": 2},
    ],
}


class Own(nn.Module):
    """The network of CARD as somebody might have written it."""

    def __init__(self, outputs: int = 2) -> None:
        super().__init__()
        self.one, self.norm = nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4)
        self.two, self.last = nn.Conv3d(4, 6, 3, bias=False), nn.Linear(48, outputs)

    def forward(self, volumes: torch.Tensor) -> torch.Tensor:
        maps = torch.max_pool3d(torch.relu(self.norm(self.one(volumes))), 4)
        pooled = nn.functional.adaptive_avg_pool3d(torch.relu(self.two(maps)), 2)
        return self.last(nn.functional.dropout(pooled.flatten(1), 0.3, self.training))


def own(outputs: int = 2) -> Own:
    torch.manual_seed(3)
    network = Own(outputs)
    with torch.no_grad():
        network(torch.randn(4, 1, *Grid(4).shape))  # running statistics that are not 0 and 1
    return network.eval()


def saved(folder: Path, network: nn.Module, card: dict = CARD, **more: torch.Tensor) -> Path:
    """FILE.safetensors with its card beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({**network.state_dict(), **more}, folder / "own.safetensors")
    (folder / "own.yaml").write_text(yaml.safe_dump(card))
    return folder / "own.safetensors"


def changed(layer: int | None = None, **values) -> dict:
    """CARD with other values, of itself or of a layer, from 0."""
    card = copy.deepcopy(CARD)
    (card if layer is None else card["layers"][layer]).update(values)
    return card


def volumes(count: int = 3) -> torch.Tensor:
    return torch.randn((count, 1, *Grid(4).shape), generator=torch.Generator().manual_seed(0))


def margin(logits: torch.Tensor) -> torch.Tensor:
    return logits[:, 1] - logits[:, 0]


@torch.no_grad()
def test_outputs_are_those_of_the_module_that_was_saved(tmp_path):
    network = own()
    found, _ = read_network(Card.model_validate(CARD), saved(tmp_path, network))
    torch.testing.assert_close(found(volumes()), network(volumes()), atol=1e-6, rtol=0)
    assert sequential_blocks(found) is not None  # occlusions are incremental
    assert len(found.features) == 6


@torch.no_grad()
def test_the_positive_class_comes_last_whatever_the_order(tmp_path):
    network, card = own(), Card.model_validate(changed(classes=["AD", "NC"], positive="AD"))
    assert card.groups == ("AD", "NC")
    found, _ = read_network(card, saved(tmp_path, network))
    torch.testing.assert_close(found(volumes()).flip(1), network(volumes()), atol=1e-6, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("positive", ["AD", "NC"])
def test_a_single_output_is_the_margin_of_the_second_class(tmp_path, positive):
    network, card = own(1), Card.model_validate(changed(9, out_features=1) | {"positive": positive})
    found, _ = read_network(card, saved(tmp_path, network))
    sign = 1 if positive == "AD" else -1
    torch.testing.assert_close(margin(found(volumes())), sign * network(volumes())[:, 0], atol=1e-6, rtol=0)


def test_all_methods_explain_it(tmp_path, batch):
    """LRP alone says that it does not know how to hand relevance through this classifier."""
    from engine.relevance import Brain

    network, _ = read_network(Card.model_validate(CARD), saved(tmp_path, own()))
    labels = torch.zeros(Grid(4).shape, dtype=torch.int16)
    labels[10:30, 20:40, 15:30], labels[31:40, 20:40, 15:30] = 1, 2
    brain = Brain(labels > 0, labels, 2, 4)
    given = torch.where(brain.mask, volumes(2), torch.zeros(()))
    for name, kind in METHODS.items():
        if name in TRAINING_MAPS:  # its training scans are not known
            continue
        coarse = {"half_width": 5, "stride": 12} if name == "occlusion" else {}
        if name == "lrp":
            with pytest.raises(ValueError, match="lrp needs a network of"):
                kind(brain=brain, batch=batch).attribute(network, given, 1)
            continue
        found = kind(brain=brain, batch=batch, **coarse).attribute(network, given, 1)
        assert torch.isfinite(found.margin).all(), name
        assert found.margin.abs().sum() > 0, name
        if "occlusion" in name:
            dense = kind(brain=brain, batch=batch, **coarse, engine="dense").attribute(network, given, 1)
            torch.testing.assert_close(found.margin, dense.margin, atol=1e-5, rtol=0)


WRONG = {
    "a kind of layer that is not known": (changed(2, type="GELU"), "layer 3"),
    "a parameter that is not known": (changed(3, kernel=4), "layer 4 (MaxPool3d): kernel"),
    "a missing parameter": ({**CARD, "layers": [{"type": "Conv3d", "name": "one"}]}, "layer 1 (Conv3d): out_channels"),
    "another size": (changed(4, out_channels=8), "layer 5 (Conv3d two): two.weight is 6x4x3x3x3 in the file, and 8x4"),
    "another name": (changed(4, name="second"), "layer 5 (Conv3d second): the file has no tensor second.weight"),
    "a bias too many": (changed(4, bias=True), "layer 5 (Conv3d two): the file has no tensor two.bias"),
    "a pool too large": (changed(3, kernel_size=60), "layer 4 (MaxPool3d)"),
    "nothing left": ({**CARD, "layers": [*CARD["layers"][:6], {"type": "MaxPool3d", "kernel_size": 11}]}, "layer 7"),
    "no flatten": ({**CARD, "layers": [*CARD["layers"][:7], *CARD["layers"][8:]]}, "put a Flatten before it"),
    "a layer too few": ({**CARD, "layers": [*CARD["layers"][:1], *CARD["layers"][2:]]}, "the tensor norm.bias belongs"),
    "no classifier": ({**CARD, "layers": CARD["layers"][:8]}, "the last layer must be a Linear"),
    "three outputs": (changed(9, out_features=3), "layer 10 (Linear last): the last layer must be a Linear with 2"),
    "no ReLU": ({**CARD, "layers": [x for x in CARD["layers"] if x["type"] != "ReLU"]}, "there is no ReLU"),
    "one class": (changed(classes=["AD", "AD"]), "two different groups"),
    "a strange positive group": (changed(positive="MCI"), "MCI is none of the classes"),
    "another normalisation": (changed(normalisation="minmax"), "normalisation"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_card_that_does_not_fit_is_one_line_that_names_the_layer(tmp_path, what):
    card, message = WRONG[what]
    file = saved(tmp_path, own(), card)
    with pytest.raises(UserError) as caught:
        read_network(read_card(file.with_suffix(".yaml")), file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_pickles_are_never_read(tmp_path):
    file = tmp_path / "own.pt"
    torch.save(own().state_dict(), file)
    with pytest.raises(UserError, match="pickled files"):
        read_network(Card.model_validate(CARD), file)


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    network = own()
    network.two.weight.data[0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match=r"layer 5 .*not finite"):
        read_network(Card.model_validate(CARD), saved(tmp_path, network))


def test_a_strided_network_is_explained_by_whole_passes():
    layers = [{**CARD["layers"][0], "stride": 2}, *CARD["layers"][1:]]
    assert sequential_blocks(skeleton(Card.model_validate({**CARD, "layers": layers}))) is None


def test_normalisations():
    shape, rng = Grid(4).shape, np.random.default_rng(0)
    mask, given = rng.random(shape) > 0.5, rng.random((2, *shape)).astype(np.float32)

    def of(value, **tensors):
        card = Card.model_validate(changed(normalisation=value))
        return normalisation_of(card, {f"normalisation.{k}": torch.tensor(v) for k, v in tensors.items()}, mask, "f")

    scores = ScanScores(mask)(given)
    assert np.allclose(scores[:, mask].mean(axis=1), 0, atol=1e-5)
    assert np.allclose(scores[:, mask].std(axis=1), 1, atol=1e-5)
    assert not scores[:, ~mask].any()
    np.testing.assert_array_equal(of("zscore")(given), scores)
    np.testing.assert_allclose(of("none")(given), given * mask)
    np.testing.assert_allclose(of({"mean": 0.5, "std": 2.0})(given), (given - 0.5) / 2 * mask, atol=1e-6)
    mean, std = rng.random(shape).astype(np.float32), 1 + rng.random(shape).astype(np.float32)
    np.testing.assert_allclose(of("voxelwise", mean=mean, std=std)(given), (given - mean) / std * mask, atol=1e-5)
    with pytest.raises(UserError, match=r"normalisation\.std must be"):
        of("voxelwise", mean=mean)


# -- on the command line ----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _keep_signals(monkeypatch):
    monkeypatch.setattr(main.signal, "signal", lambda *a: None)


CHOSEN = settings(
    *AS_THEY_ARE, "cohort.diagnosis={AD: [Dementia], NC: [CN]}", "explain.occlusion={half_width_mm: 48, stride_mm: 80}",
    "analysis.bootstrap=100",
)  # fmt: skip


def imported(folder: Path, *arguments: object, data: Path) -> int:
    where = ("--store", folder / "store", "--data", data, "--cohort", "table", "--device", "cpu")
    return job("import-model", folder / "own.safetensors", *where, *CHOSEN, *arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """own.safetensors and own.yaml, brains in data/, and the run of both in store/."""
    folder = tmp_path_factory.mktemp("import")
    saved(folder, own())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main.signal, "signal", lambda *a: None)
        assert imported(folder, data=cohort(folder / "data")) == 0
    return folder


def test_a_cohort_is_explained_by_it(folder):
    run = open_run(folder / "store", "own")
    assert validate(folder / "store" / run.run_id) == []
    predictions = run.table("predictions").set_index("scan")
    assert len(predictions) == 10
    network = own()
    for scan in predictions.index[:3]:
        volume = run.volume(scan)
        scaled = (volume - volume.min()) / (volume.max() - volume.min()) * run.mask
        with torch.no_grad():
            expected = margin(network(torch.from_numpy(scaled.astype(np.float32))[None, None]))
        assert predictions["margin"][scan] == pytest.approx(float(expected), abs=1e-4)
    assert set(run.table("heatmaps")["method"]) == set(USUAL_METHODS)
    metrics = run.table("metrics", level="scan", model="holdout").set_index(["classifier", "metric"])["value"]
    assert metrics["cnn", "accuracy"] == pytest.approx(predictions["correct"].astype(float).mean())
    assert "region_means" not in metrics.index.get_level_values(0)
    assert run.table("models")["network"].tolist() == ["imported"]
    assert "training" not in run.manifest["config"]
    assert any("trained elsewhere (own.safetensors)" in notice for notice in run.manifest["notices"])


def test_new_scans_are_explained_by_it(folder):
    new = brain(folder / "new" / "new.nii.gz", 77)
    assert job("explain", "own", new, "--store", folder / "store", "--device", "cpu") == 0
    run = open_run(folder / "store", "own-scans")
    assert validate(folder / "store" / run.run_id) == []
    assert run.table("predictions")["model"].tolist() == ["holdout"]
    path = "heatmaps/holdout/sensitivity/AD/margin"
    assert run.attributes(path)["unit"] == "margin per range of the scan's values"


def cost(layers: list[dict], grid_mm: int = 4) -> NetworkCost:
    card = Card.model_validate({**CARD, "grid_mm": grid_mm, "layers": layers})
    imported = Imported(file="own", sha256="", card=card)
    return network_cost(load_config(overrides={"imported": imported.model_dump(mode="json"), "grid_mm": grid_mm}))


def test_a_plan_counts_the_layers_of_the_card():
    def convolution(channels: int) -> dict:
        return {"type": "Conv3d", "name": f"to{channels}", "out_channels": channels, "kernel_size": 3}

    def block(channels: int, pool: int) -> list[dict]:
        norm = {"type": "BatchNorm3d", "name": f"norm{channels}"}
        return [convolution(channels), norm, {"type": "ReLU"}, {"type": "MaxPool3d", "kernel_size": pool}]

    # The blocks of Rieke et al. 2018 at 1 mm.
    paper = [*block(8, 2), *block(16, 3), *block(32, 2), *block(64, 3), *CARD["layers"][7:]]
    usual, found = network_cost(load_config(overrides={"grid_mm": 1})), cost(paper, 1)
    assert (found.forward, found.fused, found.wider) == (usual.forward, usual.fused, usual.wider) == (1, 1, 1)
    larger = [{**CARD["layers"][0], "out_channels": 40}, *CARD["layers"][1:]]
    assert cost(larger).forward > 2 * cost(CARD["layers"]).forward
    strided = [{**CARD["layers"][0], "stride": 2}, *CARD["layers"][1:]]
    assert cost(strided).wider is None


def test_plans_are_of_its_own_layers(folder, capsys):
    found = {}
    for name, layer in (("own", {}), ("strided", {"stride": 2})):
        card = folder / f"{name}-card.yaml"
        card.write_text(yaml.safe_dump(changed(0, **layer)))
        assert imported(folder, "--card", card, "--plan", "--json", data=folder / "data") == 0
        said = capsys.readouterr()
        found[name] = json.loads(said.out)
        assert "in all about" in said.err
        assert "GiB, disk about" in said.err
    assert list(found["own"]["seconds"]) == ["preprocess", "import", "explain", "aggregate and compare", "trust"]
    assert found["own"]["memory_mib"] > 0
    assert found["own"]["disk_mib"] > 0
    assert found["strided"]["seconds"]["import"] < found["own"]["seconds"]["import"]
    new = brain(folder / "new" / "new.nii.gz", 77)
    assert job("explain", "own", new, "--store", folder / "store", "--device", "cpu", "--plan", "--json") == 0
    of_one = json.loads(capsys.readouterr().out)
    assert of_one["seconds"]["predict"] == pytest.approx(found["own"]["seconds"]["import"] / 10)
    assert of_one["seconds"]["explain"] == pytest.approx(found["own"]["seconds"]["explain"] / 10)


def test_plan_and_mistakes(folder, tmp_path, capsys):
    assert imported(folder, "--plan", data=folder / "data") == 0
    assert "own.safetensors: 10 layers" in capsys.readouterr().err
    for message, arguments in (
        ("--set training.epochs", settings("training.epochs=3")),
        ("no such file; the card", ["--card", tmp_path / "none.yaml"]),
        ("the network tells AD and NC apart", settings("cohort.diagnosis={X: [Dementia], NC: [CN]}")),
        ("training scans of an imported network", settings("explain.occlusion.reference=nc_mean")),
    ):
        assert imported(folder, *arguments, data=folder / "data") == 2
        said = capsys.readouterr().err
        assert message in said
        assert "Traceback" not in said
    assert job("import-model", tmp_path / "none.safetensors", "--card", folder / "own.yaml") == 2
    assert "none.safetensors: cannot be read" in capsys.readouterr().err
