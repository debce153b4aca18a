"""Scores against the imposed change: what a perfect map, an empty one, and a network that knows nothing get."""

from __future__ import annotations

from copy import copy
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from engine.analysis.network_scores import Ensemble, OverNetworks
from engine.analysis.truth import PEAK_SCORES, REGION_SCORES, SCORES, VOXEL_SCORES, RegionTruth, TruthScorer
from engine.analysis.truth_intervals import MeanMap, MeanScore, _drawn_of, with_intervals
from engine.atlas.aal import load_atlas
from engine.cohort.splits import Job
from engine.config.cohort_schema import CohortConfig, Simulation
from engine.config.schema import AtlasConfig
from engine.images.template import brain_mask
from engine.networks.architectures import build_network
from engine.pipeline import truth_references, truth_scores
from engine.relevance import METHODS, BatchSize, Brain
from engine.simulation.cohort import SimulatedPreparer, imposed_truth, read
from engine.simulation.imposed import changed_places, imposed_regions
from engine.simulation.scenarios import SCENARIOS
from engine.simulation.twins import visible_change
from store.reading.truth import binary_of

SIMULATION = Simulation(positive=3, negative=1, solve_mm=4)
NO_REGIONS = RegionTruth(np.zeros(1), np.ones(1, bool))


def _auc(scorer: TruthScorer, relevance: np.ndarray) -> float:
    return scorer(relevance)["voxel_auc"]


def test_scores_against_scikit_learn_and_by_hand():
    rng = np.random.default_rng(0)
    shape = (8, 9, 7)
    mask = rng.random(shape) > 0.2
    truth = np.zeros(shape, bool)
    truth[2:5, 2:6, 2:4] = True
    labels = np.where(mask, rng.integers(1, 7, shape), 0)
    size = np.array([0.2, 0.0, 0.1, 0.0, 0.3, 0.4])
    named = np.array([True] * 5 + [False])
    relevance = np.round(rng.random(shape) + truth * 0.5, 1)  # with ties
    found = TruthScorer(truth, mask, labels, RegionTruth(size, named), 2)(relevance)
    assert tuple(found) == SCORES == VOXEL_SCORES + PEAK_SCORES + REGION_SCORES
    assert found["voxel_auc"] == pytest.approx(roc_auc_score(truth[mask], relevance[mask]))
    assert found["average_precision"] == pytest.approx(average_precision_score(truth[mask], relevance[mask]))
    assert found["mass_accuracy"] == pytest.approx(relevance[mask & truth].sum() / relevance[mask].sum())
    sums = np.array([relevance[mask & (labels == r)].sum() for r in range(1, 6)])
    voxels = np.array([(mask & (labels == r)).sum() for r in range(1, 6)])
    assert found["region_rank_correlation"] == pytest.approx(stats.spearmanr(sums / voxels, size[:5]).statistic)
    assert found["region_share"] == pytest.approx(sums[size[:5] > 0].sum() / sums.sum())


def test_scores_of_perfect_and_of_empty_maps():
    truth = np.zeros((6, 6, 6), bool)
    truth[1:3, 1:3, 1:3] = True
    mask = np.ones_like(truth)
    scorer = TruthScorer(truth, mask, mask.astype(int), NO_REGIONS, 4)
    perfect = scorer(truth.astype(float))
    assert perfect["voxel_auc"] == perfect["average_precision"] == perfect["mass_accuracy"] == 1
    assert perfect["rank_accuracy"] == perfect["pointing_game"] == 1
    assert perfect["localisation_error_mm"] == 0
    away = np.zeros(truth.shape)
    away[5, 1, 1] = 1.0
    assert scorer(away)["localisation_error_mm"] == pytest.approx(3 * 4)
    assert np.isnan(list(scorer(np.zeros(truth.shape)).values())).all()


# -- the truth of simulated brains ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated():
    """(preparer, rows of patients, their visible changes)."""
    preparer = SimulatedPreparer(SIMULATION, 4, 4)
    scans = read(CohortConfig(simulation=SIMULATION), seed=4).scans
    rows = scans[scans["group"] == "AD"].to_dict("records")
    return preparer, rows, [visible_change(preparer, row) for row in rows]


