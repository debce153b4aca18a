"""Randomisation: similarity of maps, layers drawn anew, and what a method that ignores the network gets."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage, stats
from torch import nn

from engine.analysis.similarity import SIMILARITIES, similarities, structural_similarity_in_brain
from engine.cohort.splits import Job
from engine.config.loading import load_config
from engine.networks.architectures import build_network
from engine.networks.cascade import drawn_anew, layers_from_output
from engine.networks.cnn3d import CNN3D
from engine.pipeline import explain_again as explaining
from engine.pipeline.explain_again import Explainable
from engine.pipeline.run import Run
from engine.pipeline.trust import randomisation
from engine.pipeline.trust.randomisation import draw_pairs, write_randomisation
from engine.pipeline.trust.shuffled_labels import deal_labels
from engine.progress import Progress
from engine.relevance import IntegratedGradients
from engine.relevance.base import Relevance
from engine.relevance.gradients import input_gradient

SHAPE = (20, 22, 18)
LAYERS = ["fc3", "fc2", "fc1", "conv4", "conv3", "conv2", "conv1"]


@pytest.fixture
def mask() -> np.ndarray:
    """An ellipsoid."""
    places = np.indices(SHAPE)
    return sum(((a - (n - 1) / 2) / (0.42 * n)) ** 2 for a, n in zip(places, SHAPE, strict=True)) < 1


@pytest.fixture
def heatmap(mask) -> np.ndarray:
    """A smooth signed map, 0 outside the brain."""
    noise = np.random.default_rng(0).standard_normal(SHAPE)
    return np.where(mask, ndimage.gaussian_filter(noise, 1.5) + 0.02, 0).astype(np.float32)


def named(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    return dict(zip(SIMILARITIES, similarities(first, second, mask), strict=True))


# -- similarity -------------------------------------------------------------------------------------------------------


def test_a_map_is_like_itself_whatever_its_unit(heatmap, mask):
    assert similarities(heatmap, heatmap, mask) == pytest.approx(1)
    assert similarities(heatmap, 1e-6 * heatmap, mask) == pytest.approx(1, abs=1e-5)


def test_a_map_and_its_negative_are_opposite_with_sign_and_alike_without(heatmap, mask):
    found = named(heatmap, -heatmap, mask)
    assert found["rank_correlation"] == pytest.approx(-1)
    assert found["ssim"] < -0.5
    assert [found["rank_correlation_absolute"], found["ssim_absolute"]] == pytest.approx([1, 1])


def test_a_permuted_map_is_like_nothing(heatmap, mask):
    permuted = np.zeros_like(heatmap)
    permuted[mask] = np.random.default_rng(1).permutation(heatmap[mask])
    found = named(heatmap, permuted, mask)
    assert abs(found["rank_correlation"]) < 0.05
    assert abs(found["rank_correlation_absolute"]) < 0.05
    assert abs(found["ssim"]) < 0.1
    assert found["ssim_absolute"] < 0.5  # both are positive everywhere, so their means are alike


def test_rank_correlations_are_those_of_scipy(heatmap, mask):
    other = np.where(mask, np.round(ndimage.gaussian_filter(heatmap, 1) * 20), 0).astype(np.float32)  # with ties
    found = named(heatmap, other, mask)
    assert found["rank_correlation"] == pytest.approx(stats.spearmanr(heatmap[mask], other[mask]).statistic)
    absolute = stats.spearmanr(np.abs(heatmap[mask]), np.abs(other[mask])).statistic
    assert found["rank_correlation_absolute"] == pytest.approx(absolute)


@pytest.mark.parametrize("signed", [True, False])
def test_structural_similarity_window_by_window(heatmap, mask, signed):
    """The index of Wang et al. 2004 by its formula, at every voxel of the mask, without a library for images."""
    other = np.where(mask, np.roll(heatmap, 2, axis=0), 0).astype(np.float32)

    def in_range(values: np.ndarray) -> np.ndarray:
        top = np.percentile(np.abs(values[mask]), 99)
        clipped = np.clip(np.where(mask, values, 0) / top, -1, 1)
        return np.pad((clipped + 1) / 2 if signed else np.abs(clipped), 3, mode="symmetric")

    a, b = in_range(heatmap), in_range(other)
    local = []
    for x, y, z in np.argwhere(mask):
        one, two = (v[x : x + 7, y : y + 7, z : z + 7].ravel() for v in (a, b))
        cross = np.cov(one, two)
        local.append(
            (2 * one.mean() * two.mean() + 0.01**2)
            * (2 * cross[0, 1] + 0.03**2)
            / ((one.mean() ** 2 + two.mean() ** 2 + 0.01**2) * (cross[0, 0] + cross[1, 1] + 0.03**2))
        )
    assert structural_similarity_in_brain(heatmap, other, mask, signed) == pytest.approx(np.mean(local), abs=1e-4)


def test_what_lies_outside_the_brain_does_not_count(heatmap, mask):
    outside = np.where(mask, heatmap, 100)
    assert similarities(heatmap, outside, mask) == pytest.approx(1)


def test_a_map_without_relevance_is_like_no_other(heatmap, mask):
    assert np.isnan(similarities(heatmap, np.zeros_like(heatmap), mask)).all()
    few = np.zeros_like(heatmap)
    few[10, 11, 9] = 1  # fewer than 1 % of the voxels: its 99th percentile is 0
    assert similarities(few, few, mask) == pytest.approx(1)


# -- the cascade ------------------------------------------------------------------------------------------------------


@pytest.fixture
def network() -> nn.Module:
    """A network like a trained one: no weight nor running statistic as at the start."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return as_if_trained(CNN3D(SHAPE, (2, 1, 1, 1), channels=(4, 8, 8, 16)))