@pytest.fixture(scope="module")
def atlas():
    return load_atlas(AtlasConfig(), 4)


@pytest.fixture(scope="module")
def regions(simulated, atlas):
    """The table truth_regions."""
    preparer = simulated[0]
    changed = changed_places(preparer, SCENARIOS["typical_ad"].patterns[0], 4)
    return imposed_regions(atlas, imposed_truth(preparer)[1], changed)


@pytest.fixture(scope="module")
def scorer(simulated, atlas, regions):
    mask = brain_mask(4)
    size = np.where(regions["imposed"], regions["log_jacobian"].abs(), 0)
    named = (regions["region"] != "Unlabelled").to_numpy()
    binary = binary_of(np.mean(simulated[2], axis=0), mask)
    return TruthScorer(binary, mask, atlas.labels, RegionTruth(size, named), 4)


def test_a_perfect_map_reaches_the_ceiling_and_the_difference_of_the_pictures_nearly(simulated, scorer):
    """The log-Jacobian of before was found by |after - before| with voxel AUC 0.75, so that nothing could pass that."""
    preparer, rows, changes = simulated
    assert scorer(np.mean(changes, axis=0))["voxel_auc"] == pytest.approx(1)
    for row in rows:  # of one person alone, and of the people without noise, bias and anatomy
        difference = np.abs(preparer.volume(row) - preparer.volume(row, imposed=False))
        assert _auc(scorer, difference) > 0.9
    before, log_jacobian = imposed_truth(preparer)
    old = TruthScorer(before, scorer.mask, np.ones(before.shape, int), NO_REGIONS, 4)
    assert _auc(old, np.mean(changes, axis=0)) < 0.85
    assert _auc(scorer, np.abs(log_jacobian)) < 0.85


def test_region_truth_is_where_the_change_was_imposed(regions, scorer, atlas):
    by_region = regions.set_index("region")
    assert by_region.loc[["Hippocampus_L", "Amygdala_R", "Temporal_Mid_L", "Ventricles"], "imposed"].all()
    # What shrinking regions lose, these gain; nothing was imposed on them.
    assert not by_region.loc[["Caudate_L", "Thalamus_R", "Unlabelled"], "imposed"].any()
    assert by_region.loc["ParaHippocampal_L", "log_jacobian"] < -0.2 < 0 < by_region.loc["Ventricles", "log_jacobian"]
    size = np.where(regions["imposed"], regions["log_jacobian"].abs(), 0)
    perfect = scorer(np.concatenate([[0], size])[atlas.labels])
    assert perfect["region_rank_correlation"] == pytest.approx(1)
    assert perfect["region_share"] == pytest.approx(1)


def test_the_binary_truth_is_a_quarter_of_the_percentile():
    random = np.random.default_rng(0)
    change, mask = random.random((20, 20, 20)), random.random((20, 20, 20)) > 0.3
    change[mask] *= random.random(mask.sum()) ** 6
    change[tuple(np.argwhere(mask)[0])] = 100.0  # one wild voxel decides nothing
    limit = 0.25 * np.percentile(change[mask], 99.9)
    assert limit < 1
    assert (binary_of(change, mask) == ((change >= limit) & mask)).all()
    assert not binary_of(np.zeros(mask.shape), mask).any()


# -- references and intervals -----------------------------------------------------------------------------------------


def _samples(scorer: TruthScorer, maps: list[np.ndarray]) -> tuple[MeanMap, MeanScore]:
    """Both levels of one map a subject."""
    group, scan = MeanMap(scorer, len(maps)), MeanScore(len(maps))
    for subject, one in enumerate(maps):
        share = (one / one.sum())[scorer.mask]
        group.add(subject, share, scorer.smooth(share), 1.0)
        scan.add(subject, scorer.score(one[scorer.mask]), 1.0)
    return group, scan


def test_the_favoured_places_of_untrained_networks_do_not_count(simulated, atlas):
    """A change in the thalamus is where gradients of networks that have learned nothing already look."""
    preparer, rows, _ = simulated
    mask = brain_mask(4)
    scans = np.stack([preparer.volume(row) for row in rows])
    scores = (scans - scans.mean(axis=0)) / (scans.std(axis=0) + 1e-3) * mask
    volumes = torch.from_numpy(scores.astype(np.float32)[:, None])
    brain = Brain(torch.from_numpy(mask.copy()), torch.from_numpy(atlas.labels), atlas.count, 4)
    method = METHODS["sensitivity"](brain=brain, batch=BatchSize(4))
    scorer = TruthScorer(atlas.mask("Thalamus"), mask, mask.astype(int), NO_REGIONS, 4)
    scored = []
    for seed in range(7):
        maps = np.abs(method.attribute(build_network(4, seed=seed).eval(), volumes, 1).margin.numpy()) * mask
        scored.append(_samples(scorer, list(maps)))
    auc = SCORES.index("voxel_auc")
    for level in (0, 1):
        networks, beside_0 = [one[level] for one in scored], 0
        for place, one in enumerate(networks):
            others = networks[:place] + networks[place + 1 :]
            compared = with_intervals(one, {"untrained": others}, len(rows), 200, 0).compared["untrained"]
            assert compared.reference[auc] > 0.55  # chance is not 0.5
            assert abs(compared.difference[auc]) < 0.1
            beside_0 += compared.low[auc] > 0 or compared.high[auc] < 0
        assert beside_0 <= 1