def as_if_trained(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.add_(0.1)
    return network.eval()


def test_layers_are_listed_from_the_output_each_batch_norm_with_its_convolution(network):
    layers = layers_from_output(network)
    assert [layer.name for layer in layers] == LAYERS
    assert layers[-1].modules == ("features.0", "features.1")
    assert layers[0].modules == ("classifier.6",)
    residual = layers_from_output(build_network(4, name="korolev2017_residual"))
    assert [layer.name for layer in residual][:3] == ["fc2", "fc1", "conv17"]
    owned = [path for layer in residual for path in layer.modules]
    assert len(owned) == len(set(owned))


@pytest.mark.parametrize("name", ["rieke2018", "korolev2017_plain", "korolev2017_residual"])
def test_each_step_changes_one_layer_more_and_leaves_the_others(name):
    network = as_if_trained(build_network(4, seed=0, name=name))
    layers, trained = layers_from_output(network), network.state_dict()
    before = {key: value.clone() for key, value in trained.items()}
    last = None
    for step in range(1, len(layers) + 1):
        changed = drawn_anew(network, layers[:step], seed=3).state_dict()
        drawn = tuple(f"{path}." for layer in layers[:step] for path in layer.modules)
        for key, value in changed.items():
            if not value.is_floating_point():
                continue
            assert torch.equal(value, before[key]) != key.startswith(drawn), (step, key)
            newest = tuple(f"{path}." for path in layers[step - 1].modules)
            assert last is None or torch.equal(value, last[key]) or key.startswith(newest), (step, key)
        last = changed
    assert all(torch.equal(trained[key], before[key]) for key in before)  # the network itself is as it was
    for key, value in last.items():
        if key.endswith("running_mean"):
            assert not value.any()
        if key.endswith("running_var"):
            assert (value == 1).all()


def test_the_same_seed_draws_the_same_and_leaves_the_random_state(network):
    layers, state = layers_from_output(network), torch.get_rng_state()
    one, same, other = (drawn_anew(network, layers, seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not torch.equal(one["classifier.6.weight"], other["classifier.6.weight"])


def test_weights_that_cannot_be_drawn_anew_are_an_error(linear_model):
    with pytest.raises(ValueError, match="LinearModel cannot be drawn anew"):
        layers_from_output(linear_model)


def test_the_gradient_turns_where_the_last_weights_turn(network):
    """With the last layer's weights negated the map is the negative: alike without sign, opposite with it."""
    volume = torch.randn((1, 1, *SHAPE), generator=torch.Generator().manual_seed(0))
    brain = np.ones(SHAPE, bool)
    turned = drawn_anew(network, [], seed=0)
    with torch.no_grad():
        turned.classifier[6].weight.neg_()
    maps = [input_gradient(one, volume, 1)[0].numpy() for one in (network, turned)]
    found = named(*maps, brain)
    assert found["rank_correlation"] == pytest.approx(-1, abs=1e-3)
    assert found["rank_correlation_absolute"] == pytest.approx(1, abs=1e-3)
    anew = drawn_anew(network, layers_from_output(network)[:1], seed=0)
    random = named(maps[0], input_gradient(anew, volume, 1)[0].numpy(), brain)
    assert random["rank_correlation"] < 0.9


# -- the measure ------------------------------------------------------------------------------------------------------


class Scope:
    """What the measure asks of a scope: six scans of six subjects; one method explains, one ignores the network."""

    methods = ("sensitivity", "guided_backprop")  # the second is replaced by an edge filter
    target = "AD"
    scans = pd.DataFrame({"scan": [f"s{i}" for i in range(6)], "subject": [f"p{i}" for i in range(6)]}).assign(
        group=["AD", "NC"] * 3
    )

    def __init__(self, network: nn.Module, mask: np.ndarray, folder) -> None:
        self.asked: list[tuple[str, str]] = []
        self.tables: dict[str, pd.DataFrame] = {}
        config = load_config(preset="smoke", overrides={"trust.shuffled_networks": 0})
        self.run = SimpleNamespace(
            config=config, mask=mask, work=folder, progress=Progress(quiet=True),
            writer=SimpleNamespace(put_table=self.tables.__setitem__),
        )  # fmt: skip
        self.job = Job("holdout", "holdout", 0, ("t",), tuple(self.scans["scan"]), tuple(self.scans["scan"]))
        self.held_out = Explainable(network, None, self.job)
        rng = np.random.default_rng(5)
        volumes = {scan: ndimage.gaussian_filter(rng.standard_normal(mask.shape), 1) for scan in self.scans["scan"]}
        self.volumes = {scan: torch.from_numpy(v.astype(np.float32))[None, None] for scan, v in volumes.items()}

    def maps(self, one, method, scans):
        for scan in scans:
            self.asked.append((method, scan))
            yield scan, self._map(one.network, method, scan)

    def stored_map(self, method, scan):
        return self._map(self.held_out.network, method, scan)

    def _map(self, network, method, scan):
        volume = self.volumes[scan]
        if method == "sensitivity":
            return input_gradient(network, volume, 1)[0].numpy()
        return ndimage.generic_gradient_magnitude(volume[0, 0].numpy(), ndimage.sobel)


def test_a_method_that_ignores_the_network_stays_at_1_and_fails(network, mask, tmp_path):
    scope = Scope(network, mask, tmp_path)
    write_randomisation(scope)
    table = scope.tables["randomisation"].set_index(["method", "measure", "step"]).sort_index()
    assert len(table) == 2 * 4 * 7
    edges = table.loc["guided_backprop"]
    assert edges["value"].to_numpy() == pytest.approx(1)
    assert (edges["value"] > edges["reference"]).all()
    gradient = table.loc["sensitivity", "rank_correlation"]
    assert gradient["layer"].tolist() == LAYERS
    assert gradient["value"].iloc[-1] < 0.5
    assert gradient["value"].between(gradient["value_low"], gradient["value_high"]).all()
    assert set(table["subjects"]) == set(table["scans"]) == {6}
    assert set(table["empty"]) == {0}


def test_values_and_references_are_means_of_single_similarities(network, mask, tmp_path):
    scope = Scope(network, mask, tmp_path)
    write_randomisation(scope)
    table = scope.tables["randomisation"].set_index(["method", "step", "measure"]).sort_index()
    changed = drawn_anew(network, layers_from_output(network)[:3], seed=randomisation.SEED)
    scans, mask = scope.scans["scan"], scope.run.mask
    trained = {scan: scope.stored_map("sensitivity", scan) for scan in scans}
    of_scans = [
        similarities(trained[scan], input_gradient(changed, scope.volumes[scan], 1)[0].numpy(), mask) for scan in scans
    ]
    of_pairs = [similarities(trained[a], trained[b], mask) for i, a in enumerate(scans) for b in scans[:i]]
    rows = table.loc["sensitivity", 3].loc[list(SIMILARITIES)]
    np.testing.assert_allclose(rows["value"], np.mean(of_scans, axis=0))
    np.testing.assert_allclose(rows["reference"], np.mean(of_pairs, axis=0))


def test_an_interrupted_measure_goes_on_with_the_same_numbers(network, mask, tmp_path):
    whole, broken = Scope(network, mask, tmp_path / "whole"), Scope(network, mask, tmp_path / "broken")
    write_randomisation(whole)

    class Stopped(Exception):
        pass

    def stop(one, method, scans, plain=broken.maps):
        if len(broken.asked) >= 3 * 6:
            raise Stopped
        yield from plain(one, method, scans)

    broken.maps = stop
    with pytest.raises(Stopped):
        write_randomisation(broken)
    del broken.maps
    write_randomisation(broken)
    assert len(broken.asked) == len(whole.asked)  # nothing was computed twice
    pd.testing.assert_frame_equal(broken.tables["randomisation"], whole.tables["randomisation"])


def test_maps_without_relevance_are_missing_and_counted(network, mask, tmp_path, monkeypatch):
    scope = Scope(network, mask, tmp_path)
    plain = scope.maps
    scope.maps = lambda one, method, scans: (
        (scan, np.zeros_like(heatmap) if scan == "s0" else heatmap) for scan, heatmap in plain(one, method, scans)
    )
    write_randomisation(scope)
    table = scope.tables["randomisation"]
    assert set(table["empty"]) == {1}
    assert set(table["scans"]) == set(table["subjects"]) == {5}
    assert table["value"].notna().all()


@pytest.mark.parametrize(("trained", "most_steps"), [(True, 256), (False, 32)])
def test_integrated_gradients_of_networks_that_learned_nothing_take_no_further_steps(
    network, mask, brain, batch, monkeypatch, trained, most_steps
):
    asked = []

    def attribute(self, model, volumes, explained_class):
        asked.append(self.most_steps)
        return Relevance(volumes[:, 0])

    monkeypatch.setattr(IntegratedGradients, "attribute", attribute)
    monkeypatch.setattr(explaining, "build_brain", lambda *_: brain)
    run = SimpleNamespace(
        config=load_config(preset="smoke"), mask=mask, groups=("AD", "NC"), reader=lambda: None,
        cache=SimpleNamespace(read=lambda scans: np.ones((len(scans), *SHAPE), np.float32)),
    )  # fmt: skip
    job = Job("holdout", "holdout", 0, ("t",), ("s",), ("s",))
    one = Explainable(network, lambda volumes: volumes, job, trained)
    ((scan, heatmap),) = explaining.explain_again(run, one, "integrated_gradients", ["s"])
    assert (scan, asked) == ("s", [most_steps])
    np.testing.assert_array_equal(heatmap, mask)


def test_pairs_are_of_different_subjects_and_none_twice():
    pairs = draw_pairs(["a", "a", "b", "c"], 0)
    assert pairs == [(0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    many = draw_pairs([str(i) for i in range(20)], 0)
    assert len(set(many)) == len(many) == 50
    assert many == draw_pairs([str(i) for i in range(20)], 0) != draw_pairs([str(i) for i in range(20)], 1)


# -- shuffled labels --------------------------------------------------------------------------------------------------


def test_labels_are_dealt_out_by_subject_and_stay_as_many():
    rows = [(f"s{i}", f"p{i // 2}", "AD" if i < 20 else "NC") for i in range(40)]
    scans = pd.DataFrame(rows, columns=["scan", "subject", "group"])
    names = scans["scan"].tolist()
    job = Job("holdout", "holdout", 0, tuple(names[4:]), (), (), tuple(names[:4]))
    dealt = deal_labels(scans, job, "AD", 1)
    called = pd.Series(dealt)[names]
    assert set(dealt) == set(names)
    assert called.groupby(scans["subject"].to_numpy()).nunique().eq(1).all()
    assert called.iloc[:4].sum() == 4  # the validation subjects are all positive, and stay so
    assert called.iloc[4:].sum() == 16
    agree = (called.to_numpy() == (scans["group"] == "AD").to_numpy())[4:].mean()
    assert 0.2 < agree < 0.8
    assert dealt == deal_labels(scans, job, "AD", 1) != deal_labels(scans, job, "AD", 2)


# -- the plan ---------------------------------------------------------------------------------------------------------


def test_a_plan_counts_the_maps_that_are_made_again_and_the_networks_that_are_trained(tmp_path):
    from engine.cli.costs import estimate_costs
    from engine.cli.network_costs import FORWARD_S, GRADIENT_FACTOR
    from engine.cli.trust_costs import COMPARE_S
    from engine.pipeline.stages import ingest

    def seconds(**trust) -> dict[str, float]:
        overrides = {f"trust.{key}": value for key, value in ({"networks": 0, "scans": 4} | trust).items()}
        overrides = {"trust.measures": ["randomisation"]} | overrides
        overrides |= {"explain.holdout": ["sensitivity"], "explain.folds": []}
        run = Run(load_config(preset="smoke", overrides=overrides), tmp_path, "cpu", Progress(quiet=True))
        ingest(run)
        run.cohort = run.with_parts(run.cohort)
        return estimate_costs(run).seconds

    assert seconds(measures=[])["trust"] == 0
    plain = seconds(shuffled_networks=0)
    maps, pairs = 7 * 4, 6
    expected = maps * GRADIENT_FACTOR * FORWARD_S[4] + (maps + pairs) * COMPARE_S[4]
    assert plain["trust"] == pytest.approx(expected)
    assert seconds(shuffled_networks=1)["trust"] > plain["trust"] + 4 * COMPARE_S[4]
    # networks that are trained again are counted where they are trained and explain: among the jobs
    again = seconds(shuffled_networks=0, networks=2)
    assert again["train"] > plain["train"] * 1.5
    assert again["explain"] == pytest.approx(3 * plain["explain"])
    assert again["trust"] == plain["trust"]