def test_intervals_are_those_of_subjects_and_reproducible(scorer):
    random = np.random.default_rng(0)
    real = np.zeros(scorer.mask.shape)
    real[scorer.mask] = scorer._real
    people = [random.random(real.shape) + strength * real for strength in np.linspace(0, 1, 8)]
    group, scan = _samples(scorer, people)
    nothing = [_samples(scorer, [random.random(real.shape) for _ in people]) for _ in range(3)]
    for level, sample in enumerate((group, scan)):
        references = {"untrained": [one[level] for one in nothing]}
        found, again, other = (with_intervals(sample, references, 8, 300, seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(found.low, again.low)
        assert not np.array_equal(found.low, other.low)
        assert (found.low <= found.value + 1e-9).all()
        assert (found.value <= found.high + 1e-9).all()
        compared = found.compared["untrained"]
        auc = SCORES.index("voxel_auc")
        assert compared.low[auc] > 0.1  # far from what knows nothing
        np.testing.assert_allclose(compared.difference, found.value - compared.reference)
    # The mean over people by hand, and the spread of such a mean.
    aucs = np.array([_auc(scorer, one) for one in people])
    assert found.value[auc] == pytest.approx(aucs.mean())
    assert found.high[auc] - found.low[auc] == pytest.approx(2 * 1.96 * aucs.std() / np.sqrt(8), rel=0.15)


def test_a_resample_scores_the_reference_network_that_it_takes_and_no_other(scorer):
    random, rows = np.random.default_rng(0), 60
    networks = [_samples(scorer, [random.random(scorer.mask.shape) for _ in range(4)])[0] for _ in range(3)]
    counts, chosen = random.multinomial(4, [0.25] * 4, size=rows), random.integers(3, size=rows)
    asked = []

    class Counted:
        shifts = True

        def __init__(self, one):
            self.one = one

        def drawn(self, counts):
            asked.append(len(counts))
            return self.one.drawn(counts)

    found = _drawn_of([Counted(one) for one in networks], chosen, counts)
    every = np.array([one.drawn(counts) for one in networks])
    np.testing.assert_allclose(found, every[chosen, np.arange(rows)], rtol=1e-5)
    assert sum(asked) == rows


def test_means_of_signed_maps_keep_what_the_scans_have_in_common():
    random, shape = np.random.default_rng(0), (8, 9, 7)
    mask, truth = np.ones(shape, bool), np.zeros(shape, bool)
    truth[2:5, 2:6, 2:4] = True
    scorer = TruthScorer(truth, mask, mask.astype(int), NO_REGIONS, 4)
    maps = [random.normal(size=truth.size) - 0.8 * truth.ravel() for _ in range(12)]
    means, signed = MeanMap(scorer, 12), MeanMap(scorer, 12, np.abs)
    for subject, heatmap in enumerate(maps):
        means.add(subject, np.abs(heatmap), scorer.smooth(np.abs(heatmap)), 1.0)
        signed.add(subject, heatmap, scorer.smooth(heatmap), 1.0)
    auc, accuracy = SCORES.index("voxel_auc"), SCORES.index("relevance_mass_accuracy")
    common = np.abs(np.mean(maps, axis=0))
    assert signed.value()[auc] == pytest.approx(roc_auc_score(truth.ravel(), common))
    assert signed.value()[auc] > means.value()[auc] + 0.1
    smooth = np.abs(scorer.smooth(np.mean(maps, axis=0)))
    assert signed.value()[accuracy] == pytest.approx(scorer.score(common, smooth)[accuracy])
    everyone = np.ones((1, 12))
    np.testing.assert_allclose(signed.drawn(everyone)[0, auc], signed.value()[auc], rtol=1e-5)
    half = np.array([[2.0] * 6 + [0.0] * 6])
    own = np.abs(np.mean(maps[:6], axis=0))
    assert signed.drawn(half)[0, auc] == pytest.approx(roc_auc_score(truth.ravel(), own), rel=1e-4)


def test_one_subject_has_no_interval_and_one_reference_no_spread(scorer):
    one = np.random.default_rng(0).random(scorer.mask.shape)
    group, scan = _samples(scorer, [one])
    for sample in (group, scan):
        found = with_intervals(sample, {"null": [sample]}, 1, 100, 0)
        assert np.isnan([found.low, found.high, found.compared["null"].low]).all()
        assert np.isnan(found.compared["null"].reference_sd).all()
        assert (found.compared["null"].difference == 0).all()


def test_empty_maps_are_no_scores_of_0():
    mean = MeanScore(2)
    mean.add(0, np.full(len(SCORES), 0.8), 1.0)
    mean.add(1, np.full(len(SCORES), np.nan), 1.0)
    assert mean.value() == pytest.approx(0.8)


def test_intervals_on_some_voxels_are_near_those_on_all(scorer):
    some = scorer.thinned(5000)
    values = np.random.default_rng(1).random(int(scorer.mask.sum())) + scorer._real
    step, known = scorer.step(5000), [0, 1, 2, 3, 6, 8]  # fpr and region hits are 0 or 1
    thin = some.score(values[::step], scorer.smooth(values)[::step])
    assert thin[known] == pytest.approx(scorer.score(values)[known], abs=0.05)
    assert pd.Series(some._real).mean() == pytest.approx(scorer._real.mean(), rel=0.2)


def test_the_spread_between_networks_widens_the_interval():
    """Two networks with the same people: the mean of both scores, and an interval that reaches both."""
    rng, samples = np.random.default_rng(3), []
    for level in (0.4, 0.8):
        one = MeanScore(12)
        for subject in range(12):
            one.add(subject, np.full(len(SCORES), level + rng.normal(0, 0.01)), 1.0)
        samples.append(one)
    both = with_intervals(OverNetworks(samples), {}, 12, 400, seed=0)
    alone = with_intervals(samples[0], {}, 12, 400, seed=0)
    place = SCORES.index("voxel_auc")
    assert both.value[place] == pytest.approx(0.6, abs=0.01)
    assert both.low[place] == pytest.approx(0.4, abs=0.02)
    assert both.high[place] == pytest.approx(0.8, abs=0.02)
    assert alone.high[place] - alone.low[place] < 0.03


def test_a_network_without_a_score_does_not_count():
    some, none = MeanScore(2), MeanScore(2)
    some.add(0, np.full(len(SCORES), 0.5), 1.0)
    assert OverNetworks([some, none]).value() == pytest.approx(0.5)
    assert np.isnan(OverNetworks([none, none]).value()).all()


def test_null_networks_are_normalised_as_the_trained_one(monkeypatch):
    """By statistics of the twins they were trained on, each patient's change would be an outlier to them alone."""
    asked, normalisation = [], object()

    def train(run, kind, jobs, objective, read, given):
        asked.append((kind, [job.test for job in jobs], given))
        return [(torch.nn.Identity(), given) for _ in jobs]

    monkeypatch.setattr(truth_references, "twins", lambda run: {})
    monkeypatch.setattr(truth_references, "held_out_normalisation", lambda run: normalisation)
    monkeypatch.setattr(truth_references, "train_references", train)
    scans = pd.DataFrame({"scan": ["a", "b"], "group": ["AD", "NC"]})
    job = Job("holdout", "holdout", 0, ("a", "b"), (), ("a",), ("a",))
    analysis = SimpleNamespace(untrained_networks=0, null_networks=2)
    run = SimpleNamespace(
        jobs=[job], device="cpu", groups=("AD", "NC"), cache=None,
        config=SimpleNamespace(analysis=analysis, seed=0), cohort=SimpleNamespace(simulated=True, scans=scans),
    )  # fmt: skip
    (networks,) = truth_references.References(run).networks.values()
    assert asked == [("null", [(), ()], normalisation)]
    assert [one.normalisation for one in networks] == [normalisation] * 2


def _networks_that_know_a_little(count: int, loudness: float = 1.0) -> tuple:
    """Return a truth, the mean map of each network over 8 people, who share its own noise, and the same by hand."""
    random, shape = np.random.default_rng(5), (8, 9, 7)
    truth = np.zeros(shape, bool)
    truth[2:5, 2:6, 2:4] = True
    scorer = TruthScorer(truth, np.ones(shape, bool), np.ones(shape, int), NO_REGIONS, 4)
    networks, by_hand = [], []
    for number in range(count):
        own, one, size = random.random(truth.size), MeanMap(scorer, 8), loudness if number else 1.0
        people = [size * (own + 0.4 * truth.ravel() + 0.1 * random.random(truth.size)) for _ in range(8)]
        for subject, heatmap in enumerate(people):
            one.add(subject, heatmap, scorer.smooth(heatmap), 1.0)
        networks.append(one)
        by_hand.append(np.mean(people, axis=0))
    return truth.ravel(), networks, by_hand


@pytest.mark.parametrize("loudness", [1.0, 1000.0])
def test_an_ensemble_averages_maps_not_scores_and_no_network_outweighs_the_others(loudness):
    truth, networks, by_hand = _networks_that_know_a_little(5, loudness)
    auc = SCORES.index("voxel_auc")
    together = Ensemble(networks).value()[auc]
    assert together == pytest.approx(roc_auc_score(truth, sum(one / one.sum() for one in by_hand)))
    assert together > OverNetworks(networks).value()[auc] + 0.05, "what is each network's own cancels out"
    assert Ensemble(networks[:1]).value() == pytest.approx(networks[0].value(), nan_ok=True)


def test_the_interval_of_an_ensemble_holds_the_spread_of_networks():
    _, networks, _ = _networks_that_know_a_little(5)
    auc = SCORES.index("voxel_auc")
    found = with_intervals(Ensemble(networks), {"untrained": [Ensemble(networks, seed=1)]}, 8, 100, seed=0)
    same = with_intervals(Ensemble([networks[0]] * 5), {}, 8, 100, seed=0)
    assert found.low[auc] < found.value[auc] < found.high[auc]
    assert found.high[auc] - found.low[auc] > 3 * (same.high[auc] - same.low[auc])
    beside = found.compared["untrained"]
    assert beside.difference[auc] == 0
    assert beside.high[auc] - beside.low[auc] > found.high[auc] - found.low[auc], "the chance of both"


def test_what_scores_single_scans_does_not_fill_the_memory(scorer, monkeypatch):
    made: list[str] = []
    scores = object.__new__(truth_scores.Scored)
    scores._scorers, scores._diagnosis = {}, "AD"
    scores._truth = SimpleNamespace(cohort=None, scan=lambda name, _: made.append(name) or copy(scorer))
    monkeypatch.setattr(truth_scores, "KEPT_BYTES", 2 * scorer.nbytes)
    assert scorer.nbytes > 10 * scorer.mask.sum()
    for _ in range(2):
        for name in "abcd":
            scores._scorer(name)
    assert made == ["a", "b", "c", "d", "c", "d"], "the first that there is room for are kept"
